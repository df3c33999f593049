//! One statement's tree -> every name it uses and everything it does.
//!
//! The walk is generic: [`Walker::value`] goes into every field of every node. What is handled by name (`query`, `utility`,
//! `definition`) only adds meaning, and each handler walks the fields it does not consume, so a corner of the grammar that
//! nobody thought of is still searched for relations, calls, operators, types and sub-queries.

mod calls;
mod definition;
mod dynamic;
mod level;
mod query;
mod utility;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use portcullis_core::{StatementKind, Verb};

use crate::{
    analysis::{ArgumentCount, CallForm, FunctionUse, Lookup, RelationUse, Statement, Uses},
    lineage::Plan,
    names::Name,
    session_state::{SessionEffect, Transaction},
    settings::SettingChange,
    tree::{Node, Value},
};
use level::{Entry, Level};

/// `DROP_CASCADE`: what depends on the named objects goes too, wherever it is. Needs `admin` on `server/cascade`.
const CASCADE: i64 = pg_query::protobuf::DropBehavior::DropCascade as i64;

/// More loosely named columns than this in one query level count as every column.
const MAX_LOOSE_COLUMNS: usize = 256;

pub(crate) struct Walker<'a> {
    text: &'a Arc<str>,
    kinds: Vec<&'static str>,
    uses: Uses,
    relation_index: HashMap<(Verb, Name, Lookup), usize>,
    /// Indexes of relations in the order they were met, for locking clauses.
    met: Vec<usize>,
    known_functions: HashSet<FunctionUse>,
    known_names: HashSet<(bool, Name)>,
    known_casts: HashSet<Name>,
    levels: Vec<Level>,
    /// Names of CTEs in scope, innermost last.
    ctes: Vec<Box<str>>,
    /// What a relation met outside of a query is used for.
    verb: Verb,
    settings: Vec<SettingChange>,
    transaction: Option<Transaction>,
    effect: Option<SessionEffect>,
    unclassified: Option<Box<str>>,
    lacks_where: bool,
    leaves_read_only: bool,
    literal_sensitive: bool,
    explain_only: bool,
    opaque: bool,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(text: &'a Arc<str>) -> Self {
        Self {
            text,
            kinds: Vec::new(),
            uses: Uses::default(),
            relation_index: HashMap::new(),
            met: Vec::new(),
            known_functions: HashSet::new(),
            known_names: HashSet::new(),
            known_casts: HashSet::new(),
            levels: Vec::new(),
            ctes: Vec::new(),
            verb: Verb::Admin,
            settings: Vec::new(),
            transaction: None,
            effect: None,
            unclassified: None,
            lacks_where: false,
            leaves_read_only: false,
            literal_sensitive: false,
            explain_only: false,
            opaque: false,
        }
    }

    pub(crate) fn is_literal_sensitive(&self) -> bool {
        self.literal_sensitive
    }

    /// The statement, without its plan.
    pub(crate) fn finish(self) -> Statement {
        Statement {
            range: None,
            kinds: self.kinds.into_iter().map(StatementKind::word).collect(),
            uses: self.uses,
            lacks_where: self.lacks_where,
            unclassified: self.unclassified,
            settings: self.settings,
            transaction: self.transaction,
            leaves_read_only: self.leaves_read_only,
            effect: self.effect,
            explain_only: self.explain_only,
            opaque: self.opaque,
            plan: Arc::new(Plan::Other),
            copy_out: None,
        }
    }

    /// One statement, at the top or nested. What no handler knows is not classified.
    pub(crate) fn statement(&mut self, node: &Node) {
        if !(self.query(node) || self.utility(node) || self.definition(node)) {
            self.kind("unknown");
            self.refuse(format!("statements of the kind {} are not known", node.kind));
            self.fields(node, &[]);
        }
    }

    fn refuse(&mut self, why: impl Into<Box<str>>) {
        self.unclassified.get_or_insert_with(|| why.into());
    }

    fn kind(&mut self, word: &'static str) {
        if !self.kinds.contains(&word) {
            self.kinds.push(word);
        }
    }

    /// Every field but those of `but`.
    fn fields(&mut self, node: &Node, but: &[&str]) {
        for (name, value) in &node.fields {
            if *name == "behavior" && matches!(value, Value::Int(CASCADE)) {
                self.fixed(Verb::Admin, "server/cascade".to_owned());
            }
            if but.contains(name) {
                continue;
            }
            match calls::NAME_TYPES.contains(&node.kind) {
                true => self.without_casts(value),
                false => self.value(value),
            }
        }
    }

    fn field(&mut self, node: &Node, name: &str) {
        if let Some(value) = node.get(name) {
            self.value(value);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Node(node) => self.node(node),
            Value::List(items) => items.iter().for_each(|item| self.value(item)),
            _ => {}
        }
    }

    /// Any node. The ones named here add something; every one is walked into.
    fn node(&mut self, node: &Node) {
        match node.kind {
            // The SET clause of a function, role or database: not a change of this session.
            "VariableSetStmt" => return,
            kind if kind.ends_with("Stmt") && kind != "RawStmt" => return self.statement(node),
            "RangeVar" => return self.range_var(node),
            "RangeSubselect" | "RangeFunction" | "RangeTableFunc" | "JsonTable" => {
                return self.range_other(node);
            }
            "ColumnRef" => return self.column_ref(node),
            "FuncCall" => self.func_call(node, CallForm::Call),
            "AIndirection" => self.indirection(node),
            "AExpr" => self.expression(node),
            "SubLink" => self.operator(node.list("oper_name")),
            "SortBy" => self.operator(node.list("use_op")),
            "CaseExpr" if node.get("arg").is_some() => self.operator_named("="),
            "JoinExpr" => return self.join(node),
            "RangeTableSample" => self.table_sample(node),
            "TypeName" => self.type_name(node),
            // The text of a constant is read by the type itself.
            "TypeCast" if node.child("arg").is_some_and(is_text) => return self.typed(node),
            // What LIKE copies is looked at, not changed.
            "TableLikeClause" => return self.with_verb(Verb::Read, |walker| walker.fields(node, &[])),
            "CommonTableExpr" => self.refuse("a CTE stands where none is expected"),
            _ => self.spelling(node),
        }
        self.fields(node, &[]);
    }

    /// What is SQL/JSON or MERGE syntax to this grammar is a call to PostgreSQL 15, of whatever function has the name.
    fn spelling(&mut self, node: &Node) {
        use pg_query::protobuf::JsonExprOp;
        let does = |operation: JsonExprOp| node.int("op") == i64::from(operation as i32);
        let names: &[&str] = match node.kind {
            "JsonFuncExpr" if does(JsonExprOp::JsonExistsOp) => &["json_exists"],
            "JsonFuncExpr" if does(JsonExprOp::JsonQueryOp) => &["json_query"],
            "JsonFuncExpr" if does(JsonExprOp::JsonValueOp) => &["json_value"],
            "JsonFuncExpr" => &["json_exists", "json_query", "json_value"],
            "JsonParseExpr" => &["json"],
            "JsonScalarExpr" => &["json_scalar"],
            "JsonSerializeExpr" => &["json_serialize"],
            "JsonObjectConstructor" => &["json_object"],
            "JsonArrayConstructor" | "JsonArrayQueryConstructor" => &["json_array"],
            "JsonObjectAgg" => &["json_objectagg"],
            "JsonArrayAgg" => &["json_arrayagg"],
            "JsonTable" => &["json_table"],
            "MergeSupportFunc" => &["merge_action"],
            _ => &[],
        };
        for name in names {
            let (name, form, constants) = (Name::bare(*name), CallForm::Spelling, Vec::new());
            self.use_function(FunctionUse { name, args: ArgumentCount::Any, form, constants });
        }
    }

    // ---- relations -------------------------------------------------------------------------------------------------

    /// Counts one use and gives its index.
    fn use_relation(&mut self, verb: Verb, name: Name, lookup: Lookup) -> usize {
        let key = (verb, name, lookup);
        let index = match self.relation_index.get(&key) {
            Some(index) => *index,
            None => {
                let index = self.uses.relations.len();
                let (verb, name, lookup) = key.clone();
                let (columns, loose_columns) = (BTreeSet::new(), Vec::new());
                self.uses.relations.push(RelationUse { verb, name, lookup, columns, loose_columns });
                self.relation_index.insert(key, index);
                index
            }
        };
        self.met.push(index);
        index
    }

    /// A relation in `FROM` (a CTE where one of that name is in scope), or one a utility statement names.
    fn range_var(&mut self, node: &Node) {
        let name = relation_name(node);
        let alias = alias_of(node).unwrap_or_else(|| name.name.clone());
        let is_cte = name.schema.is_none() && !self.levels.is_empty() && self.ctes.contains(&name.name);
        let verb = if self.levels.is_empty() { self.verb } else { Verb::Read };
        let owner = (!is_cte).then(|| name.clone());
        let relation = (!is_cte).then(|| self.use_relation(verb, name, Lookup::Existing));
        self.offer(alias, relation, owner);
    }

    /// The use of the relation that a statement writes to or defines: never a CTE.
    fn target(&mut self, node: &Node, verb: Verb, lookup: Lookup) -> usize {
        let name = relation_name(node);
        let temporary = node.text("relpersistence") == "t" || name.schema.as_deref() == Some("pg_temp");
        let lookup = match lookup {
            Lookup::Created if temporary => {
                self.effect.get_or_insert_with(|| SessionEffect::CreateTemporary { name: name.name.clone() });
                Lookup::Temporary
            }
            other => other,
        };
        self.use_relation(verb, name, lookup)
    }

    fn range_other(&mut self, node: &Node) {
        self.spelling(node);
        let alias = alias_of(node);
        self.fields(node, &["alias"]);
        match alias {
            Some(alias) => self.offer(alias, None, None),
            None => {
                // A function without an alias goes by its own name.
                let call = node
                    .list("functions")
                    .first()
                    .and_then(|item| item.items().first())
                    .and_then(Value::node);
                if let Some(name) = call.and_then(|call| call.list("funcname").last()).and_then(Value::string)
                {
                    self.offer(name.into(), None, None);
                }
            }
        }
    }

    pub(super) fn offer(&mut self, alias: Box<str>, relation: Option<usize>, owner: Option<Name>) {
        let offered =
            self.levels.last_mut().is_none_or(|level| level.offer(Entry { alias, relation, owner }));
        if !offered {
            self.refuse("one FROM names too many relations to be judged");
        }
    }

    fn table_sample(&mut self, node: &Node) {
        let args = ArgumentCount::Exactly(1);
        if let Some(name) = name_of(node.list("method")) {
            self.use_function(FunctionUse { name, args, form: CallForm::Call, constants: Vec::new() });
        }
    }

    fn join(&mut self, node: &Node) {
        self.field(node, "larg");
        self.field(node, "rarg");
        let using = node.list("using_clause");
        if node.flag("is_natural") {
            self.operator_named("=");
            self.every_column_of_this_level();
        }
        if !using.is_empty() {
            self.operator_named("=");
        }
        for column in using.iter().filter_map(Value::string) {
            self.loose_column(column);
        }
        self.fields(node, &["larg", "rarg", "using_clause", "alias", "join_using_alias"]);
    }

    // ---- columns ---------------------------------------------------------------------------------------------------

    fn add_column(&mut self, relation: usize, column: &str) {
        if let Some(relation) = self.uses.relations.get_mut(relation) {
            relation.columns.insert(column.into());
        }
    }

    /// A column of one of the relations of this query or of those around it.
    fn loose_column(&mut self, column: &str) {
        for level in &mut self.levels {
            if level.loose.len() < MAX_LOOSE_COLUMNS {
                level.loose.insert(column.into());
            } else {
                level.loose.insert("*".into());
            }
        }
    }

    fn every_column_of_this_level(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.loose.insert("*".into());
        }
    }

    /// What `alias` stands for: the innermost level that knows it decides. Never empty.
    fn find_alias(&self, alias: &str) -> Option<Vec<&Entry>> {
        self.levels.iter().rev().find_map(|level| {
            let places = level.by_alias.get(alias)?;
            Some(places.iter().filter_map(|place| level.entries.get(*place)).collect())
        })
    }

    /// The relations `alias` stands for, and the one relation that can own its columns; nothing where it is not known.
    fn relations_behind(&self, alias: &str) -> Option<(Vec<usize>, Option<Name>)> {
        let found = self.find_alias(alias)?;
        let owner = match found.as_slice() {
            [only] => only.owner.clone(),
            _ => None,
        };
        Some((found.iter().filter_map(|entry| entry.relation).collect(), owner))
    }

    fn column_ref(&mut self, node: &Node) {
        let fields = node.list("fields");
        let star = |value: &Value| value.node().is_some_and(|node| node.kind == "AStar");
        match fields {
            [only] if star(only) => self.every_column_of_this_level(),
            [only] => {
                let Some(name) = only.string() else { return };
                if let Some((relations, _)) = self.relations_behind(name) {
                    relations.into_iter().for_each(|relation| self.add_column(relation, "*"));
                }
                self.loose_column(name);
            }
            [.., qualifier, last] => {
                let qualifier = qualifier.string().unwrap_or_default();
                let column = if star(last) { "*" } else { last.string().unwrap_or("*") };
                let mut owner = None;
                match self.relations_behind(qualifier) {
                    Some((relations, of)) => {
                        relations.into_iter().for_each(|relation| self.add_column(relation, column));
                        owner = of;
                    }
                    None => self.loose_column(column),
                }
                // `x.f` is `f(x)` where x has no column f: ParseFuncOrColumn in parse_func.c.
                if column != "*" {
                    self.attribute(column, owner);
                }
            }
            [] => {}
        }
    }

    /// `(x).f`, `(x).a.f`: each part can be a call.
    fn indirection(&mut self, node: &Node) {
        for part in node.list("indirection") {
            match part.string() {
                Some(name) => self.attribute(name, None),
                None if part.node().is_some_and(|node| node.kind == "AStar") => {}
                None => {}
            }
        }
    }

    fn attribute(&mut self, name: &str, owner: Option<Name>) {
        let form = CallForm::Attribute(owner);
        let constants = Vec::new();
        self.use_function(FunctionUse {
            name: Name::bare(name),
            args: ArgumentCount::Exactly(1),
            form,
            constants,
        });
    }

    // ---- fixed pairs and objects -----------------------------------------------------------------------------------

    fn fixed(&mut self, verb: Verb, resource: String) {
        let pair = (verb, resource);
        if !self.uses.fixed.contains(&pair) {
            self.uses.fixed.push(pair);
        }
    }

    fn object(&mut self, name: Name, lookup: Lookup) {
        self.uses.objects.push((name, lookup));
    }
}

/// `[[catalog.]schema.]name` of a `RangeVar`. The catalog can only be the database one is in: the server refuses others.
pub(crate) fn relation_name(node: &Node) -> Name {
    match node.text("schemaname") {
        "" => Name::bare(node.text("relname")),
        schema => Name::qualified(schema, node.text("relname")),
    }
}

pub(crate) fn alias_of(node: &Node) -> Option<Box<str>> {
    node.child("alias").map(|alias| alias.text("aliasname").into())
}

/// A name from a list of `String`s: the last two count.
pub(crate) fn name_of(parts: &[Value]) -> Option<Name> {
    match parts {
        [] => None,
        [only] => Some(Name::bare(only.string()?)),
        [.., schema, name] => Some(Name::qualified(schema.string()?, name.string()?)),
    }
}

/// Whether a node is a string or null, of no type yet.
fn is_text(node: &Node) -> bool {
    node.kind == "AConst"
        && (node.flag("isnull") || node.child("val").is_some_and(|value| value.kind == "String"))
}

/// The text of a constant; through a cast only where that keeps the text.
pub(crate) fn constant(node: &Node) -> Option<Box<str>> {
    match node.kind {
        "AConst" => {
            let value = node.child("val")?;
            match value.kind {
                "String" => Some(value.text("sval").into()),
                "Float" => Some(value.text("fval").into()),
                "Integer" => Some(value.int("ival").to_string().into()),
                "Boolean" => Some(if value.flag("boolval") { "on" } else { "off" }.into()),
                _ => None,
            }
        }
        "TypeCast" => {
            let type_name = node.child("type_name")?;
            let name = name_of(type_name.list("names"))?;
            let keeps = matches!(&*name.name, "text" | "regclass") && name.may_be_builtin();
            let plain = type_name.list("array_bounds").is_empty() && type_name.list("typmods").is_empty();
            if keeps && plain { constant(node.child("arg")?) } else { None }
        }
        _ => None,
    }
}
