//! A clock that moves only when a test says so.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use portcullis_core::{Clock, Timestamp};

/// A [`Clock`] that stands still. Clones share the time, so a test keeps one and hands the other to the code it tests.
#[derive(Debug, Clone)]
pub struct ManualClock {
    micros: Arc<AtomicI64>,
}

impl ManualClock {
    /// A clock that says `at`.
    pub fn at(at: Timestamp) -> Self {
        Self { micros: Arc::new(AtomicI64::new(at.as_micros())) }
    }

    /// Moves the clock forward by `by`; the new time is returned.
    pub fn advance(&self, by: Duration) -> Timestamp {
        let to = self.now().plus(by);
        self.set(to);
        to
    }

    /// Moves the clock to `at`, backwards too.
    pub fn set(&self, at: Timestamp) {
        self.micros.store(at.as_micros(), Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    /// 2026-01-01T12:00:00Z.
    fn default() -> Self {
        Self::at(Timestamp::from_seconds(1_767_268_800))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_only_when_told_and_clones_share_it() {
        let clock = ManualClock::default();
        let seen_by_the_code = clock.clone();
        assert_eq!(seen_by_the_code.now().to_string(), "2026-01-01T12:00:00.000000Z");
        clock.advance(Duration::from_secs(90));
        assert_eq!(seen_by_the_code.now().to_string(), "2026-01-01T12:01:30.000000Z");
    }
}
