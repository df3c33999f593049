//! What a notice says, in words: a title and lines, the same in every channel. Channels escape the values, and only those.

use std::borrow::Cow;

use portcullis_core::Timestamp;
use portcullis_policy::NoticeKind;

use crate::{Notice, Outcome};

/// What is said.
pub(crate) struct Message<'a> {
    /// What happened. Ours alone: nothing of it comes from anybody else.
    pub(crate) title: &'static str,
    /// The lines below it, in order.
    pub(crate) lines: Vec<Line<'a>>,
}

/// One line.
pub(crate) struct Line<'a> {
    /// What it tells. Ours.
    pub(crate) label: &'static str,
    /// What is told.
    pub(crate) value: Value<'a>,
}

/// What a line tells.
pub(crate) enum Value<'a> {
    /// A few words, possibly a stranger's: to be escaped.
    Short(Cow<'a, str>),
    /// A sentence or more, possibly a stranger's: to be escaped.
    Long(&'a str),
    /// A time.
    Time(Timestamp),
}

impl Value<'_> {
    /// The value as text, not yet escaped.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Short(text) => Cow::Borrowed(text),
            Self::Long(text) => Cow::Borrowed(text),
            Self::Time(at) => Cow::Owned(to_the_minute(*at)),
        }
    }
}

impl<'a> Message<'a> {
    /// What this (bounded) notice says.
    pub(crate) fn of(notice: &'a Notice) -> Self {
        let mut message = Self { title: title(notice), lines: Vec::with_capacity(14) };
        message.short("Who", &notice.requester);
        message.short("Identity", &notice.requester_key);
        message.short("Connection", notice.connection.as_str());
        if let Some(rule) = &notice.rule {
            message.short("Rule", format!("{} {}", rule.kind, rule.name));
        }
        message.long("Reason", &notice.reason);
        message.long("Statement, values left out", &notice.summary);
        match &notice.answered {
            None => {
                message.short("Needs", &notice.needs);
                message.time("Answer by", notice.answer_by);
            }
            Some(answered) => {
                message.short("Outcome", answered.outcome.as_str());
                message.short("By", &answered.by);
                message.time("At", Some(answered.at));
                message.long("Note", &answered.note);
            }
        }
        message.short("Request", notice.request.to_string());
        message
    }

    fn short(&mut self, label: &'static str, text: impl Into<Cow<'a, str>>) {
        let text = text.into();
        if !text.is_empty() {
            self.lines.push(Line { label, value: Value::Short(text) });
        }
    }

    fn long(&mut self, label: &'static str, text: &'a str) {
        if !text.is_empty() {
            self.lines.push(Line { label, value: Value::Long(text) });
        }
    }

    fn time(&mut self, label: &'static str, at: Option<Timestamp>) {
        self.lines.extend(at.map(|at| Line { label, value: Value::Time(at) }));
    }
}

/// One line that says who wants what, for previews and subjects. It has a stranger's words: to be escaped.
pub(crate) fn headline(notice: &Notice) -> String {
    format!("{}: {}, {}", title(notice), notice.requester, notice.connection)
}

/// `2026-01-01 12:00 UTC`.
pub(crate) fn to_the_minute(at: Timestamp) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => text,
    }
}

const fn title(notice: &Notice) -> &'static str {
    match (notice.kind, &notice.answered) {
        (NoticeKind::Requested, None) => "Access request",
        (NoticeKind::Held, None) => "Operation held",
        (NoticeKind::BreakGlass, _) => "Break-glass: a window was opened without an answer",
        (NoticeKind::Review, _) => "Break-glass reviewed",
        (NoticeKind::Expired, _) => "Request expired without an answer",
        (NoticeKind::Answered, None) => "Request answered",
        (_, Some(answered)) => match answered.outcome {
            Outcome::Approved => "Request approved",
            Outcome::Denied => "Request denied",
            Outcome::Expired => "Request expired without an answer",
            Outcome::Withdrawn => "Request withdrawn",
            Outcome::Reviewed => "Break-glass reviewed",
        },
    }
}
