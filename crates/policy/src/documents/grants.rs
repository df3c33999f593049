//! `grants:` -> drafts of grants; names are resolved in `references`.

pub(crate) mod terms;

use std::time::Duration;

use crate::{
    Condition, ConditionError, ScopeRule, When,
    documents::{
        draft::{Draft, GrantDraft, SubjectDraft, SubjectKind},
        identity, keys,
        reader::{Fields, Placed, Reader, shown},
        suggest,
        tree::Node,
    },
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Reads the list of grants into the draft.
pub(crate) fn read(reader: &mut Reader<'_>, node: &Node, draft: &mut Draft) {
    for item in reader.list(node, "`grants`") {
        if let Some(grant) = grant(reader, item) {
            draft.grants.push(grant);
        }
    }
}

fn grant(reader: &mut Reader<'_>, node: &Node) -> Option<GrantDraft> {
    let fields = reader.fields(node, &keys::GRANT)?;
    let name = fields.get("name").and_then(|node| grant_name(reader, node));
    let connection = reader.required(&fields, "connection").and_then(|node| {
        let text = reader.text(node, "`connection`")?.to_owned();
        Some(reader.placed(node, text))
    });
    let to = reader.required(&fields, "to").map(|node| subjects(reader, node, "`to`"));
    let when = reader.required(&fields, "when").and_then(|node| when(reader, node));
    let scope = reader.required(&fields, "scope").map(|node| reader.many(node, "`scope`", scope_rule));
    let recorded = recorded(reader, &fields);
    let condition = fields.get("condition").and_then(|node| condition(reader, node));
    let terms = terms::read(reader, &fields, when);
    let head = reader.place(&fields.head());
    Some(GrantDraft {
        name,
        connection: connection?,
        to: to.unwrap_or_default(),
        when,
        lifetime: terms.lifetime,
        cooldown: terms.cooldown,
        max_per_day: terms.max_per_day,
        approval: terms.approval,
        ask: terms.ask,
        reason_required: terms.reason_required,
        answer_within: terms.answer_within,
        break_glass: terms.break_glass,
        recorded,
        scope: scope.unwrap_or_default(),
        condition,
        head: Placed { value: (), place: head },
    })
}

fn grant_name(reader: &mut Reader<'_>, node: &Node) -> Option<Placed<String>> {
    let name = identity::name(reader, node, "a grant's name")?;
    if name.contains('#') {
        reader.error_help(
            &node.span,
            format!("`{name}` cannot be a grant's name"),
            "`#` is kept for grants without a name",
        );
        return None;
    }
    Some(reader.placed(node, name))
}

fn when(reader: &mut Reader<'_>, node: &Node) -> Option<When> {
    reader.word(
        node,
        "`when`",
        &[When::Always, When::Requested, When::Approved].map(|when| (when.as_str(), when)),
    )
}

fn recorded(reader: &mut Reader<'_>, fields: &Fields<'_>) -> bool {
    let Some(node) = fields.get("recorded") else { return true };
    let recorded = reader.boolean(node, "`recorded`").unwrap_or(true);
    if !recorded {
        reader.warn(
            &node.span,
            "sessions under this grant leave no recording",
            "every decision is still in the audit log; leave `recorded` away, or write `recorded: yes`, to keep the rest too",
        );
    }
    recorded
}

/// `group:NAME`, `role:NAME`, `app:ID`, `id:ID`, or a list of them.
pub(crate) fn subjects(reader: &mut Reader<'_>, node: &Node, what: &str) -> Vec<Placed<SubjectDraft>> {
    let kinds = [SubjectKind::Group, SubjectKind::Role, SubjectKind::App, SubjectKind::Id];
    reader.many(node, what, |reader, item| {
        let text = reader.text(item, what)?;
        let (word, value) = text.split_once(':').unwrap_or(("", text));
        let kind = kinds.into_iter().find(|kind| kind.as_str() == word);
        let Some(kind) = kind.filter(|_| !value.is_empty() && !value.contains(char::is_whitespace)) else {
            let message = format!("`{}` is no subject", shown(text));
            let help = match suggest::nearest(word, kinds.iter().map(|kind| kind.as_str())) {
                Some(near) if near != word => format!("did you mean `{near}:{}`?", shown(value)),
                _ => "write `group:NAME`, `role:NAME`, `app:APPLICATION-ID` or `id:OBJECT-ID`".to_owned(),
            };
            reader.error_help(&item.span, message, help);
            return None;
        };
        Some(reader.placed(item, SubjectDraft { kind, value: value.to_owned() }))
    })
}

fn scope_rule(reader: &mut Reader<'_>, node: &Node) -> Option<Placed<ScopeRule>> {
    let text = reader.text(node, "`scope`")?;
    match text.parse::<ScopeRule>() {
        Ok(rule) => {
            if rule.is_everything() {
                reader.warn(
                    &node.span,
                    "`*:*` allows everything the upstream credential can do, statements the gateway cannot read included",
                    "name what is needed: `[read:*, write:public.orders]`",
                );
            }
            Some(reader.placed(node, rule))
        }
        Err(error) => {
            let verb = text.split(':').next().unwrap_or_default();
            let verbs = portcullis_core::Verb::ALL.map(portcullis_core::Verb::as_str);
            let help = match suggest::nearest(verb, verbs.into_iter()) {
                Some(near) if near != verb => format!(
                    "did you mean `{near}:{}`?",
                    shown(text.split_once(':').map_or("*", |(_, rest)| rest))
                ),
                _ => {
                    "write `verb:resource`: `read:*`, `write:public.orders`, `[read:*, execute:*]`".to_owned()
                }
            };
            reader.error_help(&node.span, format!("`{}` is no scope: {error}", shown(text)), help);
            None
        }
    }
}

fn condition(reader: &mut Reader<'_>, node: &Node) -> Option<Condition> {
    let text = reader.text(node, "`condition`")?;
    let error = match Condition::compile(text).and_then(|condition| condition.try_out().map(|()| condition)) {
        Ok(condition) => return Some(condition),
        Err(error) => error,
    };
    // inside a scalar written on one line without escapes, the place in the expression is a place in the document
    let written = reader.source.text.get(node.span.clone()).unwrap_or_default();
    let start = written.find(text).map(|at| node.span.start + at);
    let within =
        |from: usize, len: usize| start.map_or(node.span.clone(), |start| start + from..start + from + len);
    match &error {
        ConditionError::Syntax { at, .. } => {
            let rest = text.get(*at..).unwrap_or_default();
            let len = rest.chars().next().map_or(0, char::len_utf8);
            let span = if len == 0 { node.span.clone() } else { within(*at, len) };
            reader.error_help(
                &span,
                format!("the condition is no CEL expression: {error}"),
                "see https://cel.dev; write it in single quotes",
            );
        }
        ConditionError::Unknown { what, name } => {
            let span = word_position(text, name).map_or(node.span.clone(), |at| within(at, name.len()));
            let known: &[&str] = if *what == "variable" {
                &crate::condition::VARIABLES
            } else {
                crate::condition::functions()
            };
            let help = match suggest::nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known are {}", suggest::list(known.iter().copied())),
            };
            reader.error_help(&span, format!("{error} in the condition"), help);
        }
        _ => reader.error_help(
            &node.span,
            format!("the condition does not work: {error}"),
            "it is true or false, made from source.ip, now, principal, client and connection",
        ),
    }
    None
}

/// Where `name` stands in `text` as a whole word.
fn word_position(text: &str, name: &str) -> Option<usize> {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(name).map(|(at, _)| at).find(|at| {
        let before = text.get(..*at).and_then(|before| before.chars().last());
        let after = text.get(at + name.len()..).and_then(|after| after.chars().next());
        !is_word(before) && !is_word(after)
    })
}
