//! Checks over the whole policy: rules that can never matter (errors), and grants that are wider than people mean (warnings).

mod approvals;
mod masks;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use portcullis_core::ConnectionName;

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
    let wider = Wider::of(resolved, When::Always);
    for (at, (grant, draft)) in resolved.grants.iter().enumerate() {
        let by = wider.than(grant).find(|(other, candidate)| {
            // of two that shadow each other, the later one is told
            *other != at && shadows(candidate, grant) && (*other < at || !shadows(grant, candidate))
        });
        let Some((_, by)) = by else { continue };
        report.push(
            Severity::Error,
            &draft.head.place,
            "this grant can never matter: another one gives all of it already".to_owned(),
            vec![format!("`{}` at {} does; remove one of them", by.id, by.location)],
        );
    }
}

/// Grants that may give all of another, found by connection and subject: documents with thousands of grants are not compared each
/// with each.
struct Wider<'a>(HashMap<(&'a ConnectionName, Named<'a>), Vec<(usize, &'a Grant)>>);

/// Whom a grant names: a group by one of its ids, which who gives all of it names too.
#[derive(PartialEq, Eq, Hash)]
enum Named<'a> {
    Group(&'a (String, String)),
    One(&'a Subject),
}

/// Grants of one connection to one subject that another is compared with at most.
const MOST_COMPARED: usize = 200;

impl<'a> Wider<'a> {
    /// Of those that open so.
    fn of(resolved: &'a Resolved, when: When) -> Self {
        let mut wider: HashMap<_, Vec<_>> = HashMap::new();
        let grants = resolved.grants.iter().map(|(grant, _)| &**grant).enumerate();
        for (at, grant) in grants.filter(|(_, grant)| grant.when == when && grant.condition.is_none()) {
            for subject in &grant.to {
                let mut add = |named| {
                    let of = wider.entry((&grant.connection, named)).or_default();
                    if of.len() < MOST_COMPARED && of.last().is_none_or(|(last, _)| *last != at) {
                        of.push((at, grant));
                    }
                };
                match subject {
                    Subject::Group(group) => group.ids.iter().for_each(|id| add(Named::Group(id))),
                    one => add(Named::One(one)),
                }
            }
        }
        Self(wider)
    }

    /// Those that name whom this one names first, as written.
    fn than<'g>(&'g self, narrow: &'g Grant) -> impl Iterator<Item = (usize, &'a Grant)> + 'g
    where
        'a: 'g,
    {
        let named = narrow.to.iter().chain(&narrow.break_glass).next().and_then(|subject| match subject {
            Subject::Group(group) => group.ids.first().map(Named::Group),
            one => Some(Named::One(one)),
        });
        let found = named.and_then(|named| self.0.get(&(&narrow.connection, named)));
        found.into_iter().flatten().copied()
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
    let granted: HashSet<&ConnectionName> =
        resolved.parts.grants.iter().map(|grant| &grant.connection).collect();
    for connection in &resolved.connections {
        if !granted.contains(&connection.value) {
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
