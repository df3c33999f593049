//! [`SessionMasks`]: the masks that bind one principal on one connection, made once and shared by sessions bound alike.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use portcullis_core::Principal;
use portcullis_mask::{Detector, Scanner, Transform};

use super::{Filter, Mask, Opaque};
use crate::{Connection, documents::hex_prefix};

/// The masks of a session. There is always at least one.
#[derive(Debug)]
pub struct SessionMasks {
    all: Vec<Arc<Mask>>,
    columns: Vec<Arc<Mask>>,
    scanner: Option<Arc<Scanner>>,
    key: Arc<str>,
}

/// What the masks of a session say together about one column: the strictest of each.
#[derive(Clone, Copy, Debug)]
pub struct ColumnRules<'a> {
    /// The mask whose transform is used: the strongest, of equals the first.
    pub mask: &'a Arc<Mask>,
    /// The first mask that says `filter: deny`.
    pub filter: Option<&'a Arc<Mask>>,
    /// The first mask that says `opaque: refuse`.
    pub opaque: Option<&'a Arc<Mask>>,
}

impl SessionMasks {
    fn new(all: Vec<Arc<Mask>>) -> Self {
        let columns = all.iter().filter(|mask| !mask.columns.is_empty()).map(Arc::clone).collect();
        let (scanner, key) = (scanner(&all), key(&all).into());
        Self { all, columns, scanner, key }
    }

    /// Every mask, in the documents' order.
    pub fn all(&self) -> &[Arc<Mask>] {
        &self.all
    }

    /// Those with `columns`, in the documents' order.
    pub fn columns(&self) -> &[Arc<Mask>] {
        &self.columns
    }

    /// The detectors of all masks, each with its mask's transform; `None` where no mask has any.
    pub fn scanner(&self) -> Option<&Arc<Scanner>> {
        self.scanner.as_ref()
    }

    /// Equal keys: the same masks, said at the same places. What is made from the masks may be shared by it.
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// What is said about a column; `None`: it is shown as it is. Names as the catalog has them, without quotes.
    pub fn on_column(&self, schema: &str, table: &str, column: &str) -> Option<ColumnRules<'_>> {
        let matching = || self.columns.iter().filter(|mask| mask.matches_column(schema, table, column));
        let mask =
            matching().reduce(|best, mask| if mask.strength() > best.strength() { mask } else { best })?;
        Some(ColumnRules {
            mask,
            filter: matching().find(|mask| mask.filter == Filter::Deny),
            opaque: matching().find(|mask| mask.opaque == Opaque::Refuse),
        })
    }

    /// The first mask with columns that refuses code nobody sees into.
    pub fn opaque(&self) -> Option<&Arc<Mask>> {
        self.columns.iter().find(|mask| mask.opaque == Opaque::Refuse)
    }
}

/// The first 32 hex digits of SHA-256 over what the masks do and what refusals say of them.
fn key(masks: &[Arc<Mask>]) -> String {
    let mut text = Vec::new();
    let mut field = |value: &str| {
        text.extend_from_slice(&(value.len() as u64).to_be_bytes());
        text.extend_from_slice(value.as_bytes());
    };
    for mask in masks {
        field("mask");
        field(&mask.name);
        field(&mask.location);
        field(mask.transform.as_str());
        field(&format!("{:?}", mask.transform));
        field(mask.filter.as_str());
        field(mask.opaque.as_str());
        for column in &mask.columns {
            field("column");
            field(column.as_str());
        }
        for detector in &mask.detectors {
            field("detector");
            field(detector.as_str());
            if let Detector::Regex { regex, .. } = detector {
                field("regex");
                field(regex.as_str());
            }
        }
        for function in &mask.trusted_functions {
            field("trusts");
            field(function.as_str());
        }
    }
    hex_prefix(&text, 16)
}

/// Sets of masks kept at once. There are as many as there are ways to be bound, which are few; beyond that they are made anew.
const MAX_KEPT: usize = 1024;

/// The masks of a policy, and the sets of them that sessions were bound by.
#[derive(Debug, Default)]
pub(crate) struct Masks {
    all: Vec<Arc<Mask>>,
    /// By the positions in `all`.
    kept: Mutex<HashMap<Vec<usize>, Arc<SessionMasks>>>,
}

impl Masks {
    pub(crate) fn new(all: Vec<Arc<Mask>>) -> Self {
        Self { all, kept: Mutex::default() }
    }

    pub(crate) fn all(&self) -> &[Arc<Mask>] {
        &self.all
    }

    /// The masks that bind the principal on the connection; `None` where none does.
    pub(crate) fn of_session(
        &self,
        connection: &Connection,
        principal: &Principal,
    ) -> Option<Arc<SessionMasks>> {
        let binding = self.all.iter().enumerate();
        let binding = binding.filter(|(_, mask)| mask.covers(connection) && mask.binds(principal));
        let (at, masks): (Vec<usize>, Vec<Arc<Mask>>) =
            binding.map(|(at, mask)| (at, Arc::clone(mask))).unzip();
        if masks.is_empty() {
            return None;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = kept.get(&at) {
            return Some(Arc::clone(same));
        }
        let made = Arc::new(SessionMasks::new(masks));
        if kept.len() < MAX_KEPT {
            kept.insert(at, Arc::clone(&made));
        }
        Some(made)
    }
}

fn scanner(masks: &[Arc<Mask>]) -> Option<Arc<Scanner>> {
    let rules: Vec<(Vec<Detector>, Transform)> = masks
        .iter()
        .filter(|mask| !mask.detectors.is_empty())
        .map(|mask| (mask.detectors.clone(), mask.transform.clone()))
        .collect();
    (!rules.is_empty()).then(|| Arc::new(Scanner::new(&rules)))
}
