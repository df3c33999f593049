//! Refresh tokens (RFC 6749 section 6): each works once and is replaced by the next; one used twice ends the sign-in it belongs to
//! (RFC 9700 section 4.14.2).

use std::{collections::BTreeMap, time::Duration};

use portcullis_core::Timestamp;
use uuid::Uuid;

use crate::claims;

/// How long a refresh token is good, as Entra's are without use.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// Sign-ins remembered at most; the one unused for longest gives way.
const MAX_FAMILIES: usize = 1_000;

/// What a person granted a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) client: Uuid,
    pub(crate) user: Uuid,
    pub(crate) resource: String,
    /// The `scp` claim.
    pub(crate) scope: String,
    /// The scopes as the client named them.
    pub(crate) granted: String,
    pub(crate) openid: bool,
    pub(crate) offline: bool,
}

/// One sign-in: what was granted, and the one refresh token of it that works.
struct Family {
    granted: Granted,
    current: String,
    expires: Timestamp,
}

/// Sign-ins with `offline_access`. A token is `family.secret`, so that a used one is known for what it is.
#[derive(Default)]
pub(crate) struct Families(BTreeMap<String, Family>);

/// Why a refresh token gives nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Worthless {
    Unknown,
    Expired,
    /// It was used before: the whole sign-in has ended with this.
    Reused,
    /// It is another client's, which keeps it.
    Foreign,
}

impl Families {
    /// The first token of a sign-in.
    pub(crate) fn begin(&mut self, granted: Granted, now: Timestamp) -> String {
        if self.0.len() >= MAX_FAMILIES {
            let oldest = self.0.iter().min_by_key(|(_, family)| family.expires).map(|(id, _)| id.clone());
            oldest.and_then(|id| self.0.remove(&id));
        }
        let (id, current) = (claims::random(), claims::random());
        let token = format!("{id}.{current}");
        self.0.insert(id, Family { granted, current, expires: now.plus(LIFETIME) });
        token
    }

    /// What a token stands for, and the token that replaces it.
    pub(crate) fn rotate(
        &mut self,
        token: &str,
        client: Uuid,
        now: Timestamp,
    ) -> Result<(Granted, String), Worthless> {
        let (id, secret) = token.split_once('.').ok_or(Worthless::Unknown)?;
        let family = self.0.get_mut(id).ok_or(Worthless::Unknown)?;
        if family.granted.client != client {
            return Err(Worthless::Foreign);
        }
        if family.current != secret {
            self.0.remove(id);
            return Err(Worthless::Reused);
        }
        if now >= family.expires {
            self.0.remove(id);
            return Err(Worthless::Expired);
        }
        family.current = claims::random();
        family.expires = now.plus(LIFETIME);
        Ok((family.granted.clone(), format!("{id}.{}", family.current)))
    }

    /// Ends every sign-in of a person with a client, or with all.
    pub(crate) fn end(&mut self, user: Uuid, client: Option<Uuid>) {
        self.0.retain(|_, family| {
            family.granted.user != user || client.is_some_and(|client| family.granted.client != client)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(client: u128) -> Granted {
        Granted {
            client: Uuid::from_u128(client),
            user: Uuid::from_u128(9),
            resource: "api://portcullis".to_owned(),
            scope: "user_impersonation".to_owned(),
            granted: "api://portcullis/.default offline_access".to_owned(),
            openid: false,
            offline: true,
        }
    }

    #[test]
    fn sign_ins_remembered_are_bounded() {
        let mut families = Families::default();
        let now = Timestamp::from_seconds(1_790_000_000);
        let first = families.begin(granted(1), now);
        for second in 1..=MAX_FAMILIES as u64 {
            families.begin(granted(1), now.plus(Duration::from_secs(second)));
        }
        assert_eq!(families.0.len(), MAX_FAMILIES);
        assert_eq!(families.rotate(&first, Uuid::from_u128(1), now), Err(Worthless::Unknown));
    }

    #[test]
    fn another_clients_token_stays_whole() {
        let mut families = Families::default();
        let now = Timestamp::from_seconds(1_790_000_000);
        let token = families.begin(granted(1), now);
        assert_eq!(families.rotate(&token, Uuid::from_u128(2), now), Err(Worthless::Foreign));
        assert!(families.rotate(&token, Uuid::from_u128(1), now).is_ok());
    }
}
