//! Approvals that protect less than people mean, or that nobody can give.

use std::sync::Arc;

use super::{Wider, gives_all, same_subject};
use crate::{
    Approval, Grant, ProviderConfig, ProviderKind, Subject, When,
    documents::references::Resolved,
    report::{Place, Report, Severity},
};

/// Looks at everything that needs a person's yes.
pub(super) fn check(resolved: &Resolved, report: &mut Report) {
    let wider = Wider::of(resolved, When::Requested);
    let mut first: Option<&Place> = None;
    for (grant, draft) in &resolved.grants {
        let (Some(approval), Some(written)) = (&grant.approval, &draft.approval) else { continue };
        first = first.or(Some(&draft.head.place));
        let place = &written.approvers.place;
        let by_asking = wider.than(grant).map(|(_, other)| other).find(|other| gives_all(other, grant));
        if let Some(other) = by_asking {
            report.push(
                Severity::Warning,
                &draft.head.place,
                "no person's yes is needed for this: another grant gives all of it for the asking".to_owned(),
                vec![format!(
                    "`{}` at {} does; narrow its scope, or remove one of them",
                    other.id, other.location
                )],
            );
        }
        among_themselves(grant, approval, place, report);
        reachable(approval, &resolved.parts.providers, place, report);
        if let Some(written) = &draft.break_glass
            && within(&grant.to, &grant.break_glass)
        {
            warn(
                report,
                &written.place,
                "everybody this grant is to may break glass, so nobody has to wait for a yes",
                "name the few who open it in an emergency",
            );
        }
    }
    for (guardrail, draft) in &resolved.guardrails {
        let (Some(hold), Some(written)) = (&guardrail.hold, &draft.hold) else { continue };
        first = first.or(Some(&draft.name.place));
        reachable(&hold.approval, &resolved.parts.providers, &written.approval.approvers.place, report);
    }
    if let Some(place) = first.filter(|_| resolved.parts.roles.0.is_empty()) {
        warn(
            report,
            place,
            "this needs a person's yes, and nobody has a role: the console shows people only what they may answer themselves",
            "add `roles:`, such as `roles: { admin: group:platform, approver: group:oncall }`",
        );
    }
}

/// Approvers who are all among those who ask answer each other.
fn among_themselves(grant: &Grant, approval: &Approval, place: &Place, report: &mut Report) {
    if within(&approval.approvers, &grant.to) {
        warn(
            report,
            place,
            "whoever may answer may ask too, and nobody else answers: they agree among themselves",
            "name people who are not in `to`",
        );
    }
}

/// Approvers whose provider lets no people in.
fn reachable(approval: &Approval, providers: &[Arc<ProviderConfig>], place: &Place, report: &mut Report) {
    let lets_people_in = |name: &str| {
        providers.iter().any(|provider| {
            provider.name == name && (provider.allow_users || matches!(provider.kind, ProviderKind::Oidc(_)))
        })
    };
    let named = |subject: &Subject| match subject {
        Subject::Group(group) => group.ids.iter().any(|(provider, _)| lets_people_in(provider)),
        Subject::Role(claimed) | Subject::Id(claimed) | Subject::App(claimed) => {
            lets_people_in(&claimed.provider)
        }
    };
    if !approval.approvers.iter().any(named) {
        warn(
            report,
            place,
            "no person can answer: the identity provider of these approvers accepts no tokens of people",
            "add `users: allow` to the provider, and `sign_in` for the console",
        );
    }
}

/// Whether every one of `few` is among `many`.
fn within(few: &[Subject], many: &[Subject]) -> bool {
    few.iter().all(|subject| many.iter().any(|own| same_subject(own, subject)))
}

fn warn(report: &mut Report, place: &Place, message: &str, help: &str) {
    report.push(Severity::Warning, place, message.to_owned(), vec![help.to_owned()]);
}
