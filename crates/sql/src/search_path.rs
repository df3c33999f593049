//! The search path: where a name without a schema is looked for. A session can often not know which of several is in force
//! (a `SET` inside a transaction may be rolled back), so it is a set of candidates and a name must be allowed under each.

/// One search path: schema names in order, as `current_schemas(false)` gives them or as `SET search_path` lists them, with
/// `$user` already replaced by the session's user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SearchPath {
    schemas: Vec<Box<str>>,
}

impl SearchPath {
    /// From schema names in order. `pg_catalog` and `pg_temp` may be among them; where they are not, they come first.
    pub fn new<S: Into<Box<str>>>(schemas: impl IntoIterator<Item = S>) -> Self {
        Self { schemas: schemas.into_iter().map(Into::into).collect() }
    }

    /// From a setting's value: `"$user", public`. `user` takes the place of `$user`. Nothing where the value is malformed.
    pub fn parse(value: &str, user: &str) -> Option<Self> {
        let names = split_names(value, ',')?;
        let own = |name: String| if name == "$user" { user.into() } else { name.into_boxed_str() };
        Some(Self { schemas: names.into_iter().map(own).collect() })
    }

    /// The schemas in the order the server looks for relations and types: `pg_temp` and `pg_catalog` first where not listed.
    pub fn effective(&self) -> impl Iterator<Item = &str> {
        let listed = |name: &str| self.schemas.iter().any(|schema| &**schema == name);
        let temp = (!listed("pg_temp")).then_some("pg_temp");
        let catalog = (!listed("pg_catalog")).then_some("pg_catalog");
        temp.into_iter().chain(catalog).chain(self.schemas.iter().map(|schema| &**schema))
    }

    /// The listed schemas, without the implicit ones: where new objects are made.
    pub fn listed(&self) -> impl Iterator<Item = &str> {
        self.schemas.iter().map(|schema| &**schema)
    }
}

/// Names separated by `separator`, white space around them; nothing where malformed, no names where empty.
pub(crate) fn split_names(text: &str, separator: char) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text.trim_matches(|c: char| c.is_ascii_whitespace());
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        let (mut name, after) = split_identifier(rest, separator)?;
        truncate(&mut name);
        names.push(name);
        rest = after.trim_ascii_start();
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(separator)?.trim_ascii_start();
    }
}

/// Cuts a name to what the server keeps of it (`truncate_identifier`, scansup.c): else a longer spelling of a schema would be
/// another schema here and the same one there.
fn truncate(name: &mut String) {
    const NAMEDATALEN: usize = 64;
    let mut end = name.len().min(NAMEDATALEN - 1);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
}

/// `SplitIdentifierString` (`src/backend/utils/adt/varlena.c`): a bare word is folded to lower case, a quoted one is not.
fn split_identifier(text: &str, separator: char) -> Option<(String, &str)> {
    if let Some(mut rest) = text.strip_prefix('"') {
        let mut name = String::new();
        loop {
            let (inside, after) = rest.split_once('"')?;
            name.push_str(inside);
            match after.strip_prefix('"') {
                Some(more) => {
                    name.push('"');
                    rest = more;
                }
                None => return Some((name, after)),
            }
        }
    }
    let end =
        text.find(|c: char| c == separator || c == '"' || c.is_ascii_whitespace()).unwrap_or(text.len());
    let (word, after) = text.split_at_checked(end)?;
    (!word.is_empty()).then(|| (word.to_ascii_lowercase(), after))
}

/// The search paths that may be in force.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SearchPaths {
    candidates: Vec<SearchPath>,
    /// Where `RESET search_path` leads.
    initial: Option<SearchPath>,
    /// Some path in force may be none of the candidates.
    unknown: bool,
    user: Box<str>,
}

impl SearchPaths {
    /// The most candidates kept; more are taken for unknown.
    pub const MAX_CANDIDATES: usize = 8;

    /// One known path, which is also where `RESET` leads. `user` is what `$user` stands for in later `SET`s.
    pub fn known(path: SearchPath, user: impl Into<Box<str>>) -> Self {
        Self { candidates: vec![path.clone()], initial: Some(path), unknown: false, user: user.into() }
    }

    /// Nothing is known: every name without a schema is unresolved.
    pub fn unknown(user: impl Into<Box<str>>) -> Self {
        Self { candidates: Vec::new(), initial: None, unknown: true, user: user.into() }
    }

    /// The same set with one more candidate: a `SET` that may or may not stick.
    pub fn add(&mut self, path: SearchPath) {
        if !self.candidates.contains(&path) {
            if self.candidates.len() >= Self::MAX_CANDIDATES {
                self.unknown = true;
            } else {
                self.candidates.push(path);
            }
        }
    }

    /// Only this path is in force from now on: the server said so.
    pub fn settle(&mut self, path: SearchPath) {
        self.candidates = vec![path];
        self.unknown = false;
    }

    /// A path nobody can tell may be in force.
    pub fn add_unknown(&mut self) {
        self.unknown = true;
    }

    /// Takes a change of the setting `search_path` into the set; every candidate stays, because the change may not stick.
    /// Returns false where `change` is about another setting.
    pub fn apply(&mut self, change: &crate::SettingChange) -> bool {
        if !change.concerns("search_path") {
            return false;
        }
        let path = match (&change.value, change.reset) {
            (_, true) => self.initial.clone(),
            (crate::SettingValue::Known(value), false) => SearchPath::parse(value, &self.user),
            (crate::SettingValue::Unknown, false) => None,
        };
        match path {
            Some(path) => self.add(path),
            None => self.unknown = true,
        }
        true
    }

    /// The candidates.
    pub fn candidates(&self) -> &[SearchPath] {
        &self.candidates
    }

    /// Whether a path that is none of the candidates may be in force.
    pub fn is_unknown(&self) -> bool {
        self.unknown
    }
}
