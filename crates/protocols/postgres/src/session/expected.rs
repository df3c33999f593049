//! What the server's next messages answer: one entry for each message that was sent and has an answer, in order.
//!
//! `flight` counts sync points and keeps what names will mean; here stands what rows belong to which statement, so that they are
//! masked by its rules and recorded under its number. INVARIANT(answers-are-matched).

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use portcullis_sql::{CopyOut, MaskedOutput};

use crate::masking::{Masks, layout::Layout};

/// What one statement's results are to the gateway.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The number of its decision.
    pub(crate) number: u64,
    /// The masks that were in force when it was judged.
    pub(crate) masks: Option<Arc<Masks>>,
    /// What its columns are.
    pub(crate) output: MaskedOutput,
    /// How it writes COPY data, where it does.
    pub(crate) copy: Option<CopyOut>,
    /// It names a relation with masked columns.
    pub(crate) touched: bool,
    /// Its rows may come from relations that the catalog does not know.
    pub(crate) strangers: bool,
    /// What its end means for the commit gate.
    pub(crate) gate: AtGate,
    /// What becomes of its columns, once the server has described them.
    layout: OnceLock<Arc<Layout>>,
}

/// What a statement's end means for the commit gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtGate {
    Nothing,
    /// The rows it changed count.
    Counts,
    /// The transaction is over.
    Closes,
}

impl Plan {
    pub(crate) fn new(
        number: u64,
        masks: Option<Arc<Masks>>,
        output: MaskedOutput,
        copy: Option<CopyOut>,
        touched: bool,
    ) -> Self {
        Self {
            number,
            masks,
            output,
            copy,
            touched,
            strangers: false,
            gate: AtGate::Nothing,
            layout: OnceLock::new(),
        }
    }

    /// Its rows may come from relations that the session made itself.
    pub(crate) fn with_strangers(self) -> Self {
        Self { strangers: true, ..self }
    }

    /// Its end means something for the commit gate.
    pub(crate) fn at_gate(self, gate: AtGate) -> Self {
        Self { gate, ..self }
    }

    pub(crate) fn layout(&self) -> Option<&Arc<Layout>> {
        self.layout.get()
    }

    /// The first description of a portal counts: the server does not change it.
    pub(crate) fn described(&self, layout: Arc<Layout>) {
        let _first = self.layout.set(layout);
    }
}

/// What one message sent is answered with.
#[derive(Debug)]
pub(crate) enum Expect {
    /// `Parse`, `Bind`, `Close`: one completion.
    Completion,
    /// `Describe`: a description, or that there is none.
    Describe {
        /// The portal's, where one was described.
        plan: Option<Arc<Plan>>,
        /// The gateway asked: the client hears nothing of it.
        ours: bool,
        /// The statement that was described, where the types of its parameters are of use.
        statement: Option<Box<[u8]>>,
    },
    /// `Execute`: rows, COPY data, a completion.
    Execute { plan: Option<Arc<Plan>> },
    /// `Query`: the same for each statement, descriptions included.
    Query { plans: Vec<Arc<Plan>>, at: usize },
    /// `Query` with a text that was not read: one plan for however many statements it has.
    Unread { plan: Option<Arc<Plan>> },
    /// `FunctionCall`.
    Call,
    /// `Sync`.
    Sync,
    /// A message of the gateway's own: one completion, of which the client hears nothing.
    Ours,
}

impl Expect {
    /// Whether a `ReadyForQuery` is its last answer.
    const fn is_sync_point(&self) -> bool {
        matches!(self, Self::Query { .. } | Self::Unread { .. } | Self::Call | Self::Sync)
    }
}

/// Everything expected.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    queue: VecDeque<Expect>,
}

/// Queues shorter than this keep their memory.
const KEPT: usize = 16;

impl Expected {
    /// More messages than this without an answer and the client has to wait.
    pub(crate) const MOST: usize = 64 * 1024;

    pub(crate) fn push(&mut self, expect: Expect) {
        self.queue.push_back(expect);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.queue.len() >= Self::MOST
    }

    pub(crate) fn front(&self) -> Option<&Expect> {
        self.queue.front()
    }

    /// What the rows that arrive now belong to.
    pub(crate) fn plan(&self) -> Option<&Arc<Plan>> {
        match self.queue.front()? {
            Expect::Execute { plan } | Expect::Unread { plan } => plan.as_ref(),
            Expect::Query { plans, at } => plans.get(*at),
            Expect::Completion | Expect::Describe { .. } | Expect::Call | Expect::Sync | Expect::Ours => None,
        }
    }

    /// Whether the server answers more statements than a text has whose results are looked at.
    pub(crate) fn is_beyond_its_statements(&self) -> bool {
        matches!(self.queue.front(), Some(Expect::Query { plans, at }) if !plans.is_empty() && *at >= plans.len())
    }

    /// A completion of `Parse`, `Bind` or `Close`.
    pub(crate) fn completed(&mut self) {
        if let Some(Expect::Completion) = self.queue.front() {
            self.queue.pop_front();
        }
    }

    /// A completion of a message of the gateway's own. Whether it was one.
    pub(crate) fn completed_ours(&mut self) -> bool {
        let ours = matches!(self.queue.front(), Some(Expect::Ours));
        if ours {
            self.queue.pop_front();
        }
        ours
    }

    /// A description, or that there is none: what it belongs to where a `Describe` asked for it.
    pub(crate) fn described(&mut self) -> Option<(Option<Arc<Plan>>, bool)> {
        match self.queue.front()? {
            Expect::Describe { .. } => match self.queue.pop_front()? {
                Expect::Describe { plan, ours, .. } => Some((plan, ours)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The statement whose parameters are being described.
    pub(crate) fn describing(&self) -> Option<&[u8]> {
        match self.queue.front()? {
            Expect::Describe { statement, .. } => statement.as_deref(),
            _ => None,
        }
    }

    /// A statement is done.
    pub(crate) fn ran(&mut self) -> Option<Arc<Plan>> {
        match self.queue.front_mut()? {
            Expect::Execute { plan } => {
                let plan = plan.take();
                self.queue.pop_front();
                plan
            }
            Expect::Unread { plan } => plan.clone(),
            Expect::Query { plans, at } => {
                let plan = plans.get(*at).map(Arc::clone);
                *at += 1;
                plan
            }
            Expect::Completion | Expect::Describe { .. } | Expect::Call | Expect::Sync | Expect::Ours => None,
        }
    }

    /// An error: what was asked for up to the sync point is not answered any more. The plan of what failed.
    pub(crate) fn failed(&mut self) -> Option<Arc<Plan>> {
        let plan = match self.queue.front() {
            Some(Expect::Describe { plan, .. }) => plan.clone(),
            _ => self.plan().map(Arc::clone),
        };
        while self.queue.front().is_some_and(|expect| !expect.is_sync_point()) {
            self.queue.pop_front();
        }
        plan
    }

    /// A `ReadyForQuery`.
    pub(crate) fn ready(&mut self) {
        while let Some(expect) = self.queue.pop_front() {
            if expect.is_sync_point() {
                break;
            }
        }
    }

    /// Nothing is in flight.
    pub(crate) fn landed(&mut self) {
        self.queue.clear();
        if self.queue.capacity() > KEPT {
            self.queue = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(number: u64) -> Arc<Plan> {
        Arc::new(Plan::new(number, None, MaskedOutput::Clear, None, false))
    }

    #[test]
    fn rows_belong_to_the_statement_they_answer() {
        let mut expected = Expected::default();
        expected.push(Expect::Completion);
        expected.push(Expect::Describe { plan: Some(plan(1)), ours: true, statement: None });
        expected.push(Expect::Execute { plan: Some(plan(1)) });
        expected.push(Expect::Sync);
        expected.push(Expect::Query { plans: vec![plan(2), plan(3)], at: 0 });
        expected.completed();
        assert!(expected.described().is_some_and(|(plan, ours)| ours && plan.unwrap().number == 1));
        assert_eq!(expected.plan().unwrap().number, 1);
        assert_eq!(expected.ran().unwrap().number, 1);
        expected.ready();
        assert_eq!(expected.plan().unwrap().number, 2);
        assert!(expected.described().is_none());
        expected.ran();
        assert_eq!(expected.plan().unwrap().number, 3);
        expected.ran();
        assert!(expected.plan().is_none() && expected.is_beyond_its_statements());
        expected.ready();
        assert!(expected.front().is_none());
    }

    #[test]
    fn after_an_error_nothing_is_expected_up_to_the_sync() {
        let mut expected = Expected::default();
        expected.push(Expect::Execute { plan: Some(plan(1)) });
        expected.push(Expect::Completion);
        expected.push(Expect::Execute { plan: Some(plan(2)) });
        expected.push(Expect::Sync);
        expected.push(Expect::Execute { plan: Some(plan(3)) });
        assert_eq!(expected.failed().unwrap().number, 1);
        assert!(matches!(expected.front(), Some(Expect::Sync)));
        expected.ready();
        assert_eq!(expected.plan().unwrap().number, 3);
    }
}
