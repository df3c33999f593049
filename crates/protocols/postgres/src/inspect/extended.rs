//! Bind and Execute: what a prepared statement's name means, what a portal runs, and when its effects count.

use std::{collections::VecDeque, sync::Arc};

use portcullis_access::requests::Digest;
use portcullis_core::EndReason;
use portcullis_policy::SessionRules;
use portcullis_sql::SessionEffect;

use portcullis_record::{Parameter, Parameters};

use super::{
    Begun, Blocked, Bound, Inspector, Stop, Unit,
    commit::{block_after_any, concerns},
    hold::{Given, Passage, Subject, Why, digest_by_name},
    may_copy, refuse,
    results::recorded,
};
use crate::{
    codec::{
        frontend::{self, Named, Target},
        limits::significant,
    },
    session::{
        expected::{AtGate, Expect, Plan},
        flight::Effect,
        names::{Approved, Portal, Prepared},
        outputs::Outputs,
    },
};

pub(super) struct BindJudged {
    prepared: Prepared,
    rules: Arc<SessionRules>,
    portal: Vec<u8>,
    /// Some of it waits for a person, or was approved.
    pub(super) hold: Option<Box<Why>>,
}

impl Inspector {
    /// A Bind that has arrived whole: the common case, without a scanner on the heap.
    pub(super) fn whole_bind(&mut self, bytes: &[u8], body: &[u8], out: &mut Outputs) -> Result<(), Stop> {
        let bind = frontend_bind(body)?;
        let mut print = self.fingerprints.start();
        for value in bind.values.iter() {
            print.value(value.map(|v| u32::try_from(v.len()).unwrap_or(u32::MAX)));
            print.bytes(value.unwrap_or_default());
        }
        match self.bind_judged(bind.statement, bind.portal)? {
            Ok(mut judged) => {
                let print = (!bind.values.is_empty()).then(|| print.finish());
                if let Some(mut why) = judged.hold.take() {
                    let name = significant(bind.statement);
                    let (types, described) =
                        (self.names.types(name).to_vec(), self.names.described(name).to_vec());
                    let subject = Subject {
                        unit: Unit::Extended,
                        bytes,
                        prepared: Some(&judged.prepared),
                        text: Arc::clone(judged.prepared.text()),
                        types: &types,
                        described: &described,
                        values: Given::Bind(&bind),
                        print: print.clone(),
                    };
                    if self.held(&subject, &mut why, out)? == Passage::Shut {
                        return Ok(());
                    }
                    judged.hold = Some(why);
                }
                let each = |each: &mut dyn FnMut(Parameter<'_>)| {
                    for (at, value) in bind.values.iter().enumerate() {
                        let length = value.map_or(0, |value| value.len() as u64);
                        each(Parameter { type_oid: 0, format: recorded(bind.formats.of(at)), value, length });
                    }
                };
                let values = if bind.values.is_empty() { Parameters::None } else { Parameters::Bound(&each) };
                self.bound(judged, Bound { print, values }, out)?;
                out.up.push_slice(bytes);
                Ok(())
            }
            Err(refused) => self.refuse(Unit::Extended, *refused, out),
        }
    }

    /// What a Bind to `statement` may run.
    pub(super) fn bind_judged(
        &mut self,
        statement: &[u8],
        portal: &[u8],
    ) -> Result<Result<BindJudged, Box<refuse::Refused>>, Stop> {
        if !self.names.has_room() {
            return self
                .wait_or_limit("too many portals")
                .map(|()| Err(Box::new(refuse::Refused::statement_unknown(""))));
        }
        let name = || format!("prepared statement {}", String::from_utf8_lossy(statement));
        let prepared = match self.meaning(statement)?.or_else(|| self.judge.unseen(&name())) {
            Some(prepared) => prepared,
            None => {
                return Ok(Err(Box::new(refuse::Refused::statement_unknown(&String::from_utf8_lossy(
                    statement,
                )))));
            }
        };
        let verdicts = self.judge.statements(&prepared, &self.session, &self.names, &self.flight);
        let rules = Arc::clone(self.judge.rules());
        let portal = significant(portal).to_vec();
        Ok(verdicts.map(|verdicts| BindJudged { prepared, rules, portal, hold: verdicts.hold }))
    }

    /// Notes an allowed Bind and remembers its portal.
    pub(super) fn bound(
        &mut self,
        judged: BindJudged,
        bound: Bound<'_>,
        out: &mut Outputs,
    ) -> Result<(), Stop> {
        let verdicts = self.judge.statements(&judged.prepared, &self.session, &self.names, &self.flight);
        let Ok(mut verdicts) = verdicts else {
            return Err(Stop::End(EndReason::GrantRemoved {
                detail: "the scope changed during a Bind".to_owned(),
            }));
        };
        let late = self.judge.late(&verdicts);
        let mut approved = None;
        if verdicts.hold.is_some() {
            // What was approved is what is bound: without it the note refuses.
            verdicts.hold = judged.hold;
            let by_name = self.judge.runs_by_name(&judged.prepared, &self.names, &self.flight);
            let by_name = by_name.ok().map(|by_name| digest_by_name(&by_name));
            approved = Some(Box::new(Approved { by_name, meaning: self.meaning_now() }));
        }
        let Begun { plans, gated } = self.begin(&judged.prepared, out, verdicts, bound)?;
        let (plan, gated) = (plans.into_iter().next(), gated.into_iter().next().map(|(_, gated)| gated));
        self.flight.gather();
        self.results.expected.push(Expect::Completion);
        self.judge.bound(&judged.portal);
        let name = judged.portal;
        let BindJudged { prepared, rules, .. } = judged;
        let portal = Portal { prepared, rules, plan, described: false, late, serial: 0, approved, gated };
        if !self.flight.is_skipped() {
            self.names.set_portal(&name, portal);
            self.flight.binds(self.names.binds());
        }
        Ok(())
    }

    /// What a statement's name means when a message sent now reaches the server; waits where that depends on answers owed.
    pub(super) fn meaning(&self, name: &[u8]) -> Result<Option<Prepared>, Stop> {
        let name = significant(name);
        let coming: Vec<_> = self.flight.coming().filter(|coming| coming.name == name).collect();
        if let Some(last) = coming.last()
            && last.settled
        {
            return Ok(Some(Arc::clone(last.prepared)));
        }
        let Some(confirmed) = self.names.confirmed(name) else {
            return Err(Stop::End(EndReason::ProtocolViolation {
                detail: "a statement name has too many meanings".to_owned(),
            }));
        };
        let mut candidates = confirmed.iter().chain(coming.iter().map(|coming| coming.prepared));
        let first = candidates.next().map(Arc::clone);
        let several = candidates.any(|other| {
            first
                .as_ref()
                .is_some_and(|first| first.shape_id() != other.shape_id() || first.text() != other.text())
        });
        match (several, self.flight.owed()) {
            (false, _) => Ok(first),
            (true, 1..) => Err(Stop::Blocked(Blocked::Answers)),
            // Nothing will settle it: what cannot be told is not run, and not recorded as something it may not be.
            (true, 0) => Ok(None),
        }
    }

    pub(super) fn execute(&mut self, bytes: &[u8], portal: &[u8], out: &mut Outputs) -> Result<(), Stop> {
        let name = significant(portal);
        let fresh =
            self.names.portal(name).is_some_and(|portal| Arc::ptr_eq(&portal.rules, self.judge.rules()));
        if !fresh && let Err(refused) = self.judge_again(name) {
            return self.refuse(Unit::Extended, *refused, out);
        }
        let judged = self.judge_late(name).and_then(|()| self.judge_approved(name));
        if let Err(refused) = judged {
            return self.refuse(Unit::Extended, *refused, out);
        }
        let plan = match self.plan_of(name) {
            Ok(plan) => plan,
            Err(refused) => return self.refuse(Unit::Extended, *refused, out),
        };
        if self.judge.rules().gates_commits() || self.commits.is_open() {
            if !self.is_certain(name) {
                let runnable = self.runnable(name);
                if let Err(refused) = self.gate_uncertain(runnable.as_deref()) {
                    return self.refuse(Unit::Extended, *refused, out);
                }
            }
            if concerns(self.names.portal(name), self.commits.is_open())
                && self.gate_execute(name, bytes, out)? == Passage::Shut
            {
                return Ok(());
            }
            if let Some(gated) = self.names.portal(name).and_then(|portal| portal.gated.clone()) {
                self.counts(plan.as_ref(), gated)?;
            }
        }
        if let Some(plan) = &plan {
            self.results.touches(std::slice::from_ref(plan));
        }
        if plan.is_some() && !self.is_described(name) {
            // The client did not ask what the columns are: the masks, and whoever reads the recording, must know.
            out.up.push_with(|up| frontend::describe(up, Named { target: Target::Portal, name: portal }));
            self.flight.gather();
            self.results.expected.push(Expect::Describe { plan: plan.clone(), ours: true, statement: None });
        }
        self.flight.gather();
        self.results.expected.push(Expect::Execute { plan });
        self.executed(name);
        out.up.push_slice(bytes);
        Ok(())
    }

    /// Whether a portal was described under the plan it has; from now on it is.
    fn is_described(&mut self, name: &[u8]) -> bool {
        match self.names.portal_mut(name) {
            Some(portal) => std::mem::replace(&mut portal.described, true),
            None => false,
        }
    }

    /// What becomes of the rows an Execute gives. Where the portal is a cursor, or may be one of several, all that it can run must
    /// be masked alike.
    fn plan_of(&mut self, name: &[u8]) -> Result<Option<Arc<Plan>>, Box<refuse::Refused>> {
        if let Some(portal) = self.names.portal(name)
            && self.is_certain(name)
        {
            return Ok(portal.plan.clone());
        }
        let known = self.names.portal(name).and_then(|portal| portal.plan.as_ref());
        let number = known.map_or(0, |plan| plan.number);
        let runnable = self.runnable(name).unwrap_or_default();
        let look = self.judge.look_of_any(&runnable, &self.session, &self.names, &self.flight)?;
        Ok(look.map(|look| Arc::new(look.plan(number, self.judge.masks()))))
    }

    /// Judges what an Execute runs: a cursor, or a portal that was bound before the policy changed.
    pub(super) fn judge_again(&mut self, name: &[u8]) -> Result<(), Box<refuse::Refused>> {
        let runnable = self.runnable(name);
        let unknown = runnable
            .as_ref()
            .is_none_or(|runnable| runnable.is_empty() && !self.judge.rules().is_pass_through());
        let runnable = runnable.unwrap_or_default();
        if unknown {
            return Err(Box::new(refuse::Refused::portal_unknown(&String::from_utf8_lossy(name))));
        }
        for prepared in &runnable {
            let verdicts = self.judge.statements(prepared, &self.session, &self.names, &self.flight)?;
            if verdicts.hold.is_some() || verdicts.gates {
                let why = "a rule that is in force by now wants a person to see it first; bind it again";
                return Err(Box::new(self.judge.meant_otherwise(prepared, why, &self.session)));
            }
        }
        let rules = Arc::clone(self.judge.rules());
        let portal =
            self.names.portal(name).map(|portal| (Arc::clone(&portal.prepared), portal.plan.clone()));
        if let Some((prepared, plan)) = portal {
            let number = plan.as_ref().map_or(0, |plan| plan.number);
            let gate = plan.map_or(AtGate::Nothing, |plan| plan.gate);
            let look = self.judge.look_of_any(&[prepared], &self.session, &self.names, &self.flight)?;
            let plan = look.map(|look| Arc::new(look.plan(number, self.judge.masks()).at_gate(gate)));
            if let Some(portal) = self.names.portal_mut(name) {
                (portal.rules, portal.plan, portal.described) = (rules, plan, false);
                portal.gated = None;
            }
        }
        Ok(())
    }

    /// Judges a portal again that looks its names up when it runs: what they mean by now is what it does.
    fn judge_late(&mut self, name: &[u8]) -> Result<(), Box<refuse::Refused>> {
        let Some(Portal { prepared, plan, late: Some(late), approved, gated, .. }) = self.names.portal(name)
        else {
            return Ok(());
        };
        if late.epoch == self.judge.epoch() && !prepared.asks_session() {
            return Ok(());
        }
        let (prepared, plan, late) = (Arc::clone(prepared), plan.clone(), late.clone());
        let (approved, gated) = (approved.as_deref().copied(), gated.is_some());
        let verdicts = self.judge.statements(&prepared, &self.session, &self.names, &self.flight)?;
        let now = self.judge.late(&verdicts);
        // What was approved was approved with the texts that it runs by name: another text of the same tables is another operation.
        let by_name = self.judge.runs_by_name(&prepared, &self.names, &self.flight);
        let by_name = by_name.ok().map(|by_name| digest_by_name(&by_name));
        let of_then = approved.and_then(|approved| approved.by_name);
        let unapproved = verdicts.hold.is_some() && (of_then.is_none() || of_then != by_name);
        // What counts at commit was counted on when it was bound, or is not counted at all.
        let uncounted = verdicts.gates && !gated;
        if unapproved
            || uncounted
            || now.as_ref().is_none_or(|now| now.resources != late.resources)
            || !self.judge.looks_like(&verdicts, plan.as_deref())
        {
            let why =
                "what the portal runs means something else by now than when it was bound; bind it again";
            return Err(Box::new(self.judge.meant_otherwise(&prepared, why, &self.session)));
        }
        if let Some(portal) = self.names.portal_mut(name) {
            portal.late = now;
        }
        Ok(())
    }

    /// A portal that a person said yes to runs under the settings that it was approved under.
    fn judge_approved(&mut self, name: &[u8]) -> Result<(), Box<refuse::Refused>> {
        let Some(Portal { prepared, approved: Some(approved), .. }) = self.names.portal(name) else {
            return Ok(());
        };
        if approved.meaning == self.meaning_now() {
            return Ok(());
        }
        let prepared = Arc::clone(prepared);
        let why = "settings that decide what it means have changed since it was approved; bind it again";
        Err(Box::new(self.judge.meant_otherwise(&prepared, why, &self.session)))
    }

    fn meaning_now(&self) -> Digest {
        Digest::of([self.judge.meaning(self.session.permit().facts().session).as_bytes()])
    }

    /// Everything an `Execute` of this portal or cursor can run: see [`Names::runnable`](crate::session::names::Names::runnable).
    fn runnable(&self, name: &[u8]) -> Option<Vec<Prepared>> {
        let mut all = self.names.runnable(name)?;
        all.extend(self.flight.declaring(name).map(Arc::clone));
        Some(all)
    }

    /// Whether the name certainly means the portal bound last.
    fn is_certain(&self, name: &[u8]) -> bool {
        !self.names.is_uncertain(name) && self.flight.declaring(name).next().is_none()
    }

    /// An Execute is sent: only now does the statement that was bound do anything.
    pub(super) fn executed(&mut self, name: &[u8]) {
        self.judge.runs(Some(name));
        let runnable = self.runnable(name).unwrap_or_default();
        self.flight.runs(block_after_any(&runnable, self.is_certain(name)));
        if runnable.is_empty() || runnable.iter().any(may_copy) {
            self.flight.may_copy();
        }
        let certain = self.is_certain(name);
        for effect in runnable.iter().flat_map(effects_of) {
            match effect {
                Effect::SqlPrepare { name, prepared } if !certain => self.names.add(&name, prepared),
                Effect::SqlDeclare { .. } => self.flight.add_effect(effect),
                _ if !certain => {}
                effect => self.flight.add_effect(effect),
            }
        }
    }
}

/// What a statement does to the session's names once the server has run it.
pub(super) fn effects_of(analysis: &Prepared) -> VecDeque<Effect<Prepared>> {
    let key = |name: &str| significant(name.as_bytes()).to_vec();
    let mut effects = VecDeque::new();
    for statement in analysis.statements() {
        match statement.effect() {
            Some(SessionEffect::Prepare { name, inner }) => {
                effects.push_back(Effect::SqlPrepare { name: key(name), prepared: Arc::clone(inner) });
            }
            Some(SessionEffect::Deallocate { name }) => {
                effects.push_back(Effect::SqlDeallocate { name: name.as_deref().map(key) });
            }
            Some(SessionEffect::Declare { name, inner, hold }) => {
                let (name, prepared) = (name.clone(), Arc::clone(inner));
                effects.push_back(Effect::SqlDeclare { name, prepared, hold: *hold });
            }
            Some(SessionEffect::Close { name }) => {
                effects.push_back(Effect::SqlClose { name: name.as_deref().map(key) });
            }
            Some(SessionEffect::DiscardAll) => {
                effects.push_back(Effect::SqlDeallocate { name: None });
                effects.push_back(Effect::SqlClose { name: None });
            }
            Some(
                SessionEffect::Execute { .. }
                | SessionEffect::Fetch { .. }
                | SessionEffect::CreateTemporary { .. }
                | SessionEffect::DiscardTemporary,
            )
            | None => {}
        }
    }
    effects
}

pub(super) fn frontend_bind(body: &[u8]) -> Result<crate::codec::bind::Bind<'_>, Stop> {
    Ok(crate::codec::bind::Bind::decode(body)?)
}
