//! [`SaltedPasswords`]: what PBKDF2 made of passwords, kept.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use aws_lc_rs::hmac;
use portcullis_core::Secret;

use super::{Error, Keys};

/// How many (password, salt, count) are kept. One per upstream user; past it the longest unused goes.
const CAPACITY: usize = 1024;

/// Keys by password, salt and count. What it holds lets a process log in as the password would, to servers with the same
/// salt; it is zeroed when it goes.
#[derive(Debug, Default)]
pub struct SaltedPasswords {
    /// Keys the map, so that it holds no plain hash of a password.
    key: OnceLock<Option<hmac::Key>>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_input: HashMap<[u8; 32], (Arc<Keys>, u64)>,
    uses: u64,
}

impl SaltedPasswords {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// The keys, from the cache or from PBKDF2 on a thread for blocking work.
    ///
    /// Cancel safe: a dropped future leaves at most the hashing of one password behind.
    ///
    /// # Errors
    /// [`Error::Internal`] when the runtime is stopping.
    pub async fn keys(
        &self,
        password: &Secret<String>,
        salt: &[u8],
        iterations: NonZeroU32,
    ) -> Result<Arc<Keys>, Error> {
        let index = self.index(password, salt, iterations);
        if let Some(keys) = index.and_then(|index| self.look_up(index)) {
            return Ok(keys);
        }
        let (password, salt) = (password.clone(), salt.to_vec());
        let derive = move || Arc::new(Keys::derive(password.expose(), &salt, iterations));
        let keys = tokio::task::spawn_blocking(derive).await.map_err(|_| Error::Internal)?;
        if let Some(index) = index {
            self.keep(index, Arc::clone(&keys));
        }
        Ok(keys)
    }

    /// `None` without randomness: then nothing is kept.
    fn index(&self, password: &Secret<String>, salt: &[u8], iterations: NonZeroU32) -> Option<[u8; 32]> {
        let random = || {
            let mut secret = [0; 32];
            aws_lc_rs::rand::fill(&mut secret).ok().map(|()| hmac::Key::new(hmac::HMAC_SHA256, &secret))
        };
        let key = self.key.get_or_init(random).as_ref()?;
        let mut context = hmac::Context::with_key(key);
        context.update(&iterations.get().to_be_bytes());
        context.update(&u64::try_from(salt.len()).ok()?.to_be_bytes());
        context.update(salt);
        context.update(password.expose().as_bytes());
        context.sign().as_ref().first_chunk().copied()
    }

    fn look_up(&self, index: [u8; 32]) -> Option<Arc<Keys>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let uses = kept.uses;
        let (keys, used) = kept.by_input.get_mut(&index)?;
        *used = uses;
        Some(Arc::clone(keys))
    }

    fn keep(&self, index: [u8; 32], keys: Arc<Keys>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let uses = kept.uses;
        if kept.by_input.len() >= CAPACITY {
            let oldest = kept.by_input.iter().min_by_key(|(_, (_, used))| *used).map(|(index, _)| *index);
            oldest.map(|oldest| kept.by_input.remove(&oldest));
        }
        kept.by_input.insert(index, (keys, uses));
    }

    /// How many are kept.
    #[cfg(test)]
    pub(in crate::upstream) fn len(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).by_input.len()
    }
}
