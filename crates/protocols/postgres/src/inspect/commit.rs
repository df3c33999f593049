//! The gate before a COMMIT: what ran is counted, and where it is more than a rule lets pass the commit waits for a person.
//!
//! **Promises.** INVARIANT(commit-counts): a statement that counts is sent only inside a transaction block, so that nothing but a COMMIT
//! makes it last, and every way to one is looked at: `COMMIT`, `END`, `AND CHAIN`, `PREPARE TRANSACTION`, by Query or by Execute.
//! Procedures and `DO` cannot commit inside a block: the server sees to that. A text that holds such a statement and a COMMIT is refused:
//! it would be over before anybody counted. A commit nobody approves is rolled back.
//!
//! **How to read it**: [`Inspector::gate_text`] (Query), [`Inspector::gate_execute`] (Execute), `session/commits` (the counting).

use std::sync::Arc;

use portcullis_core::RuleRef;
use portcullis_sql::Transaction;

use super::{
    Inspector, Skipping, Stop, Unit,
    hold::{Committing, Given, Passage, Subject, Why},
    judge::Verdicts,
    refuse::Refused,
};
use crate::{
    error::sqlstate,
    session::{
        commits::TooMuch,
        names::{Portal, Prepared},
        outputs::Outputs,
    },
};

const OUTSIDE: &str = "run it inside BEGIN … COMMIT, so that the commit can wait for a person";
const TOGETHER: &str = "send COMMIT by itself, after it";

impl Inspector {
    /// A text, before it is sent: whether it may be, and whether its COMMIT has to wait, which the verdicts say from then on.
    pub(super) fn gate_text(
        &mut self,
        analysis: &Prepared,
        verdicts: &mut Verdicts,
        out: &mut Outputs,
    ) -> Result<Passage, Stop> {
        if self.is_skipped_once_answered(out)? {
            // Not reached for a Query, which looks first.
            self.skipping = Skipping::WithServer;
            return Ok(Passage::Shut);
        }
        let mut block = self.flight.is_in_block();
        let (mut commits, mut counts, mut outside) = (None, None, None);
        for (at, statement) in analysis.statements().iter().enumerate() {
            match statement.transaction() {
                Some(control) => {
                    if matches!(control, Transaction::Commit { .. } | Transaction::PrepareTwoPhase) {
                        commits = commits.or(Some(at));
                    }
                    block = block_after(control).unwrap_or(block);
                }
                None => {
                    if let Some(rule) = self.judge.commit_rule(verdicts, at) {
                        counts = counts.or(Some((at, rule.clone())));
                        if !block {
                            outside = outside.or(Some((at, rule.clone())));
                        }
                    }
                }
            }
        }
        if let Some((at, rule)) = outside {
            return self.gate_shuts(Unit::Query, verdicts, at, rule, OUTSIDE, out);
        }
        let Some(commit) = commits else { return Ok(Passage::Open) };
        if let Some((at, rule)) = counts {
            return self.gate_shuts(Unit::Query, verdicts, at, rule, TOGETHER, out);
        }
        // In a transaction that has failed a COMMIT rolls back; one that stands behind `ROLLBACK TO` does not.
        if commit == 0 && self.flight.has_failed() {
            return Ok(Passage::Open);
        }
        let Some(too_much) = self.too_much() else { return Ok(Passage::Open) };
        if verdicts.hold.is_some() {
            let Some(rule) = too_much.rules.first().cloned() else { return Ok(Passage::Open) };
            return self.gate_shuts(Unit::Query, verdicts, commit, rule, TOGETHER, out);
        }
        verdicts.hold = self.commit_waits(verdicts, commit, too_much);
        Ok(Passage::Open)
    }

    /// An Execute, before it is sent.
    pub(super) fn gate_execute(
        &mut self,
        name: &[u8],
        bytes: &[u8],
        out: &mut Outputs,
    ) -> Result<Passage, Stop> {
        if self.is_skipped_once_answered(out)? {
            self.skipping = Skipping::WithServer;
            return Ok(Passage::Shut);
        }
        let portal =
            self.names.portal(name).map(|portal| (Arc::clone(&portal.prepared), portal.gated.clone()));
        let Some((prepared, gated)) = portal else { return Ok(Passage::Open) };
        let verdicts = match self.judge.statements(&prepared, &self.session, &self.names, &self.flight) {
            Ok(verdicts) => verdicts,
            Err(refused) => {
                self.refuse(Unit::Extended, *refused, out)?;
                return Ok(Passage::Shut);
            }
        };
        if let Some((rule, _)) = gated.as_ref().and_then(|gated| gated.rules.first())
            && !self.flight.is_in_block()
        {
            return self.gate_shuts(Unit::Extended, &verdicts, 0, rule.clone(), OUTSIDE, out);
        }
        let control = prepared.statements().iter().find_map(|statement| statement.transaction());
        let commits = matches!(control, Some(Transaction::Commit { .. } | Transaction::PrepareTwoPhase));
        let asks = commits && !self.flight.has_failed();
        let Some(too_much) = asks.then(|| self.too_much()).flatten() else { return Ok(Passage::Open) };
        let Some(mut why) = self.commit_waits(&verdicts, 0, too_much) else { return Ok(Passage::Open) };
        let subject = Subject {
            unit: Unit::Extended,
            bytes,
            prepared: Some(&prepared),
            text: Arc::clone(prepared.text()),
            types: &[],
            described: &[],
            values: Given::Nothing,
            print: None,
        };
        if self.held(&subject, &mut why, out)? == Passage::Shut {
            return Ok(Passage::Shut);
        }
        if let Some(mut approved) = why.approved(0) {
            self.session.note(&mut approved, None, None)?;
        }
        Ok(Passage::Open)
    }

    /// A name that may mean several portals cannot be counted, nor can it be said whether it commits.
    pub(super) fn gate_uncertain(&mut self, runnable: Option<&[Prepared]>) -> Result<(), Box<Refused>> {
        let Some(runnable) = runnable else {
            let message = "the name may mean too many portals; close it and bind it again";
            return Err(Box::new(Refused::plain(sqlstate::INSUFFICIENT_PRIVILEGE, message)));
        };
        for prepared in runnable {
            let verdicts = self.judge.statements(prepared, &self.session, &self.names, &self.flight)?;
            let control = prepared.statements().iter().any(|statement| statement.transaction().is_some());
            if verdicts.gates || (control && self.commits.is_open()) {
                let why = "the name may mean several portals, and a commit may have to wait for one of them; \
                           close it and bind it again";
                return Err(Box::new(self.judge.meant_otherwise(prepared, why, &self.session)));
            }
        }
        Ok(())
    }

    fn too_much(&mut self) -> Option<TooMuch> {
        let rules = Arc::clone(self.judge.rules());
        self.commits.too_much(|rule| rules.commit_rule(&rule.name).is_some())
    }

    fn commit_waits(&self, verdicts: &Verdicts, at: usize, too_much: TooMuch) -> Option<Box<Why>> {
        let rules = self.judge.rules();
        let holding: Vec<_> =
            too_much.rules.iter().filter_map(|rule| rules.commit_rule(&rule.name)).collect();
        let (first, judged) = (holding.first()?, self.judge.judged(verdicts, at)?);
        let rows = match too_much.rows {
            Some(rows) => format!("{rows} rows are changed"),
            None => "how many rows are changed is not known".to_owned(),
        };
        let says = match &first.message {
            Some(message) => format!("guardrail `{}`: {message}; {rows}", first.rule.name),
            None => format!("guardrail `{}` needs a person's yes before the commit; {rows}", first.rule.name),
        };
        let judged = judged.held_by(first.rule.clone(), says);
        let commit = Committing { rows: too_much.rows, ran: too_much.ran, more: too_much.more };
        Some(Why::of_commit(at, judged, holding, too_much.resources, commit))
    }

    fn gate_shuts(
        &mut self,
        unit: Unit,
        verdicts: &Verdicts,
        at: usize,
        rule: RuleRef,
        hint: &'static str,
        out: &mut Outputs,
    ) -> Result<Passage, Stop> {
        let reason = format!("guardrail `{}` wants to see this before it is committed", rule.name);
        let judged = self.judge.judged(verdicts, at).map(|judged| judged.denied_by(rule, reason.clone()));
        let code =
            if hint == OUTSIDE { sqlstate::NO_ACTIVE_TRANSACTION } else { sqlstate::INSUFFICIENT_PRIVILEGE };
        let refused = Refused::plain(code, reason).decided(judged).hint(hint);
        self.refuse(unit, refused, out)?;
        Ok(Passage::Shut)
    }
}

/// Whether a block is open after this, where it decides that.
pub(super) fn block_after(control: &Transaction) -> Option<bool> {
    match control {
        Transaction::Begin => Some(true),
        Transaction::Commit { chain } | Transaction::Rollback { chain } => Some(*chain),
        Transaction::PrepareTwoPhase => Some(false),
        Transaction::Savepoint { .. }
        | Transaction::Release { .. }
        | Transaction::RollbackTo { .. }
        | Transaction::CommitPrepared
        | Transaction::RollbackPrepared
        | Transaction::Characteristics => None,
    }
}

/// What running a portal means for the block: where it is not certain what runs, none is counted on.
pub(super) fn block_after_any(runnable: &[Prepared], certain: bool) -> Option<bool> {
    let statements = || runnable.iter().flat_map(|prepared| prepared.statements());
    let after = statements().filter_map(|statement| statement.transaction()).find_map(block_after);
    if certain { after } else { after.map(|_| false) }
}

/// Whether an Execute of the portal concerns the gate.
pub(super) fn concerns(portal: Option<&Portal>, open: bool) -> bool {
    open || portal.is_some_and(|portal| portal.gated.is_some())
}
