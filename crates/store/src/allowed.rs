//! Allowed decisions as the journal has them, looked at just as far as is needed to tell which known shape they are of.
//!
//! [`Forms::read`] knows what surrounds time, session, number, text and binds in decisions seen before, byte for byte;
//! [`Allowed::read`] reads any. Both see the same.

use std::borrow::Cow;

use portcullis_core::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

/// How every decision begins that this program or an earlier one wrote.
const BEGINS: &[u8] = br#"{"event":"decision","#;
/// What comes before the session, and before the number.
const SESSION: &str = "\",\"session\":\"";
const NUMBER: &str = "\",\"number\":";

/// How many forms are known at once: operations that come at the same time.
const FORMS: usize = 16;
/// The length of `2026-09-21T14:13:20`.
const TO_SECOND: usize = 19;

/// What an allowed decision has of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Own<'a> {
    pub(crate) at: Timestamp,
    pub(crate) session: &'a str,
    pub(crate) number: u64,
    pub(crate) text: Cow<'a, str>,
    pub(crate) binds: Option<&'a str>,
}

/// A decision that was `allow`. What makes its shape is not read, only compared.
#[derive(Deserialize)]
pub(crate) struct Allowed<'a> {
    at: Timestamp,
    session: &'a str,
    number: u64,
    #[serde(default, borrow)]
    text: Cow<'a, str>,
    #[serde(default)]
    binds: Option<&'a str>,
    decision: &'a str,
    verb: &'a str,
    #[serde(borrow)]
    statement: &'a RawValue,
    #[serde(borrow)]
    resources: &'a RawValue,
    #[serde(default)]
    text_cut_from: Option<u64>,
    #[serde(borrow)]
    rule: &'a RawValue,
    #[serde(borrow)]
    reason: &'a RawValue,
    #[serde(default, borrow)]
    obligations: Option<&'a RawValue>,
    #[serde(borrow)]
    policy: &'a RawValue,
}

/// What surrounds what a decision has of its own: equal forms, equal shapes but for the text.
#[derive(Debug)]
struct Form {
    id: u32,
    /// From the number to the text.
    operation: Box<str>,
    /// From the text and binds to the end.
    answer: Box<str>,
}

/// The forms of decisions seen last.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    known: Vec<Form>,
    next: u32,
    /// The second of the event before, as it was written.
    second: Option<(Box<str>, Timestamp)>,
}

impl<'a> Allowed<'a> {
    /// `None` where it is anything else, or written in a way that this does not expect: then it is to be read in full.
    pub(crate) fn read(json: &'a [u8]) -> Option<Self> {
        if !json.starts_with(BEGINS) {
            return None;
        }
        serde_json::from_slice(json).ok().filter(|allowed: &Self| allowed.decision == "allow")
    }

    /// What it has of its own.
    pub(crate) fn own(&self) -> Own<'_> {
        let Self { at, session, number, binds, .. } = *self;
        Own { at, session, number, text: Cow::Borrowed(&self.text), binds }
    }

    /// Appends what makes the shape of a decision whose text is of `template`: equal bytes, equal shapes.
    pub(crate) fn push_key(&self, template: &str, has_literals: bool, key: &mut Vec<u8>) {
        let parts = [
            self.verb,
            self.statement.get(),
            self.resources.get(),
            self.rule.get(),
            self.reason.get(),
            self.obligations.map_or("", RawValue::get),
            self.policy.get(),
            template,
        ];
        for part in parts {
            key.extend_from_slice(&(part.len() as u64).to_le_bytes());
            key.extend_from_slice(part.as_bytes());
        }
        key.extend_from_slice(&self.text_cut_from.unwrap_or(0).to_le_bytes());
        key.push(u8::from(has_literals));
    }
}

impl Forms {
    /// An allowed decision of a known form: what it has of its own, and the form's number. `None` where that is not certain.
    pub(crate) fn read<'a>(&mut self, json: &'a [u8]) -> Option<(u32, Own<'a>)> {
        let json = std::str::from_utf8(json.strip_prefix(BEGINS)?).ok()?;
        let (at, rest) = json.strip_prefix("\"at\":\"")?.split_once(SESSION)?;
        let (session, rest) = rest.split_once(NUMBER)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = rest.split_at_checked(digits)?;
        let form = |form: &Form| {
            let between = rest.strip_prefix(&*form.operation)?.strip_suffix(&*form.answer)?;
            let (text, rest) = text(between)?;
            let binds = match rest.strip_prefix(",\"binds\":\"") {
                Some(binds) => Some(binds.strip_suffix('"').filter(|binds| is_plain(binds))?),
                None => rest.is_empty().then_some(None)?,
            };
            Some((form.id, text, binds))
        };
        let (id, text, binds) = self.known.iter().find_map(form)?;
        let (at, number) = (self.time(at)?, number.parse().ok()?);
        Some((id, Own { at, session, number, text, binds }))
    }

    /// Learns the form of `allowed`, which was read from `json`; its number, where it is written as this program does.
    pub(crate) fn learn(&mut self, json: &[u8], allowed: &Allowed<'_>) -> Option<u32> {
        if allowed.text_cut_from.is_some() {
            return None;
        }
        let Allowed { verb, resources, statement, rule, reason, policy, .. } = allowed;
        let operation = format!(",\"verb\":\"{verb}\",\"resources\":{resources},\"statement\":{statement}");
        let obligations =
            allowed.obligations.map(|list| format!(",\"obligations\":{list}")).unwrap_or_default();
        let answer = format!(
            ",\"decision\":\"allow\",\"rule\":{rule},\"reason\":{reason}{obligations},\"policy\":{policy}}}"
        );
        if self.known.len() >= FORMS {
            self.known.clear();
        }
        let id = self.next;
        self.known.push(Form { id, operation: operation.into(), answer: answer.into() });
        let is_written_so = self.read(json).is_some_and(|(found, own)| found == id && own == allowed.own());
        if !is_written_so {
            self.known.pop();
            return None;
        }
        self.next = self.next.checked_add(1)?;
        Some(id)
    }

    fn time(&mut self, text: &str) -> Option<Timestamp> {
        let (to_second, fraction) = text.split_at_checked(TO_SECOND)?;
        let micros = fraction.strip_prefix('.').and_then(|fraction| fraction.strip_suffix('Z'));
        let micros =
            micros.filter(|micros| micros.len() == 6 && micros.bytes().all(|byte| byte.is_ascii_digit()))?;
        let micros: i64 = micros.parse().ok()?;
        match &self.second {
            Some((known, second)) if **known == *to_second => {
                Some(Timestamp::from_micros(second.as_micros() + micros))
            }
            _ => {
                let at: Timestamp = text.parse().ok()?;
                let second = Timestamp::from_micros(at.as_micros() - micros);
                self.second = Some((to_second.into(), second));
                Some(at)
            }
        }
    }
}

/// The text a decision may have, and what comes after it.
fn text(between: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = between.strip_prefix(",\"text\":") else { return Some((Cow::Borrowed(""), between)) };
    let bytes = quoted.as_bytes();
    let (mut end, mut is_escaped) = (1, false);
    loop {
        match bytes.get(end)? {
            b'"' => break,
            b'\\' => {
                is_escaped = true;
                end += 2;
            }
            _ => end += 1,
        }
    }
    let (quoted, rest) = quoted.split_at_checked(end + 1)?;
    match is_escaped {
        true => serde_json::from_str::<String>(quoted).ok().map(|text| (Cow::Owned(text), rest)),
        false => Some((Cow::Borrowed(quoted.get(1..end)?), rest)),
    }
}

/// Whether a JSON string means what it says.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str, more: &str) -> String {
        let text =
            if text.is_empty() { String::new() } else { format!(",\"text\":{}", serde_json::json!(text)) };
        format!(
            r#"{{"event":"decision","at":"2026-09-21T14:13:20.123456Z","session":"ses_00","number":42,"verb":"read","resources":[{{"verb":"read","resource":"public.logs"}}],"statement":"select"{text}{more},"decision":"allow","rule":{{"kind":"grant","name":"a"}},"reason":"in scope","policy":"v1"}}"#
        )
    }

    fn taught() -> Forms {
        let first = json("select 1", "");
        let mut forms = Forms::default();
        assert!(forms.read(first.as_bytes()).is_none());
        let allowed = Allowed::read(first.as_bytes()).unwrap();
        assert_eq!(forms.learn(first.as_bytes(), &allowed), Some(0));
        forms
    }

    #[test]
    fn a_known_form_is_read_as_in_full() {
        let mut forms = taught();
        for text in
            ["", "select 2", "select \"x\"\n, '\\' -- \u{1} ü \u{1F512}", "\",\"binds\":\"", "\"", "\\"]
        {
            for more in ["", ",\"binds\":\"00112233445566778899aabbccddeeff\""] {
                let json = json(text, more);
                let (form, own) = forms.read(json.as_bytes()).unwrap();
                assert_eq!((form, &own), (0, &Allowed::read(json.as_bytes()).unwrap().own()), "{json}");
            }
        }
    }

    #[test]
    fn times_are_those_of_the_text() {
        let mut forms = taught();
        for at in
            ["2026-09-21T14:13:20.000000Z", "2026-09-21T14:13:21.999999Z", "2026-09-21T14:13:20.000001Z"]
        {
            let json = json("x", "").replace("2026-09-21T14:13:20.123456Z", at);
            assert_eq!(forms.read(json.as_bytes()).unwrap().1.at, at.parse().unwrap());
        }
        for at in
            ["2026-09-21T14:13:20Z", "2026-09-21T14:13:20.+12345Z", "2026-09-21T14:13:20.12345Z", "", "x"]
        {
            let json = json("x", "").replace("2026-09-21T14:13:20.123456Z", at);
            assert!(forms.read(json.as_bytes()).is_none(), "{at}");
        }
    }

    #[test]
    fn what_is_written_otherwise_is_not_of_a_known_form() {
        let mut forms = taught();
        for (from, to) in [
            ("\"allow\"", "\"deny\""),
            ("\"number\":42", "\"number\":42.5"),
            ("\"number\":42", "\"number\": 42"),
            ("\"v1\"", "\"v2\""),
            ("public.logs", "public.log"),
            ("\"text\":\"select 1\"", "\"text\":\"select 1\",\"text_cut_from\":9"),
            ("\"text\":\"select 1\"", "\"text\":\"select 1\",\"later\":1"),
            ("\"text\":\"select 1\"", "\"text\":\"select 1\",\"binds\":\"\\u0041\""),
            ("\"text\":\"select 1\"", "\"text\":\"select 1"),
            ("}", " }"),
        ] {
            let json = json("select 1", "").replacen(from, to, 1);
            assert!(forms.read(json.as_bytes()).is_none(), "{json}");
        }
        assert!(forms.read(b"").is_none());
        assert!(forms.read(br#"{"event":"decision","at":""#).is_none());
    }

    #[test]
    fn a_form_that_is_not_written_as_here_is_not_learnt() {
        let mut forms = Forms::default();
        let spaced = json("select 1", "")
            .replace("\"verb\":\"read\",\"resources\"", "\"verb\": \"read\",\"resources\"");
        let allowed = Allowed::read(spaced.as_bytes()).unwrap();
        assert_eq!(forms.learn(spaced.as_bytes(), &allowed), None);
        assert!(forms.known.is_empty());
    }
}
