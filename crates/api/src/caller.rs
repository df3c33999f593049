//! Who asks, and what they may: one place for both.
//!
//! A caller is known by a bearer token that `identity` verifies, by the admin token, or by the console's cookie. What a route wants is
//! a [`May`]; who has it, [`May::allows`] alone says. What single requests and sessions show to whom, [`crate::views`] says.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use portcullis_core::{Principal, PrincipalKey, Timestamp};
use portcullis_identity::Standing;
use portcullis_policy::{Role, RoleSet};

use crate::{
    Api, Problem,
    bearer::bearer,
    cookie,
    limit::{Bucket, Subject},
    people::{Signed, csrf},
    server::Peer,
};

/// What a route wants of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum May {
    /// Nothing: who asks is not even looked at.
    Anyone,
    /// Nothing, and who asks is looked at.
    AnyoneSeen,
    /// To be known.
    Known,
    /// To be an identity: the admin token is nobody.
    Identity,
    /// To see what there is: everybody's sessions, connections, who reaches what, the policy.
    SeeLists,
    /// To see what sessions did, and to search it.
    SeeRecordings,
    /// To search the audit log and to see its proof.
    SeeAudit,
    /// To see what became of notices.
    SeeDeliveries,
    /// To end sessions and to let back in.
    Kill,
    /// To replace the policy.
    ReplacePolicy,
}

impl May {
    /// The one table of who may what.
    pub(crate) const fn allows(self, roles: RoleSet) -> bool {
        match self {
            Self::Anyone | Self::AnyoneSeen | Self::Known | Self::Identity => true,
            Self::SeeLists => roles.has(Role::Viewer),
            Self::SeeRecordings | Self::SeeAudit => roles.has(Role::Auditor),
            Self::SeeDeliveries | Self::Kill | Self::ReplacePolicy => roles.has(Role::Admin),
        }
    }

    /// Who may, for people.
    pub(crate) const fn wants(self) -> &'static str {
        match self {
            Self::Anyone | Self::AnyoneSeen => "anybody",
            Self::Known => "whoever is known",
            Self::Identity => "an identity: an agent or a person, not the admin token",
            Self::SeeLists => "the role viewer, approver, auditor or admin",
            Self::SeeRecordings | Self::SeeAudit => "the role auditor or admin",
            Self::SeeDeliveries | Self::Kill | Self::ReplacePolicy => "the role admin",
        }
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// `None`: the admin token.
    principal: Option<Arc<Principal>>,
    roles: RoleSet,
    through: &'static str,
    session: Option<Session>,
}

/// The console session a caller came by.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) hash: [u8; 32],
    pub(crate) csrf: String,
    pub(crate) ends_at: Timestamp,
}

impl Caller {
    /// Who, where it is somebody.
    pub(crate) const fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.as_ref()
    }

    pub(crate) fn key(&self) -> Option<PrincipalKey> {
        self.principal.as_ref().map(|principal| principal.key())
    }

    /// Who, where that is needed.
    pub(crate) fn identity(&self) -> Result<&Arc<Principal>, Problem> {
        self.principal().ok_or_else(|| {
            Problem::forbidden("not-an-identity", "the admin token is nobody: this takes an identity")
                .next("sign in, or send an access token of your identity provider")
        })
    }

    pub(crate) const fn roles(&self) -> RoleSet {
        self.roles
    }

    pub(crate) fn may(&self, may: May) -> bool {
        may.allows(self.roles)
    }

    /// By which way: `console`, `cli`, `api`.
    pub(crate) const fn through(&self) -> &'static str {
        self.through
    }

    pub(crate) const fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// How the audit log and killed clients name who did it.
    pub(crate) fn named(&self, peer: &Peer) -> String {
        match &self.principal {
            None => format!("an administrator at {}", peer.0.address.ip()),
            Some(principal) => format!("{} ({})", principal.name, principal.key()),
        }
    }

    /// Whether it is still as it was, groups and roles included: for what outlives the moment it was asked for in. Does not count as
    /// use of a session.
    pub(crate) async fn is_still(&self, api: &Api) -> bool {
        let Some(principal) = &self.principal else { return true };
        let now = match &self.session {
            Some(session) => match api.people.look(api, &session.hash).await {
                Ok(Some(now)) => now,
                Ok(None) | Err(_) => return false,
            },
            None if principal.expires_at <= api.clock.now() => return false,
            None => match api.identity.recheck(principal).await {
                Standing::Good(now) => now,
                Standing::Revoked { .. } | Standing::Unknown { .. } => return false,
            },
        };
        // Who is blocked has no role, and who never had one would look as before.
        api.access.blocked(&now.key()).is_none()
            && roles(api, &now) == self.roles
            && now.groups == principal.groups
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::not_authenticated)
    }
}

/// Who asks, where that is known.
pub(crate) struct MaybeCaller(pub(crate) Option<Caller>);

impl<S: Send + Sync> FromRequestParts<S> for MaybeCaller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<Caller>().cloned()))
    }
}

/// What stands before a route.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) api: Arc<Api>,
    pub(crate) may: May,
    /// Whether a request keeps a person's session from being idle: pages that only listen do not.
    pub(crate) counts: bool,
}

/// Finds out who asks, how often, and whether they may.
pub(crate) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match guard.pass(&parts).await {
        Ok(caller) => {
            if let Some(caller) = caller {
                parts.extensions.insert(caller);
            }
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

impl Guard {
    async fn pass(&self, request: &Parts) -> Result<Option<Caller>, Problem> {
        let Self { api, may, .. } = self;
        let peer = request.extensions.get::<Peer>().ok_or_else(Problem::internal)?;
        let source = Subject::source(peer.0.address.ip());
        let found = match may {
            May::Anyone => None,
            _ => self.find(request, peer).await?,
        };
        let subject = match &found {
            None => source,
            Some(Caller { principal: None, .. }) => Subject::Administrator,
            Some(Caller { principal: Some(principal), .. }) => Subject::Principal(principal.key()),
        };
        let bucket = if found.is_some() { Bucket::Known } else { Bucket::Unknown };
        api.limits.take(bucket, subject, api.clock.now())?;
        match (may, &found) {
            (May::Anyone | May::AnyoneSeen, _) => {}
            (_, None) => return Err(Problem::not_authenticated()),
            (May::Identity, Some(caller)) => {
                caller.identity()?;
            }
            (may, Some(caller)) if may.allows(caller.roles) => {}
            (may, Some(_)) => {
                return Err(Problem::forbidden("not-allowed", format!("this takes {}", may.wants())));
            }
        }
        Ok(found)
    }

    async fn find(&self, request: &Parts, peer: &Peer) -> Result<Option<Caller>, Problem> {
        let (api, headers) = (&*self.api, &request.headers);
        if headers.contains_key(header::AUTHORIZATION) {
            return by_token(api, headers, peer).await.map(Some);
        }
        let Some(token) = cookie::find(headers, cookie::SESSION)? else { return Ok(None) };
        let Some(Signed { person, principal }) = api.people.signed(api, &token, peer).await? else {
            return Ok(None);
        };
        if self.counts {
            api.people.used(api, &person).await?;
        }
        let csrf = csrf(&token);
        if !matches!(request.method, Method::GET | Method::HEAD) {
            same_origin(api, headers, &csrf)?;
        }
        let session = Session { hash: person.token_hash, csrf, ends_at: person.ends_at };
        let roles = roles(api, &principal);
        Ok(Some(Caller { principal: Some(principal), roles, through: "console", session: Some(session) }))
    }
}

async fn by_token(api: &Api, headers: &HeaderMap, peer: &Peer) -> Result<Caller, Problem> {
    // Only failures count, and no good token is kept out by others' bad ones: many share an address, and a kill must get through.
    let failed = |problem: Problem| match api.limits.take(
        Bucket::Failed,
        Subject::source(peer.0.address.ip()),
        api.clock.now(),
    ) {
        Ok(()) => problem,
        Err(too_many) => too_many,
    };
    let token = bearer(headers).map_err(failed)?;
    if api.admin.is(&token) {
        let roles = RoleSet::NONE.with(Role::Admin);
        return Ok(Caller { principal: None, roles, through: "api", session: None });
    }
    let who = api.identity.authenticate(&token).await.map_err(|error| {
        tracing::info!(source = %peer.0.address, %error, "authentication failed at the api");
        failed(Problem::of_identity(&error))
    })?;
    let principal = Arc::clone(who.principal());
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let through = if agent.is_some_and(|agent| agent.starts_with("portcullis/")) { "cli" } else { "api" };
    Ok(Caller { roles: roles(api, &principal), principal: Some(principal), through, session: None })
}

/// The roles somebody has now. Who is kept out of everything has none; nor has an application by what it got in a person's name: an
/// assistant must not let itself back in because its person may.
pub(crate) fn roles(api: &Api, principal: &Principal) -> RoleSet {
    if api.access.blocked(&principal.key()).is_some() || !api.access.is_by_own_hand(principal) {
        return RoleSet::NONE;
    }
    api.access.policy().roles(principal)
}

/// Whether a write that came with a cookie was made by our own pages: it carries what only they can read, and the browser says that
/// it comes from here (OWASP, "Cross-Site Request Forgery Prevention").
fn same_origin(api: &Api, headers: &HeaderMap, csrf: &str) -> Result<(), Problem> {
    let refused =
        |what: &str| Problem::forbidden("cross-site", format!("the request is not from the console: {what}"));
    let one = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    };
    if headers.contains_key("sec-fetch-site") && one("sec-fetch-site") != Some("same-origin") {
        return Err(refused("it comes from another site"));
    }
    let origin = one("origin").ok_or_else(|| refused("it names no origin"))?;
    // Cookies belong to one host: a page of another one that reached us under its own name would have sent none.
    let ours = one("host").is_some_and(|host| origin.strip_prefix("https://") == Some(host));
    if origin != api.public.origin && !ours {
        return Err(refused("it comes from another site"));
    }
    let given = portcullis_core::Secret::new(csrf.to_owned());
    if !one("x-portcullis-csrf").is_some_and(|value| given.matches(value.as_bytes())) {
        return Err(refused("`X-Portcullis-CSRF` is missing or old; its value is in `GET /api/v1/me`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_what_is_this_table() {
        let allowed = |role: Option<Role>| {
            let roles = role.map_or(RoleSet::NONE, |role| RoleSet::NONE.with(role));
            [
                May::Known,
                May::SeeLists,
                May::SeeRecordings,
                May::SeeAudit,
                May::SeeDeliveries,
                May::Kill,
                May::ReplacePolicy,
            ]
            .map(|may| may.allows(roles))
        };
        assert_eq!(allowed(None), [true, false, false, false, false, false, false]);
        assert_eq!(allowed(Some(Role::Viewer)), [true, true, false, false, false, false, false]);
        assert_eq!(allowed(Some(Role::Approver)), [true, true, false, false, false, false, false]);
        assert_eq!(allowed(Some(Role::Auditor)), [true, true, true, true, false, false, false]);
        assert_eq!(allowed(Some(Role::Admin)), [true; 7]);
    }
}
