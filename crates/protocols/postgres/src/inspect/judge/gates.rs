//! What of a judgement concerns commits that wait, and holds: the rules that say so, what counts, what runs by name.

use std::sync::Arc;

use portcullis_core::{Obligation, RuleRef};
use portcullis_proxy::gate::Judged;
use portcullis_sql::{Analysis, SessionEffect, SessionState as _, Statement, Transaction};

use super::{Judge, Verdicts, View};
use crate::{
    codec::limits::significant,
    inspect::hold::ByName,
    session::{
        commits::Gated,
        expected::AtGate,
        flight::Flight,
        names::{Names, Prepared},
    },
};

impl Judge {
    /// The judgement of one statement of a text.
    pub(in crate::inspect) fn judged(&self, verdicts: &Verdicts, at: usize) -> Option<&Judged> {
        self.cache.get(&verdicts.shape)?.judged.get(at)
    }

    /// Whether a commit may have to wait for a statement of a text; the first rule that says so.
    pub(in crate::inspect) fn commit_rule(&self, verdicts: &Verdicts, at: usize) -> Option<&RuleRef> {
        let judged = self.judged(verdicts, at)?;
        judged.decision.obligations.iter().find_map(|obligation| match obligation {
            Obligation::ApproveAtCommit { rule, .. } => Some(rule),
            _ => None,
        })
    }

    /// The texts that a statement runs by name (`EXECUTE`, `FETCH`), each with its name, in order.
    ///
    /// # Errors
    /// A name can mean several texts, or values that are not in a text.
    pub(in crate::inspect) fn runs_by_name(
        &self,
        analysis: &Prepared,
        names: &Names,
        flight: &Flight<Prepared>,
    ) -> Result<Vec<ByName>, &'static str> {
        let view = View { names, flight, restructured: self.restructured };
        let mut found = Vec::new();
        for statement in analysis.statements() {
            let (name, all) = match statement.effect() {
                Some(SessionEffect::Execute { name }) => (name, view.prepared(name)),
                Some(SessionEffect::Fetch { name })
                    if names.portal(significant(name.as_bytes())).is_some() =>
                {
                    return Err("it fetches from a portal of the extended protocol; run that with Execute");
                }
                Some(SessionEffect::Fetch { name }) => (name, view.cursor(name)),
                _ => continue,
            };
            let mut texts = all.iter().map(|meant| meant.text());
            // None where the text itself makes it.
            let Some(first) = texts.next() else { continue };
            if texts.any(|other| other != first) || all.iter().any(|meant| meant.asks_session()) {
                return Err("what it runs by name is not clear; give it a name of its own");
            }
            found.push(ByName { name: name.clone(), text: Arc::clone(first) });
        }
        Ok(found)
    }

    /// The search path, where it is certain that another login would read names as this session does.
    pub(in crate::inspect) fn settled_path(&self, names: &Names) -> Option<String> {
        let apart = self.role_moved || self.restructured || names.may_have_temporaries();
        if apart { None } else { crate::blast::settled_path(&self.paths) }
    }
}

/// Whether a commit may have to wait for it.
pub(super) fn gates(judged: &Judged) -> bool {
    judged.decision.obligations.iter().any(|it| matches!(it, Obligation::ApproveAtCommit { .. }))
}

pub(super) fn at_gate(judged: &Judged, statement: &Statement) -> AtGate {
    match statement.transaction() {
        Some(Transaction::Commit { .. } | Transaction::Rollback { .. } | Transaction::PrepareTwoPhase) => {
            AtGate::Closes
        }
        _ if gates(judged) => AtGate::Counts,
        _ => AtGate::Nothing,
    }
}

pub(super) fn gated_by(judged: &Judged, analysis: &Analysis, statement: &Statement, counted: bool) -> Gated {
    let rules = judged.decision.obligations.iter().filter_map(|obligation| match obligation {
        Obligation::ApproveAtCommit { rule, rows_over } => Some((rule.clone(), *rows_over)),
        _ => None,
    });
    Gated {
        text: if analysis.statements().len() == 1 {
            Arc::clone(analysis.text())
        } else {
            analysis.statement_text(statement).into()
        },
        resources: Arc::clone(judged.resources()),
        rules: rules.collect(),
        counted,
    }
}
