//! FunctionCall messages: judged as the call that they are, by the function's number.

use std::sync::Arc;

use portcullis_core::Obligation;
use portcullis_proxy::gate::{GateSession, Judged};
use portcullis_sql::{Catalog as _, resource_name};

use super::{Judge, READ_ONLY};
use crate::inspect::{hold::Why, refuse::Refused};

impl Judge {
    /// Judges a FunctionCall as the call it is. What waits for a person comes with why.
    pub(in crate::inspect) fn function(
        &mut self,
        oid: u32,
        session: &GateSession,
    ) -> Result<(Judged, Option<Box<Why>>), Box<Refused>> {
        let text = self.function_text(oid);
        let resolved = portcullis_sql::resolve_function_call(oid, &*self.catalog, text);
        let judged = if self.rules.is_read_only() && resolved.leaves_read_only {
            session.refused(&self.rules, &resolved.operation, "read-only", READ_ONLY.to_owned())
        } else if let Some((rule, why)) = self.masks_forbid(oid) {
            session.denied(&self.rules, &resolved.operation, rule, why)
        } else {
            session.judge(&self.rules, &resolved.operation)
        };
        if judged.is_hold() {
            let mut why = Box::<Why>::default();
            let rules = self.rules.holds(&resolved.operation);
            why.add(0, &resolved.operation, judged.clone(), rules);
            why.resources.clone_from(&resolved.operation.resources);
            return Ok((judged, Some(why)));
        }
        if !judged.is_allow() {
            return Err(Box::new(Refused::denied(judged)));
        }
        if let Some(rule) = judged.decision.obligations.iter().find_map(|obligation| match obligation {
            Obligation::ApproveAtCommit { rule, .. } => Some(rule.clone()),
            _ => None,
        }) {
            let reason = format!(
                "guardrail `{}` wants to see its commit, and what a FunctionCall message changes is not counted; call it with SELECT",
                rule.name
            );
            return Err(Box::new(Refused::denied(judged.denied_by(rule, reason))));
        }
        Ok((judged, None))
    }

    /// What is said of a FunctionCall.
    pub(in crate::inspect) fn function_text(&self, oid: u32) -> Arc<str> {
        let name =
            self.catalog.function_by_oid(oid).map(|function| resource_name(&function.schema, &function.name));
        format!("FunctionCall {} (oid {oid})", name.as_deref().unwrap_or("?")).into()
    }

    /// A FunctionCall is sent.
    pub(in crate::inspect) fn calls(&mut self, oid: u32) {
        let resolved = portcullis_sql::resolve_function_call(oid, &*self.catalog, "".into());
        self.role_moved |= resolved.opaque;
        if resolved.opaque {
            self.means_another();
        }
        if resolved.opaque && !self.paths.is_unknown() {
            self.paths.add_unknown();
            self.epoch += 1;
        }
    }
}
