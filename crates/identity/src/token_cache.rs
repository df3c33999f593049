//! Verified tokens, so that an agent that reconnects costs no signature check. Holds keyed digests, never tokens.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::hmac;

use crate::verify::Verified;

/// Tokens remembered at most: two generations of half as many. About 2 KB each.
const CAPACITY: usize = 8192;

/// HMAC-SHA-256 of a token under a key of this process.
pub(crate) type Digest = [u8; 32];

/// A verified token, and what the verification rests on.
pub(crate) struct Entry {
    pub(crate) verified: Verified,
    /// The provider as configured then.
    pub(crate) provider: u64,
    /// The generation of its keys.
    pub(crate) generation: u64,
}

/// The cache: two maps, of which the older is dropped when the younger is half of [`CAPACITY`]. Whatever is used moves to the younger.
pub(crate) struct TokenCache {
    key: hmac::Key,
    maps: Mutex<Maps>,
}

#[derive(Default)]
struct Maps {
    young: HashMap<Digest, Arc<Entry>>,
    old: HashMap<Digest, Arc<Entry>>,
}

impl TokenCache {
    pub(crate) fn new() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new())?;
        Ok(Self { key, maps: Mutex::default() })
    }

    pub(crate) fn digest(&self, token: &str) -> Digest {
        let tag = hmac::sign(&self.key, token.as_bytes());
        let mut digest = Digest::default();
        for (to, from) in digest.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        digest
    }

    pub(crate) fn find(&self, digest: &Digest) -> Option<Arc<Entry>> {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = maps.young.get(digest) {
            return Some(Arc::clone(entry));
        }
        let entry = maps.old.remove(digest)?;
        maps.insert(*digest, Arc::clone(&entry));
        Some(entry)
    }

    pub(crate) fn insert(&self, digest: Digest, entry: Arc<Entry>) {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, entry);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let maps = self.maps.lock().unwrap();
        maps.young.len() + maps.old.len()
    }
}

impl Maps {
    fn insert(&mut self, digest: Digest, entry: Arc<Entry>) {
        if self.young.len() >= CAPACITY / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, entry);
    }
}

/// How a digest stands in for the id of a token that has none: its first 16 bytes, in hex.
pub(crate) fn token_id(digest: &Digest) -> String {
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use portcullis_core::{Principal, PrincipalKind, Timestamp};

    use super::*;
    use crate::verify::GroupClaim;

    fn entry() -> Arc<Entry> {
        let principal = Principal {
            provider: "p".to_owned(),
            tenant: None,
            object_id: "o".to_owned(),
            application_id: None,
            parent_application: None,
            kind: PrincipalKind::Application,
            name: "n".to_owned(),
            token_id: "t".to_owned(),
            groups: Vec::new(),
            roles: Vec::new(),
            actor: None,
            subject: None,
            issued_at: Timestamp::default(),
            expires_at: Timestamp::MAX,
        };
        let verified = Verified { principal, groups: GroupClaim::Absent, until: Timestamp::MAX };
        Arc::new(Entry { verified, provider: 1, generation: 1 })
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let cache = TokenCache::new().unwrap();
        let used = cache.digest("used");
        let entry = entry();
        cache.insert(used, Arc::clone(&entry));
        for number in 0..CAPACITY * 3 {
            cache.insert(cache.digest(&number.to_string()), Arc::clone(&entry));
            assert!(cache.find(&used).is_some());
        }
        assert!(cache.len() <= CAPACITY);
        assert!(cache.find(&cache.digest("0")).is_none());
    }

    #[test]
    fn digests_differ_between_processes_and_tokens() {
        let (one, other) = (TokenCache::new().unwrap(), TokenCache::new().unwrap());
        assert_ne!(one.digest("a"), other.digest("a"));
        assert_ne!(one.digest("a"), one.digest("b"));
        assert_eq!(token_id(&one.digest("a")).len(), 32);
    }
}
