//! The journal's thread: syncs written events in groups, and revives a failed journal.

use std::ops::Range;

use crate::{Error, Position, journal::Shared};

/// How many separate losses are remembered; older ones are taken together, which only widens them.
const LOSSES: usize = 64;

/// What is known of the disk: how far it was asked to confirm events, and which of them it did not.
#[derive(Debug)]
pub(crate) struct Progress {
    upto: Position,
    lost: Vec<Range<u64>>,
    stopped: bool,
}

impl Progress {
    pub(crate) const fn starting_at(upto: Position) -> Self {
        Self { upto, lost: Vec::new(), stopped: false }
    }

    /// Everything before it was synced or given up.
    pub(crate) const fn durable(&self) -> Position {
        self.upto
    }

    fn stop(&mut self) {
        self.stopped = true;
    }

    pub(crate) const fn has_stopped(&self) -> bool {
        self.stopped
    }

    /// What became of the events before `position`, which end a batch; `None` while it is open.
    pub(crate) fn outcome(&self, position: Position) -> Option<Result<(), Error>> {
        let last = position.sequence.saturating_sub(1);
        if self.lost.iter().any(|lost| lost.contains(&last)) {
            Some(Err(Error::NotSynced))
        } else if position <= self.upto {
            Some(Ok(()))
        } else {
            self.stopped.then_some(Err(Error::Stopped))
        }
    }

    pub(crate) fn advance(&mut self, upto: Position) {
        self.upto = self.upto.max(upto);
    }

    pub(crate) fn lose(&mut self, upto: Position) {
        if self.upto.sequence < upto.sequence {
            self.lost.push(self.upto.sequence..upto.sequence);
        }
        if self.lost.len() > LOSSES {
            let first = self.lost.remove(0);
            if let Some(second) = self.lost.first_mut() {
                second.start = first.start;
            }
        }
        self.advance(upto);
    }
}

/// Runs until the journal is dropped; the last group is synced then.
pub(crate) fn run(shared: &Shared) {
    let _guard = Ended(shared);
    let Ok(mut inner) = shared.lock() else { return };
    loop {
        if inner.dirty {
            let waited = shared.wake.wait_timeout_while(inner, shared.config.group_interval, |inner| {
                !inner.wanted && !inner.stopping && inner.dirty
            });
            let Ok((guard, _)) = waited else { return };
            inner = guard;
            inner.wanted = false;
            if !inner.dirty {
                continue;
            }
            inner.dirty = false;
            let (segment, end) = (inner.segment.clone(), inner.end);
            drop(inner);
            let outcome = segment.sync();
            let Ok(guard) = shared.lock() else { return };
            inner = guard;
            inner.synced(shared, &segment, end, outcome);
        } else if inner.stopping {
            return;
        } else if inner.failure.is_some() {
            let waited = shared.wake.wait_timeout_while(inner, shared.config.probe_interval, |inner| {
                !inner.stopping && !inner.dirty
            });
            let Ok((guard, _)) = waited else { return };
            inner = guard;
            if inner.stopping || inner.dirty {
                continue;
            }
            drop(inner);
            let probe = shared.storage.probe(&shared.config.dir);
            let Ok(guard) = shared.lock() else { return };
            inner = guard;
            match probe {
                Ok(()) => inner.revive(shared),
                Err(error) => tracing::debug!(%error, "the journal still cannot write"),
            }
        } else {
            inner.wanted = false;
            let waited = shared.wake.wait_while(inner, |inner| {
                !inner.dirty && !inner.stopping && inner.failure.is_none() && !inner.wanted
            });
            let Ok(guard) = waited else { return };
            inner = guard;
        }
    }
}

/// Says that the thread is gone, however it went: waiters end, and nothing more is taken.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A guard held while panicking is dropped before this one and has poisoned the lock, which refuses as well.
            if let Ok(mut inner) = self.0.lock() {
                inner.thread_ended(self.0);
            }
        }
        self.0.progress.send_modify(|progress| progress.stop());
        self.0.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn place(sequence: u64) -> Position {
        Position { sequence, segment: 1, offset: 96 + sequence }
    }

    fn outcomes(progress: &Progress, places: &[u64]) -> Vec<Option<bool>> {
        places
            .iter()
            .map(|sequence| progress.outcome(place(*sequence)).map(|outcome| outcome.is_ok()))
            .collect()
    }

    #[test]
    fn what_was_lost_stays_lost_and_what_came_before_and_after_does_not() {
        let mut progress = Progress::starting_at(place(0));
        progress.advance(place(10));
        progress.lose(place(20));
        assert_eq!(outcomes(&progress, &[10, 11, 20, 21]), [Some(true), Some(false), Some(false), None]);
        progress.advance(place(30));
        assert_eq!(
            outcomes(&progress, &[10, 11, 20, 21, 30]),
            [Some(true), Some(false), Some(false), Some(true), Some(true)]
        );
    }

    #[test]
    fn a_late_report_of_an_older_place_takes_nothing_back() {
        let mut progress = Progress::starting_at(place(0));
        progress.advance(place(20));
        progress.advance(place(10));
        progress.lose(place(20));
        assert_eq!(outcomes(&progress, &[10, 20]), [Some(true), Some(true)]);
    }

    #[test]
    fn many_losses_are_remembered_in_bounded_memory_and_never_fewer() {
        let mut progress = Progress::starting_at(place(0));
        for round in 0..1_000 {
            progress.advance(place(round * 10 + 5));
            progress.lose(place(round * 10 + 10));
        }
        assert_eq!(progress.lost.len(), LOSSES);
        assert!((0..1_000).all(|round| outcomes(&progress, &[round * 10 + 10]) == [Some(false)]));
        assert_eq!(outcomes(&progress, &[9_995, 5]), [Some(true), Some(true)]);
    }

    #[test]
    fn who_waits_is_told_when_the_thread_is_gone() {
        let mut progress = Progress::starting_at(place(5));
        progress.stop();
        assert_eq!(outcomes(&progress, &[5, 6]), [Some(true), Some(false)]);
    }
}
