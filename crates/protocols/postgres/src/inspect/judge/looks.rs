//! What the results of statements are, where masks are in force or the session is recorded.

use std::sync::Arc;

use portcullis_core::RuleRef;
use portcullis_proxy::gate::GateSession;
use portcullis_sql::{CopyOut, MaskedOutput, Resolved};

use super::{Judge, View};
use crate::{
    inspect::refuse::Refused,
    masking::Masks,
    session::{
        expected::Plan,
        flight::Flight,
        names::{Names, Prepared},
    },
};

/// What the results of one statement are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::inspect) struct Look {
    output: MaskedOutput,
    copy: Option<CopyOut>,
    touched: bool,
    /// Relations that the catalog does not know may be in it: what the session made itself.
    strangers: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self { output: MaskedOutput::Clear, copy: None, touched: false, strangers: true }
    }
}

impl Look {
    /// Whether a plan says the same.
    pub(super) fn is_of(&self, plan: &Plan) -> bool {
        (&self.output, &self.copy, self.touched) == (&plan.output, &plan.copy, plan.touched)
    }

    pub(in crate::inspect) fn plan(self, number: u64, masks: Option<&Arc<Masks>>) -> Plan {
        let plan = Plan::new(number, masks.map(Arc::clone), self.output, self.copy, self.touched);
        if self.strangers { plan.with_strangers() } else { plan }
    }
}

/// When the names of a statement are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// When it runs.
    Now,
    /// They were when its cursor or portal was made, perhaps under another search path.
    Earlier,
}

impl Judge {
    /// What the results of a text's statements are, where masks are in force.
    pub(super) fn looks(
        &self,
        analysis: &Prepared,
        resolved: &[Resolved],
        view: &View<'_>,
        session: &GateSession,
        when: Made,
    ) -> Result<Vec<Look>, Box<Refused>> {
        let Some(masks) = &self.masks else { return Ok(Vec::new()) };
        let outputs = match when {
            Made::Now => analysis.masked(&masks.map, &*self.catalog, &self.paths, view),
            Made::Earlier => analysis.masked_as_made(&masks.map, &*self.catalog, &self.paths, view),
        };
        let outputs = outputs.map_err(|refusal| {
            let why = refusal.reason.clone();
            match (masks.rule(refusal.rule), resolved.get(refusal.statement)) {
                (Some(rule), Some(statement)) => {
                    Box::new(Refused::denied(session.denied(&self.rules, &statement.operation, rule, why)))
                }
                _ => Box::new(self.opaque(analysis.text().as_bytes(), why, session)),
            }
        })?;
        let strangers = view.restructured || view.names.may_have_temporaries() || !masks.refuses_opaque();
        let statements = analysis.statements().iter().zip(resolved);
        if let Some(stranger) = statements.clone().find_map(|(statement, resolved)| {
            let copied =
                !strangers && statement.copy_out().is_some() && masks.reads_strangers(&resolved.operation);
            copied.then_some(resolved)
        }) {
            // COPY data is not described: what it holds must be known before.
            self.database.invalidate();
            let why = "the COPY names a relation that the gateway does not know yet; try again".to_owned();
            let operation = &stranger.operation;
            return Err(Box::new(match masks.rule(0) {
                Some(rule) => Refused::denied(session.denied(&self.rules, operation, rule, why)),
                None => self.opaque(analysis.text().as_bytes(), why, session),
            }));
        }
        for (statement, resolved) in statements.clone() {
            if let (Some(rule), Some(why)) = (masks.detects(), statement.copy_out().and_then(unreadable_copy))
            {
                let why =
                    format!("{why}, so that mask `{}` cannot look at it; leave the option out", rule.name);
                return Err(Box::new(Refused::denied(session.denied(
                    &self.rules,
                    &resolved.operation,
                    rule,
                    why,
                ))));
            }
        }
        Ok(outputs
            .into_iter()
            .zip(statements)
            .map(|(output, (statement, resolved))| Look {
                output,
                copy: statement.copy_out().cloned(),
                touched: masks.touches(&resolved.operation),
                strangers,
            })
            .collect())
    }

    /// What the rows of a portal are that may run any of these: they must all be masked alike. Nothing where no masks are in force
    /// and nothing is recorded.
    pub(in crate::inspect) fn look_of_any(
        &self,
        runnable: &[Prepared],
        session: &GateSession,
        names: &Names,
        flight: &Flight<Prepared>,
    ) -> Result<Option<Look>, Box<Refused>> {
        if self.masks.is_none() {
            return Ok(session.is_recorded().then(Look::default));
        }
        let view = View { names, flight, restructured: self.restructured };
        let mut found: Option<Look> = None;
        for prepared in runnable {
            let resolved = prepared.resolve_fully(&*self.catalog, &self.paths, &view);
            let look = self
                .looks(prepared, &resolved, &view, session, Made::Earlier)?
                .into_iter()
                .next()
                .unwrap_or_default();
            match &found {
                Some(known) if *known != look => {
                    let why = "the portal may run one of several statements whose results are masked differently; \
                               close it and bind it again";
                    return Err(Box::new(self.opaque(prepared.text().as_bytes(), why.to_owned(), session)));
                }
                _ => found = Some(look),
            }
        }
        Ok(Some(found.unwrap_or_default()))
    }

    /// Refuses what does not mean any more what it was allowed as.
    pub(in crate::inspect) fn meant_otherwise(
        &self,
        prepared: &Prepared,
        why: &str,
        session: &GateSession,
    ) -> Refused {
        self.opaque(prepared.text().as_bytes(), why.to_owned(), session)
    }

    /// What becomes of the results of a text that was not read: nothing of a masked column may be in them.
    pub(in crate::inspect) fn unseen_plan(&self, session: &GateSession) -> Option<Arc<Plan>> {
        let planned = self.masks.is_some() || session.is_recorded();
        planned.then(|| Arc::new(Look::default().plan(session.number(), self.masks.as_ref())))
    }

    /// Why a function may not be called by its number: it could give away what is masked.
    pub(super) fn masks_forbid(&self, oid: u32) -> Option<(RuleRef, String)> {
        let masks = self.masks.as_ref()?;
        let refusal = portcullis_sql::masked_function_call(&masks.map, oid, &*self.catalog).err()?;
        Some((masks.rule(refusal.rule)?, refusal.reason))
    }
}

/// Why COPY data cannot be looked at.
fn unreadable_copy(copy: &CopyOut) -> Option<String> {
    let encoding = copy.encoding.as_ref().filter(|name| !name.eq_ignore_ascii_case("utf8"));
    match (&copy.odd, encoding) {
        (Some(odd), _) => Some(format!("the COPY has an option that is not understood (`{odd}`)")),
        (None, Some(encoding)) => {
            Some(format!("the COPY writes its data in another encoding (`{encoding}`)"))
        }
        (None, None) => None,
    }
}
