//! What this session's names mean: prepared statements, portals, cursors, temporary relations.
//!
//! A name can have several candidates while the outcome of a statement is not known; then all of them must be allowed. Names
//! count as the server tells them apart: by their first 63 bytes ([`limits::significant`]). Bounded: past the limits a
//! session is told to tidy up, it does not grow.

use std::{collections::HashMap, sync::Arc};

use portcullis_access::requests::Digest;
use portcullis_core::ResourceRef;
use portcullis_policy::SessionRules;
use portcullis_sql::Analysis;

use super::{commits::Gated, expected::Plan};
use crate::codec::limits;

/// One prepared statement: shared by the map, the flight and the portals made from it.
pub(crate) type Prepared = Arc<Analysis>;

/// The most names of each sort a session may hold.
pub(crate) const MAX_NAMES: usize = 20_000;

/// The most candidates a name may have.
const MAX_CANDIDATES: usize = 8;

/// The most bytes of statements that a session's names may hold.
pub(crate) const MAX_TEXT: usize = 64 * 1024 * 1024;

/// What a name costs besides its statement.
const OVERHEAD: usize = 256;

/// What one remembered statement counts for.
pub(crate) fn weight(prepared: &Prepared) -> usize {
    prepared.memory() + OVERHEAD
}

/// A portal: what it runs, and under which rules it was allowed.
#[derive(Debug, Clone)]
pub(crate) struct Portal {
    pub(crate) prepared: Prepared,
    pub(crate) rules: Arc<SessionRules>,
    /// What becomes of its results; nothing where nothing has to.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Its columns were asked for.
    pub(crate) described: bool,
    /// What it was allowed to do, where its names are looked up when it runs.
    pub(crate) late: Option<Late>,
    /// Counts the session's Binds.
    pub(crate) serial: u64,
    /// A person said yes to it: it must mean then what it meant.
    pub(crate) approved: Option<Box<Approved>>,
    /// Its commit may have to wait for a person.
    pub(crate) gated: Option<Arc<Gated>>,
}

/// What a portal meant when a person said yes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Approved {
    /// What it runs by name, where that was certain.
    pub(crate) by_name: Option<Digest>,
    /// The settings that decide what it means: much of a statement is worked out as it runs, row security among it.
    pub(crate) meaning: Digest,
}

/// A statement whose names are looked up when it runs, not when it is bound (`COPY`, `EXECUTE`, `FETCH`, whatever changes structure): it
/// must mean then what it meant when it was allowed.
#[derive(Debug, Clone)]
pub(crate) struct Late {
    pub(crate) resources: Arc<[ResourceRef]>,
    /// The state of the judge at that time.
    pub(crate) epoch: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Names {
    prepared: HashMap<Vec<u8>, Candidates>,
    portals: HashMap<Vec<u8>, Portal>,
    /// What named portals were before they were bound again: where the server refused that, the first is still what runs.
    rebound: HashMap<Vec<u8>, Rebound>,
    /// Binds so far.
    binds: u64,
    cursors: HashMap<Vec<u8>, Cursor>,
    temporaries: Vec<Box<str>>,
    temporaries_overflow: bool,
    /// The parameter types that a Parse declared, where operations may be held: approvers are shown values by them.
    types: HashMap<Vec<u8>, Types>,
    /// What the statements behind all of these count for; see [`weight`].
    held: usize,
}

/// What a name can mean. Empty: nothing this session made.
#[derive(Debug)]
pub(crate) enum Candidates {
    /// One of these.
    Few(Vec<Prepared>),
    /// More than anybody has a use for; nothing can be said, so nothing may run.
    TooMany,
}

/// The types of a statement's parameters.
#[derive(Debug, Default)]
struct Types {
    /// As its Parse declared them.
    declared: Box<[u32]>,
    /// As the server described them.
    described: Box<[u32]>,
}

impl Types {
    fn weight(&self) -> usize {
        (self.declared.len() + self.described.len()) * 4 + OVERHEAD
    }
}

#[derive(Debug, Default)]
struct Rebound {
    candidates: Candidates,
    /// The latest Bind among them.
    latest: u64,
}

#[derive(Debug, Default)]
struct Cursor {
    candidates: Candidates,
    /// `WITH HOLD`, perhaps: it may outlive its transaction.
    hold: bool,
}

impl Default for Candidates {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Names {
    pub(crate) fn has_room(&self) -> bool {
        self.prepared.len() < MAX_NAMES
            && self.portals.len() < MAX_NAMES
            && self.cursors.len() < MAX_NAMES
            && self.held < MAX_TEXT
    }

    /// The server confirmed that the name now means this.
    pub(crate) fn set(&mut self, name: &[u8], prepared: Prepared) {
        self.held += weight(&prepared);
        match self.prepared.get_mut(name) {
            Some(Candidates::Few(known)) => {
                self.held = self.held.saturating_sub(known.iter().map(weight).sum());
                known.clear();
                known.push(prepared);
            }
            Some(many) => *many = Candidates::Few(vec![prepared]),
            None => {
                self.prepared.insert(name.to_vec(), Candidates::Few(vec![prepared]));
            }
        }
    }

    /// What its Parse declared.
    pub(crate) fn set_types(&mut self, name: &[u8], types: Option<Box<[u32]>>) {
        if types.is_none() && self.types.is_empty() {
            return;
        }
        self.forget_types(name);
        if let Some(declared) = types {
            self.put_types(name, Types { declared, described: Box::default() });
        }
    }

    /// What the server says of the parameters of the statement that has this name now.
    pub(crate) fn set_described(&mut self, name: &[u8], described: Box<[u32]>) {
        let declared = self.types.get(name).map(|types| types.declared.clone()).unwrap_or_default();
        self.forget_types(name);
        if !described.is_empty() && self.prepared.contains_key(name) {
            self.put_types(name, Types { declared, described });
        }
    }

    fn put_types(&mut self, name: &[u8], types: Types) {
        self.held += types.weight();
        self.types.insert(name.to_vec(), types);
    }

    /// The parameter types that were declared for a statement; those left out are the server's to infer.
    pub(crate) fn types(&self, name: &[u8]) -> &[u32] {
        self.types.get(name).map(|types| &*types.declared).unwrap_or_default()
    }

    /// Those that the server inferred, where the client asked it.
    pub(crate) fn described(&self, name: &[u8]) -> &[u32] {
        self.types.get(name).map(|types| &*types.described).unwrap_or_default()
    }

    fn forget_types(&mut self, name: &[u8]) {
        if let Some(known) = self.types.remove(name) {
            self.held = self.held.saturating_sub(known.weight());
        }
    }

    /// The name may mean this too.
    pub(crate) fn add(&mut self, name: &[u8], prepared: Prepared) {
        let candidates = self.prepared.entry(limits::significant(name).to_vec()).or_default();
        candidates.add(prepared, &mut self.held);
    }

    pub(crate) fn forget(&mut self, name: &[u8]) {
        self.forget_types(name);
        if let Some(known) = self.prepared.remove(name) {
            self.held = self.held.saturating_sub(known.weight());
        }
    }

    /// Every named statement is gone. `DEALLOCATE ALL` keeps the unnamed one.
    pub(crate) fn forget_all(&mut self) {
        let held = &mut self.held;
        self.prepared.retain(|name, known| {
            if !name.is_empty() {
                *held = held.saturating_sub(known.weight());
            }
            name.is_empty()
        });
        self.types.retain(|name, known| {
            if !name.is_empty() {
                *held = held.saturating_sub(known.weight());
            }
            name.is_empty()
        });
    }

    /// What a name can mean by what the server has answered so far; `None` where that is too much to say.
    pub(crate) fn confirmed(&self, name: &[u8]) -> Option<&[Prepared]> {
        match self.prepared.get(name) {
            None => Some(&[]),
            Some(known) => known.few(),
        }
    }

    pub(crate) fn set_portal(&mut self, name: &[u8], mut portal: Portal) {
        self.held += weight(&portal.prepared);
        self.binds += 1;
        portal.serial = self.binds;
        match self.portals.get_mut(name) {
            Some(known) => {
                let Portal { prepared: before, serial, .. } = std::mem::replace(known, portal);
                self.held = self.held.saturating_sub(weight(&before));
                // The unnamed portal is replaced; binding a named one again fails while it lives.
                if !name.is_empty() {
                    let rebound = self.rebound.entry(name.to_vec()).or_default();
                    rebound.candidates.add(before, &mut self.held);
                    rebound.latest = serial;
                }
            }
            None => {
                self.portals.insert(name.to_vec(), portal);
            }
        }
    }

    pub(crate) fn portal(&self, name: &[u8]) -> Option<&Portal> {
        self.portals.get(name)
    }

    pub(crate) fn portal_mut(&mut self, name: &[u8]) -> Option<&mut Portal> {
        self.portals.get_mut(name)
    }

    /// Everything an `Execute` of this portal or cursor can run: nothing of that name is known where empty; `None` where it
    /// is too much to say.
    pub(crate) fn runnable(&self, name: &[u8]) -> Option<Vec<Prepared>> {
        let mut all: Vec<Prepared> =
            self.portals.get(name).map(|p| Arc::clone(&p.prepared)).into_iter().collect();
        let cursor = self.cursors.get(name).map(|cursor| &cursor.candidates);
        let rebound = self.rebound.get(name).map(|rebound| &rebound.candidates);
        for candidates in rebound.into_iter().chain(cursor) {
            all.extend(candidates.few()?.iter().map(Arc::clone));
        }
        Some(all)
    }

    /// Whether the name may mean another portal than the one bound last, or a cursor.
    pub(crate) fn is_uncertain(&self, name: &[u8]) -> bool {
        self.rebound.contains_key(name) || self.cursors.contains_key(name)
    }

    /// How many Binds there were so far.
    pub(crate) fn binds(&self) -> u64 {
        self.binds
    }

    /// The server has closed a portal: what was bound to the name by the `until`th Bind is gone. One that was sent later may live.
    pub(crate) fn closed_portal(&mut self, name: &[u8], until: u64) {
        if self.portals.get(name).is_some_and(|portal| portal.serial <= until)
            && let Some(portal) = self.portals.remove(name)
        {
            self.held = self.held.saturating_sub(weight(&portal.prepared));
        }
        if self.rebound.get(name).is_some_and(|rebound| rebound.latest <= until)
            && let Some(known) = self.rebound.remove(name)
        {
            self.held = self.held.saturating_sub(known.candidates.weight());
        }
    }

    /// A sequence failed: a Bind to the unnamed portal in it, up to the `until`th, was perhaps skipped, and the portal before it may
    /// live. What was bound in a later sequence stays.
    pub(crate) fn forget_unnamed_portal(&mut self, until: u64) {
        self.closed_portal(b"", until);
    }

    /// Outside a transaction no portal lives but cursors `WITH HOLD`.
    pub(crate) fn end_transaction(&mut self) {
        let held = &mut self.held;
        for (_, portal) in self.portals.drain() {
            *held = held.saturating_sub(weight(&portal.prepared));
        }
        for (_, known) in self.rebound.drain() {
            *held = held.saturating_sub(known.candidates.weight());
        }
        self.cursors.retain(|_, cursor| {
            if !cursor.hold {
                *held = held.saturating_sub(cursor.candidates.weight());
            }
            cursor.hold
        });
    }

    pub(crate) fn add_cursor(&mut self, name: &str, prepared: Prepared, hold: bool) {
        let cursor = self.cursors.entry(limits::significant(name.as_bytes()).to_vec()).or_default();
        cursor.hold |= hold;
        cursor.candidates.add(prepared, &mut self.held);
    }

    /// The cursor is closed; all are where no name is given.
    pub(crate) fn close_cursor(&mut self, name: Option<&[u8]>) {
        let held = &mut self.held;
        self.cursors.retain(|known, cursor| {
            let stays = name.is_some_and(|name| name != known.as_slice());
            if !stays {
                *held = held.saturating_sub(cursor.candidates.weight());
            }
            stays
        });
    }

    /// What `FETCH` can be reading; `None` where it is too much to say.
    pub(crate) fn cursors(&self, name: &str) -> Option<Vec<Prepared>> {
        self.runnable(limits::significant(name.as_bytes()))
    }

    pub(crate) fn add_temporary(&mut self, name: &str) {
        if self.temporaries.iter().any(|known| **known == *name) {
            return;
        }
        if self.temporaries.len() >= MAX_NAMES {
            self.temporaries_overflow = true;
        } else {
            self.temporaries.push(name.into());
        }
    }

    pub(crate) fn may_have_temporaries(&self) -> bool {
        self.temporaries_overflow || !self.temporaries.is_empty()
    }

    pub(crate) fn may_be_temporary(&self, name: &str) -> bool {
        self.temporaries_overflow || self.temporaries.iter().any(|known| **known == *name)
    }
}

impl Candidates {
    fn add(&mut self, prepared: Prepared, held: &mut usize) {
        let Self::Few(few) = self else { return };
        if few.iter().any(|known| Arc::ptr_eq(known, &prepared)) {
            return;
        }
        if few.len() >= MAX_CANDIDATES {
            *held = held.saturating_sub(self.weight());
            *self = Self::TooMany;
        } else {
            *held += weight(&prepared);
            few.push(prepared);
        }
    }

    fn few(&self) -> Option<&[Prepared]> {
        match self {
            Self::Few(few) => Some(few),
            Self::TooMany => None,
        }
    }

    fn weight(&self) -> usize {
        self.few().unwrap_or_default().iter().map(weight).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(text: &str) -> Prepared {
        Arc::new(Analysis::opaque(text, "a test"))
    }

    #[test]
    fn what_is_forgotten_counts_no_more() {
        let mut names = Names::default();
        names.set(b"a", prepared("SELECT 1"));
        names.set(b"a", prepared("SELECT 2"));
        names.add(b"a", prepared("SELECT 3"));
        names.add(b"b", prepared("SELECT 4"));
        names.set(b"", prepared("SELECT 5"));
        names.add_cursor("c", prepared("SELECT 6"), true);
        names.add_cursor("d", prepared("SELECT 7"), false);
        for _ in 0..2 * MAX_CANDIDATES {
            names.add_cursor("e", prepared("SELECT 8"), true);
        }
        assert!(names.cursors("e").is_none());
        assert!(names.held > 6 * OVERHEAD);
        names.end_transaction();
        assert!(names.cursors("d").unwrap().is_empty() && names.cursors("c").unwrap().len() == 1);
        names.close_cursor(Some(b"c"));
        names.close_cursor(None);
        names.forget_all();
        assert_eq!(names.held, weight(&prepared("SELECT 5")));
        names.forget(b"");
        assert_eq!(names.held, 0);
    }

    #[test]
    fn statements_are_bounded_by_their_text_not_only_by_their_number() {
        let mut names = Names::default();
        let long = "x".repeat(1024 * 1024);
        for number in 0..MAX_TEXT / long.len() {
            assert!(names.has_room(), "full after {number}");
            names.set(number.to_string().as_bytes(), prepared(&long));
        }
        assert!(!names.has_room());
    }
}
