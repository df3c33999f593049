//! Patterns over names of columns and functions, part by part.
//!
//! A part is a glob (`*` any run, `?` one character, whatever the characters: names with dots are one part), or text in
//! double quotes, which is exactly that name. What is masked is read widely (a glob matches whatever the case), what is trusted
//! narrowly (a glob is folded to lower case, as PostgreSQL folds names without quotes).

use std::{fmt, str::FromStr};

/// The longest pattern, in bytes: three names of the longest kind, quoted, and room for globs.
const MAX_LEN: usize = 1024;

/// Schemas of the server's own tables. A pattern that leaves the schema open does not mean them.
const SYSTEM_SCHEMAS: [&str; 2] = ["pg_catalog", "information_schema"];

/// `schema.table.column`, or `table.column` for any schema.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ColumnPattern {
    text: Box<str>,
    /// `None`: any.
    schema: Option<NamePattern>,
    table: NamePattern,
    column: NamePattern,
}

/// `schema.function`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FunctionPattern {
    text: Box<str>,
    schema: NamePattern,
    function: NamePattern,
}

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum NamePattern {
    /// In quotes: this name.
    Exact(Box<str>),
    /// A glob.
    Glob(Box<str>),
}

/// How letters are compared.
#[derive(Clone, Copy)]
enum Case {
    /// Capitals are no difference.
    Ignored,
    /// The pattern's capitals are small letters, the name's are not.
    Folded,
}

impl ColumnPattern {
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it means the column. An open schema (`*`, or none) does not mean the server's own catalogs: name them.
    pub fn matches(&self, schema: &str, table: &str, column: &str) -> bool {
        let open = self.schema.as_ref().is_none_or(NamePattern::is_open);
        (!open || !SYSTEM_SCHEMAS.contains(&schema))
            && self.schema.as_ref().is_none_or(|pattern| pattern.matches(schema, Case::Ignored))
            && self.table.matches(table, Case::Ignored)
            && self.column.matches(column, Case::Ignored)
    }
}

impl FunctionPattern {
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it means the function.
    pub fn matches(&self, schema: &str, function: &str) -> bool {
        self.schema.matches(schema, Case::Folded) && self.function.matches(function, Case::Folded)
    }

    /// Whether the schema is open: then whoever may create a function anywhere can make a trusted one.
    pub(crate) fn is_any_schema(&self) -> bool {
        self.schema.is_open()
    }
}

impl NamePattern {
    fn matches(&self, name: &str, case: Case) -> bool {
        match self {
            Self::Exact(own) => **own == *name,
            Self::Glob(pattern) => glob(pattern, name, case),
        }
    }

    fn is_open(&self) -> bool {
        matches!(self, Self::Glob(pattern) if pattern.chars().all(|c| matches!(c, '*' | '?')))
    }
}

/// Time O(pattern x name), no allocation: on a mismatch the last `*` takes one character more.
fn glob(pattern: &str, name: &str, case: Case) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    let mut retry = None;
    loop {
        let (mut after, mut rest) = (pattern.clone(), name.clone());
        let steps = match (after.next(), rest.next()) {
            (Some('*'), _) => {
                retry = Some((after.clone(), name.clone()));
                pattern = after;
                continue;
            }
            (None, None) => return true,
            (Some(own), Some(c)) => own == '?' || same(own, c, case),
            _ => false,
        };
        if steps {
            (pattern, name) = (after, rest);
            continue;
        }
        let Some((after, from)) = &mut retry else { return false };
        if from.next().is_none() {
            return false;
        }
        (pattern, name) = (after.clone(), from.clone());
    }
}

fn same(own: char, c: char, case: Case) -> bool {
    match case {
        Case::Ignored => own == c || own.to_lowercase().eq(c.to_lowercase()),
        Case::Folded => own.to_ascii_lowercase() == c,
    }
}

/// The text is no such pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// So many parts are not what is asked for.
    #[error("it has {found} part{}, expected {expected}", if *found == 1 { "" } else { "s" })]
    Parts {
        /// How many there are.
        found: usize,
        /// What is asked for: `2 or 3`.
        expected: &'static str,
    },
    /// Nothing between two dots, or in quotes.
    #[error("a part of it is empty")]
    Empty,
    /// A quote inside a part, or one that is not closed.
    #[error("double quotes stand around a whole part, and close; inside, two stand for one")]
    Quotes,
    /// A space or control character outside quotes.
    #[error("a name with spaces stands in double quotes")]
    Space,
    /// Longer than any name.
    #[error("it is longer than 1024 bytes")]
    Long,
}

fn parts(text: &str) -> Result<Vec<NamePattern>, InvalidName> {
    if text.len() > MAX_LEN {
        return Err(InvalidName::Long);
    }
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => exact(quoted)?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                let (part, after) = rest.split_at(end);
                if part.contains('"') {
                    return Err(InvalidName::Quotes);
                }
                if part.chars().any(|c| c.is_whitespace() || c.is_control()) {
                    return Err(InvalidName::Space);
                }
                (NamePattern::Glob(part.into()), after)
            }
        };
        if matches!(&part, NamePattern::Exact(text) | NamePattern::Glob(text) if text.is_empty()) {
            return Err(InvalidName::Empty);
        }
        parts.push(part);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(parts),
            None => return Err(InvalidName::Quotes),
        }
    }
}

/// What stands in quotes, without the first one, and what follows the last.
fn exact(quoted: &str) -> Result<(NamePattern, &str), InvalidName> {
    let (mut name, mut rest) = (String::new(), quoted);
    loop {
        let (text, after) = rest.split_once('"').ok_or(InvalidName::Quotes)?;
        name.push_str(text);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Ok((NamePattern::Exact(name.into()), after)),
        }
    }
}

impl FromStr for ColumnPattern {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = parts(text)?;
        let found = parts.len();
        let mut parts = parts.into_iter();
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(schema), Some(table), Some(column), None) => {
                Ok(Self { text: text.into(), schema: Some(schema), table, column })
            }
            (Some(table), Some(column), None, _) => {
                Ok(Self { text: text.into(), schema: None, table, column })
            }
            _ => Err(InvalidName::Parts { found, expected: "2 or 3" }),
        }
    }
}

impl FromStr for FunctionPattern {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = parts(text)?;
        let found = parts.len();
        let mut parts = parts.into_iter();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(schema), Some(function), None) => Ok(Self { text: text.into(), schema, function }),
            _ => Err(InvalidName::Parts { found, expected: "2" }),
        }
    }
}

impl fmt::Display for ColumnPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for FunctionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
