//! Decisions that come again: encoded once, but for what differs from one time to the next.

use std::io::Write as _;

use portcullis_core::{
    Obligation, ResourceRef, RuleRef, StatementKind, Timestamp, Verb, Verdict, decision::DecisionEvent,
};
use serde::Serialize;

use crate::Error;

/// Everything of a decision but time, number, text and binds, as the journal's JSON has it.
#[derive(Clone, Debug)]
pub struct Repeated {
    /// From the end of the time to the number.
    session: Box<[u8]>,
    /// From the end of the number to the text.
    operation: Box<[u8]>,
    /// From the end of the binds to the end.
    answer: Box<[u8]>,
}

#[derive(Serialize)]
struct Operation<'a> {
    verb: Verb,
    resources: &'a [ResourceRef],
    statement: &'a StatementKind,
}

#[derive(Serialize)]
struct Answer<'a> {
    decision: Verdict,
    rule: &'a RuleRef,
    reason: &'a str,
    #[serde(skip_serializing_if = "<[Obligation]>::is_empty")]
    obligations: &'a [Obligation],
    policy: &'a str,
}

impl Repeated {
    /// What comes again of `event`.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn of(event: &DecisionEvent) -> Result<Self, Error> {
        // Every field is named, so that one that is added is not forgotten here.
        let DecisionEvent {
            at: _,
            session,
            number: _,
            verb,
            resources,
            statement,
            text: _,
            text_cut_from: _,
            binds: _,
            decision,
            rule,
            reason,
            obligations,
            policy,
        } = event;
        let operation = inside(&Operation { verb: *verb, resources, statement })?;
        let answer = inside(&Answer { decision: *decision, rule, reason, obligations, policy })?;
        Ok(Self {
            session: format!("\",\"session\":\"{session}\",\"number\":").into_bytes().into(),
            operation: [b",", operation.as_slice()].concat().into(),
            answer: [b",", answer.as_slice(), b"}"].concat().into(),
        })
    }

    /// Appends the JSON of `event`, of which everything but time, number, text and binds is as this was made of.
    pub(crate) fn write(
        &self,
        event: &DecisionEvent,
        times: &mut Times,
        out: &mut Vec<u8>,
    ) -> Result<(), serde_json::Error> {
        out.extend_from_slice(b"{\"event\":\"decision\",\"at\":\"");
        times.write(event.at, out);
        out.extend_from_slice(&self.session);
        number(event.number, out);
        out.extend_from_slice(&self.operation);
        if !event.text.is_empty() {
            out.extend_from_slice(b",\"text\":");
            serde_json::to_writer(&mut *out, &*event.text)?;
        }
        if let Some(length) = event.text_cut_from {
            out.extend_from_slice(b",\"text_cut_from\":");
            number(length, out);
        }
        if let Some(binds) = &event.binds {
            out.extend_from_slice(b",\"binds\":");
            serde_json::to_writer(&mut *out, binds)?;
        }
        out.extend_from_slice(&self.answer);
        Ok(())
    }
}

/// The fields of `value` as JSON, without the braces around them.
fn inside(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let json = serde_json::to_vec(value).map_err(Error::Encode)?;
    let fields = json.strip_prefix(b"{").and_then(|json| json.strip_suffix(b"}")).unwrap_or_default();
    Ok(fields.to_vec())
}

fn number(number: u64, out: &mut Vec<u8>) {
    // Writing to a `Vec` does not fail.
    let _ = write!(out, "{number}");
}

/// The length of `2026-09-21T14:13:20`, and of the whole time.
const TO_SECOND: usize = 19;
const TO_END: usize = 27;

/// Writes times, of which most are in the same second as the one before.
#[derive(Debug)]
pub(crate) struct Times {
    second: i64,
    written: [u8; TO_SECOND],
}

impl Times {
    pub(crate) const fn new() -> Self {
        Self { second: i64::MIN, written: [0; TO_SECOND] }
    }

    fn write(&mut self, at: Timestamp, out: &mut Vec<u8>) {
        if at.as_seconds() == self.second {
            let micros = at.as_micros().rem_euclid(1_000_000);
            let digit = |place: i64| b'0' + u8::try_from(micros / place % 10).unwrap_or(0);
            out.extend_from_slice(&self.written);
            out.extend_from_slice(&[
                b'.',
                digit(100_000),
                digit(10_000),
                digit(1_000),
                digit(100),
                digit(10),
                digit(1),
                b'Z',
            ]);
            return;
        }
        let start = out.len();
        let _ = write!(out, "{at}");
        let written = out.get(start..).unwrap_or_default();
        if let Some(to_second) = written.first_chunk()
            && written.len() == TO_END
        {
            (self.second, self.written) = (at.as_seconds(), *to_second);
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::{AuditEvent, SessionId};

    use super::*;

    fn event() -> DecisionEvent {
        DecisionEvent {
            at: Timestamp::from_micros(1_790_000_000_123_456),
            session: SessionId::generate(Timestamp::from_seconds(1_790_000_000)),
            number: 7,
            verb: Verb::Read,
            resources: std::sync::Arc::new([ResourceRef {
                verb: Verb::Read,
                resource: "public.\"logs\"".into(),
                columns: vec!["message".to_owned()],
                through: None,
            }]),
            statement: StatementKind::word("select"),
            text: "select 'ü', \"x\"\n-- \u{1}".into(),
            text_cut_from: None,
            binds: None,
            decision: Verdict::Allow,
            rule: RuleRef {
                kind: "grant".into(),
                name: "a".to_owned(),
                location: Some("p.yaml:7".to_owned()),
            },
            reason: "in scope".into(),
            obligations: Vec::new(),
            policy: "v1".into(),
        }
    }

    #[test]
    fn a_repeated_decision_is_encoded_as_any_event() {
        let mut events = vec![event()];
        for micros in
            [0, 1, 999_999, -1, -1_000_000, i64::MIN, i64::MAX, 1_790_000_000_000_001, 1_790_000_001_000_000]
        {
            events.push(DecisionEvent { at: Timestamp::from_micros(micros), number: u64::MAX, ..event() });
            events.push(DecisionEvent { at: Timestamp::from_micros(micros), text: "".into(), ..event() });
        }
        events.push(DecisionEvent {
            text_cut_from: Some(9_000_000),
            binds: Some("00ff".to_owned()),
            ..event()
        });
        events.push(DecisionEvent { binds: Some("\"".to_owned()), resources: [].into(), ..event() });
        let warn = Obligation::Warn { rule: event().rule, message: "careful".to_owned() };
        events.push(DecisionEvent { obligations: vec![Obligation::Record, warn], ..event() });
        let mut times = Times::new();
        for event in events {
            let mut out = Vec::new();
            Repeated::of(&event).unwrap().write(&event, &mut times, &mut out).unwrap();
            let plain = serde_json::to_string(&AuditEvent::Decision(event)).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), plain);
        }
    }

    #[test]
    fn what_was_encoded_once_serves_other_times_numbers_and_texts() {
        let repeated = Repeated::of(&event()).unwrap();
        let mut times = Times::new();
        for number in 0..2_000_u64 {
            let event = DecisionEvent {
                at: Timestamp::from_micros(1_790_000_000_000_000 + number.cast_signed() * 1_234),
                number,
                text: format!("select {number}").into(),
                ..event()
            };
            let event = DecisionEvent { session: repeated_session(&repeated), ..event };
            let mut out = Vec::new();
            repeated.write(&event, &mut times, &mut out).unwrap();
            assert_eq!(out, serde_json::to_vec(&AuditEvent::Decision(event)).unwrap());
        }
    }

    fn repeated_session(repeated: &Repeated) -> SessionId {
        let text = std::str::from_utf8(&repeated.session).unwrap();
        text.split('"').nth(4).unwrap().parse().unwrap()
    }
}
