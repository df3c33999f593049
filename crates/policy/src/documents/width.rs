//! Checks over the whole policy: rules that can never matter (errors), and grants that are wider than people mean (warnings).

mod approvals;
mod masks;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Connection, Grant, Guardrail, ScopeRule, Subject, When,
    documents::{draft::GuardrailDraft, references::Resolved},
    glob,
    report::{Report, Severity},
};

/// One identity named in more grants than this is better a group.
const MANY_GRANTS: usize = 3;

/// Looks at everything together.
pub(crate) fn check(resolved: &Resolved, report: &mut Report) {
    shadowed_grants(resolved, report);
    unreachable_guardrails(resolved, report);
    masks::check(resolved, report);
    approvals::check(resolved, report);
    unreached_connections(resolved, report);
    much_granted_identities(resolved, report);
}

/// A grant another one gives already, to the same subjects, without asking.
fn shadowed_grants(resolved: &Resolved, report: &mut Report) {
    for (at, (grant, draft)) in resolved.grants.iter().enumerate() {
        let by = resolved.grants.iter().enumerate().find(|(other, (candidate, _))| {
            // of two that shadow each other, the later one is told
            *other != at && shadows(candidate, grant) && (*other < at || !shadows(grant, candidate))
        });
        let Some((_, (by, _))) = by else { continue };
        report.push(
            Severity::Error,
            &draft.head.place,
            "this grant can never matter: another one gives all of it already".to_owned(),
            vec![format!("`{}` at {} does; remove one of them", by.id, by.location)],
        );
    }
}

fn shadows(wide: &Grant, narrow: &Grant) -> bool {
    wide.when == When::Always && gives_all(wide, narrow)
}

/// Whether everybody `narrow` means gets all of it by `wide`, once that is open.
fn gives_all(wide: &Grant, narrow: &Grant) -> bool {
    wide.connection == narrow.connection
        && wide.condition.is_none()
        && (wide.recorded || !narrow.recorded)
        && narrow
            .to
            .iter()
            .chain(&narrow.break_glass)
            .all(|subject| wide.to.iter().any(|own| same_subject(own, subject)))
        && narrow.scope.iter().all(|rule| wide.scope.iter().any(|own| includes(own, rule)))
}

fn same_subject(a: &Subject, b: &Subject) -> bool {
    match (a, b) {
        (Subject::Group(a), Subject::Group(b)) => b.ids.iter().all(|id| a.ids.contains(id)),
        _ => a == b,
    }
}

fn includes(wide: &ScopeRule, narrow: &ScopeRule) -> bool {
    let verb = wide.verb.is_none() || wide.verb == narrow.verb;
    let literal = !narrow.pattern.as_str().contains(['*', '?']);
    let pattern = wide.pattern.is_everything()
        || wide.pattern == narrow.pattern
        || (literal && glob::matches(&wide.pattern, narrow.pattern.as_str()));
    verb && pattern
}

/// A guardrail, or a connection pattern in one, that covers nothing.
fn unreachable_guardrails(resolved: &Resolved, report: &mut Report) {
    let connections: Vec<&Arc<Connection>> = resolved.parts.connections.values().collect();
    // where a connection or the guardrail itself was refused, what it covers is not known
    if report.errors() > 0 && connections.is_empty() {
        return;
    }
    for (guardrail, draft) in resolved.guardrails.iter().filter(|(_, draft)| !draft.incomplete) {
        if !connections.iter().any(|connection| guardrail.covers(connection)) {
            unreachable(guardrail, draft, report);
            continue;
        }
        for pattern in &draft.connections {
            if !connections.iter().any(|connection| glob::matches(&pattern.value, connection.name.as_str())) {
                report.push(
                    Severity::Error,
                    &pattern.place,
                    format!("no connection is named `{}`", pattern.value.as_str()),
                    vec![
                        "remove it, or correct the name: this part of the guardrail guards nothing"
                            .to_owned(),
                    ],
                );
            }
        }
    }
}

fn unreachable(guardrail: &Guardrail, draft: &GuardrailDraft, report: &mut Report) {
    report.push(
        Severity::Error,
        &draft.name.place,
        format!("the guardrail `{}` covers no connection", guardrail.name),
        vec!["its `protocols` and `connections` together match none; correct them or remove it".to_owned()],
    );
}

fn unreached_connections(resolved: &Resolved, report: &mut Report) {
    for connection in &resolved.connections {
        if !resolved.parts.grants.iter().any(|grant| grant.connection == connection.value) {
            report.push(
                Severity::Warning,
                &connection.place,
                format!("nobody can reach `{}`: no grant names it", connection.value),
                vec!["add a grant, or remove the connection".to_owned()],
            );
        }
    }
}

fn much_granted_identities(resolved: &Resolved, report: &mut Report) {
    let mut named: BTreeMap<String, Vec<&crate::report::Place>> = BTreeMap::new();
    for (grant, draft) in &resolved.grants {
        for subject in &grant.to {
            if matches!(subject, Subject::App(_) | Subject::Id(_)) {
                named.entry(subject.to_string()).or_default().push(&draft.head.place);
            }
        }
    }
    for (subject, places) in named.into_iter().filter(|(_, places)| places.len() > MANY_GRANTS) {
        let Some(last) = places.last() else { continue };
        report.push(
            Severity::Warning,
            last,
            format!("`{subject}` is named in {} grants", places.len()),
            vec!["put it into a group and grant to the group: one identity with many grants is hard to switch off and to review".to_owned()],
        );
    }
}
