//! What reaches the server without being a statement that was parsed: fast-path function calls, texts the analysis gave up on.

use std::sync::Arc;

use portcullis_core::{Operation, ResourceRef, StatementKind, Verb, operation::Classified};

use crate::{
    Analysis, Catalog, Statement,
    analysis::{Shape, Uses},
    functions::{self, BuiltIn},
    names::{resource_name, unresolved_name},
};

/// A FunctionCall message as the operation it is: judged by the function's oid through the catalog. Its arguments are not
/// looked at, so that a function whose effect they decide needs `write`, and `set_config` is not classified.
pub fn function_call(oid: u32, catalog: &dyn Catalog) -> Operation {
    let mut operation = Operation {
        kinds: vec![StatementKind::word("function_call")],
        resources: Vec::new(),
        text: format!("function call {oid}").into(),
        lacks: Vec::new(),
        classified: Classified::Completely,
    };
    let needed = match catalog.function_by_oid(oid) {
        None => {
            operation.classified = Classified::Not(format!("no function with oid {oid} is known"));
            Some((Verb::Execute, unresolved_name(&format!("oid {oid}"))))
        }
        Some(function) => {
            let name = resource_name(&function.schema, &function.name);
            operation.text = format!("function call {name} (oid {oid})").into();
            let verb = if function.is_built_in() {
                match functions::built_in(function) {
                    BuiltIn::Free => None,
                    BuiltIn::Needs(verb) => Some(verb),
                    BuiltIn::Sequence | BuiltIn::Notify => Some(Verb::Write),
                    BuiltIn::SetConfig => {
                        let why = "set_config is called where its arguments are not looked at";
                        operation.classified = Classified::Not(why.to_owned());
                        Some(Verb::Admin)
                    }
                }
            } else {
                functions::of_users(function, catalog)
            };
            verb.map(|verb| (verb, name))
        }
    };
    let pair = |(verb, name): (Verb, String)| ResourceRef {
        verb,
        resource: name.into(),
        columns: Vec::new(),
        through: None,
    };
    operation.resources.extend(needed.map(pair));
    operation
}

impl Analysis {
    /// A text that could not be analysed, for sessions in which nothing is judged: one statement of unknown kind that is not
    /// classified because of `why`.
    pub fn opaque(text: &str, why: &str) -> Self {
        let statement = Statement {
            range: None,
            kinds: vec![StatementKind::word("unknown")],
            uses: Uses::default(),
            lacks_where: false,
            unclassified: Some(why.into()),
            settings: Vec::new(),
            transaction: None,
            leaves_read_only: false,
            effect: None,
            explain_only: false,
            opaque: true,
        };
        Self { text: text.into(), shape: Arc::new(Shape::new(vec![statement], true)) }
    }
}
