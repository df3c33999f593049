//! [`Detector`]: what is looked for in values.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind, Repetition};

use crate::Error;

/// The memory a compiled expression may take, and its cache while it runs: 1 MiB, which holds `\w{1,100}` and refuses
/// `\w{1,1000}`. What is refused is refused when the documents are read.
const SIZE_LIMIT: usize = 1 << 20;

/// Groups within groups. The parser recurses.
const NEST_LIMIT: u32 = 50;

/// What is looked for in values. The precise definitions stand in the files of `find`.
#[derive(Clone, Debug)]
pub enum Detector {
    /// A payment card number: 12 to 19 digits of a known issuer's range whose Luhn digit is right.
    CreditCard,
    /// An e-mail address.
    Email,
    /// A social security number of the United States.
    UsSsn,
    /// An international bank account number whose check digits are right (ISO 7064, mod 97-10).
    Iban,
    /// A telephone number.
    Phone,
    /// A key of a well-known service, by its shape.
    ApiKey,
    /// A JSON Web Token.
    Jwt,
    /// A private key in PEM form.
    PrivateKey,
    /// A regular expression of the documents.
    Regex {
        /// What findings are called.
        name: Box<str>,
        /// The expression.
        regex: Expression,
    },
}

impl Detector {
    /// Every name there is without an expression, in the order of the documentation.
    pub const NAMES: [&'static str; 8] =
        ["credit-card", "email", "us-ssn", "iban", "phone", "api-key", "jwt", "private-key"];

    /// The detector of this name; `None`: there is none.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "credit-card" => Self::CreditCard,
            "email" => Self::Email,
            "us-ssn" => Self::UsSsn,
            "iban" => Self::Iban,
            "phone" => Self::Phone,
            "api-key" => Self::ApiKey,
            "jwt" => Self::Jwt,
            "private-key" => Self::PrivateKey,
            _ => return None,
        })
    }

    /// A detector of the documents.
    ///
    /// # Errors
    /// No name; an expression that does not compile within 1 MiB, that could match part of a character, that matches the
    /// empty text or no text.
    pub fn custom(name: &str, expression: &str) -> Result<Self, Error> {
        if name.is_empty() {
            return Err(Error::UnnamedExpression);
        }
        Ok(Self::Regex { name: name.into(), regex: Expression::new(name, expression)? })
    }

    /// The name, as in the documents.
    pub fn as_str(&self) -> &str {
        match self {
            Self::CreditCard => "credit-card",
            Self::Email => "email",
            Self::UsSsn => "us-ssn",
            Self::Iban => "iban",
            Self::Phone => "phone",
            Self::ApiKey => "api-key",
            Self::Jwt => "jwt",
            Self::PrivateKey => "private-key",
            Self::Regex { name, .. } => name,
        }
    }
}

/// A compiled expression of the documents: never empty-matching, never matching part of a character.
#[derive(Clone)]
pub struct Expression {
    whole: Regex,
    /// The expression without anchors and word boundaries: matches wherever `whole` matches a part of the bytes. `None`:
    /// nothing is left of it, or it is too large, so any bytes may hold a match.
    within: Option<Regex>,
    looks: bool,
}

impl Expression {
    fn new(name: &str, expression: &str) -> Result<Self, Error> {
        // The parser draws the expression with a marker beneath; the last line says what is wrong.
        let refused = |reason: String| {
            let last = reason.lines().last().unwrap_or_default();
            let said = last.trim_start_matches("error: ").trim_end_matches('.');
            let said = match said.strip_prefix("Compiled") {
                Some(rest) => format!("compiled{rest}"),
                None => said.to_owned(),
            };
            Error::Expression { name: name.to_owned(), reason: said }
        };
        let hir = regex_syntax::ParserBuilder::new()
            .nest_limit(NEST_LIMIT)
            .build()
            .parse(expression)
            .map_err(|error| refused(error.to_string()))?;
        match hir.properties().minimum_len() {
            Some(0) => return Err(Error::MatchesEmpty(name.to_owned())),
            None => return Err(Error::MatchesNothing(name.to_owned())),
            Some(_) => {}
        }
        let looks = !hir.properties().look_set().is_empty();
        let whole = compile(expression).map_err(|error| refused(error.to_string()))?;
        let within = if looks {
            let open = without_looks(hir);
            match open.properties().minimum_len() {
                Some(1..) => compile(&open.to_string()).ok(),
                _ => None,
            }
        } else {
            Some(whole.clone())
        };
        Ok(Self { whole, within, looks })
    }

    /// The text of the expression.
    pub fn as_str(&self) -> &str {
        self.whole.as_str()
    }

    pub(crate) fn whole(&self) -> &Regex {
        &self.whole
    }

    /// Whether what stands around a text may decide whether it matches.
    pub(crate) const fn looks_around(&self) -> bool {
        self.looks
    }

    /// Whether the bytes may hold a value that matches.
    pub(crate) fn may_match_within(&self, bytes: &[u8]) -> bool {
        self.within.as_ref().is_none_or(|regex| regex.is_match(bytes))
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Expression({:?})", self.as_str())
    }
}

fn compile(expression: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(expression)
        .size_limit(SIZE_LIMIT)
        .dfa_size_limit(SIZE_LIMIT)
        .nest_limit(NEST_LIMIT)
        .build()
}

/// The expression with every anchor and boundary taken out: it matches whatever the expression matches, wherever it stands.
/// The recursion is as deep as the expression nests: at most [`NEST_LIMIT`] groups.
fn without_looks(hir: Hir) -> Hir {
    match hir.into_kind() {
        HirKind::Look(_) | HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Repetition(Repetition { min, max, greedy, sub }) => {
            Hir::repetition(Repetition { min, max, greedy, sub: Box::new(without_looks(*sub)) })
        }
        HirKind::Capture(capture) => without_looks(*capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.into_iter().map(without_looks).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.into_iter().map(without_looks).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression(text: &str) -> Expression {
        let Ok(Detector::Regex { regex, .. }) = Detector::custom("own", text) else { panic!("{text}") };
        regex
    }

    #[test]
    fn every_name_is_the_name_of_its_detector() {
        for name in Detector::NAMES {
            assert_eq!(Detector::named(name).unwrap().as_str(), name);
        }
        assert!(Detector::named("passport").is_none());
        assert_eq!(Detector::custom("employee-id", r"EMP-\d{6}").unwrap().as_str(), "employee-id");
    }

    #[test]
    fn an_expression_that_would_be_found_everywhere_or_nowhere_is_refused() {
        for empty in ["", "a*", "(x|)", r"\b", "^", "(?:a?)+"] {
            assert_eq!(
                Detector::custom("own", empty).unwrap_err(),
                Error::MatchesEmpty("own".into()),
                "{empty}"
            );
        }
        assert_eq!(Detector::custom("own", r"[a&&b]").unwrap_err(), Error::MatchesNothing("own".into()));
        assert_eq!(Detector::custom("", "a").unwrap_err(), Error::UnnamedExpression);
    }

    #[test]
    fn an_expression_that_is_wrong_or_too_large_is_refused_with_the_reason() {
        for (text, part) in [
            ("EMP-(", "unclosed group"),
            (r"(?-u)\xFF", "UTF-8"),
            (r"\w{1,100000}", "compiled regex exceeds size limit"),
            (&"(".repeat(60), ""),
        ] {
            match Detector::custom("own", text).unwrap_err() {
                Error::Expression { name, reason } => {
                    assert_eq!(name, "own");
                    assert!(reason.contains(part), "{text}: {reason}");
                }
                other => panic!("{text}: {other}"),
            }
        }
    }

    #[test]
    fn what_matches_a_value_matches_within_a_row_that_holds_it() {
        let anchored = expression(r"^EMP-\d{6}$");
        assert!(anchored.whole().is_match(b"EMP-123456"));
        assert!(!anchored.whole().is_match(b"\0\0\0AEMP-123456"));
        assert!(anchored.may_match_within(b"\0\0\0AEMP-1234569"));
        assert!(!anchored.may_match_within(b"EMP-12"));
        let bounded = expression(r"\b(?:id|no)[0-9]+\b");
        assert!(bounded.may_match_within(b"Aid12x"));
        assert!(!bounded.may_match_within(b"Aix12x"));
        assert!(expression(r"\Bé+").may_match_within("xé".as_bytes()));
        assert!(expression(r"(?i)^straße$").may_match_within("xSTRASSE STRAßE9".as_bytes()));
    }
}
