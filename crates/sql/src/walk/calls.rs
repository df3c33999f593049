//! Functions, operators and types, and what their constant arguments decide.

use super::{Walker, constant, name_of};
use crate::{
    analysis::{ArgumentCount, CallForm, FunctionUse},
    names::Name,
    settings::{SettingChange, SettingScope, SettingValue},
    tree::{Node, Value},
};

/// Built-in functions whose constant arguments decide what they do.
const DECIDED_BY_CONSTANTS: [&str; 5] = ["set_config", "nextval", "setval", "currval", "pg_notify"];

/// Nodes that name types without a cast to them: what they are given is converted without a word, or read by the type itself.
pub(super) const NAME_TYPES: [&str; 12] = [
    "ColumnDef",
    "PrepareStmt",
    "FunctionParameter",
    "DefElem",
    "ObjectWithArgs",
    "CreateFunctionStmt",
    "CreateCastStmt",
    "CreateTransformStmt",
    "CreateOpClassStmt",
    "CreateOpClassItem",
    "CreateDomainStmt",
    "RangeTableFuncCol",
];

impl Walker<'_> {
    pub(super) fn use_function(&mut self, function: FunctionUse) {
        if self.known_functions.insert(function.clone()) {
            self.uses.functions.push(function);
        }
    }

    pub(super) fn func_call(&mut self, node: &Node, form: CallForm) {
        let Some(name) = name_of(node.list("funcname")) else {
            return self.refuse("a call without a name");
        };
        let arguments = node.list("args");
        let args = if node.flag("func_variadic") {
            ArgumentCount::Any
        } else {
            // The arguments of an ordered-set aggregate: the direct ones, then those of WITHIN GROUP.
            let ordered = if node.flag("agg_within_group") { node.list("agg_order").len() } else { 0 };
            ArgumentCount::Exactly(arguments.len() + ordered)
        };
        let mut constants = Vec::new();
        if DECIDED_BY_CONSTANTS.contains(&&*name.name) {
            self.literal_sensitive = true;
            constants = arguments.iter().map(|argument| argument.node().and_then(constant)).collect();
            if &*name.name == "set_config" && name.may_be_builtin() {
                self.set_config(&constants, arguments);
            }
        }
        if let [_] = arguments {
            // `t(x)` can be a cast to the type t.
            self.use_type(name.clone());
            self.use_cast(name.clone());
        }
        self.use_function(FunctionUse { name, args, form, constants });
    }

    /// `set_config(name, value, is_local)` is `SET`; with arguments that are no constants nobody can say of what.
    pub(super) fn set_config(&mut self, constants: &[Option<Box<str>>], arguments: &[Value]) {
        let (Some(Some(name)), Some(value)) = (constants.first(), constants.get(1)) else {
            self.leaves_read_only = true;
            return self.refuse("set_config is called with a name that is no constant");
        };
        let is_null = arguments
            .get(1)
            .and_then(Value::node)
            .is_some_and(|node| node.kind == "AConst" && node.flag("isnull"));
        self.setting(SettingChange {
            name: name.to_ascii_lowercase().into(),
            value: value.clone().map_or(SettingValue::Unknown, SettingValue::Known),
            scope: SettingScope::Session,
            reset: is_null,
        });
    }

    pub(super) fn setting(&mut self, change: SettingChange) {
        if crate::settings::may_leave_read_only(&change) {
            self.leaves_read_only = true;
        }
        self.settings.push(change);
    }

    pub(super) fn expression(&mut self, node: &Node) {
        use pg_query::protobuf::AExprKind as Kind;
        let is = |kind: Kind| node.int("kind") == i64::from(kind as i32);
        if is(Kind::AexprBetween)
            || is(Kind::AexprNotBetween)
            || is(Kind::AexprBetweenSym)
            || is(Kind::AexprNotBetweenSym)
        {
            for operator in ["<", "<=", ">", ">="] {
                self.operator_named(operator);
            }
        } else {
            self.operator(node.list("name"));
        }
    }

    pub(super) fn operator(&mut self, name: &[Value]) {
        if let Some(name) = name_of(name) {
            self.use_operator(name);
        }
    }

    pub(super) fn operator_named(&mut self, name: &str) {
        self.use_operator(Name::bare(name));
    }

    pub(super) fn use_operator(&mut self, name: Name) {
        if self.known_names.insert((true, name.clone())) {
            self.uses.operators.push(name);
        }
    }

    pub(super) fn type_name(&mut self, node: &Node) {
        if let Some(name) = name_of(node.list("names")) {
            self.use_type(name.clone());
            self.use_cast(name);
        }
    }

    /// A node whose type is named without a cast to it.
    pub(super) fn typed(&mut self, node: &Node) {
        if let Some(of) = node.child("type_name") {
            self.names_type(of);
        }
        self.fields(node, &["type_name"]);
    }

    /// A field in which types are named, not cast to.
    pub(super) fn without_casts(&mut self, value: &Value) {
        match value {
            Value::Node(of) if of.kind == "TypeName" => self.names_type(of),
            Value::List(items) => items.iter().for_each(|item| self.without_casts(item)),
            other => self.value(other),
        }
    }

    pub(super) fn names_type(&mut self, node: &Node) {
        if let Some(name) = name_of(node.list("names")) {
            self.use_type(name);
        }
        self.fields(node, &[]);
    }

    fn use_cast(&mut self, name: Name) {
        if self.known_casts.insert(name.clone()) {
            self.uses.casts.push(name);
        }
    }

    /// Types of `pg_catalog` run no code of users.
    pub(super) fn use_type(&mut self, name: Name) {
        if name.schema.as_deref() != Some("pg_catalog") && self.known_names.insert((false, name.clone())) {
            self.uses.types.push(name);
        }
    }
}
