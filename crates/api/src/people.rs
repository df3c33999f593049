//! People's sessions: signed in by their identity provider, known by a cookie, as good as their standing there.
//!
//! INVARIANT(cookie-is-not-kept): of a cookie only its SHA-256 is stored. A session is used up by idleness, by age, by signing out, by a
//! kill, and by whatever ends its person's standing at the provider, which is asked on every use (at its liveness interval).

use std::{sync::Arc, time::Duration};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest, hmac, rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_audit::Batch;
use portcullis_core::{AuditEvent, Principal, PrincipalKey, Secret, event::SignInEvent};
use portcullis_identity::{Flow, Standing};
use portcullis_policy::ConsoleSettings;
use portcullis_store::{Person, Store};
use serde::{Deserialize, Serialize};

use crate::{Api, Problem, routes::blocking, server::Peer};

/// How exactly the time of the last use is kept: a write per request would be a write too many.
const SEEN_EVERY: Duration = Duration::from_secs(60);
/// What the cookie of a sign-in is bound to, besides its key.
const SIGN_IN: &[u8] = b"portcullis sign-in 1";

/// The people who are signed in, and those about to be.
pub struct People {
    store: Arc<Store>,
    settings: ConsoleSettings,
    /// Seals sign-ins under way; of this run of the gateway.
    key: RandomizedNonceKey,
}

/// A sign-in under way. The browser carries it, sealed, so that nobody can fill a table with sign-ins that never end. A replayed one is
/// worth nothing: its code works once.
#[derive(Serialize, Deserialize)]
pub(crate) struct Begun {
    flow: String,
    pub(crate) next: String,
}

impl Begun {
    /// What the provider's answer is held against. It says itself when it is too old.
    pub(crate) fn flow(&self) -> Option<Flow> {
        Flow::from_text(&self.flow).ok()
    }
}

/// A session that is good now.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) person: Person,
    pub(crate) principal: Arc<Principal>,
}

impl std::fmt::Debug for People {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("People").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl People {
    /// Those the store has are signed in.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(store: Arc<Store>, settings: ConsoleSettings) -> Result<Self, RandomFailed> {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).map_err(|_| RandomFailed)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| RandomFailed)?;
        Ok(Self { store, settings, key })
    }

    /// The limits of a session.
    pub const fn settings(&self) -> ConsoleSettings {
        self.settings
    }

    /// A sign-in under way, as its cookie.
    pub(crate) fn begin(&self, flow: &Flow, next: String) -> Result<Secret<String>, Problem> {
        let begun = Begun { flow: flow.to_text().expose().clone(), next };
        let mut sealed = serde_json::to_vec(&begun).map_err(|_| Problem::internal())?;
        let nonce = self.key.seal_in_place_append_tag(Aad::from(SIGN_IN), &mut sealed);
        let nonce = nonce.map_err(|_| Problem::internal())?;
        Ok(Secret::new(URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &sealed].concat())))
    }

    /// The sign-in of a cookie.
    pub(crate) fn begun(&self, token: &Secret<String>) -> Option<Begun> {
        let bytes = URL_SAFE_NO_PAD.decode(token.expose()).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let opened =
            self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(SIGN_IN), &mut sealed);
        serde_json::from_slice(opened.ok()?).ok()
    }

    /// Signs somebody in; gives the cookie. Whatever session the browser had before is ended: what somebody else put there never
    /// becomes this person's. Journalled before it counts.
    pub(crate) async fn sign_in(
        &self,
        api: &Arc<Api>,
        principal: &Arc<Principal>,
        before: Option<Secret<String>>,
        peer: &Peer,
    ) -> Result<(Secret<String>, Duration), Problem> {
        let now = api.clock.now();
        let absolute = now.plus(self.settings.absolute);
        // Where no directory is asked, the token's end is all that bounds what it said.
        let ends_at = match api.identity.next_recheck(principal) {
            Some(_) => absolute,
            None => absolute.min(principal.expires_at),
        };
        let token = random()?;
        let person = Person {
            token_hash: hash(&token),
            principal: Principal::clone(principal),
            made_at: now,
            seen_at: now,
            ends_at,
        };
        let (store, api, peer) = (Arc::clone(&self.store), Arc::clone(api), peer.clone());
        let who = Arc::clone(principal);
        blocking(move || {
            if let Some(before) = before {
                store.end_person(&hash(&before)).map_err(failed)?;
            }
            journal(&api, "signed_in", &who.provider, Some(&who), &peer, "")?;
            store.put_person(&person).map_err(failed)
        })
        .await??;
        Ok((token, ends_at.since(now)))
    }

    /// The session of a cookie, where it is good now.
    pub(crate) async fn signed(
        &self,
        api: &Api,
        token: &Secret<String>,
        peer: &Peer,
    ) -> Result<Option<Signed>, Problem> {
        match self.stand(api, &hash(token)).await? {
            Found::Good(signed) => Ok(Some(*signed)),
            Found::Nobody => Ok(None),
            Found::Over(person, why) => {
                self.ended(api, *person, why, peer).await?;
                Ok(None)
            }
        }
    }

    /// Whom the session is of, as they are now, where it is good: for who is here already. Does not count as use: an open page that only
    /// listens does not keep its session from being idle.
    pub(crate) async fn look(&self, api: &Api, hash: &[u8; 32]) -> Result<Option<Arc<Principal>>, Problem> {
        Ok(match self.stand(api, hash).await? {
            Found::Good(signed) => Some(signed.principal),
            Found::Nobody | Found::Over(..) => None,
        })
    }

    async fn stand(&self, api: &Api, hash: &[u8; 32]) -> Result<Found, Problem> {
        let (store, hash) = (Arc::clone(&self.store), *hash);
        let Some(person) = blocking(move || store.person(&hash)).await?.map_err(failed)? else {
            return Ok(Found::Nobody);
        };
        let now = api.clock.now();
        let over = |person, why: &str| Ok(Found::Over(Box::new(person), why.to_owned()));
        if person.ends_at <= now {
            return over(person, "its time was over");
        }
        if now.since(person.seen_at) >= self.settings.idle {
            return over(person, "it was idle for too long");
        }
        if api.access.blocked(&person.principal.key()).is_some() {
            return over(person, "an administrator has blocked the identity");
        }
        let told_by_token = person.principal.expires_at > now;
        // The documents may have given up asking a directory since the sign-in.
        if !told_by_token && api.identity.next_recheck(&person.principal).is_none() {
            return over(person, "its time was over");
        }
        let principal = match api.identity.recheck(&person.principal).await {
            Standing::Good(principal) if told_by_token => principal,
            // App roles are in tokens alone: no directory is asked for them, so they are as good as the token that named them.
            Standing::Good(principal) => {
                Arc::new(Principal { roles: Vec::new(), ..Principal::clone(&principal) })
            }
            Standing::Revoked { detail } => return over(person, &detail),
            // Groups as old as the sign-in are not good enough for anything.
            Standing::Unknown { detail } => {
                tracing::warn!(principal = %person.principal.key(), %detail, "a person's standing is not known");
                return Err(Problem::unavailable());
            }
        };
        Ok(Found::Good(Box::new(Signed { person, principal })))
    }

    /// Somebody asked for something: the session is not idle.
    pub(crate) async fn used(&self, api: &Api, person: &Person) -> Result<(), Problem> {
        let (now, hash) = (api.clock.now(), person.token_hash);
        if now.since(person.seen_at) >= SEEN_EVERY.min(self.settings.idle / 4) {
            let store = Arc::clone(&self.store);
            blocking(move || store.saw_person(&hash, now)).await?.map_err(failed)?;
        }
        Ok(())
    }

    async fn ended(&self, api: &Api, person: Person, why: String, peer: &Peer) -> Result<(), Problem> {
        let store = Arc::clone(&self.store);
        let (hash, principal) = (person.token_hash, person.principal);
        if blocking(move || store.end_person(&hash)).await?.map_err(failed)? {
            journal(api, "ended", &principal.provider, Some(&principal), peer, &why)?;
        }
        Ok(())
    }

    /// Signs somebody out.
    pub(crate) async fn sign_out(
        &self,
        api: &Api,
        hash: [u8; 32],
        who: &Principal,
        peer: &Peer,
    ) -> Result<(), Problem> {
        let store = Arc::clone(&self.store);
        if blocking(move || store.end_person(&hash)).await?.map_err(failed)? {
            journal(api, "signed_out", &who.provider, Some(who), peer, "")?;
        }
        Ok(())
    }

    /// Ends every session of somebody. Blocking.
    pub(crate) fn end_all_of(&self, key: &PrincipalKey) -> Result<u64, portcullis_store::Error> {
        self.store.end_people_of(key)
    }

    /// Ends what is over, so that the audit log has it though nobody comes back. Blocking.
    pub(crate) fn tidy(&self, api: &Api) {
        let now = api.clock.now();
        match self.store.forget_people(now, now.minus(self.settings.idle)) {
            Ok(forgotten) => {
                for person in forgotten {
                    let who = &person.principal;
                    let why =
                        if person.ends_at <= now { "its time was over" } else { "it was idle for too long" };
                    drop(sign_in_event(api, "ended", &who.provider, Some(who), String::new(), why));
                }
            }
            Err(error) => tracing::error!(%error, "people's sessions that are over could not be ended"),
        }
    }
}

/// The system gives no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("no random numbers from the system")]
pub struct RandomFailed;

enum Found {
    Good(Box<Signed>),
    Nobody,
    Over(Box<Person>, String),
}

/// Puts a step of signing in or out into the journal. Blocks for a write.
pub(crate) fn journal(
    api: &Api,
    step: &str,
    provider: &str,
    who: Option<&Principal>,
    peer: &Peer,
    note: &str,
) -> Result<(), Problem> {
    sign_in_event(api, step, provider, who, peer.0.address.to_string(), note)
}

fn sign_in_event(
    api: &Api,
    step: &str,
    provider: &str,
    who: Option<&Principal>,
    source: String,
    note: &str,
) -> Result<(), Problem> {
    let event = AuditEvent::SignIn(SignInEvent {
        at: api.clock.now(),
        step: step.to_owned(),
        provider: provider.to_owned(),
        principal: who.map(Principal::key),
        name: who.map(|who| who.name.clone()).unwrap_or_default(),
        source,
        note: note.to_owned(),
    });
    let mut batch = Batch::new();
    let written = batch.push(&event).and_then(|()| api.journal.append(None, &batch).map(|_| ()));
    written.map_err(|error| {
        tracing::error!(%error, "a sign-in could not be journalled");
        Problem::unavailable()
    })
}

/// What pages put into `X-Portcullis-CSRF`: only who has the cookie's value can make it, and the cookie cannot be made from it.
pub(crate) fn csrf(token: &Secret<String>) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes());
    hex(hmac::sign(&key, b"portcullis console csrf").as_ref())
}

fn hash(token: &Secret<String>) -> [u8; 32] {
    let mut hash = [0; 32];
    let digest = digest::digest(&digest::SHA256, token.expose().as_bytes());
    hash.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// 256 random bits, 64 hex digits.
fn random() -> Result<Secret<String>, Problem> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| Problem::internal())?;
    Ok(Secret::new(hex(&bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn failed(error: portcullis_store::Error) -> Problem {
    tracing::error!(%error, "people's sessions cannot be kept");
    Problem::unavailable()
}
