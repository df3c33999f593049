//! How often somebody may ask: token buckets, in a table of bounded size.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use portcullis_core::{PrincipalKey, Timestamp};

use crate::Problem;

/// Buckets kept at most, of each kind.
const MAX_BUCKETS: usize = 20_000;

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bucket {
    /// Of somebody known.
    Known,
    /// Of a source that nobody is known at.
    Unknown,
    /// Of a source whose tokens are not accepted.
    Failed,
}

impl Bucket {
    /// (at once, a second).
    const fn terms(self) -> (u32, u32) {
        match self {
            Self::Known => (400, 100),
            Self::Unknown => (100, 20),
            // Somebody who mistypes, or many behind one address with a token that has just ended; not somebody who guesses.
            Self::Failed => (60, 2),
        }
    }
}

/// Whom a limit is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Administrator,
    Principal(PrincipalKey),
    /// See [`Subject::source`].
    Source(IpAddr),
    /// Everybody for whom there is no place in the table.
    Crowd,
}

impl Subject {
    /// Where somebody comes from: of IPv6 the /64, of which every host has all addresses (RFC 4862, RFC 8981).
    pub(crate) const fn source(address: IpAddr) -> Self {
        let address = match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 @ IpAddr::V4(_) => v4,
        };
        Self::Source(address)
    }
}

/// All the buckets. Made empty.
#[derive(Debug, Default)]
pub struct RateLimits {
    known: Mutex<HashMap<Subject, Level>>,
    unknown: Mutex<HashMap<Subject, Level>>,
    failed: Mutex<HashMap<Subject, Level>>,
    told: Mutex<HashMap<Subject, Timestamp>>,
}

/// How full a bucket was, in thousandths of a question, and when.
#[derive(Clone, Copy, Debug)]
struct Level {
    left: u64,
    at: Timestamp,
}

const ONE: u64 = 1_000;

/// How often a source may put into the journal what nobody known did.
const TELL_EVERY: Duration = Duration::from_secs(60);

impl RateLimits {
    /// Whether what a source did is worth telling again: once in a minute.
    pub(crate) fn is_news(&self, subject: Subject, now: Timestamp) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.contains_key(&subject) && told.len() >= MAX_BUCKETS {
            told.retain(|_, at| now.since(*at) < TELL_EVERY);
        }
        let subject =
            if told.contains_key(&subject) || told.len() < MAX_BUCKETS { subject } else { Subject::Crowd };
        let is_news = told.get(&subject).is_none_or(|at| now.since(*at) >= TELL_EVERY);
        if is_news {
            told.insert(subject, now);
        }
        is_news
    }

    /// Takes one question out of the bucket.
    pub(crate) fn take(&self, bucket: Bucket, subject: Subject, now: Timestamp) -> Result<(), Problem> {
        let (burst, rate) = bucket.terms();
        let full = u64::from(burst).saturating_mul(ONE);
        let table = match bucket {
            Bucket::Known => &self.known,
            Bucket::Unknown => &self.unknown,
            Bucket::Failed => &self.failed,
        };
        let filled = |level: &Level| {
            let passed = u64::try_from(now.since(level.at).as_millis()).unwrap_or(u64::MAX);
            level.left.saturating_add(passed.saturating_mul(u64::from(rate))).min(full)
        };
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        let subject = if table.contains_key(&subject) {
            subject
        } else {
            if table.len() >= MAX_BUCKETS {
                // Full buckets say nothing.
                table.retain(|_, level| filled(level) < full);
            }
            if table.len() >= MAX_BUCKETS { Subject::Crowd } else { subject }
        };
        let level = table.entry(subject).or_insert(Level { left: full, at: now });
        *level = Level { left: filled(level), at: now.max(level.at) };
        if level.left < ONE {
            let wait = (ONE - level.left).div_ceil(u64::from(rate).max(1)).div_ceil(1_000).max(1);
            return Err(Problem::too_many(wait));
        }
        level.left -= ONE;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_and_is_nobody_elses() {
        let limits = RateLimits::default();
        let source = |last| Subject::Source(IpAddr::from([10, 0, 0, last]));
        let now = Timestamp::from_seconds(1_000);
        for _ in 0..60 {
            limits.take(Bucket::Failed, source(1), now).unwrap();
        }
        assert_eq!(limits.take(Bucket::Failed, source(1), now).unwrap_err().status(), 429);
        assert!(limits.take(Bucket::Failed, source(2), now).is_ok());
        let later = now.plus(Duration::from_secs(1));
        assert!(limits.take(Bucket::Failed, source(1), later).is_ok());
        assert!(limits.take(Bucket::Failed, source(1), later).is_ok());
        assert!(limits.take(Bucket::Failed, source(1), later).is_err());
    }

    #[test]
    fn a_host_is_one_source_whichever_of_its_addresses_it_uses() {
        let source = |text: &str| Subject::source(text.parse().unwrap());
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }

    #[test]
    fn the_table_does_not_grow_without_end() {
        let limits = RateLimits::default();
        let now = Timestamp::from_seconds(1_000);
        for n in 0..u32::try_from(MAX_BUCKETS).unwrap() + 50 {
            let _ = limits.take(Bucket::Unknown, Subject::Source(IpAddr::from(n.to_be_bytes())), now);
        }
        assert!(limits.unknown.lock().unwrap().len() <= MAX_BUCKETS + 1);
    }
}
