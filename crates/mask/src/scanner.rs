//! [`Scanner`]: everything that is looked for, found in one pass.
//!
//! **Promises.** One pass over the bytes stops at candidates only: runs of digits, `@`, `+`, the letters and signs that are
//! rare parts of prefixes. Finders run there. Regular expressions of the documents are searched for after it, one pass each.
//! Without a finding nothing is allocated. Time is linear in the text for every built-in detector; for an expression each
//! search is linear, and there is one search for each finding.
//!
//! **How to read it**: `walk` is the pass; [`Scanner::scan`] and [`Scanner::may_hit`] are the two ways to use it.

use std::{cmp::Reverse, ops::Range};

use crate::{
    Detector, Expression, Transform,
    find::{
        Edges, at, before, cards, digits, email, iban, jwt, keys::Keys, phone, private_key, runs::Runs, ssn,
    },
};

mod table;
#[cfg(test)]
mod tests;

use table::{AT, BACKSLASH, BEGIN, DIGIT, KEY, PLUS, TOKEN, Table};

/// Something found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Where in the text. Never empty.
    pub range: Range<usize>,
    /// Whose transform is used: the place of the rule in what the scanner was made from.
    pub rule: u16,
}

/// The detectors of several rules, compiled.
#[derive(Debug)]
pub struct Scanner {
    transforms: Box<[Transform]>,
    rules: Rules,
    expressions: Box<[(Expression, u16)]>,
    keys: Keys,
    /// Where the pass stops in a value, and in bytes that hold values.
    closed: Table,
    open: Table,
    strongest: u8,
    looks_around: bool,
}

/// For each built-in detector the rule whose transform is used.
#[derive(Debug, Default)]
struct Rules {
    card: Option<u16>,
    email: Option<u16>,
    ssn: Option<u16>,
    iban: Option<u16>,
    phone: Option<u16>,
    key: Option<u16>,
    token: Option<u16>,
    private_key: Option<u16>,
}

impl Scanner {
    /// Compiles the rules. Of several rules with one detector the strongest transform is used, of equals the first.
    ///
    /// What rules past the 65,535th look for is found, and redacted.
    pub fn new(rules: &[(Vec<Detector>, Transform)]) -> Self {
        // A place that is not there is redacted: see `strength` and `apply_hits`.
        let kept = rules.iter().take(usize::from(u16::MAX));
        let transforms: Box<[Transform]> = kept.map(|(_, transform)| transform.clone()).collect();
        let mut order: Vec<(u16, &[Detector], u8)> = rules
            .iter()
            .enumerate()
            .map(|(place, (detectors, transform))| {
                (u16::try_from(place).unwrap_or(u16::MAX), detectors.as_slice(), transform.strength())
            })
            .collect();
        order.sort_by_key(|(_, _, strength)| Reverse(*strength));
        let mut builtin = Rules::default();
        let mut expressions = Vec::new();
        for (rule, detectors, _) in &order {
            for detector in *detectors {
                match detector {
                    Detector::CreditCard => builtin.card.get_or_insert(*rule),
                    Detector::Email => builtin.email.get_or_insert(*rule),
                    Detector::UsSsn => builtin.ssn.get_or_insert(*rule),
                    Detector::Iban => builtin.iban.get_or_insert(*rule),
                    Detector::Phone => builtin.phone.get_or_insert(*rule),
                    Detector::ApiKey => builtin.key.get_or_insert(*rule),
                    Detector::Jwt => builtin.token.get_or_insert(*rule),
                    Detector::PrivateKey => builtin.private_key.get_or_insert(*rule),
                    Detector::Regex { regex, .. } => {
                        expressions.push((regex.clone(), *rule));
                        continue;
                    }
                };
            }
        }
        let keys = Keys::new();
        let closed = builtin.table(&keys);
        let open = closed.clone().with(b'\\', BACKSLASH);
        Self {
            strongest: order
                .iter()
                .find(|(_, detectors, _)| !detectors.is_empty())
                .map_or(0, |(_, _, strength)| *strength),
            looks_around: expressions
                .iter()
                .any(|(expression, _): &(Expression, u16)| expression.looks_around()),
            transforms,
            rules: builtin,
            expressions: expressions.into(),
            keys,
            closed,
            open,
        }
    }

    /// The rules' transforms; [`Hit::rule`] is a place in it.
    pub fn transforms(&self) -> &[Transform] {
        &self.transforms
    }

    /// The strength of the strongest rule that looks for anything; 0: none does.
    pub(crate) const fn strongest(&self) -> u8 {
        self.strongest
    }

    /// Whether what stands around a text may decide what is found in it.
    pub(crate) const fn looks_around(&self) -> bool {
        self.looks_around
    }

    /// Finds what is in one value: any bytes, not only UTF-8. What `hits` held is dropped.
    ///
    /// The hits are in order and do not overlap: where findings overlap there is one hit over all of them, with the strongest
    /// transform; of equally strong ones, the longer finding's.
    pub fn scan(&self, text: &[u8], hits: &mut Vec<Hit>) {
        hits.clear();
        self.walk::<false>(text, |range, rule| {
            hits.push(Hit { range, rule });
            false
        });
        for (expression, rule) in &self.expressions {
            hits.extend(
                expression.whole().find_iter(text).map(|found| Hit { range: found.range(), rule: *rule }),
            );
        }
        self.settle(hits);
    }

    /// Whether any value in these bytes may hold something: a whole row of a protocol, lengths and all, can be asked about.
    ///
    /// `false` is certain for every value that stands in the bytes in one piece, as it is or as JSON, `bytea` or the text
    /// format of `COPY` escape it: a backslash is a yes (but for `\N`, the null of `COPY`). `true` means nothing but that
    /// [`Scanner::scan`] must look at each value.
    pub fn may_hit(&self, bytes: &[u8]) -> bool {
        self.walk::<true>(bytes, |_, _| true)
            || self.expressions.iter().any(|(expression, _)| expression.may_match_within(bytes))
    }

    /// Makes overlapping hits one.
    pub(crate) fn settle(&self, hits: &mut Vec<Hit>) {
        if hits.len() < 2 {
            return;
        }
        hits.sort_by_key(|hit| (hit.range.start, Reverse(hit.range.end)));
        hits.dedup_by(|hit, kept| {
            if hit.range.start >= kept.range.end {
                return false;
            }
            let rank = |hit: &Hit| (self.strength(hit.rule), hit.range.len());
            if rank(hit) > rank(kept) {
                kept.rule = hit.rule;
            }
            kept.range.end = kept.range.end.max(hit.range.end);
            true
        });
    }

    /// The strength of a rule's transform; one that is not there hides all.
    fn strength(&self, rule: u16) -> u8 {
        self.transforms.get(usize::from(rule)).map_or(Transform::Redact.strength(), Transform::strength)
    }

    /// The pass. `found` says whether that was enough; the answer is whether it was. With `OPEN` edges a range is where a
    /// candidate begins.
    fn walk<const OPEN: bool>(&self, text: &[u8], mut found: impl FnMut(Range<usize>, u16) -> bool) -> bool {
        let (table, edges) = if OPEN { (&self.open, Edges::Open) } else { (&self.closed, Edges::Closed) };
        let mut runs = Runs::default();
        let mut past = Past::default();
        let mut at = 0;
        while let Some((place, class)) = table.next(text, at) {
            at = place + 1;
            if class & DIGIT != 0 {
                let run = place..place + digits(text, place, usize::MAX);
                at = run.end;
                if self.digits::<OPEN>(text, run, &mut past, &mut found) {
                    return true;
                }
                continue;
            }
            if class & AT != 0
                && let Some(rule) = self.rules.email
                && let Some(range) = email::find(text, place, edges)
                && found(range, rule)
            {
                return true;
            }
            if class & PLUS != 0
                && let Some(rule) = self.rules.phone
                && let Some(end) = phone::international(text, place, edges)
                && found(place..end, rule)
            {
                return true;
            }
            if class & KEY != 0
                && let Some(rule) = self.rules.key
                && self.keys.find(text, place, edges, &mut runs, |range| found(range, rule))
            {
                return true;
            }
            if class & TOKEN != 0
                && let Some(rule) = self.rules.token
                && text.get(..place).is_some_and(|head| head.ends_with(b"ey"))
            {
                if OPEN {
                    return true;
                }
                if place >= past.token
                    && let Some(range) = jwt::find(text, place, &mut runs)
                {
                    past.token = range.end;
                    if found(range, rule) {
                        return true;
                    }
                }
            }
            if class & BEGIN != 0
                && let Some(rule) = self.rules.private_key
                && private_key::may(text, place)
            {
                if OPEN {
                    return true;
                }
                if place >= past.private_key
                    && let Some(range) = private_key::find(text, place)
                {
                    past.private_key = range.end;
                    if found(range, rule) {
                        return true;
                    }
                }
            }
            // A backslash may hide anything: look closer.
            if OPEN && class & BACKSLASH != 0 && text.get(place + 1) != Some(&b'N') {
                return true;
            }
        }
        false
    }

    /// What may begin at a run of digits. Most runs are ruled out by their length and what stands beside them.
    fn digits<const OPEN: bool>(
        &self,
        text: &[u8],
        run: Range<usize>,
        past: &mut Past,
        found: &mut impl FnMut(Range<usize>, u16) -> bool,
    ) -> bool {
        let edges = if OPEN { Edges::Open } else { Edges::Closed };
        let length = run.len();
        let lettered = length >= 2 && before(text, run.start, 1).is_ascii_alphabetic();
        let joined = length >= 3 && matches!(at(text, run.end), b' ' | b'-' | b'.' | b'/' | b')');
        if lettered
            && let Some(rule) = self.rules.iban
            && let Some(range) = iban::find(text, &run, edges)
            && found(range, rule)
        {
            return true;
        }
        if !joined && length < ssn::BARE {
            return false;
        }
        if let Some(rule) = self.rules.card {
            if OPEN {
                if cards::may(text, &run) && found(run.clone(), rule) {
                    return true;
                }
            } else if run.start >= past.card
                && let Some(end) = cards::find(text, run.start)
            {
                past.card = end;
                if found(run.start..end, rule) {
                    return true;
                }
            }
        }
        if let Some(rule) = self.rules.ssn {
            if OPEN {
                if ssn::may(text, &run) && found(run.clone(), rule) {
                    return true;
                }
            } else if let Some(range) = ssn::find(text, &run, edges)
                && found(range, rule)
            {
                return true;
            }
        }
        if joined
            && let Some(rule) = self.rules.phone
            && let Some(range) = phone::north_american(text, &run, edges)
            && found(range, rule)
        {
            return true;
        }
        false
    }
}

/// Where the last finding of a kind ended whose parts could be findings again.
#[derive(Debug, Default)]
struct Past {
    card: usize,
    token: usize,
    private_key: usize,
}

impl Rules {
    fn table(&self, keys: &Keys) -> Table {
        let mut table = Table::default();
        if self.card.or(self.ssn).or(self.iban).or(self.phone).is_some() {
            (b'0'..=b'9').for_each(|byte| table.add(byte, DIGIT));
        }
        if self.phone.is_some() {
            table.add(b'+', PLUS);
        }
        if self.email.is_some() {
            table.add(b'@', AT);
        }
        if self.key.is_some() {
            keys.triggers().for_each(|byte| table.add(byte, KEY));
        }
        if self.token.is_some() {
            table.add(b'J', TOKEN);
        }
        if self.private_key.is_some() {
            table.add(b'B', BEGIN);
        }
        table
    }
}
