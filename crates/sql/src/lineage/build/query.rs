//! SELECT, VALUES, set operations, INSERT, UPDATE, DELETE, MERGE.

use pg_query::protobuf::SetOperation as Operation;

use super::{Builder, Built, NotUnderstood, expression::reference_of};
use crate::{
    lineage::ir::{
        Body, Cte, How, Key, Modify, Query, Returning, Select, SetOperation, Target, Use, Value, Values,
    },
    tree::{Node, Value as Tree},
    walk::{alias_of, relation_name},
};

impl Builder {
    pub(super) fn query(&mut self, node: &Node) -> Built<Query> {
        self.deeper(|builder| builder.query_here(node))
    }

    fn query_here(&mut self, node: &Node) -> Built<Query> {
        self.taken.queries += 1;
        let (ctes, recursive) = match node.child("with_clause") {
            Some(with) => (self.ctes(with)?, with.flag("recursive")),
            None => (Vec::new(), false),
        };
        let body = match node.kind {
            "SelectStmt" => self.select_body(node)?,
            "InsertStmt" => Body::Modify(Box::new(self.insert(node)?)),
            "UpdateStmt" => Body::Modify(Box::new(self.change(node, "from_clause")?)),
            "DeleteStmt" => Body::Modify(Box::new(self.change(node, "using_clause")?)),
            "MergeStmt" => Body::Modify(Box::new(self.merge(node)?)),
            _ => return Err(NotUnderstood("it holds a statement of a kind that masks do not follow")),
        };
        Ok(Query { ctes, recursive, body })
    }

    fn ctes(&mut self, with: &Node) -> Built<Vec<Cte>> {
        let mut ctes = Vec::new();
        for cte in with.list("ctes") {
            let cte = cte.node().ok_or(NotUnderstood("a CTE was not understood"))?;
            if cte.child("search_clause").is_some() || cte.child("cycle_clause").is_some() {
                return Err(NotUnderstood("a CTE has a SEARCH or CYCLE clause"));
            }
            let query = cte.child("ctequery").ok_or(NotUnderstood("a CTE was not understood"))?;
            ctes.push(Cte {
                name: cte.text("ctename").into(),
                columns: names(cte.list("aliascolnames")),
                query: self.query(query)?,
            });
        }
        Ok(ctes)
    }

    fn select_body(&mut self, node: &Node) -> Built<Body> {
        let operation = |of: Operation| node.int("op") == i64::from(of as i32);
        let plain = node.int("op") == 0 || operation(Operation::SetopNone);
        if !plain {
            return self.set_operation(node);
        }
        if !node.list("values_lists").is_empty() {
            return self.values(node);
        }
        if node.child("into_clause").is_some() {
            self.made_relation(node.child("into_clause"))?;
        }
        let from = self.items_of_from(node.list("from_clause"))?;
        let targets = self.targets(node.list("target_list"))?;
        let mut uses = Vec::new();
        self.condition(node.get("where_clause"), &mut uses)?;
        self.condition(node.get("having_clause"), &mut uses)?;
        for window in node.list("window_clause") {
            self.window(window.node(), &mut uses)?;
        }
        let mut keys = Vec::new();
        self.keys(node.list("group_clause"), &mut keys)?;
        // Plain DISTINCT is a list of one empty element.
        let distinct_on = node.list("distinct_clause");
        let distinct = !distinct_on.is_empty() && distinct_on.iter().all(|item| item.node().is_none());
        self.keys(distinct_on, &mut keys)?;
        self.tail(node, &mut uses, &mut keys)?;
        let into = node.child("into_clause").is_some();
        Ok(Body::Select(Box::new(Select { from, targets, uses, keys, distinct, into })))
    }

    /// `ORDER BY`, `LIMIT`, `OFFSET`.
    fn tail(&mut self, node: &Node, uses: &mut Vec<Use>, keys: &mut Vec<Key>) -> Built<()> {
        self.keys(node.list("sort_clause"), keys)?;
        self.computed(node.get("limit_offset"), &How::Computed, uses)?;
        self.computed(node.get("limit_count"), &How::Computed, uses)
    }

    /// The relation that is made is named, not read.
    pub(super) fn made_relation(&mut self, into: Option<&Node>) -> Built<()> {
        let relation = into.and_then(|into| into.child("rel"));
        relation.ok_or(NotUnderstood("what the query makes was not understood"))?;
        self.taken.relations += 1;
        Ok(())
    }

    fn values(&mut self, node: &Node) -> Built<Body> {
        let mut rows = Vec::new();
        for row in node.list("values_lists") {
            rows.push(row.items().iter().map(|value| self.value(value)).collect::<Built<_>>()?);
        }
        let (mut uses, mut keys) = (Vec::new(), Vec::new());
        self.tail(node, &mut uses, &mut keys)?;
        Ok(Body::Values(Values { rows, uses, keys }))
    }

    /// A chain of the same operation is one, however long.
    fn set_operation(&mut self, node: &Node) -> Built<Body> {
        let is_union_all =
            |node: &Node| node.int("op") == i64::from(Operation::SetopUnion as i32) && node.flag("all");
        let mut branches = Vec::new();
        let mut left = node;
        loop {
            let odd = NotUnderstood("a set operation was not understood");
            branches.push(self.query(left.child("rarg").ok_or(odd)?)?);
            let next = left.child("larg").ok_or(odd)?;
            let same = next.int("op") == node.int("op") && next.flag("all") == node.flag("all");
            if !(same && only(next, &["op", "all", "larg", "rarg", "limit_option"])) {
                branches.push(self.query(next)?);
                break;
            }
            self.taken.queries += 1;
            left = next;
        }
        branches.reverse();
        let (mut uses, mut keys) = (Vec::new(), Vec::new());
        self.tail(node, &mut uses, &mut keys)?;
        Ok(Body::Set(SetOperation { branches, compares: !is_union_all(node), uses, keys }))
    }

    pub(super) fn targets(&mut self, targets: &[Tree]) -> Built<Vec<Target>> {
        let mut built = Vec::with_capacity(targets.len());
        for target in targets {
            let odd = NotUnderstood("an output column was not understood");
            let target = target.node().filter(|node| node.kind == "ResTarget").ok_or(odd)?;
            if !target.list("indirection").is_empty() {
                return Err(odd);
            }
            let expression = target.get("val").ok_or(odd)?;
            let name = match target.text("name") {
                "" => super::expression::name_of_output(expression, 0),
                name => Some(name.into()),
            };
            built.push(Target { name, value: self.value(expression)? });
        }
        Ok(built)
    }

    fn value(&mut self, expression: &Tree) -> Built<Value> {
        if let Some(node) = expression.node()
            && node.kind == "ColumnRef"
        {
            self.taken.columns += 1;
            let (reference, star) = reference_of(node)?;
            return Ok(if star { Value::Star(reference) } else { Value::Column(reference) });
        }
        let mut uses = Vec::new();
        self.computed(Some(expression), &How::Computed, &mut uses)?;
        Ok(Value::Computed(uses))
    }

    // ---- what is ordered by ----------------------------------------------------------------------------------------

    fn keys(&mut self, items: &[Tree], keys: &mut Vec<Key>) -> Built<()> {
        for item in items {
            let Some(node) = item.node() else { continue };
            self.key(node, keys)?;
        }
        Ok(())
    }

    fn key(&mut self, node: &Node, keys: &mut Vec<Key>) -> Built<()> {
        match node.kind {
            "SortBy" if node.list("use_op").is_empty() => match node.child("node") {
                Some(inner) => self.key(inner, keys),
                None => Ok(()),
            },
            "GroupingSet" => self.keys(node.list("content"), keys),
            // Grouping sets hold lists: `ROLLUP ((a, b), c)`.
            "RowExpr" => self.keys(node.list("args"), keys),
            "AConst" => {
                self.positions = true;
                let place =
                    node.child("val").filter(|value| value.kind == "Integer").map(|value| value.int("ival"));
                keys.push(Key::Position(place.and_then(|place| usize::try_from(place).ok()).unwrap_or(0)));
                Ok(())
            }
            "ColumnRef" => {
                self.taken.columns += 1;
                let (reference, star) = reference_of(node)?;
                keys.push(match &*reference {
                    [only] if !star => Key::Name(only.clone()),
                    _ if star => Key::Uses(vec![Use::Row { of: reference, how: How::Computed }]),
                    _ => {
                        Key::Uses(vec![Use::Column { column: reference, how: How::Compared(Box::default()) }])
                    }
                });
                Ok(())
            }
            _ => {
                let mut uses = Vec::new();
                self.computed_node(node, &How::Computed, &mut uses)?;
                keys.push(Key::Uses(uses));
                Ok(())
            }
        }
    }

    // ---- statements that write -------------------------------------------------------------------------------------

    fn modify(&mut self, node: &Node) -> Built<Modify> {
        let target = node.child("relation").ok_or(NotUnderstood("what is written to was not understood"))?;
        self.taken.relations += 1;
        Ok(Modify {
            relation: relation_name(target),
            alias: alias_of(target),
            source: None,
            from: Vec::new(),
            source_first: node.kind == "MergeStmt",
            excluded: false,
            compared: Vec::new(),
            uses: Vec::new(),
            returning: self.returning(node.child("returning_clause"))?,
        })
    }

    fn returning(&mut self, clause: Option<&Node>) -> Built<Option<Returning>> {
        let Some(clause) = clause else { return Ok(None) };
        let options = clause.list("options").iter().filter_map(Tree::node);
        let names = options.map(|option| option.text("value").into()).collect();
        Ok(Some(Returning { names, targets: self.targets(clause.list("exprs"))? }))
    }

    fn insert(&mut self, node: &Node) -> Built<Modify> {
        let mut modify = self.modify(node)?;
        self.assignments(node.list("cols"), false, &mut modify.uses)?;
        if let Some(source) = node.child("select_stmt") {
            modify.source = Some(self.query(source)?);
        }
        if let Some(conflict) = node.child("on_conflict_clause") {
            modify.excluded = true;
            if let Some(infer) = conflict.child("infer") {
                for element in infer.list("index_elems").iter().filter_map(Tree::node) {
                    match element.text("name") {
                        "" => {}
                        name => modify.compared.push(name.into()),
                    }
                    self.computed_fields(element, &[], &How::Computed, &mut modify.uses)?;
                }
                self.condition(infer.get("where_clause"), &mut modify.uses)?;
            }
            self.assignments(conflict.list("target_list"), true, &mut modify.uses)?;
            self.condition(conflict.get("where_clause"), &mut modify.uses)?;
        }
        Ok(modify)
    }

    /// `UPDATE`, `DELETE`.
    fn change(&mut self, node: &Node, from: &str) -> Built<Modify> {
        let mut modify = self.modify(node)?;
        modify.from = self.items_of_from(node.list(from))?;
        self.assignments(node.list("target_list"), false, &mut modify.uses)?;
        self.condition(node.get("where_clause"), &mut modify.uses)?;
        Ok(modify)
    }

    fn merge(&mut self, node: &Node) -> Built<Modify> {
        let mut modify = self.modify(node)?;
        let source =
            node.child("source_relation").ok_or(NotUnderstood("the source of MERGE was not understood"))?;
        modify.from = vec![self.from(source)?];
        self.condition(node.get("join_condition"), &mut modify.uses)?;
        for when in node.list("merge_when_clauses").iter().filter_map(Tree::node) {
            self.condition(when.get("condition"), &mut modify.uses)?;
            self.assignments(when.list("target_list"), false, &mut modify.uses)?;
            self.computed(when.get("values"), &How::Written, &mut modify.uses)?;
        }
        Ok(modify)
    }

    /// What is assigned to columns. `c = excluded.c` puts a value where it was meant to go.
    fn assignments(&mut self, targets: &[Tree], excluded: bool, uses: &mut Vec<Use>) -> Built<()> {
        for target in targets {
            let odd = NotUnderstood("an assignment was not understood");
            let target = target.node().filter(|node| node.kind == "ResTarget").ok_or(odd)?;
            self.computed(target.get("indirection"), &How::Computed, uses)?;
            let Some(value) = target.child("val") else { continue };
            if value.kind == "ColumnRef" && excluded && target.list("indirection").is_empty() {
                let (reference, star) = reference_of(value)?;
                if let [row, column] = &*reference
                    && !star
                    && &**row == "excluded"
                    && &**column == target.text("name")
                {
                    self.taken.columns += 1;
                    continue;
                }
            }
            self.computed_node(value, &How::Written, uses)?;
        }
        Ok(())
    }
}

/// Whether a node has no field but these.
fn only(node: &Node, fields: &[&str]) -> bool {
    node.fields.iter().all(|(name, _)| fields.contains(name))
}

pub(super) fn names(list: &[Tree]) -> Vec<Box<str>> {
    list.iter().map(|name| name.string().unwrap_or_default().into()).collect()
}
