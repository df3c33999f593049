//! What is in flight: the sync points whose `ReadyForQuery` the server still owes, and the effects that hang on them.
//!
//! A `Query` or `FunctionCall` is a sync point of its own; extended-protocol messages gather up to a `Sync`. While the server
//! takes in COPY data it swallows every `Sync` (`CopyGetData` in the server's copyfromparse.c) and fails on everything else, so
//! nothing but COPY data is sent past a statement that may be such a COPY until it is known: [`Flight::copy_gate`]. After an
//! error in the extended protocol the server skips to the next `Sync`.
//!
//! INVARIANT(answers-are-matched): every `ReadyForQuery`, completion and error is matched to what it answers. What the
//! session's names mean hangs on it, and with that what a `Bind` is judged and recorded as.

use std::collections::VecDeque;

use crate::codec::{backend::TransactionStatus, limits::significant};

/// What a sync point will have done once the server has answered it without an error.
#[derive(Clone, Debug)]
pub(crate) enum Effect<P> {
    /// A `Parse` whose `ParseComplete` is owed: the name now means this.
    Parse { name: Vec<u8>, prepared: P, weight: usize, types: Option<Box<[u32]>> },
    /// A `Close` of a statement whose `CloseComplete` is owed.
    CloseStatement { name: Vec<u8> },
    /// A `Close` of a portal whose `CloseComplete` is owed: what was bound to it until then is gone.
    ClosePortal { name: Vec<u8>, until: u64 },
    /// SQL-level `PREPARE`.
    SqlPrepare { name: Vec<u8>, prepared: P },
    /// SQL-level `DEALLOCATE` of one name, or of all.
    SqlDeallocate { name: Option<Vec<u8>> },
    /// SQL-level `DECLARE`.
    SqlDeclare { name: Box<str>, prepared: P, hold: bool },
    /// SQL-level `CLOSE` of one cursor, or of all.
    SqlClose { name: Option<Vec<u8>> },
}

impl<P> Effect<P> {
    /// Whether the server reports its completion with the whole sync point, not by a message of its own.
    const fn is_sql(&self) -> bool {
        matches!(
            self,
            Self::SqlPrepare { .. }
                | Self::SqlDeallocate { .. }
                | Self::SqlDeclare { .. }
                | Self::SqlClose { .. }
        )
    }

    /// What it counts for while it is in flight.
    const fn weight(&self) -> usize {
        if let Self::Parse { weight, .. } = self { *weight } else { 0 }
    }
}

#[derive(Debug)]
struct Group<P> {
    closed: Closer,
    /// Ends of COPY data sent inside the group, not yet matched to a `CopyInResponse`.
    copy_ends: u32,
    errored: bool,
    /// Messages of the extended protocol whose answer is owed.
    unanswered: usize,
    /// The server was asked to say what it has.
    flushed: bool,
    /// A COPY may take in data in it, and whether it does is not known yet.
    may_copy: bool,
    /// The last Bind sent in it, counted over the session; zero: none.
    last_bind: u64,
    /// A portal was run in it.
    ran: bool,
    /// Whether a transaction block is open after the transaction control that was run in it, where any was.
    block: Option<bool>,
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

/// What becomes of a `Query` or `FunctionCall` inside a sequence that no `Sync` has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnPoint {
    /// The server runs it.
    Runs,
    /// The sequence has failed: the server drops everything up to the next `Sync`.
    Skipped,
    /// It depends on answers that are owed; `ask`: the server was not yet asked to flush them.
    Unknown { ask: bool },
}

/// What becomes of a message that is not part of a COPY stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyGate {
    /// No COPY takes it in.
    Open,
    /// The server is taking in COPY data: it drops a `Sync`, and fails on anything else.
    Copying,
    /// It depends on answers that are owed; `ask`: the server was not yet asked to flush them.
    Unknown { ask: bool },
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
    /// Effects in all groups, and what the statements in them count for.
    effects: usize,
    held: usize,
}

impl<P> Flight<P> {
    /// More sync points than this in flight and the client has to wait for answers.
    pub(crate) const MAX_GROUPS: usize = 4096;

    pub(crate) fn new(state: TransactionStatus) -> Self {
        Self { groups: VecDeque::new(), copying: false, state, effects: 0, held: 0 }
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

    fn open(&mut self) {
        if !self.is_gathering() {
            self.groups.push_back(Group::new(Closer::Open));
        }
    }

    /// A message of the extended protocol is sent.
    pub(crate) fn gather(&mut self) {
        self.open();
        if let Some(group) = self.groups.back_mut() {
            group.unanswered += 1;
            group.flushed = false;
        }
    }

    /// What becomes of a `Query` or `FunctionCall` sent now.
    pub(crate) fn own_point_now(&mut self) -> OwnPoint {
        match self.groups.back_mut().filter(|group| group.closed == Closer::Open) {
            None => OwnPoint::Runs,
            Some(group) if group.errored => OwnPoint::Skipped,
            Some(group) if group.unanswered == 0 => OwnPoint::Runs,
            Some(group) => OwnPoint::Unknown { ask: !std::mem::replace(&mut group.flushed, true) },
        }
    }

    /// A `Query` or `FunctionCall` is sent. It closes a sequence that is still open: the server answers both with one
    /// `ReadyForQuery`.
    pub(crate) fn own_point(&mut self, effects: VecDeque<Effect<P>>) {
        self.open();
        for effect in effects {
            self.add_effect(effect);
        }
        if let Some(group) = self.groups.back_mut() {
            group.closed = Closer::Own;
        }
    }

    /// The server answered one message of the extended protocol: a completion, or what a `Describe` asked for.
    pub(crate) fn answered(&mut self) {
        if let Some(front) = self.groups.front_mut() {
            front.unanswered = front.unanswered.saturating_sub(1);
        }
    }

    /// A message of the extended protocol with an effect is sent.
    pub(crate) fn gather_effect(&mut self, effect: Effect<P>) {
        self.gather();
        self.add_effect(effect);
    }

    /// The message sent last has another effect.
    pub(crate) fn add_effect(&mut self, effect: Effect<P>) {
        if let Some(group) = self.groups.back_mut() {
            self.effects += 1;
            self.held += effect.weight();
            group.effects.push_back(effect);
        }
    }

    /// Effects in flight.
    pub(crate) fn effects(&self) -> usize {
        self.effects
    }

    /// What the statements being prepared count for.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    fn settled(&mut self, effects: usize, weight: usize) {
        self.effects = self.effects.saturating_sub(effects);
        self.held = self.held.saturating_sub(weight);
    }

    /// A `Sync` is sent.
    pub(crate) fn sync(&mut self) {
        self.open();
        if let Some(group) = self.groups.back_mut() {
            group.closed = Closer::Sync;
        }
    }

    /// What was sent last may be a COPY that takes in data.
    pub(crate) fn may_copy(&mut self) {
        if let Some(group) = self.groups.back_mut() {
            group.may_copy = true;
        }
    }

    /// What becomes of a message sent now that is not part of a COPY stream. While the server takes in COPY data it means
    /// another thing than when it does not, so that neither its answers nor its effects could be told: it is known first.
    pub(crate) fn copy_gate(&mut self) -> CopyGate {
        if self.copying {
            return CopyGate::Copying;
        }
        match self.groups.back_mut().filter(|group| group.may_copy) {
            None => CopyGate::Open,
            // One text may hold several: they are over with its ReadyForQuery, which needs no asking.
            Some(group) if group.closed == Closer::Own => CopyGate::Unknown { ask: false },
            Some(group) if group.errored || group.unanswered == 0 => CopyGate::Open,
            Some(group) => CopyGate::Unknown { ask: !std::mem::replace(&mut group.flushed, true) },
        }
    }

    /// `CopyDone` or `CopyFail` is sent.
    pub(crate) fn copy_end(&mut self) {
        if self.copying {
            self.copying = false;
        } else if let Some(group) = self.groups.back_mut() {
            group.copy_ends = group.copy_ends.saturating_add(1);
        }
    }

    /// `CopyInResponse` or `CopyBothResponse` arrived. Whether one could: nothing may have been sent past a COPY that
    /// takes in data but its data.
    #[must_use]
    pub(crate) fn copy_in(&mut self) -> bool {
        let Some(front) = self.groups.front_mut().filter(|group| group.may_copy) else { return false };
        let ended = front.copy_ends > 0;
        if front.closed == Closer::Own {
            front.copy_ends = front.copy_ends.saturating_sub(1);
        } else {
            (front.copy_ends, front.may_copy) = (0, false);
        }
        self.copying = !ended;
        true
    }

    /// The session's `number`th Bind is sent, in the sequence that gathers.
    pub(crate) fn binds(&mut self, number: u64) {
        if let Some(group) = self.groups.back_mut() {
            group.last_bind = number;
        }
    }

    /// A portal is run. `block` is whether a transaction block is open afterwards, where that changes.
    pub(crate) fn runs(&mut self, block: Option<bool>) {
        if let Some(group) = self.groups.back_mut() {
            group.ran = true;
            group.block = block.or(group.block);
        }
    }

    /// Whether a transaction block is open; true only once everything sent has been answered.
    pub(crate) fn is_in_block(&self) -> bool {
        let gathering = self.groups.back().filter(|group| group.closed == Closer::Open);
        gathering.and_then(|group| group.block).unwrap_or(self.state != TransactionStatus::Idle)
    }

    /// Whether the transaction has certainly failed: nothing ran since the server said so, which may have gone back to a savepoint.
    pub(crate) fn has_failed(&self) -> bool {
        let ran = self.is_gathering() && self.groups.back().is_some_and(|group| group.ran);
        self.state == TransactionStatus::Failed && !ran
    }

    /// Whether locks may be held: a transaction block is open, or something ran in a sequence that no `Sync` has closed.
    pub(crate) fn holds_locks(&self) -> bool {
        self.is_in_block() || self.is_gathering() && self.groups.back().is_some_and(|group| group.ran)
    }

    /// The last Bind of the sequence whose answers arrive now; zero: it has none.
    pub(crate) fn last_bind_of_front(&self) -> u64 {
        self.groups.front().map_or(0, |group| group.last_bind)
    }

    /// Whether the sequence that gathers has failed: the server skips what is sent up to its `Sync`.
    pub(crate) fn is_skipped(&self) -> bool {
        self.groups.back().is_some_and(|group| group.closed == Closer::Open && group.errored)
    }

    /// `ErrorResponse` arrived. Completions owed before a `Sync` will not come.
    pub(crate) fn error(&mut self) {
        self.copying = false;
        let (mut gone, mut weight) = (0, 0);
        if let Some(front) = self.groups.front_mut() {
            front.errored = true;
            front.unanswered = 0;
            front.effects.retain(|effect| {
                let stays = effect.is_sql();
                gone += usize::from(!stays);
                weight += effect.weight();
                stays
            });
        }
        self.settled(gone, weight);
    }

    /// `ParseComplete` or `CloseComplete` arrived: the next protocol-level effect owed, if it is of that kind, last; before it the
    /// SQL-level effects of what was sent before it in the same group, which the server has run by now without an error.
    pub(crate) fn complete(&mut self, parse: bool) -> VecDeque<Effect<P>> {
        let Some(front) = self.groups.front_mut() else { return VecDeque::new() };
        let at = front.effects.iter().position(|effect| match effect {
            Effect::Parse { .. } => parse,
            Effect::CloseStatement { .. } | Effect::ClosePortal { .. } => !parse,
            _ => false,
        });
        let Some(at) = at else { return VecDeque::new() };
        let mut later = front.effects.split_off(at);
        let (mut done, before): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut front.effects).into_iter().partition(Effect::is_sql);
        done.extend(later.pop_front());
        front.effects = before;
        front.effects.append(&mut later);
        self.settled(done.len(), done.iter().map(Effect::weight).sum());
        done
    }

    /// `ReadyForQuery` arrived.
    pub(crate) fn ready(&mut self, state: TransactionStatus) -> Landed<P> {
        self.state = state;
        self.copying = false;
        let Some(group) = self.groups.pop_front() else {
            return Landed { errored: false, effects: VecDeque::new() };
        };
        self.settled(group.effects.len(), group.effects.iter().map(Effect::weight).sum());
        Landed { errored: group.errored, effects: group.effects }
    }

    /// What the cursors of a name on their way select.
    pub(crate) fn declaring<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a P> {
        let effects = self.groups.iter().flat_map(|group| &group.effects);
        effects.filter_map(move |effect| match effect {
            Effect::SqlDeclare { name: declared, prepared, .. }
                if significant(declared.as_bytes()) == name =>
            {
                Some(prepared)
            }
            _ => None,
        })
    }

    /// Every prepared statement on its way, oldest first, with its name and whether the group it was sent in still gathers.
    pub(crate) fn coming(&self) -> impl Iterator<Item = Coming<'_, P>> {
        self.groups.iter().flat_map(|group| {
            let same_group = group.closed == Closer::Open;
            group.effects.iter().filter_map(move |effect| match effect {
                Effect::Parse { name, prepared, .. } => Some(Coming { name, prepared, settled: same_group }),
                Effect::SqlPrepare { name, prepared } => Some(Coming { name, prepared, settled: false }),
                _ => None,
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
        Self {
            closed,
            copy_ends: 0,
            errored: false,
            unanswered: 0,
            flushed: false,
            may_copy: false,
            last_bind: 0,
            ran: false,
            block: None,
            effects: VecDeque::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Effect<u8> {
        Effect::Parse { name: name.as_bytes().to_vec(), prepared: 0, weight: 7, types: None }
    }

    #[test]
    fn nothing_passes_a_copy_of_the_extended_protocol_until_it_is_known_to_take_data() {
        // Parse Bind Execute Sync of a COPY FROM STDIN; then, after the answer, data and CopyDone Sync.
        let mut flight = Flight::<u8>::new(TransactionStatus::Idle);
        flight.gather();
        flight.may_copy();
        assert_eq!(flight.copy_gate(), CopyGate::Unknown { ask: true });
        assert_eq!(flight.copy_gate(), CopyGate::Unknown { ask: false });
        assert!(flight.copy_in());
        assert_eq!(flight.copy_gate(), CopyGate::Copying);
        flight.copy_end();
        assert_eq!(flight.copy_gate(), CopyGate::Open);
        flight.sync();
        assert_eq!(flight.owed(), 1);
        flight.ready(TransactionStatus::Idle);
        assert!(flight.is_empty());
    }

    #[test]
    fn data_may_be_sent_before_the_copy_is_known_to_take_it() {
        let mut flight = Flight::<u8>::new(TransactionStatus::Idle);
        flight.gather();
        flight.may_copy();
        flight.copy_end();
        flight.copy_end();
        assert_eq!(flight.copy_gate(), CopyGate::Unknown { ask: true });
        assert!(flight.copy_in());
        assert_eq!(flight.copy_gate(), CopyGate::Open);
        // A second end was for nothing: the next COPY takes data all the same.
        flight.gather();
        flight.may_copy();
        assert!(flight.copy_in());
        assert_eq!(flight.copy_gate(), CopyGate::Copying);
    }

    #[test]
    fn a_copy_that_fails_lets_the_sync_pass() {
        let mut flight = Flight::<u8>::new(TransactionStatus::Idle);
        flight.gather();
        flight.may_copy();
        flight.error();
        assert_eq!(flight.copy_gate(), CopyGate::Open);
        assert!(flight.groups.front().is_some_and(|group| group.errored));
    }

    #[test]
    fn a_text_of_several_copies_is_over_with_its_answer() {
        let mut flight = Flight::<u8>::new(TransactionStatus::Idle);
        flight.own_point(VecDeque::new());
        flight.may_copy();
        flight.copy_end();
        assert!(flight.copy_in());
        assert_eq!(flight.copy_gate(), CopyGate::Unknown { ask: false });
        assert!(flight.copy_in());
        assert_eq!(flight.copy_gate(), CopyGate::Copying);
        flight.copy_end();
        assert_eq!((flight.owed(), flight.copy_gate()), (1, CopyGate::Unknown { ask: false }));
        flight.ready(TransactionStatus::Idle);
        assert!(flight.is_empty());
        assert_eq!(flight.copy_gate(), CopyGate::Open);
    }

    #[test]
    fn a_copy_nobody_asked_for_is_noticed() {
        let mut flight = Flight::<u8>::new(TransactionStatus::Idle);
        assert!(!flight.copy_in());
        flight.own_point(VecDeque::new());
        assert!(!flight.copy_in());
    }

    #[test]
    fn a_query_closes_a_sequence_whose_answers_are_in() {
        // What asyncpg does for a COPY: Parse Describe Flush, the answers, then a Query without a Sync.
        let mut flight = Flight::<u8>::new(TransactionStatus::Idle);
        flight.gather_effect(parse("a"));
        flight.gather();
        assert_eq!(flight.own_point_now(), OwnPoint::Unknown { ask: true });
        assert_eq!(flight.own_point_now(), OwnPoint::Unknown { ask: false });
        assert_eq!(flight.complete(true).len(), 1);
        flight.answered();
        flight.answered();
        assert_eq!(flight.own_point_now(), OwnPoint::Runs);
        flight.own_point(VecDeque::new());
        assert_eq!(flight.owed(), 1);
        flight.ready(TransactionStatus::Idle);
        assert!(flight.is_empty());
    }

    #[test]
    fn a_query_in_a_sequence_that_failed_is_dropped_as_the_server_drops_it() {
        let mut flight = Flight::<u8>::new(TransactionStatus::Idle);
        flight.gather();
        flight.gather();
        flight.error();
        assert_eq!(flight.own_point_now(), OwnPoint::Skipped);
        flight.sync();
        flight.ready(TransactionStatus::Idle);
        assert_eq!(flight.own_point_now(), OwnPoint::Runs);
    }

    #[test]
    fn effects_count_in_the_order_in_which_they_were_sent() {
        let mut flight = Flight::<u8>::new(TransactionStatus::Idle);
        flight.gather();
        flight.add_effect(Effect::SqlPrepare { name: b"a".to_vec(), prepared: 1 });
        flight.gather_effect(Effect::CloseStatement { name: b"a".to_vec() });
        flight.gather_effect(parse("a"));
        flight.sync();
        let done = flight.complete(false);
        assert!(matches!(done.front(), Some(Effect::SqlPrepare { .. })) && done.len() == 2);
        assert_eq!(flight.complete(true).len(), 1);
        assert!(flight.ready(TransactionStatus::Idle).effects.is_empty());
    }

    #[test]
    fn an_error_forgets_parses_that_will_not_complete() {
        let mut flight = Flight::<u8>::new(TransactionStatus::Idle);
        flight.gather_effect(parse("a"));
        flight.gather_effect(parse("b"));
        flight.sync();
        assert_eq!((flight.effects(), flight.held()), (2, 14));
        assert_eq!(flight.complete(true).len(), 1);
        assert_eq!((flight.effects(), flight.held()), (1, 7));
        flight.error();
        assert_eq!((flight.effects(), flight.held()), (0, 0));
        assert!(flight.complete(true).is_empty());
        assert!(flight.ready(TransactionStatus::Failed).errored);
        assert_eq!(flight.state(), TransactionStatus::Failed);
    }
}
