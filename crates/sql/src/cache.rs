//! A bounded cache from text to a shared value: sharded, two generations per shard.
//!
//! A shard has a young and an old generation. A find in the old one moves the entry to the young one; when the young one is
//! full it becomes the old one and what was old is forgotten. That keeps what is used, costs one hash per find and never
//! grows past twice a generation, counted in entries and in what they take: a value that takes more is not kept. Keys are compared whole: a collision of hashes costs time, never a wrong answer.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

const SHARDS: usize = 16;

pub(crate) struct Cache<T> {
    hasher: RandomState,
    shards: Vec<Mutex<Shard<T>>>,
    generation: Room,
}

struct Shard<T> {
    young: HashMap<Arc<str>, Held<T>>,
    old: HashMap<Arc<str>, Held<T>>,
    young_bytes: usize,
}

struct Held<T> {
    value: Arc<T>,
    /// What it takes, its key included.
    bytes: usize,
}

/// What one generation of one shard holds at most.
struct Room {
    entries: usize,
    bytes: usize,
}

impl<T> Cache<T> {
    pub(crate) fn new(entries: usize, bytes: usize) -> Self {
        let shard = || Mutex::new(Shard { young: HashMap::new(), old: HashMap::new(), young_bytes: 0 });
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| shard()).collect(),
            generation: Room { entries: entries / SHARDS / 2, bytes: bytes / SHARDS / 2 },
        }
    }

    fn shard(&self, key: &str) -> Option<&Mutex<Shard<T>>> {
        let at = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0) % SHARDS;
        self.shards.get(at)
    }

    pub(crate) fn find(&self, key: &str) -> Option<Arc<T>> {
        let mut shard = self.shard(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = shard.young.get(key) {
            return Some(Arc::clone(&found.value));
        }
        let (key, found) = shard.old.remove_entry(key)?;
        let value = Arc::clone(&found.value);
        shard.keep(key, found, &self.generation);
        Some(value)
    }

    /// Keeps a value that takes `weight` bytes.
    pub(crate) fn insert(&self, key: &str, value: Arc<T>, weight: usize) {
        let bytes = key.len().saturating_add(weight);
        if bytes > self.generation.bytes || self.generation.entries == 0 {
            return;
        }
        let Some(shard) = self.shard(key) else { return };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.old.remove(key);
        shard.keep(key.into(), Held { value, bytes }, &self.generation);
    }
}

impl<T> Shard<T> {
    fn keep(&mut self, key: Arc<str>, held: Held<T>, room: &Room) {
        let bytes = held.bytes;
        if self.young.len() >= room.entries || self.young_bytes.saturating_add(bytes) > room.bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        let before = self.young.insert(key, held).map_or(0, |before| before.bytes);
        self.young_bytes = self.young_bytes.saturating_add(bytes).saturating_sub(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let cache = Cache::new(320, 1 << 20);
        cache.insert("kept", Arc::new(0_usize), 8);
        for number in 0..10_000_usize {
            cache.insert(&format!("text {number}"), Arc::new(number), 8);
            assert_eq!(cache.find("kept").as_deref(), Some(&0));
        }
        let held: usize = cache
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock().unwrap();
                shard.young.len() + shard.old.len()
            })
            .sum();
        assert!(held <= 320, "{held} entries are held");
    }

    #[test]
    fn bytes_are_bounded_too() {
        let cache = Cache::new(1_000_000, 16 * 1024);
        for number in 0..1_000_usize {
            cache.insert(&format!("{number:0100}"), Arc::new(number), 8);
        }
        let held: usize = cache.shards.iter().map(|shard| shard.lock().unwrap().young_bytes).sum();
        assert!(held <= 8 * 1024, "{held} bytes are held");
        cache.insert("heavy", Arc::new(1), 20_000);
        assert!(cache.find("heavy").is_none());
        cache.insert(&"x".repeat(20_000), Arc::new(1), 8);
        assert!(cache.find(&"x".repeat(20_000)).is_none());
    }
}
