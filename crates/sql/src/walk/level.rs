//! What one query's `FROM` offers.

use std::collections::{BTreeSet, HashMap};

use crate::names::Name;

/// The most entries of one FROM: no planner gets through more.
const MAX_ENTRIES: usize = 16 * 1024;

/// The most entries of one FROM under the same alias: the server takes one, `DO UPDATE` and `MERGE` add a few.
const MAX_SAME_ALIAS: usize = 16;

/// One query level: what its `FROM` offers under which alias.
#[derive(Default)]
pub(super) struct Level {
    pub(super) entries: Vec<Entry>,
    /// Where in `entries` an alias stands.
    pub(super) by_alias: HashMap<Box<str>, Vec<usize>>,
    pub(super) loose: BTreeSet<Box<str>>,
}

impl Level {
    /// Adds an entry; false where there are too many to look columns up among.
    pub(super) fn offer(&mut self, entry: Entry) -> bool {
        let places = self.by_alias.entry(entry.alias.clone()).or_default();
        if self.entries.len() >= MAX_ENTRIES || places.len() >= MAX_SAME_ALIAS {
            return false;
        }
        places.push(self.entries.len());
        self.entries.push(entry);
        true
    }

    /// Drops what stands for `alias` without being a relation.
    pub(super) fn drop_stand_ins(&mut self, alias: &str) {
        let entries = std::mem::take(&mut self.entries);
        self.by_alias.clear();
        for entry in entries.into_iter().filter(|entry| entry.relation.is_some() || &*entry.alias != alias) {
            self.offer(entry);
        }
    }
}

pub(super) struct Entry {
    pub(super) alias: Box<str>,
    /// Index into the relations used; absent where the alias stands for a sub-query, a CTE, a function or a target whose
    /// columns are not read.
    pub(super) relation: Option<usize>,
    /// The relation whose columns `alias.column` can name, where there is one.
    pub(super) owner: Option<Name>,
}
