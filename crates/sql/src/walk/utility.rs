//! Utility statements that define nothing: sessions, transactions, settings, cursors, prepared statements, COPY, EXPLAIN.

use std::sync::Arc;

use pg_query::protobuf::{DiscardMode, TransactionStmtKind, VariableSetKind};
use portcullis_core::Verb;

use super::{Walker, constant, name_of};
use crate::{
    Analysis, Statement,
    analysis::{CallForm, Lookup, Shape},
    lineage,
    names::{part, server_name},
    session_state::{SessionEffect, Transaction},
    settings::{SettingChange, SettingScope, SettingValue},
    tree::{Node, Value},
};

impl Walker<'_> {
    /// Whether `node` is one of these; then it is walked.
    pub(super) fn utility(&mut self, node: &Node) -> bool {
        match node.kind {
            "ExplainStmt" => self.explain(node),
            "PrepareStmt" => self.prepare(node),
            "ExecuteStmt" => self.execute(node),
            "DeallocateStmt" => {
                self.kind("deallocate");
                let name = optional(node.text("name"));
                self.effect = Some(SessionEffect::Deallocate { name });
            }
            "DeclareCursorStmt" => self.declare(node),
            "FetchStmt" => {
                self.kind(if node.flag("ismove") { "move" } else { "fetch" });
                self.effect = Some(SessionEffect::Fetch { name: node.text("portalname").into() });
            }
            "ClosePortalStmt" => {
                self.kind("close");
                self.effect = Some(SessionEffect::Close { name: optional(node.text("portalname")) });
            }
            "CopyStmt" => self.copy(node),
            "DoStmt" => self.do_block(node),
            "CallStmt" => self.call(node),
            "ListenStmt" => {
                self.kind("listen");
                self.fixed(Verb::Read, channel(node.text("conditionname")));
            }
            "UnlistenStmt" => self.kind("unlisten"),
            "NotifyStmt" => {
                self.kind("notify");
                self.fixed(Verb::Write, channel(node.text("conditionname")));
            }
            "LockStmt" => {
                self.kind("lock");
                self.with_verb(Verb::Write, |walker| walker.fields(node, &[]));
            }
            "TransactionStmt" => self.transaction_control(node),
            "VariableSetStmt" => self.set(node),
            "VariableShowStmt" => self.kind("show"),
            "DiscardStmt" => self.discard(node),
            "ConstraintsSetStmt" => self.kind("set"),
            _ => return false,
        }
        true
    }

    pub(super) fn with_verb(&mut self, verb: Verb, walk: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.verb, verb);
        walk(self);
        self.verb = before;
    }

    /// With ANALYZE the inner statement runs; without it, it is planned, which calls its stable functions at most.
    fn explain(&mut self, node: &Node) {
        self.kind("explain");
        let runs = node.list("options").iter().filter_map(Value::node).any(|option| {
            option.text("defname").eq_ignore_ascii_case("analyze") && !is_off(option.get("arg"))
        });
        let Some(inner) = node.child("query") else { return self.refuse("EXPLAIN of nothing") };
        if runs {
            return self.statement(inner);
        }
        let kinds = std::mem::take(&mut self.kinds);
        let lacks_where = self.lacks_where;
        self.statement(inner);
        self.kinds = kinds;
        self.lacks_where = lacks_where;
        self.explain_only = true;
        // Nothing is made, set or remembered; what EXECUTE would run is still asked for.
        if !matches!(self.effect, Some(SessionEffect::Execute { .. })) {
            self.effect = None;
        }
    }

    /// A statement inside another that is kept for later: an analysis of its own, whose names this one uses too.
    fn inner(&mut self, node: &Node) -> Arc<Analysis> {
        let mut walker = Walker::new(self.text);
        walker.statement(node);
        let plan = Arc::new(lineage::plan(node).0);
        let statement = Statement { plan, ..walker.finish() };
        for kind in &statement.kinds {
            if let std::borrow::Cow::Borrowed(word) = kind.0 {
                self.kind(word);
            }
        }
        self.uses = statement.uses.clone();
        self.lacks_where = statement.lacks_where;
        self.leaves_read_only |= statement.leaves_read_only;
        self.settings.clone_from(&statement.settings);
        if let Some(why) = &statement.unclassified {
            self.refuse(why.clone());
        }
        let shape = Arc::new(Shape::new(vec![statement], true));
        Arc::new(Analysis { text: Arc::clone(self.text), shape })
    }

    fn prepare(&mut self, node: &Node) {
        self.kind("prepare");
        let Some(query) = node.child("query") else { return self.refuse("PREPARE of nothing") };
        let inner = self.inner(query);
        self.fields(node, &["query"]);
        self.effect = Some(SessionEffect::Prepare { name: node.text("name").into(), inner });
    }

    pub(super) fn execute(&mut self, node: &Node) {
        self.kind("execute");
        self.fields(node, &[]);
        self.effect = Some(SessionEffect::Execute { name: node.text("name").into() });
    }

    fn declare(&mut self, node: &Node) {
        // CURSOR_OPT_HOLD, parsenodes.h.
        const HOLD: i64 = 0x20;
        self.kind("declare");
        let Some(query) = node.child("query") else { return self.refuse("DECLARE CURSOR for nothing") };
        let inner = self.inner(query);
        let hold = node.int("options") & HOLD != 0;
        self.effect = Some(SessionEffect::Declare { name: node.text("portalname").into(), inner, hold });
    }

    /// A program or a file on the server is `server/copy-program` or `server/copy-file`: admin.
    fn copy(&mut self, node: &Node) {
        self.kind("copy");
        let is_from = node.flag("is_from");
        if node.flag("is_program") {
            self.fixed(Verb::Admin, "server/copy-program".to_owned());
        } else if !node.text("filename").is_empty() {
            self.fixed(Verb::Admin, "server/copy-file".to_owned());
        }
        if let Some(relation) = node.child("relation") {
            let index =
                self.target(relation, if is_from { Verb::Write } else { Verb::Read }, Lookup::Existing);
            let columns = node.list("attlist");
            if columns.is_empty() {
                self.add_column(index, "*");
            }
            for column in columns.iter().filter_map(Value::string) {
                self.add_column(index, column);
            }
        }
        self.fields(node, &["relation"]);
    }

    fn call(&mut self, node: &Node) {
        self.kind("call");
        match node.child("funccall") {
            Some(call) => {
                self.func_call(call, CallForm::Procedure);
                self.fields(call, &[]);
            }
            None => self.refuse("CALL of nothing"),
        }
    }

    fn do_block(&mut self, node: &Node) {
        self.kind("do");
        self.opaque = true;
        self.fixed(Verb::Execute, "server/do".to_owned());
        let mut code = None;
        let mut language = "plpgsql".to_owned();
        for argument in node.list("args").iter().filter_map(Value::node) {
            let text = argument.get("arg").and_then(Value::string).unwrap_or_default();
            if argument.text("defname") == "language" {
                language = text.to_ascii_lowercase();
            } else {
                code = Some(text.to_owned());
            }
        }
        match code {
            Some(code) if language == "plpgsql" => self.code(&code),
            _ => self.refuse("the code of a DO block in this language cannot be seen"),
        }
    }

    fn transaction_control(&mut self, node: &Node) {
        use TransactionStmtKind as Kind;
        self.kind("transaction");
        let chain = node.flag("chain");
        let savepoint = || node.text("savepoint_name").into();
        let kind = i32::try_from(node.int("kind")).ok().and_then(|kind| Kind::try_from(kind).ok());
        let (word, control) = match kind {
            Some(Kind::TransStmtBegin | Kind::TransStmtStart) => ("begin", Transaction::Begin),
            Some(Kind::TransStmtCommit) => ("commit", Transaction::Commit { chain }),
            Some(Kind::TransStmtRollback) => ("rollback", Transaction::Rollback { chain }),
            Some(Kind::TransStmtSavepoint) => ("savepoint", Transaction::Savepoint { name: savepoint() }),
            Some(Kind::TransStmtRelease) => ("release", Transaction::Release { name: savepoint() }),
            Some(Kind::TransStmtRollbackTo) => ("rollback", Transaction::RollbackTo { name: savepoint() }),
            Some(Kind::TransStmtPrepare) => ("prepare", Transaction::PrepareTwoPhase),
            Some(Kind::TransStmtCommitPrepared) => ("commit", Transaction::CommitPrepared),
            Some(Kind::TransStmtRollbackPrepared) => ("rollback", Transaction::RollbackPrepared),
            Some(Kind::Undefined) | None => return self.refuse("transaction control of an unknown kind"),
        };
        self.kind(word);
        // A prepared transaction belongs to nobody's session: whoever may write its name may end it.
        if matches!(
            control,
            Transaction::PrepareTwoPhase | Transaction::CommitPrepared | Transaction::RollbackPrepared
        ) {
            self.fixed(Verb::Write, server_name("prepared-transaction", node.text("gid")));
        }
        self.transaction = Some(control);
        self.transaction_modes(node.list("options"));
    }

    /// `READ WRITE` is noted; isolation and deferrability change nothing here.
    fn transaction_modes(&mut self, modes: &[Value]) {
        for mode in modes.iter().filter_map(Value::node) {
            let is_on = mode.child("arg").and_then(constant).is_some_and(|value| &*value != "0");
            if mode.text("defname") == "transaction_read_only" && !is_on {
                self.leaves_read_only = true;
            }
        }
    }

    fn set(&mut self, node: &Node) {
        use VariableSetKind as Kind;
        let name = node.text("name").to_ascii_lowercase();
        let scope = if node.flag("is_local") { SettingScope::Local } else { SettingScope::Session };
        let kind = i32::try_from(node.int("kind")).ok().and_then(|kind| Kind::try_from(kind).ok());
        let (value, reset) = match kind {
            Some(Kind::VarSetValue) => (setting_value(&name, node.list("args")), false),
            Some(Kind::VarSetDefault) => (SettingValue::Unknown, true),
            Some(Kind::VarReset) => (SettingValue::Unknown, true),
            Some(Kind::VarResetAll) => {
                self.kind("reset");
                return self.setting(SettingChange {
                    name: "all".into(),
                    value: SettingValue::Unknown,
                    scope,
                    reset: true,
                });
            }
            Some(Kind::VarSetMulti) => return self.set_transaction(&name, node.list("args")),
            _ => {
                self.kind("set");
                return self.refuse("a setting is changed in an unknown way");
            }
        };
        self.kind(if kind == Some(Kind::VarReset) { "reset" } else { "set" });
        self.setting(SettingChange { name: name.into(), value, scope, reset });
    }

    fn set_transaction(&mut self, name: &str, modes: &[Value]) {
        self.kind("set");
        match name {
            "transaction" | "session characteristics" => {
                self.transaction = Some(Transaction::Characteristics);
                self.transaction_modes(modes);
            }
            // Another transaction's view of the data: nothing more is visible through it.
            "transaction snapshot" => self.transaction = Some(Transaction::Characteristics),
            _ => self.refuse("an unknown form of SET"),
        }
    }

    fn discard(&mut self, node: &Node) {
        self.kind("discard");
        let target = i32::try_from(node.int("target")).ok().and_then(|mode| DiscardMode::try_from(mode).ok());
        match target {
            Some(DiscardMode::DiscardAll) => {
                self.effect = Some(SessionEffect::DiscardAll);
                self.setting(SettingChange {
                    name: "all".into(),
                    value: SettingValue::Unknown,
                    scope: SettingScope::Session,
                    reset: true,
                });
            }
            Some(DiscardMode::DiscardTemp) => self.effect = Some(SessionEffect::DiscardTemporary),
            Some(DiscardMode::DiscardPlans | DiscardMode::DiscardSequences) => {}
            Some(DiscardMode::Undefined) | None => self.refuse("an unknown form of DISCARD"),
        }
    }
}

fn optional(name: &str) -> Option<Box<str>> {
    (!name.is_empty()).then(|| name.into())
}

pub(crate) fn channel(name: &str) -> String {
    format!("channel/{}", part(name))
}

/// Whether an option's value is certainly off (`defGetBoolean`, define.c).
fn is_off(value: Option<&Value>) -> bool {
    let Some(node) = value.and_then(Value::node) else { return false };
    match node.kind {
        "String" => matches!(node.text("sval").to_ascii_lowercase().as_str(), "off" | "false"),
        "Integer" => node.int("ival") == 0,
        "Boolean" => !node.flag("boolval"),
        _ => false,
    }
}

/// As `flatten_set_variable_args` (guc_funcs.c) writes it; elements of the one list that names schemas are quoted.
fn setting_value(name: &str, args: &[Value]) -> SettingValue {
    let mut parts = Vec::with_capacity(args.len());
    for arg in args {
        match arg.node().and_then(constant) {
            Some(text) if name == "search_path" => parts.push(quoted(&text)),
            Some(text) => parts.push(text.into()),
            None => return SettingValue::Unknown,
        }
    }
    SettingValue::Known(parts.join(", ").into())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Used by the walker of definitions.
pub(super) fn last_name(parts: &[Value]) -> Option<Box<str>> {
    name_of(parts).map(|name| name.name)
}
