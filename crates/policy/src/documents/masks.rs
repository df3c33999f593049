//! `masks:` -> drafts of masks; names are resolved in `references`.

use std::{fmt::Display, str::FromStr};

use portcullis_mask::{Detector, Transform};

use crate::{
    ColumnPattern, Filter, FunctionPattern, InvalidName, Opaque,
    documents::{
        draft::{Draft, MaskDraft},
        grants, guardrails, identity, keys,
        reader::{Fields, Placed, Reader, shown},
        suggest,
        tree::{Node, Value, is_invisible},
    },
};

/// Reads the list of masks into the draft.
pub(crate) fn read(reader: &mut Reader<'_>, node: &Node, draft: &mut Draft) {
    for item in reader.list(node, "`masks`") {
        draft.masks.extend(mask(reader, item));
    }
}

fn mask(reader: &mut Reader<'_>, node: &Node) -> Option<MaskDraft> {
    let fields = reader.fields(node, &keys::MASK)?;
    let errors = reader.report.errors();
    let name =
        reader.required(&fields, "name").and_then(|node| guardrails::title(reader, node, "a mask's name"));
    let columns =
        fields.get("columns").map(|node| reader.many(node, "`columns`", column)).unwrap_or_default();
    let detectors = fields.get("detect").map(|node| detectors(reader, node)).unwrap_or_default();
    if fields.get("columns").is_none() && fields.get("detect").is_none() {
        reader.error_help(
            &fields.head(),
            "a mask has neither `columns` nor `detect`",
            "name what it hides: `columns: [payments.card_number]`, or `detect: [credit-card]`",
        );
    }
    let connections = fields
        .get("connections")
        .map(|node| reader.many(node, "`connections`", guardrails::placed_pattern))
        .unwrap_or_default();
    let transform = transform(reader, &fields);
    let to = fields.get("to").map(|node| grants::subjects(reader, node, "`to`")).unwrap_or_default();
    let except =
        fields.get("except").map(|node| grants::subjects(reader, node, "`except`")).unwrap_or_default();
    let (filter, opaque, trusted_functions) = column_terms(reader, &fields);
    let incomplete = reader.report.errors() > errors;
    let unnamed = || Placed { value: String::new(), place: reader.place(&fields.head()) };
    Some(MaskDraft {
        name: name.unwrap_or_else(unnamed),
        connections,
        columns,
        detectors,
        // what stands in for a refused one is in no policy: there is none after an error
        transform: transform.unwrap_or(Transform::Redact),
        filter,
        opaque,
        trusted_functions,
        to,
        except,
        incomplete,
    })
}

/// `schema.table.column`, or `table.column`.
fn column(reader: &mut Reader<'_>, node: &Node) -> Option<ColumnPattern> {
    let text = reader.text(node, "a column")?;
    match text.parse::<ColumnPattern>() {
        Ok(pattern) => is_readable(reader, node, text).then_some(pattern),
        Err(error) => {
            let help = match error {
                InvalidName::Parts { found: 1, .. } => format!(
                    "write `table.column` or `schema.table.column`; `*.{}` means such a column of every table",
                    shown(text)
                ),
                InvalidName::Parts { .. } => {
                    "write `schema.table.column`; `connections` keeps a mask to one database, double quotes \
                     stand around a name with dots"
                        .to_owned()
                }
                _ => "write `table.column` or `schema.table.column`; `*` and `?` match, double quotes stand around \
                      a name with dots or spaces"
                    .to_owned(),
            };
            reader.error_help(&node.span, format!("`{}` is no column: {error}", shown(text)), help);
            None
        }
    }
}

/// A letter that only looks like the one in the catalog masks nothing, and nothing says so later.
fn is_readable(reader: &mut Reader<'_>, node: &Node, text: &str) -> bool {
    let Some(c) = text.chars().find(|c| is_invisible(*c)).or_else(|| text.chars().find(|c| !c.is_ascii()))
    else {
        return true;
    };
    let code = u32::from(c);
    if is_invisible(c) {
        let message = format!("`{}` contains the invisible character U+{code:04X}", shown(text));
        reader.error_help(&node.span, message, "remove it: no column has such a name");
        return false;
    }
    let message = format!("`{}` contains U+{code:04X}, which is not ASCII", shown(text));
    reader.warn(&node.span, message, "the column is masked only if its name has exactly this character");
    true
}

fn function(reader: &mut Reader<'_>, node: &Node) -> Option<FunctionPattern> {
    let pattern: FunctionPattern =
        parse(reader, node, "a function", "write `schema.function`; `*` and `?` match")?;
    if pattern.is_any_schema() {
        let message = format!("`{pattern}` trusts functions of every schema");
        reader.warn(
            &node.span,
            message,
            "whoever can create a function in any schema can make a trusted one: name the schema",
        );
    }
    Some(pattern)
}

fn parse<T: FromStr<Err: Display>>(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &str,
    help: &str,
) -> Option<T> {
    let text = reader.text(node, what)?;
    text.parse()
        .map_err(|error| {
            reader.error_help(&node.span, format!("`{}` is no name of {what}: {error}", shown(text)), help);
        })
        .ok()
}

fn detectors(reader: &mut Reader<'_>, node: &Node) -> Vec<Detector> {
    let found = reader.many(node, "`detect`", |reader, item| {
        let detector = match &item.value {
            Value::Map(_) => own_detector(reader, item),
            _ => known_detector(reader, item),
        };
        detector.map(|detector| reader.placed(item, detector))
    });
    let mut detectors: Vec<Detector> = Vec::new();
    for Placed { value, place } in found {
        if detectors.iter().any(|own| own.as_str() == value.as_str()) {
            let message = format!("`{}` is detected twice", value.as_str());
            reader.error_help(&place.span, message, "keep one of them, or give each a name of its own");
            continue;
        }
        detectors.push(value);
    }
    detectors
}

fn known_detector(reader: &mut Reader<'_>, node: &Node) -> Option<Detector> {
    let text = reader.text(node, "a detector")?;
    if let Some(known) = Detector::named(text) {
        return Some(known);
    }
    let names = || Detector::NAMES.into_iter();
    let spelt = text.replace(['_', ' '], "-");
    let help = match suggest::nearest(&spelt, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "the detectors are {}; an own one is written `{{ name: employee-id, regex: 'EMP-\\d{{6}}' }}`",
            suggest::list(names())
        ),
    };
    reader.error_help(&node.span, format!("there is no detector `{}`", shown(text)), help);
    None
}

fn own_detector(reader: &mut Reader<'_>, node: &Node) -> Option<Detector> {
    let fields = reader.fields(node, &keys::DETECTOR)?;
    let name = reader.required(&fields, "name").and_then(|node| {
        let name = identity::name(reader, node, "a detector's name")?;
        if Detector::NAMES.contains(&name.as_str()) {
            let message = format!("`{name}` is a detector already");
            reader.error_help(&node.span, message, "give the own one another name");
            return None;
        }
        Some(name)
    });
    let regex = reader.required(&fields, "regex")?;
    let text = reader.text(regex, "`regex`")?;
    let called = name.as_deref().unwrap_or("unnamed");
    match Detector::custom(called, text) {
        Ok(detector) => name.map(|_| detector),
        Err(error) => {
            let help = "see https://docs.rs/regex for what there is; write it in single quotes";
            reader.error_help(&regex.span, error.to_string(), help);
            None
        }
    }
}

/// `with`, and `pattern` that goes with it.
fn transform(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Transform> {
    let with = reader.required(fields, "with")?;
    let word = match &with.value {
        // a bare `null` is a word here
        Value::Scalar { text, .. } if text == "null" => Some("null"),
        _ => reader.word(with, "`with`", &Transform::NAMES.map(|word| (word, word))),
    };
    let pattern = match fields.entry("pattern") {
        // `#` starts a comment where it is not quoted
        Some(entry) if entry.value.is_null() => {
            let help = "put it in quotes: `pattern: \"XXX-##\"`";
            reader.error_help(&entry.key_span, "`pattern` is empty", help);
            return None;
        }
        Some(entry) => Some((entry, reader.text(&entry.value, "`pattern`")?)),
        None => None,
    };
    let word = word?;
    if let Some((entry, _)) = pattern
        && word != "pattern"
    {
        let message = format!("`pattern` means nothing with `with: {word}`");
        reader.error_help(&entry.key_span, message, "write `with: pattern`, or remove it");
        return None;
    }
    let transform = match Transform::named(word, pattern.map(|(_, text)| text)) {
        Ok(transform) => transform,
        Err(error) => {
            reader.error(&pattern.map_or(with, |(entry, _)| &entry.value).span, error.to_string());
            return None;
        }
    };
    if transform == Transform::Null && fields.get("detect").is_some() {
        reader.warn(
            &with.span,
            "a whole value becomes null where a detector finds something in it",
            format!("use `with: {}` to hide only what is found", Transform::Redact.as_str()),
        );
    }
    Some(transform)
}

/// The keys that only make sense with `columns`.
fn column_terms(reader: &mut Reader<'_>, fields: &Fields<'_>) -> (Filter, Opaque, Vec<FunctionPattern>) {
    if fields.get("columns").is_none() && fields.get("detect").is_some() {
        for key in ["filter", "opaque", "trusted_functions"] {
            if let Some(entry) = fields.entry(key) {
                reader.error_help(
                    &entry.key_span,
                    format!("`{key}` means nothing without `columns`"),
                    "remove it: a detector looks at values, not at statements",
                );
            }
        }
    }
    let filter = fields.get("filter").and_then(|node| {
        let filter =
            reader.word(node, "`filter`", &[Filter::Allow, Filter::Deny].map(|word| (word.as_str(), word)))?;
        if filter == Filter::Allow {
            reader.warn(
                &node.span,
                "`filter: allow` lets masked values be found out by asking",
                "`WHERE card_number LIKE '4%'` says whether it does, and a few such questions give the whole value; leave \
                 `filter` away unless nobody bound by the mask would ask",
            );
        }
        Some(filter)
    });
    let opaque = fields.get("opaque").and_then(|node| {
        let opaque =
            reader.word(node, "`opaque`", &[Opaque::Refuse, Opaque::Allow].map(|word| (word.as_str(), word)))?;
        if opaque == Opaque::Allow {
            reader.warn(
                &node.span,
                "`opaque: allow` lets code nobody sees into give masked values away",
                "a DO block, a procedure or a function of a user may return them; name the functions that do not under \
                 `trusted_functions`, and leave `opaque` away",
            );
        }
        Some(opaque)
    });
    let trusted = fields
        .get("trusted_functions")
        .map(|node| reader.many(node, "`trusted_functions`", function))
        .unwrap_or_default();
    (filter.unwrap_or_default(), opaque.unwrap_or_default(), trusted)
}

/// A list of masks' names; empty: none.
pub(crate) fn names(reader: &mut Reader<'_>, node: &Node) -> Vec<Placed<String>> {
    if matches!(&node.value, Value::List(items) if items.is_empty()) {
        return Vec::new();
    }
    reader.many(node, "`masks`", |reader, item| guardrails::title(reader, item, "a mask's name"))
}
