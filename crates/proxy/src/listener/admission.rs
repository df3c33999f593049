//! The limits on transports: how many in all, how many per source.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::workers::Place;

/// Who may still come in. Shared by all listeners.
#[derive(Debug)]
pub struct Admission {
    all: Arc<Semaphore>,
    per_source: u32,
    sources: Mutex<HashMap<IpAddr, u32>>,
}

/// A transport's place in the limits; dropping it frees the place.
#[must_use]
#[derive(Debug)]
pub struct Slot {
    _all: OwnedSemaphorePermit,
    counted: Option<(Arc<Admission>, IpAddr)>,
    /// On the worker that serves the transport, once that is decided.
    pub(super) place: Option<Place>,
}

/// Why a transport was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many transports as allowed are open.
    #[error("too many transports are open")]
    Full,
    /// As many transports as allowed are open from this source.
    #[error("too many transports are open from this source")]
    SourceFull,
}

impl Refused {
    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::SourceFull => "source_full",
        }
    }
}

impl Admission {
    /// At most `connections` transports, at most `per_source` of them from one IPv4 address or one IPv6 /64 (the
    /// smallest network an attacker holds: RFC 6177).
    pub fn new(connections: usize, per_source: u32) -> Arc<Self> {
        let all = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { all, per_source, sources: Mutex::default() })
    }

    /// Takes a place, counted to `source` at once where that is known already.
    ///
    /// # Errors
    /// There is none left.
    pub fn admit(self: &Arc<Self>, source: Option<IpAddr>) -> Result<Slot, Refused> {
        let all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| Refused::Full)?;
        let mut slot = Slot { _all: all, counted: None, place: None };
        if let Some(source) = source {
            self.count_source(&mut slot, source)?;
        }
        Ok(slot)
    }

    /// Counts a place to the source it turned out to be for.
    ///
    /// # Errors
    /// That source has all of its places.
    pub fn count_source(self: &Arc<Self>, slot: &mut Slot, source: IpAddr) -> Result<(), Refused> {
        let source = network(source);
        {
            let mut sources = self.sources();
            let count = sources.entry(source).or_insert(0);
            if *count >= self.per_source {
                return Err(Refused::SourceFull);
            }
            *count += 1;
        }
        // Assigned after the lock is released: a place counted before is given back here.
        slot.counted = Some((Arc::clone(self), source));
        Ok(())
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some((admission, source)) = self.counted.take() else { return };
        let mut sources = admission.sources();
        if let Some(count) = sources.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                sources.remove(&source);
            }
        }
    }
}

fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn all_sources_together_are_limited() {
        let admission = Admission::new(2, 10);
        let first = admission.admit(Some(ip("10.0.0.1"))).unwrap();
        let _second = admission.admit(Some(ip("10.0.0.2"))).unwrap();
        assert_eq!(admission.admit(Some(ip("10.0.0.3"))).unwrap_err(), Refused::Full);
        drop(first);
        assert!(admission.admit(Some(ip("10.0.0.3"))).is_ok());
    }

    #[test]
    fn one_source_is_limited_and_a_refusal_keeps_no_place() {
        let admission = Admission::new(3, 1);
        let held = admission.admit(Some(ip("10.0.0.1"))).unwrap();
        for _ in 0..5 {
            assert_eq!(admission.admit(Some(ip("10.0.0.1"))).unwrap_err(), Refused::SourceFull);
        }
        let _others =
            (admission.admit(Some(ip("10.0.0.2"))).unwrap(), admission.admit(Some(ip("10.0.0.3"))).unwrap());
        drop(held);
        assert!(admission.admit(Some(ip("10.0.0.1"))).is_ok());
    }

    #[test]
    fn an_ipv6_network_and_a_mapped_address_are_one_source() {
        let admission = Admission::new(10, 1);
        let _first = admission.admit(Some(ip("2001:db8::1"))).unwrap();
        assert_eq!(admission.admit(Some(ip("2001:db8::ffff:2"))).unwrap_err(), Refused::SourceFull);
        assert!(admission.admit(Some(ip("2001:db8:0:1::1"))).is_ok());
        let _v4 = admission.admit(Some(ip("192.0.2.1"))).unwrap();
        assert_eq!(admission.admit(Some(ip("::ffff:192.0.2.1"))).unwrap_err(), Refused::SourceFull);
    }

    #[test]
    fn sources_that_left_are_forgotten() {
        let admission = Admission::new(10, 5);
        drop(admission.admit(Some(ip("10.0.0.1"))).unwrap());
        assert!(admission.sources().is_empty());
    }
}
