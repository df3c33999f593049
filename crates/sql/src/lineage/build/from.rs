//! What stands in `FROM`.

use super::{Builder, Built, NotUnderstood, query::names};
use crate::{
    lineage::ir::{Alias, From, How, Join},
    names::Name,
    tree::{Node, Value},
    walk::{name_of, relation_name},
};

/// Built-in functions that give one column whatever they are given.
const ONE_COLUMN: [&str; 11] = [
    "generate_series",
    "generate_subscripts",
    "json_array_elements",
    "json_array_elements_text",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "json_object_keys",
    "jsonb_object_keys",
    "regexp_split_to_table",
    "regexp_matches",
    "string_to_table",
];

impl Builder {
    pub(super) fn items_of_from(&mut self, items: &[Value]) -> Built<Vec<From>> {
        let odd = NotUnderstood("something in FROM was not understood");
        items.iter().map(|item| self.from(item.node().ok_or(odd)?)).collect()
    }

    pub(super) fn from(&mut self, node: &Node) -> Built<From> {
        match node.kind {
            "RangeVar" => {
                self.taken.relations += 1;
                Ok(From::Relation { name: relation_name(node), alias: alias(node, "alias") })
            }
            "RangeSubselect" => {
                let query = node.child("subquery").ok_or(NotUnderstood("a sub-query was not understood"))?;
                let query = Box::new(self.query(query)?);
                Ok(From::Query { query, lateral: node.flag("lateral"), alias: alias(node, "alias") })
            }
            "JoinExpr" => self.deeper(|builder| builder.join(node)),
            "RangeTableSample" => self.sample(node),
            _ => self.function(node),
        }
    }

    fn join(&mut self, node: &Node) -> Built<From> {
        let odd = NotUnderstood("a join was not understood");
        let left = self.from(node.child("larg").ok_or(odd)?)?;
        let right = self.from(node.child("rarg").ok_or(odd)?)?;
        let mut on = Vec::new();
        self.condition(node.get("quals"), &mut on)?;
        Ok(From::Join(Box::new(Join {
            left,
            right,
            natural: node.flag("is_natural"),
            using: names(node.list("using_clause")),
            using_alias: node.child("join_using_alias").map(|alias| alias.text("aliasname").into()),
            on,
            alias: alias(node, "alias"),
        })))
    }

    /// The sample's arguments are computed; they see nothing of the relation.
    fn sample(&mut self, node: &Node) -> Built<From> {
        let mut uses = Vec::new();
        self.computed_fields(node, &["relation"], &How::Computed, &mut uses)?;
        if !uses.is_empty() {
            return Err(NotUnderstood("TABLESAMPLE has an argument that is no constant"));
        }
        self.from(node.child("relation").ok_or(NotUnderstood("TABLESAMPLE of nothing"))?)
    }

    fn function(&mut self, node: &Node) -> Built<From> {
        let mut uses = Vec::new();
        self.computed_fields(node, &["alias"], &How::Computed, &mut uses)?;
        let call = match node.list("functions") {
            [only] => only.items().first().and_then(Value::node).filter(|call| call.kind == "FuncCall"),
            _ => None,
        };
        let called = call.and_then(|call| name_of(call.list("funcname")));
        let alias = alias(node, "alias");
        let plain = node.kind == "RangeFunction" && !node.flag("is_rowsfrom") && !node.flag("ordinality");
        let defined = node.list("coldeflist").len();
        let single = called.clone().filter(|name| plain && is_one_column(name) && defined == 0);
        let (name, columns) = match (alias, called) {
            (Some(alias), _) => (Some(alias.name), alias.columns),
            (None, Some(called)) => (Some(called.name), Vec::new()),
            (None, None) => (None, Vec::new()),
        };
        let columns = match (columns.is_empty(), defined) {
            (true, 1..) => {
                let defined = node.list("coldeflist").iter().filter_map(Value::node);
                defined.map(|column| column.text("colname").into()).collect()
            }
            _ => columns,
        };
        let count = (plain && defined > 0 && columns.len() == defined).then_some(defined);
        Ok(From::Function { uses, name, columns, count, single })
    }
}

fn is_one_column(name: &Name) -> bool {
    name.may_be_builtin() && ONE_COLUMN.contains(&&*name.name)
}

fn alias(node: &Node, field: &str) -> Option<Alias> {
    let alias = node.child(field)?;
    Some(Alias { name: alias.text("aliasname").into(), columns: names(alias.list("colnames")) })
}
