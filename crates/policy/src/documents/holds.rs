//! The terms of a guardrail with `action: approve`.

use std::time::Duration;

use crate::{
    GuardrailAction, HoldAt, OnTimeout, Preview,
    approval::ANSWER_WITHIN,
    capability,
    documents::{
        draft::HoldDraft,
        grants::terms,
        reader::{Fields, Placed, Reader},
        suggest,
    },
};

/// How long a live hold waits. A held statement may hold locks, so not longer than an hour.
const HELD: std::ops::Range<Duration> = Duration::from_secs(1)..Duration::from_secs(3_600);
const HOLD_LIMIT: Duration = Duration::from_secs(300);
const TICKET: std::ops::Range<Duration> = Duration::from_secs(10)..Duration::from_secs(86_400);
const TICKET_LIFETIME: Duration = Duration::from_secs(900);

/// Keys that need `action: approve`.
const KEYS: [&str; 9] = [
    "approvers",
    "approvals",
    "at",
    "rows_over",
    "hold_limit",
    "on_timeout",
    "answer_within",
    "ticket_lifetime",
    "preview",
];

/// Reads the terms; `None` where the guardrail does not hold, or cannot.
pub(super) fn read(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    action: Option<GuardrailAction>,
    statements: &[Placed<String>],
) -> Option<HoldDraft> {
    let at = fields.get("at").and_then(|node| {
        reader.word(node, "`at`", &[HoldAt::Operation, HoldAt::Commit].map(|at| (at.as_str(), at)))
    });
    let on_timeout = fields.get("on_timeout").and_then(|node| {
        reader.word(
            node,
            "`on_timeout`",
            &[OnTimeout::Deny, OnTimeout::Ticket].map(|what| (what.as_str(), what)),
        )
    });
    let preview = fields.get("preview").and_then(|node| {
        reader.word(node, "`preview`", &[Preview::None, Preview::Rows].map(|what| (what.as_str(), what)))
    });
    let rows_over =
        fields.get("rows_over").and_then(|node| reader.integer(node, "`rows_over`", 0, 1_000_000_000_000));
    let hold_limit = fields.get("hold_limit").and_then(|node| reader.duration(node, "`hold_limit`", HELD));
    let ticket_lifetime =
        fields.get("ticket_lifetime").and_then(|node| reader.duration(node, "`ticket_lifetime`", TICKET));
    let answer_within = terms::answer_within(reader, fields);
    let approval = terms::approval(reader, fields);
    match action? {
        GuardrailAction::Block | GuardrailAction::Warn => {
            for entry in KEYS.iter().filter_map(|key| fields.entry(key)) {
                let message = format!("`{}` means nothing without `action: approve`", entry.key);
                reader.error_help(&entry.key_span, message, "use `action: approve`, or remove it");
            }
            return None;
        }
        GuardrailAction::Approve => {}
    }
    if fields.get("approvers").is_none() && !fields.is_misspelt("approvers") {
        reader.error_help(
            &fields.head(),
            "a guardrail that needs a yes has no `approvers`",
            "say who may answer: `approvers: group:oncall`",
        );
    }
    // a word that was refused is told, and what fits it is not known
    let refused =
        [("at", at.is_none()), ("on_timeout", on_timeout.is_none()), ("preview", preview.is_none())];
    if refused.iter().any(|(key, none)| *none && fields.get(key).is_some()) {
        return None;
    }
    let (at, on_timeout, preview) =
        (at.unwrap_or_default(), on_timeout.unwrap_or_default(), preview.unwrap_or_default());
    fits(reader, fields, at, on_timeout, preview);
    for statement in statements {
        countable(reader, statement, at, preview);
    }
    Some(HoldDraft {
        approval: approval?,
        at,
        rows_over: rows_over.unwrap_or(0),
        hold_limit: hold_limit.unwrap_or(HOLD_LIMIT),
        on_timeout,
        answer_within: answer_within.unwrap_or(ANSWER_WITHIN),
        ticket_lifetime: ticket_lifetime.unwrap_or(TICKET_LIFETIME),
        preview,
    })
}

/// What makes no sense together.
fn fits(reader: &mut Reader<'_>, fields: &Fields<'_>, at: HoldAt, on_timeout: OnTimeout, preview: Preview) {
    let mut pointless = |key: &str, message: &str, help: &str| {
        if let Some(entry) = fields.entry(key) {
            reader.error_help(&entry.key_span, message, help);
        }
    };
    if at == HoldAt::Operation {
        pointless(
            "rows_over",
            "`rows_over` means nothing without `at: commit`: rows are counted once the statements have run",
            "add `at: commit`, or remove it",
        );
    }
    match (at, on_timeout) {
        (HoldAt::Commit, OnTimeout::Ticket) => pointless(
            "on_timeout",
            "a commit cannot be retried: what it would commit is rolled back when nobody answers in time",
            "remove `on_timeout`, or use `at: operation`",
        ),
        (HoldAt::Operation, OnTimeout::Ticket) => pointless(
            "hold_limit",
            "`hold_limit` means nothing with `on_timeout: ticket`: nothing waits, the client is answered at once",
            "remove it; `answer_within` says how long the request waits",
        ),
        (_, OnTimeout::Deny) => {
            for key in ["answer_within", "ticket_lifetime"] {
                pointless(
                    key,
                    &format!("`{key}` means nothing without `on_timeout: ticket`"),
                    "a live hold waits for `hold_limit`; remove it, or add `on_timeout: ticket`",
                );
            }
        }
    }
    if at == HoldAt::Commit && preview == Preview::Rows {
        pointless(
            "preview",
            "`preview` means nothing with `at: commit`: the statements have run, and their rows are counted",
            "remove it",
        );
    }
}

/// A count of rows exists for few kinds of statement; elsewhere it would promise what never comes.
fn countable(reader: &mut Reader<'_>, statement: &Placed<String>, at: HoldAt, preview: Preview) {
    let (known, what) = match (at, preview) {
        (HoldAt::Commit, _) => {
            (capability::COUNTED, "`at: commit` asks by the rows a statement changed, and")
        }
        (HoldAt::Operation, Preview::Rows) => {
            (capability::PREVIEWED, "`preview: rows` runs a statement and rolls it back, and")
        }
        (HoldAt::Operation, Preview::None) => return,
    };
    if known.contains(&statement.value.as_str()) {
        return;
    }
    let why = if at == HoldAt::Commit { "the server counts none of" } else { "that cannot be done with" };
    let message = format!("{what} {why} `{}`", statement.value);
    let help = match at {
        HoldAt::Commit => format!(
            "keep {}; guard the others with a guardrail `at: operation`",
            suggest::list(known.iter().copied())
        ),
        HoldAt::Operation => format!(
            "keep {}; give the others a guardrail without `preview`",
            suggest::list(known.iter().copied())
        ),
    };
    reader.error_at(&statement.place, message, help);
}
