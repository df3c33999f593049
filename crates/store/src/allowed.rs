//! Allowed decisions as the journal has them, looked at just as far as is needed to tell which known shape they are of.

use std::borrow::Cow;

use portcullis_core::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

/// How every decision begins that this program or an earlier one wrote.
const BEGINS: &[u8] = br#"{"event":"decision","#;

/// A decision that was `allow`. What makes its shape is not read, only compared.
#[derive(Deserialize)]
pub(crate) struct Allowed<'a> {
    pub(crate) at: Timestamp,
    pub(crate) session: &'a str,
    pub(crate) number: u64,
    #[serde(default, borrow)]
    pub(crate) text: Cow<'a, str>,
    #[serde(default)]
    pub(crate) binds: Option<&'a str>,
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

impl<'a> Allowed<'a> {
    /// `None` where it is anything else, or written in a way that this does not expect: then it is to be read in full.
    pub(crate) fn read(json: &'a [u8]) -> Option<Self> {
        if !json.starts_with(BEGINS) {
            return None;
        }
        serde_json::from_slice(json).ok().filter(|allowed: &Self| allowed.decision == "allow")
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
