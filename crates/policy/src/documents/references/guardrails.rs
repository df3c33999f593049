//! Guardrails: the names they use, and whether every protocol they cover enforces what they ask for.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use portcullis_core::Pattern;

use super::{Resolver, names_no_schema};
use crate::{
    Guardrail, GuardrailAction, HoldAt, OnTimeout, Preview, Protocol,
    capability::{self, Control, Support},
    documents::{draft::GuardrailDraft, reader::Placed},
};

impl Resolver<'_> {
    pub(super) fn guardrails(
        &mut self,
        drafts: Vec<GuardrailDraft>,
    ) -> Vec<(Arc<Guardrail>, GuardrailDraft)> {
        let mut seen: HashMap<String, String> = HashMap::new();
        let mut guardrails = Vec::new();
        for draft in drafts {
            let location = draft.name.place.location();
            if let Some(earlier) = seen.insert(draft.name.value.clone(), location.clone()) {
                let message = format!("two guardrails are named `{}`", draft.name.value);
                self.error(&draft.name.place, message, format!("the other stands at {earlier}"));
            }
            let except = draft.except.iter().filter_map(|subject| self.subject(subject)).collect();
            let hold = draft.hold.as_ref().and_then(|hold| self.hold(hold));
            let guardrail = Guardrail {
                name: draft.name.value.clone(),
                protocols: draft.protocols.clone(),
                connections: draft.connections.iter().map(|pattern| pattern.value.clone()).collect(),
                statements: draft.statements.iter().map(|statement| statement.value.clone()).collect(),
                without: draft.without.clone(),
                resources: draft.resources.iter().map(|pattern| pattern.value.clone()).collect(),
                except,
                action: draft.action,
                hold: hold.map(Arc::new),
                message: draft.message.clone(),
                location,
            };
            self.check_controls(&guardrail, &draft);
            guardrails.push((Arc::new(guardrail), draft));
        }
        guardrails
    }

    /// Every control a guardrail asks for, against every protocol it covers.
    fn check_controls(&mut self, guardrail: &Guardrail, draft: &GuardrailDraft) {
        let mut asked = vec![match guardrail.action {
            GuardrailAction::Block => Control::Block,
            GuardrailAction::Warn => Control::Warn,
            GuardrailAction::Approve => Control::Hold,
        }];
        if let Some(hold) = &guardrail.hold {
            asked.extend((hold.at == HoldAt::Commit).then_some(Control::HoldAtCommit));
            asked.extend((hold.preview == Preview::Rows).then_some(Control::PreviewRows));
            asked.extend((hold.on_timeout == OnTimeout::Ticket).then_some(Control::Ticket));
        }
        asked.extend((!guardrail.statements.is_empty()).then_some(Control::Statements));
        asked.extend(guardrail.without.is_some().then_some(Control::WithoutWhere));
        asked.extend((!guardrail.resources.is_empty()).then_some(Control::Resources));
        let protocols: BTreeSet<Protocol> = self
            .connections
            .values()
            .filter(|connection| guardrail.covers(connection))
            .map(|connection| connection.protocol)
            .collect();
        for protocol in protocols {
            for pattern in draft.resources.iter().filter(|_| protocol == Protocol::Postgres) {
                self.check_guarded(pattern);
            }
            for control in &asked {
                if capability::support(protocol, *control) != Support::Enforced {
                    let message = format!("{protocol} does not enforce {}", control.label());
                    self.error(
                        &draft.name.place,
                        message,
                        "keep the guardrail off such connections with `protocols` or `connections`",
                    );
                }
            }
        }
    }

    /// A guardrail's pattern that matches nothing leaves open what its author thinks is shut.
    fn check_guarded(&mut self, pattern: &Placed<Pattern>) {
        let text = pattern.value.as_str();
        if names_no_schema(&pattern.value) {
            let message = format!("`{text}` names no schema, so it matches no table and guards nothing");
            self.error(
                &pattern.place,
                message,
                format!("SQL resources are `schema.table`: write `*.{text}`"),
            );
        } else if text.chars().any(char::is_uppercase) {
            let message = format!("`{text}` matches only tables created with quoted capitals");
            self.warn(
                &pattern.place,
                message,
                format!("PostgreSQL folds names to lower case: did you mean `{}`?", text.to_lowercase()),
            );
        }
    }
}
