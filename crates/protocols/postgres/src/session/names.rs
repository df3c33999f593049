//! What this session's names mean: prepared statements, portals, cursors, temporary relations.
//!
//! A name can have several candidates while the outcome of a statement is not known; then all of them must be allowed. Names
//! count as the server tells them apart: by their first 63 bytes ([`limits::significant`]). Bounded: past the limits a
//! session is told to tidy up, it does not grow.

use std::{collections::HashMap, sync::Arc};

use portcullis_policy::SessionRules;
use portcullis_sql::Analysis;

use crate::codec::limits;

/// One prepared statement: shared by the map, the flight and the portals made from it.
pub(crate) type Prepared = Arc<Analysis>;

/// The most names of each sort a session may hold.
pub(crate) const MAX_NAMES: usize = 20_000;

/// The most candidates a name may have.
const MAX_CANDIDATES: usize = 8;

/// A portal: what it runs, and under which rules it was allowed.
#[derive(Debug, Clone)]
pub(crate) struct Portal {
    pub(crate) prepared: Prepared,
    pub(crate) rules: Arc<SessionRules>,
}

#[derive(Debug, Default)]
pub(crate) struct Names {
    prepared: HashMap<Vec<u8>, Candidates>,
    portals: HashMap<Vec<u8>, Portal>,
    cursors: HashMap<Vec<u8>, Candidates>,
    temporaries: Vec<Box<str>>,
    temporaries_overflow: bool,
}

/// What a name can mean. Empty: nothing this session made.
#[derive(Debug)]
pub(crate) enum Candidates {
    /// One of these.
    Few(Vec<Prepared>),
    /// More than anybody has a use for; nothing can be said, so nothing may run.
    TooMany,
}

impl Default for Candidates {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Names {
    pub(crate) fn has_room(&self) -> bool {
        self.prepared.len() < MAX_NAMES && self.portals.len() < MAX_NAMES && self.cursors.len() < MAX_NAMES
    }

    /// The server confirmed that the name now means this.
    pub(crate) fn set(&mut self, name: &[u8], prepared: Prepared) {
        match self.prepared.get_mut(name) {
            Some(Candidates::Few(known)) => {
                known.clear();
                known.push(prepared);
            }
            Some(many) => *many = Candidates::Few(vec![prepared]),
            None => {
                self.prepared.insert(name.to_vec(), Candidates::Few(vec![prepared]));
            }
        }
    }

    /// The name may mean this too.
    pub(crate) fn add(&mut self, name: &[u8], prepared: Prepared) {
        self.prepared.entry(limits::significant(name).to_vec()).or_default().add(prepared);
    }

    pub(crate) fn forget(&mut self, name: &[u8]) {
        self.prepared.remove(name);
    }

    /// Every named statement is gone. `DEALLOCATE ALL` keeps the unnamed one.
    pub(crate) fn forget_all(&mut self) {
        self.prepared.retain(|name, _| name.is_empty());
    }

    /// What a name can mean by what the server has answered so far; `None` where that is too much to say.
    pub(crate) fn confirmed(&self, name: &[u8]) -> Option<&[Prepared]> {
        match self.prepared.get(name) {
            None => Some(&[]),
            Some(Candidates::Few(few)) => Some(few),
            Some(Candidates::TooMany) => None,
        }
    }

    pub(crate) fn set_portal(&mut self, name: &[u8], portal: Portal) {
        match self.portals.get_mut(name) {
            Some(known) => *known = portal,
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

    pub(crate) fn close_portal(&mut self, name: &[u8]) {
        self.portals.remove(name);
    }

    /// Outside a transaction no portal lives but cursors `WITH HOLD`.
    pub(crate) fn end_transaction(&mut self) {
        if !self.portals.is_empty() {
            self.portals.clear();
        }
    }

    pub(crate) fn add_cursor(&mut self, name: &str, prepared: Prepared) {
        self.cursors.entry(limits::significant(name.as_bytes()).to_vec()).or_default().add(prepared);
    }

    pub(crate) fn cursors(&self, name: &str) -> Vec<Prepared> {
        let name = limits::significant(name.as_bytes());
        let portal = self.portals.get(name).map(|portal| Arc::clone(&portal.prepared));
        match self.cursors.get(name) {
            None => portal.into_iter().collect(),
            Some(Candidates::Few(few)) => few.iter().map(Arc::clone).chain(portal).collect(),
            Some(Candidates::TooMany) => Vec::new(),
        }
    }

    /// Whether the name is a cursor made by `DECLARE`: `Execute` may run it without a `Bind`.
    pub(crate) fn is_cursor(&self, name: &[u8]) -> bool {
        self.cursors.contains_key(name)
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

    pub(crate) fn may_be_temporary(&self, name: &str) -> bool {
        self.temporaries_overflow || self.temporaries.iter().any(|known| **known == *name)
    }
}

impl Candidates {
    fn add(&mut self, prepared: Prepared) {
        let Self::Few(few) = self else { return };
        if few.iter().any(|known| Arc::ptr_eq(known, &prepared)) {
            return;
        }
        if few.len() >= MAX_CANDIDATES {
            *self = Self::TooMany;
        } else {
            few.push(prepared);
        }
    }
}
