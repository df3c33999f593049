//! Findings in JSON text, exchanged so that it stays JSON.
//!
//! The text is scanned as it stands, which sees keys and values together. A string that holds a backslash is decoded and
//! scanned again, so `\u0040` hides no `@`. JSON inside a string of JSON is text: what is escaped twice is not decoded.
//! A finding in a number, `true`, `false` or `null` makes it `null`, as does `null` as a transform in a string; a key
//! becomes `"****"` then. A private key that does not end reaches to the end of the document. Text that is no JSON is hidden whole where anything is found or escaped in it.
//!
//! **References**: RFC 8259.

use std::ops::Range;

use super::{HIDDEN, Outcome, apply_hits};
use crate::{HashKey, Hit, Scanner};

/// A part of JSON text that has a value.
#[derive(Debug)]
enum Token {
    /// The content of a string, between its quotes.
    String { content: Range<usize>, escaped: bool },
    /// A number, `true`, `false` or `null`.
    Plain(Range<usize>),
}

/// The text is not JSON.
#[derive(Debug)]
struct Malformed;

/// Masks what is found in JSON text.
pub(super) fn mask(
    scanner: &Scanner,
    key: &HashKey,
    text: &[u8],
    hits: &mut Vec<Hit>,
    out: &mut Vec<u8>,
) -> Outcome {
    scanner.scan(text, hits);
    if hits.is_empty() && !scanner.looks_around() && !text.contains(&b'\\') {
        return Outcome::Unchanged;
    }
    let written = out.len();
    match (Masking { scanner, key, text, hits, out, copied: 0 }).run() {
        Ok(true) => Outcome::Written,
        Ok(false) => {
            out.truncate(written);
            Outcome::Unchanged
        }
        Err(Malformed) => {
            out.truncate(written);
            write_string(HIDDEN, out);
            Outcome::Written
        }
    }
}

struct Masking<'a> {
    scanner: &'a Scanner,
    key: &'a HashKey,
    text: &'a [u8],
    /// What was found in the text as it stands.
    hits: &'a [Hit],
    out: &'a mut Vec<u8>,
    /// How much of the text is written.
    copied: usize,
}

impl Masking<'_> {
    /// Whether anything was exchanged.
    fn run(mut self) -> Result<bool, Malformed> {
        let mut at = 0;
        let mut own = Vec::new();
        let mut decoded = Vec::new();
        while let Some(token) = next(self.text, at)? {
            let (range, Token::String { content, escaped }) = (token.range(), &token) else {
                at = token.range().end;
                let value = self.text.get(token.range()).unwrap_or_default();
                if self.scanner.looks_around() {
                    self.scanner.scan(value, &mut own);
                }
                if !own.is_empty() || self.raw(&token.range()).next().is_some() {
                    self.replace(token.range(), |out| out.extend_from_slice(b"null"));
                }
                own.clear();
                continue;
            };
            at = range.end;
            let value = self.text.get(content.clone()).unwrap_or_default();
            own.clear();
            if *escaped {
                decode(value, &mut decoded)?;
                self.scanner.scan(&decoded, &mut own);
                let mut places = Places::new(value);
                own.extend(self.raw(content).filter_map(|hit| places.decoded(hit)));
            } else {
                if self.scanner.looks_around() {
                    self.scanner.scan(value, &mut own);
                }
                own.extend(self.raw(content));
            }
            if own.is_empty() {
                continue;
            }
            self.scanner.settle(&mut own);
            let value = if *escaped { decoded.as_slice() } else { value };
            let mut shown = Vec::with_capacity(value.len());
            match apply_hits(&own, self.scanner.transforms(), self.key, value, &mut shown) {
                Outcome::Null if is_key(self.text, range.end) => {
                    self.replace(range, |out| write_string(HIDDEN, out))
                }
                Outcome::Null => self.replace(range, |out| out.extend_from_slice(b"null")),
                _ => self.replace(range, |out| write_string(&shown, out)),
            }
        }
        let changed = self.copied > 0;
        self.out.extend_from_slice(self.text.get(self.copied..).unwrap_or_default());
        Ok(changed)
    }

    /// The hits of the whole text that touch this part, cut to it and counted from its start.
    fn raw(&self, part: &Range<usize>) -> impl Iterator<Item = Hit> {
        let first = self.hits.partition_point(|hit| hit.range.end <= part.start);
        let part = part.clone();
        self.hits
            .get(first..)
            .unwrap_or_default()
            .iter()
            .take_while({
                let end = part.end;
                move |hit| hit.range.start < end
            })
            .map(move |hit| Hit {
                range: hit.range.start.max(part.start) - part.start..hit.range.end.min(part.end) - part.start,
                rule: hit.rule,
            })
    }

    fn replace(&mut self, range: Range<usize>, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.extend_from_slice(self.text.get(self.copied..range.start).unwrap_or_default());
        write(self.out);
        self.copied = range.end;
    }
}

impl Token {
    /// The token with its quotes.
    fn range(&self) -> Range<usize> {
        match self {
            Self::String { content, .. } => content.start - 1..content.end + 1,
            Self::Plain(range) => range.clone(),
        }
    }
}

/// The next token; `None`: there is none.
fn next(text: &[u8], from: usize) -> Result<Option<Token>, Malformed> {
    let rest = text.get(from..).unwrap_or_default();
    let between =
        |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'{' | b'}' | b'[' | b']' | b':' | b',');
    let start = from + rest.iter().take_while(between).count();
    let rest = text.get(start..).unwrap_or_default();
    let Some(first) = rest.first() else { return Ok(None) };
    if *first == b'"' {
        let mut escaped = false;
        let mut end = start + 1;
        loop {
            match text.get(end).ok_or(Malformed)? {
                b'"' => return Ok(Some(Token::String { content: start + 1..end, escaped })),
                b'\\' => {
                    escaped = true;
                    end += 2;
                }
                _ => end += 1,
            }
        }
    }
    let part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let length = rest.iter().take_while(part).count();
    let word = rest.get(..length).unwrap_or_default();
    let number = matches!(first, b'-' | b'0'..=b'9')
        && word.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    if number || matches!(word, b"true" | b"false" | b"null") {
        return Ok(Some(Token::Plain(start..start + length)));
    }
    Err(Malformed)
}

/// Whether what stands after a string makes it a key.
fn is_key(text: &[u8], end: usize) -> bool {
    let rest = text.get(end..).unwrap_or_default();
    rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// Whether the text is a JSON object, as far as its words and brackets tell.
pub(crate) fn is_object(text: &[u8]) -> bool {
    if text.first() != Some(&b'{') || std::str::from_utf8(text).is_err() {
        return false;
    }
    let (mut at, mut depth, mut opened) = (0, 0_usize, false);
    loop {
        let Ok(token) = next(text, at) else { return false };
        let start = token.as_ref().map_or(text.len(), |token| token.range().start);
        for byte in text.get(at..start).unwrap_or_default() {
            // Nothing but white space may follow the brace that closes the first one.
            if opened && depth == 0 && !byte.is_ascii_whitespace() {
                return false;
            }
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => match depth.checked_sub(1) {
                    Some(outer) => depth = outer,
                    None => return false,
                },
                _ => {}
            }
            opened = true;
        }
        let Some(token) = token else { return depth == 0 };
        if depth == 0 {
            return false;
        }
        at = token.range().end;
    }
}

/// The characters of a string's content. Half of a surrogate pair becomes U+FFFD.
fn decode(content: &[u8], decoded: &mut Vec<u8>) -> Result<(), Malformed> {
    decoded.clear();
    let mut rest = content;
    while let Some(place) = rest.iter().position(|byte| *byte == b'\\') {
        let (plain, escape) = rest.split_at(place);
        decoded.extend_from_slice(plain);
        let (character, length) = escaped(escape)?;
        decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = escape.get(length..).ok_or(Malformed)?;
    }
    decoded.extend_from_slice(rest);
    Ok(())
}

/// The character that an escape means, and how long the escape is.
fn escaped(escape: &[u8]) -> Result<(char, usize), Malformed> {
    let character = match escape.get(1).ok_or(Malformed)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let high = unit(escape, 2)?;
            if !(0xd800..0xdc00).contains(&high) {
                return Ok((char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 6));
            }
            let low = if escape.get(6..8) == Some(b"\\u") { unit(escape, 8)? } else { 0 };
            if !(0xdc00..0xe000).contains(&low) {
                return Ok((char::REPLACEMENT_CHARACTER, 6));
            }
            let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            return Ok((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12));
        }
        _ => return Err(Malformed),
    };
    Ok((character, 2))
}

/// The four hex digits there.
fn unit(escape: &[u8], from: usize) -> Result<u32, Malformed> {
    escape.get(from..from + 4).ok_or(Malformed)?.iter().try_fold(0, |unit, byte| {
        char::from(*byte).to_digit(16).map(|digit| unit << 4 | digit).ok_or(Malformed)
    })
}

/// From places in the content of a string to places in its characters, asked in order.
struct Places<'a> {
    content: &'a [u8],
    at: usize,
    decoded: usize,
}

impl<'a> Places<'a> {
    const fn new(content: &'a [u8]) -> Self {
        Self { content, at: 0, decoded: 0 }
    }

    /// The hit among the characters. One that begins inside an escape begins after it: the `n` of `\n` is no letter.
    fn decoded(&mut self, hit: Hit) -> Option<Hit> {
        let start = self.reach(hit.range.start);
        let end = self.reach(hit.range.end);
        (start < end).then_some(Hit { range: start..end, rule: hit.rule })
    }

    fn reach(&mut self, place: usize) -> usize {
        while self.at < place {
            let rest = self.content.get(self.at..).unwrap_or_default();
            let (width, length) = match rest.first() {
                Some(b'\\') => match escaped(rest) {
                    Ok((character, length)) => (character.len_utf8(), length),
                    Err(Malformed) => (1, 1),
                },
                _ => (1, 1),
            };
            self.at += length;
            self.decoded += width;
        }
        self.decoded
    }
}

/// Writes the text as a JSON string.
pub(crate) fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend([byte >> 4, byte & 15].map(crate::key::hex_digit));
            }
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}
