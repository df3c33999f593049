//! `guardrails:` -> drafts of guardrails.

use portcullis_core::Pattern;

use crate::{
    GuardrailAction, Protocol, capability,
    documents::{
        connections,
        draft::{Draft, GuardrailDraft},
        grants, holds, keys,
        reader::{Fields, Placed, Reader, shown},
        suggest,
        tree::Node,
    },
};

/// Reads the list of guardrails into the draft.
pub(crate) fn read(reader: &mut Reader<'_>, node: &Node, draft: &mut Draft) {
    for item in reader.list(node, "`guardrails`") {
        if let Some(guardrail) = guardrail(reader, item) {
            draft.guardrails.push(guardrail);
        }
    }
}

fn guardrail(reader: &mut Reader<'_>, node: &Node) -> Option<GuardrailDraft> {
    let fields = reader.fields(node, &keys::GUARDRAIL)?;
    let errors = reader.report.errors();
    let name = reader.required(&fields, "name").and_then(|node| title(reader, node, "a guardrail's name"));
    let protocols = protocols(reader, &fields);
    let connections = fields
        .get("connections")
        .map(|node| reader.many(node, "`connections`", placed_pattern))
        .unwrap_or_default();
    let statements =
        fields.get("statements").map(|node| statements(reader, node, &protocols)).unwrap_or_default();
    let without =
        fields.get("without").and_then(|node| reader.word(node, "`without`", &[("where", "where")]));
    let mut resources = Vec::new();
    for key in ["tables", "resources"] {
        resources.extend(
            fields
                .get(key)
                .map(|node| reader.many(node, &format!("`{key}`"), placed_pattern))
                .unwrap_or_default(),
        );
    }
    if let Some(entry) = fields.entry("commands") {
        let _ = reader.many(&entry.value, "`commands`", |reader, item| {
            reader.text(item, "a command").map(str::to_owned)
        });
        reader.not_yet(
            &entry.key_span,
            "`commands` is for ssh, which is not spoken yet, so it is",
            "remove the guardrail",
        );
    }
    let except =
        fields.get("except").map(|node| grants::subjects(reader, node, "`except`")).unwrap_or_default();
    let action = reader.required(&fields, "action").and_then(|node| action(reader, node));
    let hold = holds::read(reader, &fields, action, &statements);
    let message =
        fields.get("message").and_then(|node| title(reader, node, "`message`")).map(|message| message.value);
    let narrows = ["statements", "without", "tables", "resources", "commands"]
        .iter()
        .any(|key| fields.get(key).is_some());
    let all = match action {
        Some(GuardrailAction::Block) => Some("this guardrail blocks every operation it covers"),
        Some(GuardrailAction::Approve) => {
            Some("this guardrail needs a person's yes for every operation it covers")
        }
        Some(GuardrailAction::Warn) | None => None,
    };
    if let Some(message) = all.filter(|_| !narrows) {
        reader.warn(
            &fields.head(),
            message,
            "narrow it with `statements`, `tables` or `without: where`, or remove the grants instead",
        );
    }
    let incomplete = reader.report.errors() > errors;
    Some(GuardrailDraft {
        name: name?,
        protocols,
        connections,
        statements,
        without: without.map(str::to_owned),
        resources,
        except,
        action: action?,
        hold,
        message,
        incomplete,
    })
}

/// Text shown to principals and people: one line, not long.
pub(crate) fn title(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Placed<String>> {
    let text = reader.text(node, what)?;
    if text.len() > 256 || text.contains(['\n', '\r', '\t', '`']) {
        reader.error(&node.span, format!("{what} is one line of at most 256 bytes without backticks"));
        return None;
    }
    Some(reader.placed(node, text.to_owned()))
}

fn protocols(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Vec<Protocol> {
    let Some(node) = fields.get("protocols") else { return Vec::new() };
    reader.many(node, "`protocols`", |reader, item| {
        let word = connections::protocol_word(reader, item)?;
        if word.spoken().is_none() {
            let what = format!("the {} protocol is not spoken yet, so guardrails for it are", word.as_str());
            reader.not_yet(&item.span, what, "remove it from the list");
        }
        word.spoken()
    })
}

fn action(reader: &mut Reader<'_>, node: &Node) -> Option<GuardrailAction> {
    let words = [GuardrailAction::Block, GuardrailAction::Approve, GuardrailAction::Warn];
    reader.word(node, "`action`", &words.map(|action| (action.as_str(), action)))
}

/// Words no operation can have are refused: the guardrail would match nothing.
fn statements(reader: &mut Reader<'_>, node: &Node, protocols: &[Protocol]) -> Vec<Placed<String>> {
    let all = Protocol::ALL;
    let protocols = if protocols.is_empty() { &all[..] } else { protocols };
    let known =
        || protocols.iter().flat_map(|protocol| capability::statement_kinds(*protocol).iter().copied());
    reader.many(node, "`statements`", |reader, item| {
        let text = reader.text(item, "a statement")?;
        if known().any(|kind| kind == text) {
            return Some(reader.placed(item, text.to_owned()));
        }
        let lower = text.to_lowercase();
        let help = match suggest::nearest(text, known()) {
            _ if known().any(|kind| lower.split_whitespace().next() == Some(kind)) => {
                format!(
                    "did you mean `{}`? kinds are single lower-case words",
                    lower.split_whitespace().next().unwrap_or_default()
                )
            }
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the kinds are {}", suggest::list(known())),
        };
        reader.error_help(
            &item.span,
            format!("`{}` is no statement kind, so this would match nothing", shown(text)),
            help,
        );
        None
    })
}

fn pattern(reader: &mut Reader<'_>, node: &Node) -> Option<Pattern> {
    reader.parse(node, "a pattern")
}

pub(crate) fn placed_pattern(reader: &mut Reader<'_>, node: &Node) -> Option<Placed<Pattern>> {
    let pattern = pattern(reader, node)?;
    Some(reader.placed(node, pattern))
}
