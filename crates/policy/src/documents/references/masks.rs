//! Masks: their names, their subjects, and whether what they cover enforces them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::Resolver;
use crate::{
    Mask, Protocol,
    capability::{self, Support},
    documents::draft::MaskDraft,
};

impl Resolver<'_> {
    pub(super) fn masks(&mut self, drafts: Vec<MaskDraft>) -> Vec<(Arc<Mask>, MaskDraft)> {
        let mut seen: HashMap<String, String> = HashMap::new();
        let mut masks = Vec::new();
        for draft in drafts {
            let location = draft.name.place.location();
            if let Some(earlier) = seen.insert(draft.name.value.clone(), location.clone())
                && !draft.name.value.is_empty()
            {
                let message = format!("two masks are named `{}`", draft.name.value);
                self.error(&draft.name.place, message, format!("the other stands at {earlier}"));
            }
            let to = draft.to.iter().filter_map(|subject| self.subject(subject)).collect();
            let except = draft.except.iter().filter_map(|subject| self.subject(subject)).collect();
            let mask = Mask {
                name: draft.name.value.clone(),
                location,
                connections: draft.connections.iter().map(|pattern| pattern.value.clone()).collect(),
                columns: draft.columns.clone(),
                detectors: draft.detectors.clone(),
                transform: draft.transform.clone(),
                filter: draft.filter,
                opaque: draft.opaque,
                trusted_functions: draft.trusted_functions.clone(),
                to,
                except,
            };
            self.check_mask_controls(&mask, &draft);
            masks.push((Arc::new(mask), draft));
        }
        masks
    }

    /// Every control a mask asks for, against every protocol it covers.
    fn check_mask_controls(&mut self, mask: &Mask, draft: &MaskDraft) {
        let covered = self.connections.values().filter(|connection| mask.covers(connection));
        let protocols: BTreeSet<Protocol> = covered.map(|connection| connection.protocol).collect();
        for protocol in protocols {
            for control in mask.controls() {
                if capability::support(protocol, control) != Support::Enforced {
                    let message = format!("{protocol} does not enforce {}", control.label());
                    self.error(
                        &draft.name.place,
                        message,
                        "keep the mask off such connections with `connections`",
                    );
                }
            }
        }
    }
}
