//! Approvals and roles: whom they name.

use std::collections::BTreeSet;

use super::Resolver;
use crate::{
    Approval, HoldTerms, Role, Subject,
    documents::draft::{ApprovalDraft, HoldDraft, SubjectDraft},
    documents::reader::Placed,
    role::Roles,
};

impl Resolver<'_> {
    /// Whose yes is needed. `to`: who may ask, where that is known; nobody answers their own request.
    pub(super) fn approval(&mut self, draft: &ApprovalDraft, to: &[Subject]) -> Option<Approval> {
        let approvers: Vec<Subject> =
            draft.approvers.value.iter().filter_map(|subject| self.subject(subject)).collect();
        let approvals = draft.approvals.as_ref().map_or(1, |approvals| approvals.value);
        // what was refused is told, and may be the missing one
        if approvers.len() < draft.approvers.value.len() || approvers.is_empty() {
            return None;
        }
        let all_ids = approvers.iter().all(|subject| matches!(subject, Subject::Id(_)));
        let only = match to {
            [Subject::Id(id)] => Some(id),
            _ => None,
        };
        let people: BTreeSet<(&str, String)> = approvers
            .iter()
            .filter_map(|subject| match subject {
                Subject::Id(id) => Some(id),
                _ => None,
            })
            .filter(|id| {
                !only.is_some_and(|only| {
                    only.provider == id.provider && crate::grant::same_id(&only.value, &id.value)
                })
            })
            .map(|id| (id.provider.as_str(), id.value.to_ascii_lowercase()))
            .collect();
        if all_ids && people.len() < usize::try_from(approvals).unwrap_or(usize::MAX) {
            let place = draft.approvals.as_ref().map_or(&draft.approvers.place, |approvals| &approvals.place);
            let message = match people.len() {
                0 => "nobody can ever answer: whoever asks never counts, and `approvers` names nobody else"
                    .to_owned(),
                people => format!(
                    "`approvals: {approvals}` can never be reached: `approvers` names {people} {}",
                    if people == 1 { "identity that counts" } else { "identities that count" }
                ),
            };
            self.error(place, message, "name more people, or a group; or lower `approvals`");
        }
        Some(Approval { approvers, approvals })
    }

    pub(super) fn hold(&mut self, draft: &HoldDraft) -> Option<HoldTerms> {
        Some(HoldTerms {
            approval: self.approval(&draft.approval, &[])?,
            at: draft.at,
            rows_over: draft.rows_over,
            hold_limit: draft.hold_limit,
            on_timeout: draft.on_timeout,
            answer_within: draft.answer_within,
            ticket_lifetime: draft.ticket_lifetime,
            preview: draft.preview,
        })
    }

    pub(super) fn roles(&mut self, drafts: Vec<(Role, Vec<Placed<SubjectDraft>>)>) -> Roles {
        let resolved = drafts.into_iter().map(|(role, subjects)| {
            (role, subjects.iter().filter_map(|subject| self.subject(subject)).collect())
        });
        Roles(resolved.collect())
    }
}
