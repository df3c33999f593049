//! Masks that cover nothing (errors); masks that bind nobody, that stop what a grant of everything seems to give, or that a
//! grant lets its subjects get around (warnings).

use std::sync::Arc;

use portcullis_core::Verb;

use super::same_subject;
use crate::{
    Connection, Grant, Mask, Opaque, ScopeRule, Subject,
    documents::{draft::MaskDraft, references::Resolved},
    glob,
    report::{Report, Severity},
};

/// Looks at every mask.
pub(super) fn check(resolved: &Resolved, report: &mut Report) {
    unreachable_masks(resolved, report);
    masks_of_nobody(resolved, report);
    stopped_grants(resolved, report);
    renaming_grants(resolved, report);
}

/// A mask, or a connection pattern in one, that covers nothing.
fn unreachable_masks(resolved: &Resolved, report: &mut Report) {
    let connections: Vec<&Arc<Connection>> = resolved.parts.connections.values().collect();
    // where a connection or the mask itself was refused, what it covers is not known
    if report.errors() > 0 && connections.is_empty() {
        return;
    }
    for (mask, draft) in complete(resolved) {
        if !connections.iter().any(|connection| mask.covers(connection)) {
            let message = format!("the mask `{}` covers no connection", mask.name);
            let help = "its `connections` match none; correct them or remove it".to_owned();
            report.push(Severity::Error, &draft.name.place, message, vec![help]);
            continue;
        }
        for pattern in &draft.connections {
            if !connections.iter().any(|connection| glob::matches(&pattern.value, connection.name.as_str())) {
                let message = format!("no connection is named `{}`", pattern.value.as_str());
                let help = "remove it, or correct the name: this part of the mask masks nothing".to_owned();
                report.push(Severity::Error, &pattern.place, message, vec![help]);
            }
        }
    }
}

fn complete(resolved: &Resolved) -> impl Iterator<Item = &(Arc<Mask>, MaskDraft)> {
    resolved.masks.iter().filter(|(_, draft)| !draft.incomplete)
}

fn excepts_all(mask: &Mask, subjects: &[Subject]) -> bool {
    subjects.iter().all(|subject| mask.except.iter().any(|own| same_subject(own, subject)))
}

fn masks_of_nobody(resolved: &Resolved, report: &mut Report) {
    for (mask, draft) in complete(resolved).filter(|(mask, _)| !mask.except.is_empty()) {
        let granted: Vec<&Arc<Grant>> = grants_under(resolved, mask).collect();
        let why = if !mask.to.is_empty() && excepts_all(mask, &mask.to) {
            "`except` frees everybody whom `to` names"
        } else if !granted.is_empty() && granted.iter().all(|grant| excepts_all(mask, &grant.to)) {
            "`except` frees everybody who has a grant on its connections"
        } else {
            continue;
        };
        report.push(
            Severity::Warning,
            &draft.name.place,
            format!("the mask `{}` binds nobody: {why}", mask.name),
            vec!["narrow `except`, or remove the mask".to_owned()],
        );
    }
}

fn grants_under<'a>(resolved: &'a Resolved, mask: &Mask) -> impl Iterator<Item = &'a Arc<Grant>> {
    resolved.parts.grants.iter().filter(move |grant| {
        resolved.parts.connections.get(&grant.connection).is_some_and(|connection| mask.covers(connection))
    })
}

/// `*:*` where a mask refuses code nobody sees into: what the gateway cannot read does not pass after all.
fn stopped_grants(resolved: &Resolved, report: &mut Report) {
    for (grant, draft) in &resolved.grants {
        let Some(scope) = draft.scope.iter().find(|rule| ScopeRule::is_everything(&rule.value)) else {
            continue;
        };
        let Some(connection) = resolved.parts.connections.get(&grant.connection) else { continue };
        let stops = |mask: &Mask| {
            !mask.columns.is_empty()
                && mask.opaque == Opaque::Refuse
                && mask.covers(connection)
                && !excepts_all(mask, &grant.to)
        };
        let Some((mask, _)) = complete(resolved).find(|(mask, _)| stops(mask)) else { continue };
        report.push(
            Severity::Warning,
            &scope.place,
            format!("`*:*` does not pass everything on `{}`: the mask `{}` refuses code nobody sees into", grant.connection, mask.name),
            vec![format!(
                "statements the gateway cannot read, DO blocks and functions of users are refused (`opaque: refuse` at {}); functions known to be harmless go under its `trusted_functions`",
                mask.location
            )],
        );
    }
}

/// Masks go by name: who may rename a column, or replace a function that is trusted, is not held by them.
fn renaming_grants(resolved: &Resolved, report: &mut Report) {
    for (grant, draft) in &resolved.grants {
        let Some(connection) = resolved.parts.connections.get(&grant.connection) else { continue };
        let Some(scope) =
            draft.scope.iter().find(|rule| rule.value.verb.is_none_or(|verb| verb == Verb::Admin))
        else {
            continue;
        };
        let binds = |mask: &Mask| {
            !mask.columns.is_empty() && mask.covers(connection) && !excepts_all(mask, &grant.to)
        };
        let Some((mask, _)) = complete(resolved).find(|(mask, _)| binds(mask)) else { continue };
        let message = format!(
            "`{}` on `{}` includes ALTER, and the mask `{}` goes by the names of columns",
            scope.value, grant.connection, mask.name
        );
        let help = "who may rename a masked column, or replace a trusted function, can read the values: leave `admin` to identities that may see them";
        report.push(Severity::Warning, &scope.place, message, vec![help.to_owned()]);
    }
}
