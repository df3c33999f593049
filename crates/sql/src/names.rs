//! Names as the catalog spells them and as resources spell them.
//!
//! | resource | what |
//! |---|---|
//! | `schema.name` | a relation, function, operator, type or anything else that stands in a schema |
//! | `pg_temp.name` | a relation of the session's own |
//! | `?.name` | a name without a schema where the search path is not known or holds no usable schema |
//! | `server/<kind>/<name>` | what stands in no schema: `role`, `database`, `schema`, `extension`, `tablespace`, `language`, `publication`, `subscription`, `foreign-server`, `foreign-data-wrapper`, `user-mapping`, `event-trigger`, `access-method`, `library` (`LOAD`), `system` (`ALTER SYSTEM`), `prepared-transaction`, `maintenance` |
//! | `server/setting/<name>` | a setting that is not known to be harmless |
//! | `server/cascade` | everything that depends on what is dropped, truncated or revoked with `CASCADE` |
//! | `server/copy-program`, `server/copy-file` | `COPY` with a program or a file on the server |
//! | `server/code` | the body of a function, procedure or trigger that is made or changed: nobody sees what it does |
//! | `server/do` | the code of a `DO` block |
//! | `server/maintenance`, `server/checkpoint`, `server/cast`, `server/default-privileges`, `server/large-object` | statements that name nothing that has a name |
//! | `session/role`, `session/authorization` | `SET ROLE`, `SET SESSION AUTHORIZATION` |
//! | `channel/<name>` | `LISTEN` (read), `NOTIFY` and `pg_notify` (write) |

use std::fmt;

/// A name as a statement gives it, case already folded by the parser: `schema` is absent where the search path decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The schema, where written.
    pub schema: Option<Box<str>>,
    /// The object.
    pub name: Box<str>,
}

impl Name {
    /// A name without a schema.
    pub fn bare(name: impl Into<Box<str>>) -> Self {
        Self { schema: None, name: name.into() }
    }

    /// A name with a schema.
    pub fn qualified(schema: impl Into<Box<str>>, name: impl Into<Box<str>>) -> Self {
        Self { schema: Some(schema.into()), name: name.into() }
    }

    /// Whether the name can mean the built-in object `name`: not qualified, or with `pg_catalog`.
    pub(crate) fn may_be_builtin(&self) -> bool {
        self.schema.as_deref().is_none_or(|schema| schema == "pg_catalog")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => f.write_str(&resource_name(schema, &self.name)),
            None => f.write_str(&part(&self.name)),
        }
    }
}

/// The schema that stands in a resource's name where the search path is not known or holds no usable schema: only patterns
/// whose schema part is a glob match it. A name that is merely not in the catalog is taken to be in every schema of the path
/// instead. A real schema called `?` is written `"?"`.
pub const UNRESOLVED_SCHEMA: &str = "?";

/// `schema.name` as a resource. A part that holds a separator, a quote, a glob character, white space or nothing at all is
/// written in double quotes, so that the schema `public` with the table `a.b` never reads like the schema `public.a`.
pub fn resource_name(schema: &str, name: &str) -> String {
    let mut text = String::with_capacity(schema.len() + name.len() + 1);
    push_part(&mut text, schema);
    text.push('.');
    push_part(&mut text, name);
    text
}

/// `?.name`: nothing of that name was found. Only patterns whose schema part is a glob match it.
pub(crate) fn unresolved_name(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    text.push_str(UNRESOLVED_SCHEMA);
    text.push('.');
    push_part(&mut text, name);
    text
}

/// `server/<kind>/<name>`: an object that stands in no schema. No relation's resource name starts like this, because a part
/// that holds `/` is quoted.
pub(crate) fn server_name(kind: &str, name: &str) -> String {
    let mut text = String::from("server/");
    text.push_str(kind);
    text.push('/');
    push_part(&mut text, name);
    text
}

/// One part of a resource's name, quoted where needed.
pub(crate) fn part(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    push_part(&mut text, name);
    text
}

fn push_part(text: &mut String, name: &str) {
    let odd = |c: char| matches!(c, '.' | '/' | '"' | '?' | '*' | ':') || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.chars().any(odd) {
        text.push('"');
        for c in name.chars() {
            if c == '"' {
                text.push('"');
            }
            text.push(c);
        }
        text.push('"');
    } else {
        text.push_str(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_separators_are_quoted() {
        assert_eq!(resource_name("public", "orders"), "public.orders");
        assert_eq!(resource_name("public", "a.b"), "public.\"a.b\"");
        assert_eq!(resource_name("public.a", "b"), "\"public.a\".b");
        assert_eq!(resource_name("?", "b"), "\"?\".b");
        assert_eq!(resource_name("server/role", "b"), "\"server/role\".b");
        assert_eq!(unresolved_name("b"), "?.b");
        assert_eq!(server_name("role", "a/b"), "server/role/\"a/b\"");
        assert_eq!(part("a\"b"), "\"a\"\"b\"");
    }
}
