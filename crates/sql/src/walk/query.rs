//! SELECT, INSERT, UPDATE, DELETE, MERGE: scopes, targets, columns, locks.
//!
//! What a statement needs of the relation it writes to: `write` for the change, whatever its conditions look at, and `read`
//! too where `RETURNING` gives rows back. (PostgreSQL itself asks for SELECT on columns in conditions; that a number of rows
//! tells something about them is the price of `write` without `read`.)

use std::sync::Arc;

use portcullis_core::Verb;

use super::{Level, Walker, alias_of, name_of, relation_name};
use crate::{
    analysis::Lookup,
    tree::{Node, Value},
};

impl Walker<'_> {
    /// Whether `node` is a query; then it is walked.
    pub(super) fn query(&mut self, node: &Node) -> bool {
        match node.kind {
            "SelectStmt" => self.within_ctes(node, Self::select),
            "InsertStmt" => self.within_ctes(node, Self::insert),
            "UpdateStmt" => self.within_ctes(node, Self::update),
            "DeleteStmt" => self.within_ctes(node, Self::delete),
            "MergeStmt" => self.within_ctes(node, Self::merge),
            _ => return false,
        }
        true
    }

    /// Walks a statement with its CTEs in scope. The kind of the statement itself comes first.
    fn within_ctes(&mut self, node: &Node, body: fn(&mut Self, &Node)) {
        match node.kind {
            "SelectStmt" if !node.list("values_lists").is_empty() => {
                if self.kinds.is_empty() {
                    self.kind("values");
                }
            }
            "SelectStmt" => self.kind("select"),
            "InsertStmt" => self.kind("insert"),
            "UpdateStmt" => self.kind("update"),
            "DeleteStmt" => self.kind("delete"),
            _ => self.kind("merge"),
        }
        let in_scope = self.ctes.len();
        if let Some(with) = node.child("with_clause") {
            self.with_clause(with);
        }
        body(self, node);
        self.ctes.truncate(in_scope);
    }

    /// A CTE sees those before it; with RECURSIVE, all of the list and itself (`transformWithClause`, parse_cte.c).
    fn with_clause(&mut self, with: &Node) {
        let ctes: Vec<&Node> = with.list("ctes").iter().filter_map(Value::node).collect();
        let recursive = with.flag("recursive");
        if recursive {
            self.ctes.extend(ctes.iter().map(|cte| cte.text("ctename").into()));
        }
        // A level of its own: the query is walked as one, even where this statement stands outside of every query.
        self.levels.push(Level::default());
        for cte in ctes {
            self.fields(cte, &["ctename"]);
            if !recursive {
                self.ctes.push(cte.text("ctename").into());
            }
        }
        self.close_level();
    }

    /// Ends a query level: its loosely named columns may be of any of its relations.
    fn close_level(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        if level.loose.is_empty() {
            return;
        }
        let loose = Arc::new(level.loose);
        for relation in level.entries.iter().filter_map(|entry| entry.relation) {
            if let Some(relation) = self.uses.relations.get_mut(relation)
                && !relation.loose_columns.iter().any(|known| Arc::ptr_eq(known, &loose))
            {
                relation.loose_columns.push(Arc::clone(&loose));
            }
        }
    }

    fn select(&mut self, node: &Node) {
        if let Some(into) = node.child("into_clause") {
            self.kind("create");
            self.made_by_query(into);
        }
        self.levels.push(Level::default());
        let met_before = self.met.len();
        self.field(node, "from_clause");
        let met_in_from = self.met.get(met_before..).unwrap_or_default().to_vec();
        self.fields(node, &["with_clause", "into_clause", "from_clause", "locking_clause", "larg", "rarg"]);
        for locking in node.list("locking_clause").iter().filter_map(Value::node) {
            self.lock(locking, &met_in_from);
        }
        self.close_level();
        for side in ["larg", "rarg"] {
            if let Some(side) = node.child(side) {
                self.query(side);
            }
        }
    }

    /// What `SELECT INTO` and `CREATE TABLE AS` make.
    pub(super) fn made_by_query(&mut self, into: &Node) {
        if let Some(relation) = into.child("rel") {
            self.target(relation, Verb::Admin, Lookup::Created);
        }
        let levels = std::mem::take(&mut self.levels);
        self.fields(into, &["rel", "view_query"]);
        self.levels = levels;
    }

    /// `FOR UPDATE` and its kin lock rows, which is a write. Without `OF`, those of everything in `FROM`, sub-queries included.
    fn lock(&mut self, locking: &Node, met_in_from: &[usize]) {
        let named: Vec<_> =
            locking.list("locked_rels").iter().filter_map(Value::node).map(relation_name).collect();
        let mut locked = Vec::new();
        for name in &named {
            match self.find_alias(&name.name) {
                Some(found) if found.iter().all(|entry| entry.relation.is_some()) => {
                    locked.extend(found.iter().filter_map(|entry| entry.relation));
                }
                // A sub-query or something unexpected: whatever stands in FROM.
                _ => locked.extend_from_slice(met_in_from),
            }
        }
        if named.is_empty() {
            locked.extend_from_slice(met_in_from);
        }
        locked.sort_unstable();
        locked.dedup();
        for relation in locked {
            if let Some((name, lookup)) =
                self.uses.relations.get(relation).map(|r| (r.name.clone(), r.lookup))
            {
                self.use_relation(Verb::Write, name, lookup);
            }
        }
    }

    /// Walks what may be returned of the target: that is a read of it.
    fn returning(&mut self, node: &Node, target: &Node) {
        let Some(returning) = node.child("returning_clause") else { return };
        let name = relation_name(target);
        let alias = alias_of(target).unwrap_or_else(|| name.name.clone());
        let owner = Some(name.clone());
        let read = self.use_relation(Verb::Read, name, Lookup::Existing);
        if let Some(level) = self.levels.last_mut() {
            level.drop_stand_ins(&alias);
        }
        self.offer(alias, Some(read), owner.clone());
        for option in returning.list("options").iter().filter_map(Value::node) {
            self.offer(option.text("value").into(), Some(read), owner.clone());
        }
        for row in ["old", "new"] {
            self.offer(row.into(), Some(read), owner.clone());
        }
        self.fields(returning, &["options"]);
    }

    /// Opens the level of a data-modifying statement. Conditions and expressions over the target need no right to read it;
    /// what they name is not recorded as read.
    fn open_target<'n>(&mut self, node: &'n Node, verb: Verb) -> Option<(&'n Node, usize)> {
        let Some(target) = node.child("relation") else {
            self.refuse("a statement that writes names no relation");
            return None;
        };
        let index = self.target(target, verb, Lookup::Existing);
        self.levels.push(Level::default());
        let alias = alias_of(target).unwrap_or_else(|| target.text("relname").into());
        self.offer(alias, None, Some(relation_name(target)));
        Some((target, index))
    }

    /// The columns assigned to.
    fn assigned(&mut self, targets: &[Value], index: usize) {
        for target in targets.iter().filter_map(Value::node) {
            self.add_column(index, target.text("name"));
        }
    }

    fn insert(&mut self, node: &Node) {
        let Some((target, index)) = self.open_target(node, Verb::Write) else { return };
        match node.list("cols") {
            [] => self.add_column(index, "*"),
            columns => self.assigned(columns, index),
        }
        // The source sees nothing of the target.
        let own = self.levels.pop();
        self.field(node, "select_stmt");
        self.levels.extend(own);
        if let Some(conflict) = node.child("on_conflict_clause") {
            self.offer("excluded".into(), None, Some(relation_name(target)));
            let assigned = conflict.list("target_list");
            if !assigned.is_empty() {
                self.kind("update");
            }
            self.assigned(assigned, index);
            self.fields(conflict, &[]);
        }
        self.fields(
            node,
            &["relation", "select_stmt", "on_conflict_clause", "returning_clause", "with_clause"],
        );
        self.returning(node, target);
        self.close_level();
    }

    fn update(&mut self, node: &Node) {
        let Some((target, index)) = self.open_target(node, Verb::Write) else { return };
        self.lacks_where |= !restricts(node);
        self.assigned(node.list("target_list"), index);
        self.field(node, "from_clause");
        self.fields(node, &["relation", "from_clause", "returning_clause", "with_clause"]);
        self.returning(node, target);
        self.close_level();
    }

    fn delete(&mut self, node: &Node) {
        let Some((target, _)) = self.open_target(node, Verb::Write) else { return };
        self.lacks_where |= !restricts(node);
        self.field(node, "using_clause");
        self.fields(node, &["relation", "using_clause", "returning_clause", "with_clause"]);
        self.returning(node, target);
        self.close_level();
    }

    fn merge(&mut self, node: &Node) {
        let Some((target, index)) = self.open_target(node, Verb::Write) else { return };
        self.field(node, "source_relation");
        let joins = looks_at_rows(node.child("join_condition"));
        for when in node.list("merge_when_clauses").iter().filter_map(Value::node) {
            use pg_query::protobuf::CmdType;
            let does = |command: CmdType| when.int("command_type") == i64::from(command as i32);
            if does(CmdType::CmdInsert) {
                self.kind("insert");
                if when.list("target_list").is_empty() {
                    self.add_column(index, "*");
                }
            } else if does(CmdType::CmdUpdate) {
                self.kind("update");
            } else if does(CmdType::CmdDelete) {
                self.kind("delete");
            }
            if does(CmdType::CmdUpdate) || does(CmdType::CmdDelete) {
                self.lacks_where |= !joins && !looks_at_rows(when.child("condition"));
            }
            self.assigned(when.list("target_list"), index);
        }
        self.fields(node, &["relation", "source_relation", "returning_clause", "with_clause"]);
        self.returning(node, target);
        self.close_level();
    }

    /// `name` of a list of `String`s as an object, for the other walkers.
    pub(super) fn object_named(&mut self, parts: &[Value], lookup: Lookup) {
        match name_of(parts) {
            Some(name) => self.object(name, lookup),
            None => self.refuse("an object's name was not understood"),
        }
    }
}

/// Whether a WHERE looks at the rows: `WHERE true` and `WHERE 1 = 1` restrict nothing.
fn restricts(node: &Node) -> bool {
    looks_at_rows(node.child("where_clause"))
}

fn looks_at_rows(condition: Option<&Node>) -> bool {
    condition
        .is_some_and(|condition| condition.any(&|node| matches!(node.kind, "ColumnRef" | "CurrentOfExpr")))
}
