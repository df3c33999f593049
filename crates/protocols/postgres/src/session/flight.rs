//! What is in flight: the sync points whose `ReadyForQuery` the server still owes, and the effects that hang on them.
//!
//! A `Query` or `FunctionCall` is a sync point of its own; extended-protocol messages gather up to a `Sync`. While the server
//! takes in COPY data it swallows every `Sync` (`CopyGetData` in the server's copyfromparse.c), so that one `ReadyForQuery`
//! answers two of them: [`Flight::copy_in`] merges those. After an error in the extended protocol the server skips to the
//! next `Sync`.
//!
//! Nothing here decides whether something may pass: getting a count wrong costs the client a stalled answer, never a
//! judgement. Refusals in flight are matched by the name of the portal they were replaced with, not by counting.

use std::collections::VecDeque;

use crate::codec::backend::TransactionStatus;

/// What a sync point will have done once the server has answered it without an error.
#[derive(Clone, Debug)]
pub(crate) enum Effect<P> {
    /// A `Parse` whose `ParseComplete` is owed: the name now means this.
    Parse { name: Vec<u8>, prepared: P },
    /// A `Close` of a statement whose `CloseComplete` is owed.
    CloseStatement { name: Vec<u8> },
    /// A `Close` of a portal.
    ClosePortal,
    /// SQL-level `PREPARE`.
    SqlPrepare { name: Vec<u8>, prepared: P },
    /// SQL-level `DEALLOCATE` of one name, or of all.
    SqlDeallocate { name: Option<Vec<u8>> },
}

#[derive(Debug)]
struct Group<P> {
    closed: Closer,
    /// Ends of COPY data sent inside the group, not yet matched to a `CopyInResponse`.
    copy_ends: u32,
    errored: bool,
    effects: VecDeque<Effect<P>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closer {
    /// Not yet: the client still gathers messages.
    Open,
    Sync,
    /// A message that is a sync point of its own.
    Own,
}

/// How the sync point that a `ReadyForQuery` answers went.
#[derive(Debug)]
pub(crate) struct Landed<P> {
    pub(crate) errored: bool,
    /// SQL-level effects, in order; protocol-level ones were reported as they completed.
    pub(crate) effects: VecDeque<Effect<P>>,
}

/// Everything in flight.
#[derive(Debug)]
pub(crate) struct Flight<P> {
    groups: VecDeque<Group<P>>,
    copying: bool,
    state: TransactionStatus,
}

impl<P> Flight<P> {
    /// More sync points than this in flight and the client has to wait for answers.
    pub(crate) const MAX_GROUPS: usize = 4096;

    pub(crate) fn new(state: TransactionStatus) -> Self {
        Self { groups: VecDeque::new(), copying: false, state }
    }

    /// The transaction state of the last `ReadyForQuery`; true now only when nothing is in flight.
    pub(crate) fn state(&self) -> TransactionStatus {
        self.state
    }

    /// Nothing was sent whose answer is owed.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.groups.len() >= Self::MAX_GROUPS
    }

    /// Whether extended-protocol messages were sent that no `Sync` has closed.
    pub(crate) fn is_gathering(&self) -> bool {
        self.groups.back().is_some_and(|group| group.closed == Closer::Open)
    }

    /// Sync points sent and not answered, the one being gathered left out.
    pub(crate) fn owed(&self) -> usize {
        self.groups.len() - usize::from(self.is_gathering())
    }

    /// A message of the extended protocol is sent.
    pub(crate) fn gather(&mut self) {
        if !self.is_gathering() {
            self.groups.push_back(Group::new(Closer::Open));
        }
    }

    /// A `Query` or `FunctionCall` is sent.
    pub(crate) fn own_point(&mut self, effects: VecDeque<Effect<P>>) {
        self.groups.push_back(Group { effects, ..Group::new(Closer::Own) });
    }

    /// A message of the extended protocol with an effect is sent.
    pub(crate) fn gather_effect(&mut self, effect: Effect<P>) {
        self.gather();
        if let Some(group) = self.groups.back_mut() {
            group.effects.push_back(effect);
        }
    }

    /// A `Sync` is sent.
    pub(crate) fn sync(&mut self) {
        if self.copying {
            return;
        }
        self.gather();
        if let Some(group) = self.groups.back_mut() {
            group.closed = Closer::Sync;
        }
    }

    /// `CopyDone` or `CopyFail` is sent.
    pub(crate) fn copy_end(&mut self) {
        if self.copying {
            self.copying = false;
        } else if let Some(group) = self.groups.back_mut() {
            group.copy_ends += 1;
        }
    }

    /// `CopyInResponse` or `CopyBothResponse` arrived.
    pub(crate) fn copy_in(&mut self) {
        loop {
            let Some(front) = self.groups.front_mut() else { return };
            if front.copy_ends > 0 {
                front.copy_ends -= 1;
                return;
            }
            if front.closed != Closer::Sync {
                break;
            }
            front.closed = Closer::Open;
            let Some(next) = self.groups.remove(1) else { break };
            if let Some(front) = self.groups.front_mut() {
                front.closed = next.closed;
                front.copy_ends += next.copy_ends;
                front.effects.extend(next.effects);
            }
        }
        self.copying = true;
    }

    /// `ErrorResponse` arrived. Completions owed before a `Sync` will not come.
    pub(crate) fn error(&mut self) {
        self.copying = false;
        if let Some(front) = self.groups.front_mut() {
            front.errored = true;
            front
                .effects
                .retain(|effect| matches!(effect, Effect::SqlPrepare { .. } | Effect::SqlDeallocate { .. }));
        }
    }

    /// `ParseComplete` or `CloseComplete` arrived: the next protocol-level effect owed, if it is of that kind.
    pub(crate) fn complete(&mut self, parse: bool) -> Option<Effect<P>> {
        let front = self.groups.front_mut()?;
        let at = front.effects.iter().position(|effect| match effect {
            Effect::Parse { .. } => parse,
            Effect::CloseStatement { .. } | Effect::ClosePortal => !parse,
            Effect::SqlPrepare { .. } | Effect::SqlDeallocate { .. } => false,
        })?;
        front.effects.remove(at)
    }

    /// `ReadyForQuery` arrived.
    pub(crate) fn ready(&mut self, state: TransactionStatus) -> Landed<P> {
        self.state = state;
        self.copying = false;
        let front = self.groups.pop_front();
        front.map_or_else(
            || Landed { errored: false, effects: VecDeque::new() },
            |group| Landed { errored: group.errored, effects: group.effects },
        )
    }

    /// Every prepared statement on its way, oldest first, with its name and whether the group it was sent in still gathers.
    pub(crate) fn coming(&self) -> impl Iterator<Item = Coming<'_, P>> {
        self.groups.iter().flat_map(|group| {
            let same_group = group.closed == Closer::Open;
            group.effects.iter().filter_map(move |effect| match effect {
                Effect::Parse { name, prepared } => Some(Coming { name, prepared, settled: same_group }),
                Effect::SqlPrepare { name, prepared } => Some(Coming { name, prepared, settled: false }),
                Effect::CloseStatement { .. } | Effect::ClosePortal | Effect::SqlDeallocate { .. } => None,
            })
        })
    }
}

/// A prepared statement on its way.
#[derive(Debug)]
pub(crate) struct Coming<'a, P> {
    pub(crate) name: &'a [u8],
    pub(crate) prepared: &'a P,
    /// Sent by `Parse` in the group being gathered: a message that reaches the server after it finds exactly this.
    pub(crate) settled: bool,
}

impl<P> Group<P> {
    fn new(closed: Closer) -> Self {
        Self { closed, copy_ends: 0, errored: false, effects: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Effect<u8> {
        Effect::Parse { name: name.as_bytes().to_vec(), prepared: 0 }
    }

    #[test]
    fn a_sync_during_copy_in_is_swallowed() {
        // What libpq sends for PQexecParams("COPY … FROM STDIN"): Parse Bind Execute Sync, then, after the answer, data and
        // CopyDone Sync. The server owes one ReadyForQuery.
        let mut flight = Flight::<u8>::new(TransactionStatus::Idle);
        flight.gather();
        flight.sync();
        flight.copy_in();
        flight.copy_end();
        flight.sync();
        assert_eq!(flight.owed(), 1);
        flight.ready(TransactionStatus::Idle);
        assert!(flight.is_empty());
    }

    #[test]
    fn pipelined_copy_merges_the_swallowed_sync() {
        let mut flight = Flight::<u8>::new(TransactionStatus::Idle);
        flight.gather();
        flight.sync();
        flight.gather();
        flight.copy_end();
        flight.sync();
        flight.copy_in();
        assert_eq!(flight.owed(), 1);
        flight.ready(TransactionStatus::Idle);
        assert!(flight.is_empty());
    }

    #[test]
    fn a_copy_by_query_owes_one_answer() {
        let mut flight = Flight::<u8>::new(TransactionStatus::Idle);
        flight.own_point(VecDeque::new());
        flight.copy_in();
        flight.sync();
        flight.copy_end();
        assert_eq!(flight.owed(), 1);
        flight.ready(TransactionStatus::Idle);
        assert!(flight.is_empty());
    }

    #[test]
    fn an_error_forgets_parses_that_will_not_complete() {
        let mut flight = Flight::<u8>::new(TransactionStatus::Idle);
        flight.gather_effect(parse("a"));
        flight.gather_effect(parse("b"));
        flight.sync();
        assert!(flight.complete(true).is_some());
        flight.error();
        assert!(flight.complete(true).is_none());
        assert!(flight.ready(TransactionStatus::Failed).errored);
        assert_eq!(flight.state(), TransactionStatus::Failed);
    }
}
