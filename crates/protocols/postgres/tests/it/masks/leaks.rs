//! Looks for values, and for what is left of them in disguise, in whatever bytes came out.

use std::collections::{HashMap, HashSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// How closely to look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Pieces of six characters, reversed, in another case, as hex, base64, digests, binary numbers.
    Disguised,
    /// The values whole, as they are written.
    Plain,
    /// As disguised, but pieces of nine characters: among timestamps and other numbers, six digits come by themselves.
    Files,
}

/// Patterns by their length, each with the value it is of.
#[derive(Default)]
struct Patterns {
    by_length: HashMap<usize, HashMap<Vec<u8>, usize>>,
    /// Whether any begins with these four bytes, by a hash of theirs: most places need no other look.
    begins: Vec<bool>,
}

impl Patterns {
    fn add(&mut self, pattern: Vec<u8>, of: usize) {
        self.begins.resize(1 << 16, false);
        // Shorter ones would be found by chance.
        assert!(pattern.len() >= 4, "{pattern:?}");
        self.begins[beginning(&pattern)] = true;
        self.by_length.entry(pattern.len()).or_default().insert(pattern, of);
    }

    /// The pattern that is at the beginning of `rest`: its length and whose it is.
    fn at(&self, rest: &[u8]) -> Option<(usize, usize)> {
        if rest.len() < 4 || !self.begins.get(beginning(rest)).copied().unwrap_or(false) {
            return None;
        }
        self.by_length.iter().find_map(|(&length, set)| Some((length, *set.get(rest.get(..length)?)?)))
    }
}

fn beginning(bytes: &[u8]) -> usize {
    let four = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    (four.wrapping_mul(0x9e37_79b1) >> 16) as usize
}

#[derive(Default)]
pub struct Scanner {
    /// Looked for in lower case.
    text: Patterns,
    /// Looked for as they are.
    bytes: Patterns,
    /// Looked for in text without separators.
    joined: Patterns,
    values: Vec<String>,
}

impl Scanner {
    pub fn new<'a>(values: impl IntoIterator<Item = &'a String>, look: Look) -> Self {
        let mut scanner = Self::default();
        for value in values {
            scanner.values.push(value.clone());
            scanner.learn(value, look);
        }
        scanner
    }

    /// Also looks for `disguise` (a digest, say) of a value.
    pub fn also(&mut self, value: &str, disguise: &str) {
        self.values.push(value.to_owned());
        self.add_text(disguise.as_bytes());
    }

    fn add_text(&mut self, pattern: &[u8]) {
        let of = self.values.len() - 1;
        self.text.add(pattern.to_ascii_lowercase(), of);
    }

    fn add_bytes(&mut self, pattern: &[u8]) {
        let of = self.values.len() - 1;
        self.bytes.add(pattern.to_vec(), of);
    }

    fn learn(&mut self, value: &str, look: Look) {
        if look == Look::Plain {
            self.add_text(value.as_bytes());
            self.add_text(hex(value.as_bytes()).as_bytes());
            return;
        }
        let size = if look == Look::Files { 9.min(value.len()) } else { 6 };
        let digits: String = value.chars().filter(char::is_ascii_digit).collect();
        let reversed: Vec<u8> = value.bytes().rev().collect();
        let mut forms = vec![value.as_bytes().to_vec(), reversed];
        // Half of a short number is no number.
        if digits.len() >= 9 {
            forms.push(digits.clone().into_bytes());
        }
        for form in &forms {
            for piece in form.windows(size) {
                self.add_text(piece);
                self.add_text(hex(piece).as_bytes());
            }
            for piece in form.windows(9) {
                self.add_text(STANDARD.encode(piece).as_bytes());
            }
        }
        let of = self.values.len() - 1;
        for piece in digits.as_bytes().windows(9) {
            self.joined.add(piece.to_vec(), of);
        }
        if let Ok(number) = value.parse::<i64>() {
            self.add_bytes(&number.to_be_bytes());
            #[expect(clippy::cast_precision_loss, reason = "as the server casts")]
            self.add_bytes(&(number as f64).to_be_bytes());
            self.add_text(format!("{number:x}").as_bytes());
            // The middle groups of a numeric, which is written in groups of four digits.
            let groups: Vec<u8> = groups(value).into_iter().flat_map(u16::to_be_bytes).collect();
            self.add_bytes(&groups);
        }
        if let [year, month, day] = value.split('-').collect::<Vec<_>>()[..]
            && let (4, Ok(year), Ok(month), Ok(day)) =
                (year.len(), year.parse::<i32>(), month.parse::<i32>(), day.parse::<i32>())
        {
            self.add_bytes(&(days(year, month, day) - days(2000, 1, 1)).to_be_bytes());
            self.add_text(format!("{day:02}.{month:02}.{year}").as_bytes());
        }
    }

    /// The first values found, with where.
    pub fn find(&self, haystack: &[u8]) -> Vec<String> {
        let mut found = HashSet::new();
        let lower = haystack.to_ascii_lowercase();
        self.slide(&self.text, &lower, &mut found);
        self.slide(&self.bytes, haystack, &mut found);
        let joined: Vec<u8> = lower.iter().copied().filter(|byte| !b"-_ ./:".contains(byte)).collect();
        self.slide(&self.joined, &joined, &mut found);
        let mut found: Vec<String> = found.into_iter().collect();
        found.sort();
        found
    }

    fn slide(&self, patterns: &Patterns, haystack: &[u8], found: &mut HashSet<String>) {
        for at in 0..haystack.len() {
            if let Some((length, of)) = patterns.at(&haystack[at..]) {
                let around = &haystack[at.saturating_sub(24)..(at + length + 24).min(haystack.len())];
                let around = String::from_utf8_lossy(around).escape_debug().to_string();
                found.insert(format!("`{}` in `{around}`", self.values[of]));
                if found.len() > 3 {
                    return;
                }
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn groups(digits: &str) -> Vec<u16> {
    let first = digits.len() % 4;
    let padded = if first == 0 { digits.to_owned() } else { format!("{}{digits}", "0".repeat(4 - first)) };
    padded.as_bytes().chunks(4).map(|four| std::str::from_utf8(four).unwrap().parse().unwrap()).collect()
}

/// Days since some day (Howard Hinnant's `days_from_civil`).
fn days(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year
}

#[test]
fn a_value_is_found_in_every_disguise() {
    let card = "4539577482337259".to_owned();
    let scanner =
        Scanner::new([&card, &"1961-07-19".to_owned(), &"quixzoa.wyrtk".to_owned()], Look::Disguised);
    let said = |text: &str| !scanner.find(text.as_bytes()).is_empty();
    for text in [
        "x4539577482337259y",
        "577482",
        "284775",
        "4539-5774-8233-7259",
        "343533393537",
        "NDUzOTU3NzQ4MjMzNzI1OQ==",
        "1020a0b1c2d3b",
        "QUIXZOA",
        "19.07.1961",
    ] {
        let hexed = format!("{:x}", 4_539_577_482_337_259_i64);
        assert!(said(text) || text.starts_with("1020") && said(&hexed), "{text}");
    }
    assert!(!scanner.find(&4_539_577_482_337_259_i64.to_be_bytes()).is_empty());
    assert!(!scanner.find(&(-14_045_i32).to_be_bytes()).is_empty());
    assert!(!scanner.find(&[0x11, 0xbb, 0x16, 0x8e, 0x20, 0x29, 0x1c, 0x5b]).is_empty());
    assert!(scanner.find(b"************7259, 2024-02-01, 45395").is_empty());
}
