//! What happened to an event: the frame at a place is not the event that was signed there. The leaf hashes, which are signed,
//! say which payload belongs to which sequence; so a payload that was moved, repeated or pushed aside is recognised.

use super::{Cause, Finding, What, segment::Segment};
use crate::{Hash, notary::session_of};

/// How far before and behind a place is looked.
const NEAR: u64 = 1024;

/// The place, and what was signed: `leaf(n)` is the leaf hash of event `n`, `None` where there is none.
pub(super) struct Place<'a> {
    pub(super) segment: &'a Segment,
    pub(super) offset: usize,
    pub(super) sequence: u64,
}

impl Place<'_> {
    fn finding(&self, what: What, cause: Cause, text: String) -> Finding {
        Finding::new(what, cause, &self.segment.path, text).at(self.offset as u64).event(self.sequence)
    }

    /// The frame is whole, has this sequence, and another content than was signed.
    pub(super) fn other_content(&self, leaf: &mut dyn FnMut(u64) -> Option<Hash>) -> Finding {
        let mut scratch = Vec::new();
        let mut is = |payload: &[u8], sequence: u64| {
            leaf(sequence) == Some(Hash::of_event(sequence, payload, &mut scratch))
        };
        let here = self.sequence;
        let mut frames = self.segment.frames(self.offset).map(|(_, payload)| payload).take(NEAR as usize);
        let payload = frames.next().unwrap_or_default();
        let behind = (1..).zip(frames).find(|(_, payload)| is(payload, here)).map(|(distance, _)| distance);
        let came_from = (here + 1..here + NEAR).find(|other| is(payload, *other));
        let copy_of = (here.saturating_sub(NEAR)..here).rev().find(|other| is(payload, *other));
        let (what, text) = match (behind, came_from, copy_of) {
            (Some(_), Some(other), _) => (
                What::Reordered,
                format!("event {other} stands in the place of event {here}, which follows later"),
            ),
            (Some(_), None, Some(other)) => {
                (What::Duplicated, format!("event {other} is repeated in the place of event {here}"))
            }
            (Some(more), None, None) => {
                (What::Inserted, format!("{more} events that were never signed stand before event {here}"))
            }
            (None, Some(other), _) => {
                let last = other - 1;
                let gone = if last == here {
                    format!("event {here} is")
                } else {
                    format!("events {here} to {last} are")
                };
                (What::Missing, format!("{gone} gone, and what follows was given other numbers"))
            }
            (None, None, Some(other)) => {
                (What::Duplicated, format!("a copy of event {other} stands in the place of event {here}"))
            }
            (None, None, None) => {
                (What::Altered, format!("event {here} was rewritten: its hash is not the signed one"))
            }
        };
        let mut finding = self.finding(what, Cause::Intent, format!("{text}; the checksum was made to fit"));
        finding.session = session_of(payload);
        finding
    }

    /// The frame is whole and says another sequence.
    pub(super) fn other_sequence(&self, says: u64) -> Finding {
        let here = self.sequence;
        let mut frames = self.segment.frames(self.offset);
        let payload = frames.next().map(|(_, payload)| payload).unwrap_or_default();
        let follows = frames.take(NEAR as usize).any(|(sequence, _)| sequence == here);
        let (what, text) = match (says > here, follows) {
            (true, true) => (
                What::Reordered,
                format!("event {says} stands in the place of event {here}, which follows later"),
            ),
            (true, false) => (
                What::Missing,
                match says - here {
                    1 => format!("event {here} is gone: event {says} follows"),
                    _ => format!("events {here} to {} are gone: event {says} follows", says - 1),
                },
            ),
            (false, _) => {
                (What::Duplicated, format!("event {says} is repeated in the place of event {here}"))
            }
        };
        let mut finding = self.finding(what, Cause::Intent, format!("{text}; every checksum fits"));
        finding.session = session_of(payload);
        finding
    }

    /// The frame's own checksum or length is wrong.
    pub(super) fn damaged(&self, fault: crate::format::FrameFault) -> Finding {
        let here = self.sequence;
        let goes_on = self.segment.goes_on_after(self.offset, here);
        let (what, how) = match goes_on {
            true => (What::Altered, "events follow it"),
            false => (What::Truncated, "no event follows it in this segment"),
        };
        let text = format!(
            "event {here}: {fault}, and {how}: a damaged disk or copy, or somebody who did not mind the checksum"
        );
        let mut finding = self.finding(what, Cause::Accident, text);
        finding.session = session_of(self.segment.claimed(self.offset));
        finding
    }
}
