//! What `explain` says of a mask.

use std::fmt;

use portcullis_mask::Transform;
use serde::Serialize;

use crate::{Filter, Mask, Opaque};

/// A mask in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MaskAnswer {
    /// Its name.
    pub mask: String,
    /// `file:line`.
    pub location: String,
    /// What is shown in place of a value: `last4`.
    pub with: &'static str,
    /// The form shown, `XXX-##`, where one is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The columns whose values are changed as a whole.
    pub columns: Vec<String>,
    /// What is looked for in every other text value.
    pub detect: Vec<String>,
    /// Whether statements may compare with the columns; absent without columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// What happens to code nobody sees into; absent without columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opaque: Option<Opaque>,
    /// Functions known not to give values of the columns away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_functions: Vec<String>,
}

impl MaskAnswer {
    pub(super) fn new(mask: &Mask) -> Self {
        let of_columns = !mask.columns.is_empty();
        Self {
            mask: mask.name.clone(),
            location: mask.location.clone(),
            with: mask.transform.as_str(),
            pattern: match &mask.transform {
                Transform::Pattern(pattern) => pattern.text().map(str::to_owned),
                _ => None,
            },
            columns: mask.columns.iter().map(ToString::to_string).collect(),
            detect: mask.detectors.iter().map(|detector| detector.as_str().to_owned()).collect(),
            filter: of_columns.then_some(mask.filter),
            opaque: of_columns.then_some(mask.opaque),
            trusted_functions: mask.trusted_functions.iter().map(ToString::to_string).collect(),
        }
    }
}

/// `cards (policy.yaml:7): last4 of payments.card_number; filter deny, opaque refuse`.
impl fmt::Display for MaskAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.mask, self.location, self.with)?;
        if let Some(pattern) = &self.pattern {
            write!(f, " `{pattern}`")?;
        }
        if !self.columns.is_empty() {
            write!(f, " of {}", self.columns.join(", "))?;
        }
        if !self.detect.is_empty() {
            let and = if self.columns.is_empty() { "" } else { ", and" };
            write!(f, "{and} of every {} found", self.detect.join(", "))?;
        }
        if let (Some(filter), Some(opaque)) = (self.filter, self.opaque) {
            write!(f, "; filter {filter}, opaque {opaque}")?;
        }
        if !self.trusted_functions.is_empty() {
            write!(f, "; trusts {}", self.trusted_functions.join(", "))?;
        }
        Ok(())
    }
}
