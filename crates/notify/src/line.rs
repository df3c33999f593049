//! The line of notices before one channel: which is tried when, and when it is given up. No I/O and no tasks; `now` is passed
//! in, jitter comes from a seed.
//!
//! A failure is the message's or the channel's. The message's (a 500) puts off that message. The channel's (no transport, a
//! timeout, 429) puts off everything for the channel: one message tries the door, the others wait behind it and are not
//! counted as tried.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    Notice, NoticeId,
    failed::{Again, Failed},
};

#[cfg(test)]
mod tests;

/// When a delivery is tried again, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The pause after the first attempt; it doubles with each. Up to a quarter is taken off by chance, so that what failed
    /// together is not tried together.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// The longest pause a server may ask for with `Retry-After`.
    pub longest_asked: Duration,
    /// Most attempts.
    pub attempts: u32,
    /// How long after it happened a notice is given up.
    pub give_up: Duration,
}

impl Default for Schedule {
    /// 1 s, 2 s, 4 s … 10 min; 12 attempts or 6 hours; `Retry-After` up to an hour.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(600),
            longest_asked: Duration::from_secs(3_600),
            attempts: 12,
            give_up: Duration::from_secs(6 * 3_600),
        }
    }
}

/// One notice in the line.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) notice: Arc<Notice>,
    pub(crate) attempts: u32,
    due: Instant,
    give_up: Instant,
}

/// The line.
#[derive(Debug)]
pub(crate) struct Line {
    schedule: Schedule,
    random: Random,
    jobs: VecDeque<Job>,
    /// The one that is being tried.
    trying: Option<Job>,
    /// While the channel rests: until when, and why.
    rests: Option<(Instant, String)>,
    /// Attempts in a row that failed for the channel's sake.
    failures: u32,
}

/// What to do now.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing is there.
    Idle,
    /// Nothing before then.
    At(Instant),
    /// Try this one, then call [`Line::settle`].
    Try(Job),
    /// Its time is over while it waited; the text says what it waited for.
    TooLate(Job, String),
}

/// What became of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The channel took it; the text says what went wrong besides.
    Delivered(Option<String>),
    /// It is in the line again, for so long at least.
    Again(Duration, String),
    /// It is out.
    Failed(String),
    /// It was taken out meanwhile ([`Line::clear`]); whoever did that has told what became of it.
    Gone,
}

impl Line {
    pub(crate) const fn new(schedule: Schedule, seed: u64) -> Self {
        Self { schedule, random: Random(seed), jobs: VecDeque::new(), trying: None, rests: None, failures: 0 }
    }

    /// Takes a notice that was tried `attempts` times before and happened `age` ago.
    pub(crate) fn push(&mut self, notice: Arc<Notice>, attempts: u32, age: Duration, now: Instant) {
        let give_up = now.checked_add(self.schedule.give_up.saturating_sub(age)).unwrap_or(now);
        self.jobs.push_back(Job { notice, attempts, due: now, give_up });
    }

    pub(crate) fn has(&self, notice: NoticeId) -> bool {
        self.jobs.iter().chain(&self.trying).any(|job| job.notice.id == notice)
    }

    /// Everything may be tried now: the channel is another one.
    pub(crate) fn refresh(&mut self, now: Instant) {
        self.rests = None;
        self.failures = 0;
        for job in &mut self.jobs {
            job.due = now;
        }
    }

    /// Takes everything out, what is being tried included.
    pub(crate) fn clear(&mut self) -> Vec<Job> {
        self.trying.take().into_iter().chain(self.jobs.drain(..)).collect()
    }

    pub(crate) fn next(&mut self, now: Instant) -> Next {
        if let Some(late) = self.jobs.iter().position(|job| job.give_up <= now) {
            let why =
                self.rests.as_ref().map_or_else(|| "its time was over".to_owned(), |(_, why)| why.clone());
            return self.jobs.remove(late).map_or(Next::Idle, |job| Next::TooLate(job, why));
        }
        let Some(soonest) = self.jobs.iter().map(|job| job.due).min() else { return Next::Idle };
        let opens = self.rests.as_ref().map_or(now, |(until, _)| *until).max(soonest);
        if opens > now {
            let first_over = self.jobs.iter().map(|job| job.give_up).min().unwrap_or(opens);
            return Next::At(opens.min(first_over));
        }
        let first = self.jobs.iter().position(|job| job.due <= now);
        self.trying = first.and_then(|at| self.jobs.remove(at));
        self.trying.clone().map_or(Next::Idle, Next::Try)
    }

    /// What this outcome of the attempt means; where it is tried again, it is back in the line.
    pub(crate) fn settle(&mut self, outcome: Result<Option<String>, Failed>, now: Instant) -> Settled {
        let Some(mut job) = self.trying.take() else { return Settled::Gone };
        job.attempts = job.attempts.saturating_add(1);
        let failed = match outcome {
            Ok(note) => {
                self.answered();
                return Settled::Delivered(note);
            }
            Err(failed) => failed,
        };
        let reason = failed.to_string();
        let pause = match failed.again {
            Again::Never => {
                self.answered();
                return Settled::Failed(reason);
            }
            Again::Message => {
                self.answered();
                self.pause(job.attempts)
            }
            Again::Channel(asked) => {
                self.failures = self.failures.saturating_add(1);
                let asked = asked.unwrap_or_default().min(self.schedule.longest_asked);
                let pause = self.pause(self.failures.max(job.attempts)).max(asked);
                self.rests = now.checked_add(pause).map(|until| (until, reason.clone()));
                pause
            }
        };
        let due = now.checked_add(pause).unwrap_or(now);
        if job.attempts >= self.schedule.attempts || due >= job.give_up {
            return Settled::Failed(format!("{reason} (given up after {} attempts)", job.attempts));
        }
        job.due = due;
        // In front: the oldest tries the door.
        self.jobs.push_front(job);
        Settled::Again(pause, reason)
    }

    fn answered(&mut self) {
        self.rests = None;
        self.failures = 0;
    }

    fn pause(&mut self, attempts: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        let full = self.schedule.first.saturating_mul(doubled).min(self.schedule.longest);
        let off = (full.as_nanos() / 4).saturating_mul(u128::from(self.random.next() >> 32)) >> 32;
        full.saturating_sub(Duration::from_nanos(u64::try_from(off).unwrap_or(0)))
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough to keep gateways from knocking together, and nothing else depends on it.
#[derive(Debug)]
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
