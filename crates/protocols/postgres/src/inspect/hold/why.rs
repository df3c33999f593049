//! Why a message waits, and the message.

use std::sync::Arc;

use portcullis_access::requests::{Mode, Ran, Used};
use portcullis_core::{Operation, ResourceRef, StatementKind, operation::Classified};
use portcullis_policy::{HoldingRule, OnTimeout};
use portcullis_proxy::gate::Judged;

use crate::{
    codec::{
        bind::{Bind, Values},
        frontend,
    },
    inspect::Unit,
    session::names::Prepared,
};

/// Why a text waits.
#[derive(Debug, Default)]
pub(in crate::inspect) struct Why {
    /// The rules that hold it, each once.
    pub(super) rules: Vec<HoldingRule>,
    pub(super) parts: Vec<Part>,
    /// Every pair of the whole text.
    pub(in crate::inspect) resources: Vec<ResourceRef>,
    /// What ran, where it is a commit that waits.
    pub(in crate::inspect) commit: Option<Committing>,
    pub(super) used: Option<Used>,
}

/// One statement that a rule holds.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) statement: usize,
    pub(super) judged: Judged,
    pub(super) rules: Vec<String>,
    pub(super) kinds: Vec<StatementKind>,
    pub(super) resources: Vec<ResourceRef>,
    pub(super) lacks_where: bool,
    pub(super) classified: bool,
}

/// What a commit would make last.
#[derive(Debug)]
pub(in crate::inspect) struct Committing {
    pub(in crate::inspect) rows: Option<u64>,
    pub(in crate::inspect) ran: Vec<Ran>,
    pub(in crate::inspect) more: u64,
}

impl Why {
    pub(in crate::inspect) fn add(
        &mut self,
        statement: usize,
        operation: &Operation,
        judged: Judged,
        rules: Vec<HoldingRule>,
    ) {
        self.parts.push(Part {
            statement,
            judged,
            rules: rules.iter().map(|rule| rule.rule.name.clone()).collect(),
            kinds: operation.kinds.clone(),
            resources: operation.resources.clone(),
            lacks_where: operation.lacks.iter().any(|clause| clause == "where"),
            classified: operation.classified == Classified::Completely,
        });
        for rule in rules {
            if !self.rules.iter().any(|known| known.rule.name == rule.rule.name) {
                self.rules.push(rule);
            }
        }
    }

    /// The commit of what ran.
    pub(in crate::inspect) fn of_commit(
        statement: usize,
        judged: Judged,
        rules: Vec<HoldingRule>,
        resources: Vec<ResourceRef>,
        commit: Committing,
    ) -> Box<Self> {
        let part = Part {
            statement,
            judged,
            rules: rules.iter().map(|rule| rule.rule.name.clone()).collect(),
            kinds: vec![StatementKind::word("commit")],
            resources: resources.clone(),
            lacks_where: false,
            classified: true,
        };
        Box::new(Self { rules, parts: vec![part], resources, commit: Some(commit), used: None })
    }

    /// The allow that a statement's hold has become.
    pub(in crate::inspect) fn approved(&self, statement: usize) -> Option<Judged> {
        let part = self.parts.iter().find(|part| part.statement == statement)?;
        Some(part.judged.approved(self.used.as_ref()?))
    }

    /// What was judged of the first statement that is held.
    pub(in crate::inspect) fn judged(&self) -> Option<&Judged> {
        self.parts.first().map(|part| &part.judged)
    }

    /// How it waits: with a ticket where every rule says so, else on the live connection.
    pub(super) fn mode(&self) -> Mode {
        let ticket = self.rules.iter().all(|rule| rule.terms.on_timeout == OnTimeout::Ticket);
        match (&self.commit, ticket) {
            (Some(_), _) => Mode::Commit,
            (None, true) => Mode::Ticket,
            (None, false) => Mode::Live,
        }
    }
}

/// A message that waits, as it would go upstream, with whatever its meaning hangs on.
pub(in crate::inspect) struct Subject<'a> {
    pub(in crate::inspect) unit: Unit,
    /// The whole message.
    pub(in crate::inspect) bytes: &'a [u8],
    /// What it runs; nothing for a FunctionCall.
    pub(in crate::inspect) prepared: Option<&'a Prepared>,
    /// What it runs, as text.
    pub(in crate::inspect) text: Arc<str>,
    /// The parameter types that were declared for it.
    pub(in crate::inspect) types: &'a [u32],
    /// Those that the server described, where the client asked: shown, and no part of what is approved.
    pub(in crate::inspect) described: &'a [u32],
    pub(in crate::inspect) values: Given<'a>,
    /// The keyed fingerprint of its values.
    pub(in crate::inspect) print: Option<String>,
}

/// What a statement runs by name: `EXECUTE`, `FETCH`.
#[derive(Debug)]
pub(in crate::inspect) struct ByName {
    pub(in crate::inspect) name: Box<str>,
    pub(in crate::inspect) text: Arc<str>,
}

/// The values that a message comes with.
pub(in crate::inspect) enum Given<'a> {
    Nothing,
    Bind(&'a Bind<'a>),
    Arguments(frontend::FunctionCall<'a>),
}

impl Given<'_> {
    pub(super) fn values(&self) -> Values<'_> {
        match self {
            Self::Nothing => Values::default(),
            Self::Bind(bind) => bind.values,
            Self::Arguments(call) => call.arguments,
        }
    }
}
