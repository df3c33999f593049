//! The names of a statement's resources, taken apart again.

use portcullis_core::{ResourceRef, Verb};

/// A relation or function that a statement was judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) verb: Verb,
}

/// What the pairs of a statement name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// What stands in schemas, each once for each verb.
    pub(super) named: Vec<Named>,
    /// `CASCADE` is written.
    pub(super) cascades: bool,
}

/// Takes the pairs apart.
///
/// # Errors
/// Something among them means nothing on another login, or is more than data: why.
pub(super) fn read(resources: &[ResourceRef]) -> Result<Names, &'static str> {
    let mut names = Names { named: Vec::new(), cascades: false };
    for pair in resources {
        let resource = pair.resource.as_str();
        if resource == "server/cascade" {
            names.cascades = true;
            continue;
        }
        if pair.verb == Verb::Execute {
            return Err("the statement runs code, and what code does is not known before it runs");
        }
        let Some((schema, name)) = parts(resource) else {
            return Err("the statement is about more than tables");
        };
        match &*schema {
            "pg_temp" => {
                return Err("the statement may be about a temporary table that only its session has");
            }
            "?" if resource.starts_with('?') => {
                return Err("a name in the statement is not known, or the search path is not");
            }
            _ => {}
        }
        let named = Named { schema, name, verb: pair.verb };
        if !names.named.contains(&named) {
            names.named.push(named);
        }
    }
    Ok(names)
}

/// `schema.name` as [`portcullis_sql::resource_name`] writes it; nothing where it is something else.
fn parts(resource: &str) -> Option<(String, String)> {
    let (schema, rest) = part(resource)?;
    let (name, rest) = part(rest.strip_prefix('.')?)?;
    rest.is_empty().then_some((schema, name))
}

/// One part, quoted or not, and what follows.
fn part(text: &str) -> Option<(String, &str)> {
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
    let end = text.find('.').unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    (!name.is_empty() && !name.contains('/')).then(|| (name.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use portcullis_sql::resource_name;

    use super::*;

    fn pair(verb: Verb, resource: &str) -> ResourceRef {
        ResourceRef { verb, resource: resource.to_owned().into(), columns: Vec::new(), through: None }
    }

    #[test]
    fn names_are_taken_apart_as_they_were_put_together() {
        for (schema, name) in
            [("public", "orders"), ("a.b", "c"), ("a", "b.c\"d"), ("server/x", "y z"), ("?", "x"), ("", "x")]
        {
            let resource = resource_name(schema, name);
            assert_eq!(parts(&resource), Some((schema.to_owned(), name.to_owned())), "{resource}");
        }
        for odd in ["server/do", "server/role/x", "channel/a.b", "a", "a.b.c", "\"a.b", "a.", ".b"] {
            assert_eq!(parts(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_is_more_than_tables_is_not_asked_about() {
        assert!(read(&[pair(Verb::Write, "public.orders"), pair(Verb::Read, "public.orders")]).is_ok());
        assert!(
            read(&[pair(Verb::Admin, "public.orders"), pair(Verb::Admin, "server/cascade")])
                .unwrap()
                .cascades
        );
        for (verb, resource) in [
            (Verb::Execute, "public.f"),
            (Verb::Execute, "server/do"),
            (Verb::Write, "pg_temp.orders"),
            (Verb::Read, "?.orders"),
            (Verb::Admin, "server/copy-program"),
            (Verb::Write, "channel/x"),
        ] {
            assert!(read(&[pair(Verb::Read, "public.orders"), pair(verb, resource)]).is_err(), "{resource}");
        }
        // A real schema that is called like the sign for an unknown one.
        assert!(read(&[pair(Verb::Read, "\"?\".orders")]).is_ok());
    }
}
