//! A row of `runs`: allowed decisions of one session and one shape, one after the other in a few bytes each.
//!
//! ```text
//! event    := sequence time number binds literal*      one literal per hole of the shape's text, where the row has literals
//! sequence := varint, the difference to the one before; to the row's `first` for the first
//! time     := zigzag varint, microseconds, the difference to the one before; to 1970 for the first
//! number   := zigzag varint, the difference to the one before; to 0 for the first
//! binds    := 0 | 1 16 bytes | 2 length bytes           none, 32 lower-case hex digits, anything else
//! literal  := length bytes
//! length   := varint
//! varint   := seven bits per byte, the low ones first, the high bit set on all but the last
//! ```

use std::sync::Arc;

use crate::template;

/// Events of one row lie less than this apart: as many as are indexed together.
pub(crate) const SPAN: u64 = 1000;

const NO_BINDS: u8 = 0;
const FINGERPRINT: u8 = 1;
const OTHER_BINDS: u8 = 2;

/// What one event of a run has of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member<T> {
    pub(crate) sequence: u64,
    pub(crate) at: i64,
    pub(crate) number: u64,
    pub(crate) binds: Option<T>,
}

/// A row being made.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) since: i64,
    pub(crate) until: i64,
    pub(crate) count: u64,
    pub(crate) events: Vec<u8>,
    at: i64,
    number: u64,
}

impl Run {
    pub(crate) const fn new(first: u64) -> Self {
        Self {
            first,
            last: first,
            since: i64::MAX,
            until: i64::MIN,
            count: 0,
            events: Vec::new(),
            at: 0,
            number: 0,
        }
    }

    /// Appends an event: sequences only grow.
    pub(crate) fn push<'a>(&mut self, member: &Member<&str>, literals: impl Iterator<Item = &'a str>) {
        let out = &mut self.events;
        varint(out, member.sequence.saturating_sub(self.last));
        varint(out, zigzag(member.at.wrapping_sub(self.at)));
        varint(out, zigzag(member.number.wrapping_sub(self.number).cast_signed()));
        match member.binds {
            None => out.push(NO_BINDS),
            Some(binds) => match fingerprint(binds) {
                Some(bytes) => {
                    out.push(FINGERPRINT);
                    out.extend_from_slice(&bytes);
                }
                None => {
                    out.push(OTHER_BINDS);
                    text(out, binds);
                }
            },
        }
        literals.for_each(|literal| text(out, literal));
        (self.last, self.at, self.number) = (member.sequence, member.at, member.number);
        (self.since, self.until) = (self.since.min(member.at), self.until.max(member.at));
        self.count += 1;
    }
}

/// Reads a row back, one event after the other. Ends with `None` and [`Members::is_damaged`] where the bytes are none of ours.
#[derive(Debug)]
pub(crate) struct Members<'a> {
    bytes: &'a [u8],
    sequence: u64,
    at: i64,
    number: u64,
    holes: usize,
    damaged: bool,
}

impl<'a> Members<'a> {
    /// `text` is the shape's, `None` where the row has no literals.
    pub(crate) fn new(first: u64, bytes: &'a [u8], text: Option<&str>) -> Self {
        let holes = text.map_or(0, template::holes);
        Self { bytes, sequence: first, at: 0, number: 0, holes, damaged: false }
    }

    pub(crate) const fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// The next event, and its literals.
    pub(crate) fn next(&mut self) -> Option<(Member<String>, Vec<&'a str>)> {
        if self.bytes.is_empty() || self.damaged {
            return None;
        }
        let next = self.decode();
        self.damaged = next.is_none();
        next
    }

    fn decode(&mut self) -> Option<(Member<String>, Vec<&'a str>)> {
        self.sequence = self.sequence.checked_add(self.varint()?)?;
        self.at = self.at.wrapping_add(unzigzag(self.varint()?));
        self.number = self.number.wrapping_add(unzigzag(self.varint()?).cast_unsigned());
        let (tag, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        let binds = match *tag {
            NO_BINDS => None,
            FINGERPRINT => {
                let (bytes, rest) = self.bytes.split_first_chunk::<16>()?;
                self.bytes = rest;
                Some(format!("{:032x}", u128::from_be_bytes(*bytes)))
            }
            OTHER_BINDS => Some(self.text()?.to_owned()),
            _ => return None,
        };
        let literals = (0..self.holes).map(|_| self.text()).collect::<Option<_>>()?;
        Some((Member { sequence: self.sequence, at: self.at, number: self.number, binds }, literals))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (text, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        std::str::from_utf8(text).ok()
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// The text of an event: the shape's own, or that with the event's literals.
pub(crate) fn text_of(shape: &Arc<str>, has_literals: bool, literals: Vec<&str>) -> Option<Arc<str>> {
    match has_literals {
        false => Some(Arc::clone(shape)),
        true => template::join(shape, literals.into_iter()).map(Into::into),
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn text(out: &mut Vec<u8>, text: &str) {
    varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

const fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// A keyed fingerprint as its sixteen bytes.
fn fingerprint(binds: &str) -> Option<[u8; 16]> {
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if binds.len() != 32 || !binds.bytes().all(lower_hex) {
        return None;
    }
    u128::from_str_radix(binds, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(sequence: u64, at: i64, number: u64, binds: Option<&str>) -> Member<&str> {
        Member { sequence, at, number, binds }
    }

    fn read(first: u64, bytes: &[u8], text: Option<&str>) -> Option<Vec<(Member<String>, Vec<String>)>> {
        let mut members = Members::new(first, bytes, text);
        let mut out = Vec::new();
        while let Some((member, literals)) = members.next() {
            out.push((member, literals.into_iter().map(str::to_owned).collect()));
        }
        (!members.is_damaged()).then_some(out)
    }

    #[test]
    fn events_come_back_as_they_were() {
        let hex = "00112233445566778899aabbccddeeff";
        let events = [
            (member(900, 1_790_000_000_000_001, 7, Some(hex)), ["1", "'a'"]),
            (member(901, 1_789_999_999_999_999, 8, None), ["", "x"]),
            (member(1_899, i64::MIN, u64::MAX, Some("NOT HEX")), ["12345678901234567890", "''"]),
            (member(1_900, i64::MAX, 0, Some("00112233445566778899AABBCCDDEEFF")), ["0", "0"]),
        ];
        let mut run = Run::new(900);
        for (member, literals) in &events {
            run.push(member, literals.iter().copied());
        }
        assert_eq!((run.first, run.last, run.count), (900, 1_900, 4));
        assert_eq!((run.since, run.until), (i64::MIN, i64::MAX));
        let back = read(900, &run.events, Some("a \u{1} b \u{1}")).unwrap();
        assert_eq!(back.len(), events.len());
        for ((member, literals), (back, back_literals)) in events.iter().zip(&back) {
            assert_eq!((back.sequence, back.at, back.number), (member.sequence, member.at, member.number));
            assert_eq!(back.binds.as_deref(), member.binds);
            assert_eq!(back_literals, literals);
        }
    }

    #[test]
    fn a_point_query_takes_a_few_bytes() {
        let mut run = Run::new(0);
        for n in 0..100_u64 {
            let literal = format!("{}", 100_000 + n);
            run.push(
                &member(n * 4, 1_790_000_000_000_000 + n.cast_signed() * 50, n, None),
                [literal.as_str()].into_iter(),
            );
        }
        assert!(run.events.len() < 100 * 14, "{}", run.events.len());
    }

    #[test]
    fn bytes_cut_anywhere_or_foreign_are_damage_and_never_a_panic() {
        let mut run = Run::new(5);
        run.push(&member(5, 1_790_000_000_000_000, 1, Some("x")), ["lit"].into_iter());
        for end in 1..run.events.len() {
            assert_eq!(read(5, &run.events[..end], Some("\u{1}")), None, "{end}");
        }
        assert_eq!(read(5, &[0xff; 40], Some("\u{1}")), None);
        assert_eq!(read(u64::MAX, &[1, 0, 0, 0], None), None);
        assert_eq!(read(5, &[0, 0, 0, 9], None), None);
    }
}
