//! [`Places`]: how many answers that take long one principal may wait for at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use portcullis_core::PrincipalKey;

use crate::Problem;

/// After how many seconds to ask again.
const AGAIN: u64 = 5;

/// Places of each principal; the admin token is one.
#[derive(Debug)]
pub(crate) struct Places {
    own: usize,
    taken: Mutex<HashMap<Option<PrincipalKey>, usize>>,
}

/// One place, given back when dropped.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub(crate) struct Taken {
    places: Arc<Places>,
    who: Option<PrincipalKey>,
}

impl Places {
    /// So many for each.
    pub(crate) fn new(own: usize) -> Arc<Self> {
        Arc::new(Self { own, taken: Mutex::default() })
    }

    /// A place for a principal, where one is left.
    pub(crate) fn take(self: &Arc<Self>, who: Option<PrincipalKey>) -> Result<Taken, Problem> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&who).copied().unwrap_or_default();
        if own >= self.own {
            return Err(Problem::too_many(AGAIN));
        }
        taken.insert(who.clone(), own + 1);
        Ok(Taken { places: Arc::clone(self), who })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.who) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_has_so_many_places_and_gets_them_back() {
        let places = Places::new(2);
        let who = |id: &str| {
            Some(PrincipalKey { provider: "entra".to_owned(), tenant: None, object_id: id.to_owned() })
        };
        let first = places.take(who("a")).unwrap();
        let _second = places.take(who("a")).unwrap();
        assert_eq!(places.take(who("a")).unwrap_err().status(), 429);
        let _others = (places.take(who("b")).unwrap(), places.take(None).unwrap());
        drop(first);
        let third = places.take(who("a")).unwrap();
        assert!(places.take(who("a")).is_err());
        drop(third);
        assert_eq!(places.taken.lock().unwrap().len(), 3);
    }
}
