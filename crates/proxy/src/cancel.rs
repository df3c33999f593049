//! Keys by which a client names its session on another transport, as PostgreSQL's CancelRequest does.
//!
//! **Promises.** Keys are random from the crypto provider, never the upstream's own, and found in constant time. A key
//! names one session, and none once that is gone.
//!
//! **Does not** know what cancelling means: the value does.
//!
//! **References**: PostgreSQL protocol, "Canceling Requests in Progress"; protocol 3.2's keys of up to 256 bytes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, rand};
use zeroize::Zeroizing;

/// The longest secret, in bytes (protocol 3.2).
pub const MAX_SECRET: usize = 256;

/// Draws at which a free identifier is given up on: with fewer than a million sessions each draw misses one in 2,000.
const MAX_DRAWS: usize = 16;

/// What the client is given.
#[derive(Clone)]
pub struct CancelKey {
    /// Stands for the process id: positive, as clients expect, and random.
    pub id: u32,
    /// The secret.
    pub secret: Zeroizing<Vec<u8>>,
}

/// Live keys, and what each stands for.
#[derive(Debug)]
pub struct CancelMap<V> {
    entries: Mutex<HashMap<u32, Entry<V>>>,
}

struct Entry<V> {
    secret: Zeroizing<Vec<u8>>,
    value: V,
}

/// A key's place in the map; dropping it makes the key worthless.
#[must_use = "dropping the registration makes the key worthless"]
pub struct CancelRegistration<V> {
    map: Arc<CancelMap<V>>,
    key: CancelKey,
}

/// No key could be made.
#[derive(Debug, thiserror::Error)]
pub enum NoCancelKey {
    /// The secret's length is not 4 to [`MAX_SECRET`].
    #[error("a cancel secret has 4 to 256 bytes")]
    Length,
    /// The operating system gives no random bytes, or every identifier drawn was taken.
    #[error("no random cancel key could be made")]
    Random,
}

impl<V: Clone> CancelMap<V> {
    /// An empty map.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { entries: Mutex::default() })
    }

    /// A new key of `secret_length` bytes (4 for protocol 3.0) for `value`.
    ///
    /// # Errors
    /// The length is out of range, or there is no randomness.
    pub fn register(
        self: &Arc<Self>,
        secret_length: usize,
        value: V,
    ) -> Result<CancelRegistration<V>, NoCancelKey> {
        if !(4..=MAX_SECRET).contains(&secret_length) {
            return Err(NoCancelKey::Length);
        }
        let mut secret = Zeroizing::new(vec![0; secret_length]);
        rand::fill(&mut secret).map_err(|_| NoCancelKey::Random)?;
        let mut entries = self.entries();
        for _ in 0..MAX_DRAWS {
            let mut id = [0; 4];
            rand::fill(&mut id).map_err(|_| NoCancelKey::Random)?;
            let id = u32::from_be_bytes(id) & 0x7fff_ffff;
            if id == 0 || entries.contains_key(&id) {
                continue;
            }
            entries.insert(id, Entry { secret: secret.clone(), value });
            drop(entries);
            return Ok(CancelRegistration { map: Arc::clone(self), key: CancelKey { id, secret } });
        }
        Err(NoCancelKey::Random)
    }

    /// What the key stands for. Wrong secret and unknown identifier are one answer.
    pub fn find(&self, id: u32, secret: &[u8]) -> Option<V> {
        let entries = self.entries();
        let entry = entries.get(&id)?;
        verify_slices_are_equal(&entry.secret, secret).ok()?;
        Some(entry.value.clone())
    }

    /// How many keys are live.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether no key is live.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }
}

impl<V> CancelMap<V> {
    fn entries(&self) -> MutexGuard<'_, HashMap<u32, Entry<V>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> CancelRegistration<V> {
    /// What the client is given.
    pub fn key(&self) -> &CancelKey {
        &self.key
    }
}

impl<V> Drop for CancelRegistration<V> {
    fn drop(&mut self) {
        let removed = self.map.entries().remove(&self.key.id);
        // The value is dropped here, after the lock.
        drop(removed);
    }
}

impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<V> std::fmt::Debug for Entry<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry")
    }
}

impl<V> std::fmt::Debug for CancelRegistration<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CancelRegistration").field(&self.key).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_its_session_only_and_only_while_it_lives() {
        let map = CancelMap::new();
        let one = map.register(4, "one").unwrap();
        let two = map.register(32, "two").unwrap();
        assert_eq!(map.find(one.key().id, &one.key().secret), Some("one"));
        assert_eq!(map.find(two.key().id, &two.key().secret), Some("two"));
        assert_eq!(map.find(one.key().id, &two.key().secret), None);
        assert_eq!(map.find(one.key().id, &one.key().secret[..3]), None);
        assert_eq!(map.find(one.key().id, &[]), None);
        let key = one.key().clone();
        drop(one);
        assert_eq!(map.find(key.id, &key.secret), None);
        assert_eq!(map.len(), 1);
    }

    #[test]
    fn identifiers_are_positive_and_secrets_are_not_printed() {
        let map = CancelMap::new();
        for _ in 0..100 {
            let registration = map.register(4, ()).unwrap();
            assert!(i32::try_from(registration.key().id).unwrap() > 0);
            assert!(!format!("{registration:?} {map:?}").contains("secret"));
        }
        assert!(map.is_empty());
        assert!(map.register(3, ()).is_err());
        assert!(map.register(257, ()).is_err());
    }
}
