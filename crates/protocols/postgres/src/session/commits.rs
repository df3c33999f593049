//! What ran in the open transaction whose commit may have to wait for a person: rows, by rule, as the server counts them.
//!
//! INVARIANT(commit-counts): a statement that a rule wants to see before it is committed is counted, or counts as too much: one whose
//! rows the server does not tell, one whose end was not seen. What is rolled back to a savepoint still counts.

use std::{collections::VecDeque, sync::Arc};

use portcullis_access::requests::Ran;
use portcullis_core::{ResourceRef, RuleRef};
use portcullis_policy::capability::COUNTED;

/// The most statements that an approver is shown, and how much of the text of each.
const SHOWN: usize = 100;
const SHOWN_TEXT: usize = 2 * 1024;

/// A statement whose commit may have to wait.
#[derive(Debug, Clone)]
pub(crate) struct Gated {
    pub(crate) text: Arc<str>,
    pub(crate) resources: Arc<[ResourceRef]>,
    /// The rules, and how many rows each lets pass.
    pub(crate) rules: Vec<(RuleRef, u64)>,
    /// The server's count tells of everything that it changes.
    pub(crate) counted: bool,
}

/// Everything of the open transaction.
#[derive(Debug, Default)]
pub(crate) struct Commits(Option<Box<Open>>);

#[derive(Debug, Default)]
struct Open {
    /// Sent, not known to have ended.
    sent: VecDeque<(u64, Arc<Gated>)>,
    totals: Vec<Total>,
    ran: Vec<Ran>,
    more: u64,
    resources: Vec<ResourceRef>,
}

#[derive(Debug, Clone)]
struct Total {
    rule: RuleRef,
    rows_over: u64,
    rows: u64,
    uncounted: bool,
}

/// What somebody has to see before it is committed.
#[derive(Debug, Clone)]
pub(crate) struct TooMuch {
    pub(crate) rules: Vec<RuleRef>,
    /// Rows, where all were counted.
    pub(crate) rows: Option<u64>,
    pub(crate) ran: Vec<Ran>,
    /// Statements that ran besides those.
    pub(crate) more: u64,
    pub(crate) resources: Vec<ResourceRef>,
}

impl Commits {
    /// Whether the transaction holds anything that counts.
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// A statement is sent, whose end is told under this number.
    pub(crate) fn sent(&mut self, number: u64, gated: Arc<Gated>) {
        self.0.get_or_insert_default().sent.push_back((number, gated));
    }

    /// A statement ended with this tag; a portal that has more to give has none.
    pub(crate) fn ended(&mut self, number: u64, tag: Option<&str>) {
        let Some(open) = &mut self.0 else { return };
        let Some(at) = open.sent.iter().position(|(sent, _)| *sent == number) else { return };
        if let Some((number, gated)) = open.sent.remove(at) {
            let rows = tag.and_then(rows_of).filter(|_| gated.counted);
            open.add(number, &gated, rows);
        }
    }

    /// An error: nothing that was sent and has not ended does any more. No statement that counts is sent before all others are
    /// answered, so that it is of what failed or stands behind it.
    pub(crate) fn failed(&mut self) {
        if let Some(open) = &mut self.0 {
            open.sent.clear();
            if open.totals.is_empty() {
                self.0 = None;
            }
        }
    }

    /// The transaction is over: what has ended was part of it.
    pub(crate) fn closed(&mut self) {
        if let Some(open) = &mut self.0 {
            let sent = std::mem::take(&mut open.sent);
            self.0 = (!sent.is_empty()).then(|| Box::new(Open { sent, ..Open::default() }));
        }
    }

    /// No transaction is open, nothing is in flight.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    /// What a person has to see before this is committed, by the rules that `holds` still names. Everything sent has been answered.
    pub(crate) fn too_much(&mut self, holds: impl Fn(&RuleRef) -> bool) -> Option<TooMuch> {
        let open = self.0.as_mut()?;
        // Answered, and its end not seen: it counts as too much.
        while let Some((number, gated)) = open.sent.pop_front() {
            open.add(number, &gated, None);
        }
        let over = open.totals.iter().filter(|total| total.uncounted || total.rows > total.rows_over);
        let over: Vec<&Total> = over.filter(|total| holds(&total.rule)).collect();
        if over.is_empty() {
            return None;
        }
        let counted = over.iter().all(|total| !total.uncounted);
        let rows = over.iter().map(|total| total.rows).max().filter(|_| counted);
        Some(TooMuch {
            rules: over.iter().map(|total| total.rule.clone()).collect(),
            rows,
            ran: open.ran.clone(),
            more: open.more,
            resources: open.resources.clone(),
        })
    }
}

impl Open {
    fn add(&mut self, number: u64, gated: &Gated, rows: Option<u64>) {
        for (rule, rows_over) in &gated.rules {
            let at = self.totals.iter().position(|total| total.rule.name == rule.name);
            let total = match at.and_then(|at| self.totals.get_mut(at)) {
                Some(total) => total,
                None => {
                    let (rule, rows_over) = (rule.clone(), *rows_over);
                    self.totals.push(Total { rule, rows_over, rows: 0, uncounted: false });
                    let Some(total) = self.totals.last_mut() else { continue };
                    total
                }
            };
            // The policy may have changed within the transaction: the stricter of the two counts.
            total.rows_over = total.rows_over.min(*rows_over);
            total.rows = total.rows.saturating_add(rows.unwrap_or(0));
            total.uncounted |= rows.is_none();
        }
        for pair in gated.resources.iter() {
            if self.resources.len() < SHOWN && !self.resources.contains(pair) {
                self.resources.push(pair.clone());
            }
        }
        if self.ran.len() < SHOWN {
            let end = gated.text.floor_char_boundary(SHOWN_TEXT.min(gated.text.len()));
            let text = gated.text.get(..end).unwrap_or_default().to_owned();
            self.ran.push(Ran { number, text, rows });
        } else {
            self.more += 1;
        }
    }
}

/// The rows in a CommandComplete, of the statements whose rows are counted: `INSERT 0 5`, `UPDATE 7`.
fn rows_of(tag: &str) -> Option<u64> {
    let (word, _) = tag.split_once(' ')?;
    COUNTED.iter().any(|counted| counted.eq_ignore_ascii_case(word)).then_some(())?;
    tag.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str) -> RuleRef {
        RuleRef { kind: "guardrail".into(), name: name.to_owned(), location: None }
    }

    fn gated(over: u64, counted: bool) -> Arc<Gated> {
        Arc::new(Gated {
            text: "UPDATE t SET a = 1".into(),
            resources: Arc::from([]),
            rules: vec![(rule("r"), over)],
            counted,
        })
    }

    #[test]
    fn rows_are_those_of_the_tag() {
        assert_eq!(rows_of("INSERT 0 5"), Some(5));
        assert_eq!(rows_of("UPDATE 7"), Some(7));
        assert_eq!(rows_of("MERGE 18446744073709551615"), Some(u64::MAX));
        for tag in ["SELECT 7", "COMMIT", "EXPLAIN", "", "UPDATE", "UPDATE x", "TRUNCATE TABLE"] {
            assert_eq!(rows_of(tag), None, "{tag}");
        }
    }

    #[test]
    fn what_is_not_counted_or_not_seen_to_end_is_too_much() {
        let too_much = |counted: bool, end: Option<Option<&str>>| {
            let mut commits = Commits::default();
            commits.sent(3, gated(10, counted));
            if let Some(tag) = end {
                commits.ended(3, tag);
            }
            commits.too_much(|_| true).map(|too_much| too_much.rows)
        };
        assert_eq!(too_much(true, Some(Some("UPDATE 10"))), None);
        assert_eq!(too_much(true, Some(Some("UPDATE 11"))), Some(Some(11)));
        assert_eq!(too_much(false, Some(Some("UPDATE 1"))), Some(None));
        assert_eq!(too_much(true, Some(Some("SELECT 1"))), Some(None));
        assert_eq!(too_much(true, Some(None)), Some(None));
        assert_eq!(too_much(true, None), Some(None));
    }

    #[test]
    fn rows_add_up_until_the_transaction_is_over() {
        let mut commits = Commits::default();
        for number in 1..=3 {
            commits.sent(number, gated(10, true));
            commits.ended(number, Some("DELETE 4"));
        }
        assert_eq!(commits.too_much(|_| true).unwrap().rows, Some(12));
        assert!(commits.too_much(|_| false).is_none());
        commits.sent(4, gated(10, true));
        commits.failed();
        assert_eq!(commits.too_much(|_| true).unwrap().ran.len(), 3);
        commits.sent(5, gated(10, true));
        commits.closed();
        commits.ended(5, Some("UPDATE 9"));
        assert!(commits.too_much(|_| true).is_none() && commits.is_open());
        commits.clear();
        assert!(!commits.is_open());
    }
}
