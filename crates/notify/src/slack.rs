//! Slack: messages for an incoming webhook, and the calls Slack makes when somebody presses their buttons.
//!
//! Values stand in `plain_text` objects, where nothing is markup, and are escaped even so: Slack reads `&`, `<` and `>` in
//! every text object (<https://docs.slack.dev/messaging/formatting-message-text>). Limits: a section's text 3,000 characters,
//! its fields ten of 2,000 (<https://docs.slack.dev/reference/block-kit/blocks/section-block>), a header 150, a button's
//! address 3,000, a message 50 blocks.

use portcullis_policy::Url;
use serde_json::{Value as Json, json};

use crate::{
    Notice,
    message::{Line, Message, Value, headline, to_the_minute},
};

mod interaction;
mod verify;

pub use interaction::{Action, Interaction, InvalidInteraction, ResponseHosts, ResponseUrl};
pub use verify::{NotFromSlack, Verifier};

#[cfg(test)]
mod tests;

/// The action of the button that approves; its value is the request's id.
pub const APPROVE: &str = "portcullis_approve";
/// The action of the button that denies.
pub const DENY: &str = "portcullis_deny";
/// The action of the button that is a link. Slack calls for it too, and wants no more than an acknowledgement.
pub const OPEN: &str = "portcullis_open";

const MAX_HEADER: usize = 150;
const MAX_SECTION: usize = 3_000;
const MAX_FIELD: usize = 2_000;
const MAX_FIELDS: usize = 10;
const MAX_URL: usize = 3_000;

/// Whether a message has the buttons that answer. They need Slack's calls to be verifiable, so a signing secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buttons {
    /// Approve, deny and the link.
    Answer,
    /// The link alone.
    LinkOnly,
}

/// What is said to who pressed a button, at the [`ResponseUrl`] of the call.
#[derive(Clone, Debug)]
pub enum Reply {
    /// To them alone, below the message, which stays: why their answer does not count.
    Whisper(String),
    /// Instead of the message, without buttons: how the request ended.
    Instead(Box<Notice>),
}

impl Reply {
    /// The body of the request.
    pub(crate) fn body(&self) -> Json {
        match self {
            Self::Whisper(text) => json!({
                "response_type": "ephemeral",
                "replace_original": false,
                "text": fallback(&crate::text::one_line(text, MAX_SECTION)),
            }),
            Self::Instead(notice) => {
                let mut message = body(&notice.as_ref().clone().bounded(), Buttons::LinkOnly);
                if let Some(fields) = message.as_object_mut() {
                    fields.insert("replace_original".to_owned(), true.into());
                }
                message
            }
        }
    }
}

/// The body of the request.
pub(crate) fn body(notice: &Notice, buttons: Buttons) -> Json {
    let message = Message::of(notice);
    let mut blocks = vec![json!({ "type": "header", "text": plain(message.title, MAX_HEADER) })];
    let mut fields: Vec<Json> = Vec::new();
    for line in &message.lines {
        if let Value::Long(text) = line.value {
            flush(&mut fields, &mut blocks);
            blocks.push(
                json!({ "type": "section", "text": plain(&format!("{}: {text}", line.label), MAX_SECTION) }),
            );
            continue;
        }
        fields.extend([mrkdwn(format!("*{}*", line.label)), value(line)]);
        if fields.len() >= MAX_FIELDS {
            flush(&mut fields, &mut blocks);
        }
    }
    flush(&mut fields, &mut blocks);
    let elements = actions(notice, buttons);
    if !elements.is_empty() {
        blocks.push(json!({ "type": "actions", "elements": elements }));
    }
    json!({ "text": fallback(&headline(notice)), "unfurl_links": false, "unfurl_media": false, "blocks": blocks })
}

fn flush(fields: &mut Vec<Json>, blocks: &mut Vec<Json>) {
    if !fields.is_empty() {
        blocks.push(json!({ "type": "section", "fields": std::mem::take(fields) }));
    }
}

/// A line's value: a time as the reader's clock has it, anything else as plain text.
fn value(line: &Line<'_>) -> Json {
    match line.value {
        Value::Time(at) => mrkdwn(format!(
            "<!date^{}^{{date_short_pretty}} {{time}}|{}>",
            at.as_seconds(),
            to_the_minute(at)
        )),
        _ => plain(&line.value.text(), MAX_FIELD),
    }
}

fn actions(notice: &Notice, buttons: Buttons) -> Vec<Json> {
    let request = notice.request.to_string();
    let button = |label: &str, action: &str| json!({ "type": "button", "text": plain(label, 75), "action_id": action, "value": request });
    let with = |mut button: Json, key: &str, value: Json| {
        if let Some(fields) = button.as_object_mut() {
            fields.insert(key.to_owned(), value);
        }
        button
    };
    let mut elements = Vec::new();
    if buttons == Buttons::Answer && notice.is_open() {
        let sure = json!({
            "title": plain("Approve this request?", 100),
            "text": plain("The message leaves values out. The request in Portcullis has the exact operation.", 300),
            "confirm": plain("Approve", 30),
            "deny": plain("Not yet", 30),
        });
        let approve = with(button("Approve", APPROVE), "style", "primary".into());
        elements.push(with(approve, "confirm", sure));
        elements.push(with(button("Deny", DENY), "style", "danger".into()));
    }
    if fits(&notice.link) {
        elements.push(with(button("Open in Portcullis", OPEN), "url", notice.link.as_str().into()));
    }
    elements
}

fn fits(link: &Url) -> bool {
    link.as_str().len() <= MAX_URL
}

/// Nothing in it is parsed; an `@` is broken off even so, should a workspace's settings parse names.
fn plain(text: &str, longest: usize) -> Json {
    let text = text.replace('@', "@\u{2060}");
    json!({ "type": "plain_text", "text": escape(&text, longest), "emoji": false })
}

/// Our own words only. `verbatim`: nothing in it becomes a link or a mention by itself.
fn mrkdwn(text: String) -> Json {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

/// The text for where blocks are not shown, which is `mrkdwn`: escaped, and with no character that begins a mention, a
/// format or an emoji.
fn fallback(text: &str) -> String {
    let mut inert = String::with_capacity(text.len());
    for character in text.chars() {
        inert.push(character);
        if matches!(character, '@' | '#' | '*' | '_' | '~' | '`' | ':') {
            inert.push('\u{2060}');
        }
    }
    escape(&inert, MAX_SECTION)
}

/// Slack's three characters as entities; at most `longest` characters as they are sent, and no half entity.
fn escape(text: &str, longest: usize) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut length = 0_usize;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let (entity, size) = match character {
            '&' => (Some("&amp;"), 5),
            '<' => (Some("&lt;"), 4),
            '>' => (Some("&gt;"), 4),
            _ => (None, 1),
        };
        // One place is kept for the mark, unless this is the last character.
        let kept = usize::from(characters.peek().is_some());
        if length.saturating_add(size).saturating_add(kept) > longest {
            escaped.push('…');
            break;
        }
        match entity {
            Some(entity) => escaped.push_str(entity),
            None => escaped.push(character),
        }
        length = length.saturating_add(size);
    }
    escaped
}
