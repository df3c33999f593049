//! Texts that are not analysed: too long, not UTF-8, no statement of the grammar. They pass where nothing is judged.

use std::sync::Arc;

use portcullis_core::{Operation, Resource, ResourceRef, StatementKind, Verb, operation::Classified};
use portcullis_proxy::gate::{GateSession, Judged};
use portcullis_sql::{Analysis, AnalysisError};

use super::Judge;
use crate::{inspect::refuse::Refused, session::names::Prepared};

impl Judge {
    /// A text that is passed on without being understood, where nothing is judged.
    pub(in crate::inspect) fn unseen(&self, what: &str) -> Option<Prepared> {
        self.rules
            .is_pass_through()
            .then(|| Arc::new(Analysis::opaque(what, "it was made inside the server")))
    }

    pub(in crate::inspect) fn too_long(&self, text: &[u8], limit: usize, session: &GateSession) -> Refused {
        let why = format!(
            "the statement has {} bytes; the gateway reads statements up to {limit} bytes",
            text.len()
        );
        self.opaque(text, why, session)
    }

    pub(in crate::inspect) fn unreadable(&self, text: &[u8], session: &GateSession) -> Refused {
        let why = "the statement's text is not UTF-8, or the session reads text in a way the gateway does not follow";
        self.opaque(text, why.to_owned(), session)
    }

    /// A text the analysis gave up on: passes where nothing is judged, else fails as the server would fail it.
    pub(in crate::inspect) fn not_analysed(
        &self,
        text: &str,
        error: &AnalysisError,
        session: &GateSession,
    ) -> Result<Prepared, Box<Refused>> {
        if self.rules.is_pass_through() {
            return Ok(Arc::new(Analysis::opaque(text, &error.to_string())));
        }
        let operation = opaque_operation(text, error.to_string());
        let judged = session.refused(&self.rules, &operation, "unparseable", error.to_string());
        let sqlstate = if matches!(error, AnalysisError::Syntax { .. }) { "42601" } else { "54001" };
        Err(Box::new(Refused::failed(judged, sqlstate, error.to_string())))
    }

    /// A statement longer than anything that is analysed, of which only the start was seen.
    pub(in crate::inspect) fn long_statement(
        &self,
        start: &[u8],
        length: usize,
        session: &GateSession,
    ) -> Result<Judged, Box<Refused>> {
        let text = String::from_utf8_lossy(start);
        let operation =
            opaque_operation(&text, format!("the statement has {length} bytes, more than the gateway reads"));
        let judged = session.judge(&self.rules, &operation);
        if judged.is_allow() { Ok(judged) } else { Err(Box::new(Refused::denied(judged))) }
    }

    pub(super) fn opaque(&self, text: &[u8], why: String, session: &GateSession) -> Refused {
        let operation = opaque_operation(&String::from_utf8_lossy(text), why.clone());
        Refused::denied(session.refused(&self.rules, &operation, "unclassified", why))
    }
}

pub(super) fn opaque_operation(text: &str, why: String) -> Operation {
    Operation {
        kinds: vec![StatementKind::word("unknown")],
        resources: vec![ResourceRef {
            verb: Verb::Admin,
            resource: Resource::from("?"),
            columns: Vec::new(),
            through: None,
        }],
        text: text.into(),
        lacks: Vec::new(),
        classified: Classified::Not(why),
    }
}
