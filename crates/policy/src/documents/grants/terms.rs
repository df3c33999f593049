//! The terms of a grant: how long, how often, who must say yes. Most make sense with one `when` only.

use std::time::Duration;

use super::{DAY, SECOND, subjects};
use crate::{
    AskWay, When,
    approval::ANSWER_WITHIN,
    documents::{
        draft::{ApprovalDraft, SubjectDraft},
        reader::{Fields, Placed, Reader},
    },
};

/// A just-in-time window longer than a working day is warned about.
const LONG_LIFETIME: Duration = Duration::from_secs(8 * 3_600);
/// More people than this agree on nothing in time.
const MOST_APPROVALS: u64 = 10;
/// How long a request waits for answers: long enough to look, no longer than anybody remembers why it was asked.
pub(crate) const ANSWERED: std::ops::Range<Duration> =
    Duration::from_secs(10)..Duration::from_secs(7 * 86_400);

/// Keys that need a window.
const OF_WINDOWS: [&str; 5] = ["lifetime", "cooldown", "max_per_day", "request", "reason"];
/// Keys that need somebody who answers.
const OF_APPROVALS: [&str; 4] = ["approvers", "approvals", "answer_within", "break_glass"];

pub(crate) struct Terms {
    pub(crate) lifetime: Option<Placed<Duration>>,
    pub(crate) cooldown: Option<Duration>,
    pub(crate) max_per_day: Option<u32>,
    pub(crate) approval: Option<ApprovalDraft>,
    pub(crate) ask: AskWay,
    pub(crate) reason_required: bool,
    pub(crate) answer_within: Duration,
    pub(crate) break_glass: Option<Placed<Vec<Placed<SubjectDraft>>>>,
}

pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>, when: Option<When>) -> Terms {
    let lifetime = fields.get("lifetime").and_then(|node| {
        let lifetime = reader.duration(node, "`lifetime`", SECOND..DAY * 365)?;
        if lifetime > LONG_LIFETIME {
            reader.warn(
                &node.span,
                "a just-in-time window of more than 8 hours outlives the task it was opened for",
                "use a shorter lifetime; asking again is one command",
            );
        }
        Some(reader.placed(node, lifetime))
    });
    let cooldown =
        fields.get("cooldown").and_then(|node| reader.duration(node, "`cooldown`", SECOND..DAY * 365));
    let max_per_day =
        fields.get("max_per_day").and_then(|node| reader.integer(node, "`max_per_day`", 1, 10_000));
    let ask = fields.get("request").and_then(|node| {
        let words = [AskWay::Explicit, AskWay::OnConnect].map(|way| (way.as_str(), way));
        reader.word(node, "`request`", &words)
    });
    let ask = ask.unwrap_or_default();
    let reason_required = reason(reader, fields, ask);
    let approval = approval(reader, fields);
    let answer_within = answer_within(reader, fields);
    let break_glass = fields.get("break_glass").map(|node| {
        let subjects = subjects(reader, node, "`break_glass`");
        reader.placed(node, subjects)
    });
    fits(reader, fields, when);
    Terms {
        lifetime,
        cooldown,
        max_per_day: max_per_day.and_then(|number| u32::try_from(number).ok()),
        approval,
        ask,
        reason_required,
        answer_within: answer_within.unwrap_or(ANSWER_WITHIN),
        break_glass,
    }
}

/// Asking takes a reason unless one asks by connecting: no client sends one.
fn reason(reader: &mut Reader<'_>, fields: &Fields<'_>, ask: AskWay) -> bool {
    let Some(node) = fields.get("reason") else { return ask == AskWay::Explicit };
    let required = reader.word(node, "`reason`", &[("required", true), ("optional", false)]);
    if required == Some(true) && ask == AskWay::OnConnect {
        reader.error_help(
            &node.span,
            "who asks by connecting gives no reason, so a required one refuses every connect",
            "write `reason: optional`, or `request: explicit`",
        );
    }
    required.unwrap_or(true)
}

/// `approvers` and `approvals`, of a grant or a guardrail.
pub(crate) fn approval(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<ApprovalDraft> {
    let approvals = fields.get("approvals").and_then(|node| {
        let number = reader.integer(node, "`approvals`", 1, MOST_APPROVALS)?;
        Some(reader.placed(node, u32::try_from(number).ok()?))
    });
    let node = fields.get("approvers")?;
    let approvers = subjects(reader, node, "`approvers`");
    Some(ApprovalDraft { approvers: reader.placed(node, approvers), approvals })
}

/// How long a request waits for answers.
pub(crate) fn answer_within(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Duration> {
    fields.get("answer_within").and_then(|node| reader.duration(node, "`answer_within`", ANSWERED))
}

/// Keys that mean nothing with this `when`, and those it needs.
fn fits(reader: &mut Reader<'_>, fields: &Fields<'_>, when: Option<When>) {
    if when == Some(When::Always) {
        for entry in OF_WINDOWS.iter().filter_map(|key| fields.entry(key)) {
            let message = format!("`{}` means nothing with `when: always`: there is no window", entry.key);
            reader.error_help(&entry.key_span, message, "use `when: requested`, or remove it");
        }
    }
    if matches!(when, Some(When::Always | When::Requested)) {
        for entry in OF_APPROVALS.iter().filter_map(|key| fields.entry(key)) {
            let message = format!("`{}` means nothing without `when: approved`", entry.key);
            reader.error_help(&entry.key_span, message, "use `when: approved`, or remove it");
        }
    }
    if let Some(when @ (When::Requested | When::Approved)) = when
        && fields.get("lifetime").is_none()
        && !fields.is_misspelt("lifetime")
    {
        reader.error_help(
            &fields.head(),
            if when == When::Requested {
                "a requested grant has no `lifetime`"
            } else {
                "an approved grant has no `lifetime`"
            },
            "say how long a window lasts: `lifetime: 15m`",
        );
    }
    if when == Some(When::Approved) && fields.get("approvers").is_none() && !fields.is_misspelt("approvers") {
        reader.error_help(
            &fields.head(),
            "an approved grant has no `approvers`",
            "say who may answer: `approvers: group:oncall`",
        );
    }
}
