//! Expressions -> [`Use`]s. In a value everything is computed with; in a condition the plain forms are comparisons.

use pg_query::protobuf::{AExprKind as Kind, SubLinkType};

use super::{Builder, Built, NotUnderstood};
use crate::{
    lineage::ir::{How, Reference, Use, Via},
    names::Name,
    tree::{Node, Value},
    walk::name_of,
};

/// Functions of one value that never fail and say no more of it than it says itself: what a comparison may apply to a column.
/// The other arguments must be constants.
const TOTAL: [&str; 13] = [
    "lower",
    "upper",
    "btrim",
    "ltrim",
    "rtrim",
    "length",
    "char_length",
    "character_length",
    "octet_length",
    "left",
    "right",
    "substr",
    "substring",
];

/// Operators that compare and say yes or no.
const COMPARISONS: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];

/// Operators that match what stands on the left with a pattern on the right.
const PATTERNS: [&str; 9] = ["~~", "!~~", "~~*", "!~~*", "~", "!~", "~*", "!~*", "^@"];

/// How deep the name of an output column is looked for.
const MAX_NAME_DEPTH: usize = 16;

impl Builder {
    // ---- values ----------------------------------------------------------------------------------------------------

    /// Everything below is used in this way, at the top; deeper, some value is made of it.
    pub(super) fn computed(&mut self, value: Option<&Value>, how: &How, uses: &mut Vec<Use>) -> Built<()> {
        match value {
            Some(Value::Node(node)) => self.computed_node(node, how, uses),
            Some(Value::List(items)) => {
                items.iter().try_for_each(|item| self.computed(Some(item), how, uses))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn computed_fields(
        &mut self,
        node: &Node,
        but: &[&str],
        how: &How,
        uses: &mut Vec<Use>,
    ) -> Built<()> {
        let fields = node.fields.iter().filter(|(name, _)| !but.contains(name));
        fields.map(|(_, value)| value).try_for_each(|value| self.computed(Some(value), how, uses))
    }

    pub(super) fn computed_node(&mut self, node: &Node, how: &How, uses: &mut Vec<Use>) -> Built<()> {
        match node.kind {
            "ColumnRef" => {
                self.taken.columns += 1;
                let (reference, star) = reference_of(node)?;
                uses.push(match star {
                    true => Use::Row { of: reference, how: how.clone() },
                    false => Use::Column { column: reference, how: how.clone() },
                });
                Ok(())
            }
            // Rows and assignments hand their parts on as they are.
            "List" | "RowExpr" | "MultiAssignRef" | "ResTarget" => self.computed_fields(node, &[], how, uses),
            "FuncCall" => self.call(node, uses),
            "SubLink" => self.sub_query(node, how, uses),
            "WindowDef" => self.window(Some(node), uses),
            "RangeVar" => Err(NotUnderstood("it names a relation where masks do not expect one")),
            kind if kind.ends_with("Stmt") => {
                Err(NotUnderstood("it holds a query where masks do not expect one"))
            }
            _ => self.computed_fields(node, &[], &How::Computed, uses),
        }
    }

    /// `count` only counts. The arguments of every other function are computed with.
    fn call(&mut self, node: &Node, uses: &mut Vec<Use>) -> Built<()> {
        self.condition(node.get("agg_filter"), uses)?;
        self.window(node.child("over"), uses)?;
        let name = name_of(node.list("funcname")).ok_or(NotUnderstood("a call without a name"))?;
        let counts = &*name.name == "count" && name.may_be_builtin() && !node.flag("func_variadic");
        match node.list("args") {
            [Value::Node(argument)] if counts && argument.kind == "ColumnRef" => {
                self.sort_in_call(node, uses)?;
                self.taken.columns += 1;
                let (reference, star) = reference_of(argument)?;
                let how = if node.flag("agg_distinct") {
                    How::Compared(Box::new([Via::Function(name)]))
                } else {
                    How::Counted(name)
                };
                uses.push(match star {
                    true => Use::Row { of: reference, how },
                    false => Use::Column { column: reference, how },
                });
                Ok(())
            }
            _ => self.computed_fields(node, &["agg_filter", "over"], &How::Computed, uses),
        }
    }

    fn sort_in_call(&mut self, node: &Node, uses: &mut Vec<Use>) -> Built<()> {
        self.sorted(node.list("agg_order"), uses)
    }

    /// A sub-query in an expression: what comes out of it is used like a column in its place.
    fn sub_query(&mut self, node: &Node, how: &How, uses: &mut Vec<Use>) -> Built<()> {
        let query = node.child("subselect").ok_or(NotUnderstood("a sub-query was not understood"))?;
        let is = |kind: SubLinkType| node.int("sub_link_type") == i64::from(kind as i32);
        let how = match how {
            _ if is(SubLinkType::ExistsSublink) => How::Ignored,
            How::Written if is(SubLinkType::ExprSublink) || is(SubLinkType::MultiexprSublink) => How::Written,
            _ => How::Computed,
        };
        let query = Box::new(self.query(query)?);
        uses.push(Use::Query { query, how });
        self.computed_fields(node, &["subselect"], &How::Computed, uses)
    }

    /// `PARTITION BY` and `ORDER BY` compare; everything else is computed with.
    pub(super) fn window(&mut self, node: Option<&Node>, uses: &mut Vec<Use>) -> Built<()> {
        let Some(node) = node else { return Ok(()) };
        self.sorted(node.list("partition_clause"), uses)?;
        self.sorted(node.list("order_clause"), uses)?;
        self.computed_fields(node, &["partition_clause", "order_clause"], &How::Computed, uses)
    }

    /// Columns that are sorted by, where constants mean nothing and names are those of input columns.
    fn sorted(&mut self, items: &[Value], uses: &mut Vec<Use>) -> Built<()> {
        for item in items {
            let Some(mut node) = item.node() else { continue };
            if node.kind == "SortBy" && node.list("use_op").is_empty() {
                let Some(inner) = node.child("node") else { continue };
                node = inner;
            }
            match node.kind {
                "ColumnRef" => self.compared_column(node, Box::default(), uses)?,
                _ => self.computed_node(node, &How::Computed, uses)?,
            }
        }
        Ok(())
    }

    // ---- conditions ------------------------------------------------------------------------------------------------

    pub(super) fn condition(&mut self, value: Option<&Value>, uses: &mut Vec<Use>) -> Built<()> {
        match value {
            Some(Value::Node(node)) => self.condition_node(node, uses),
            Some(Value::List(items)) => items.iter().try_for_each(|item| self.condition(Some(item), uses)),
            _ => Ok(()),
        }
    }

    fn condition_node(&mut self, node: &Node, uses: &mut Vec<Use>) -> Built<()> {
        match node.kind {
            "BoolExpr" => self.condition(node.get("args"), uses),
            "NullTest" | "BooleanTest" => self.operand(node.get("arg"), &[], uses),
            "AExpr" => self.comparison(node, uses),
            "SubLink" => self.compared_sub_query(node, uses),
            "ColumnRef" => self.compared_column(node, Box::default(), uses),
            _ => self.computed_node(node, &How::Computed, uses),
        }
    }

    fn comparison(&mut self, node: &Node, uses: &mut Vec<Use>) -> Built<()> {
        let kind = i32::try_from(node.int("kind")).ok().and_then(|kind| Kind::try_from(kind).ok());
        let operator = name_of(node.list("name"));
        let (left, right) = (node.get("lexpr"), node.get("rexpr"));
        let is = |known: &[&str]| operator.as_ref().is_some_and(|name| known.contains(&&*name.name));
        let via: Vec<Via> = operator.iter().cloned().map(Via::Operator).collect();
        match kind {
            Some(Kind::AexprOp | Kind::AexprOpAny | Kind::AexprOpAll | Kind::AexprIn) if is(&COMPARISONS) => {
                self.operand(left, &via, uses)?;
                self.operand(right, &via, uses)
            }
            Some(Kind::AexprDistinct | Kind::AexprNotDistinct) => {
                self.operand(left, &via, uses)?;
                self.operand(right, &via, uses)
            }
            Some(
                Kind::AexprBetween | Kind::AexprNotBetween | Kind::AexprBetweenSym | Kind::AexprNotBetweenSym,
            ) => {
                let via: Vec<Via> =
                    ["<", "<=", ">", ">="].into_iter().map(|name| Via::Operator(Name::bare(name))).collect();
                self.operand(left, &via, uses)?;
                self.operand(right, &via, uses)
            }
            Some(
                Kind::AexprOp
                | Kind::AexprOpAny
                | Kind::AexprOpAll
                | Kind::AexprLike
                | Kind::AexprIlike
                | Kind::AexprSimilar,
            ) if is(&PATTERNS) => {
                self.operand(left, &via, uses)?;
                // A value used as a pattern can make the match fail.
                self.computed(right, &How::Computed, uses)
            }
            _ => self.computed_node(node, &How::Computed, uses),
        }
    }

    /// One side of a comparison.
    fn operand(&mut self, value: Option<&Value>, via: &[Via], uses: &mut Vec<Use>) -> Built<()> {
        let node = match value {
            Some(Value::Node(node)) => node,
            Some(Value::List(items)) => {
                return items.iter().try_for_each(|item| self.operand(Some(item), via, uses));
            }
            _ => return Ok(()),
        };
        match node.kind {
            "ColumnRef" => self.compared_column(node, via.into(), uses),
            "List" | "RowExpr" => {
                let field = if node.kind == "List" { "items" } else { "args" };
                self.operand(node.get(field), via, uses)
            }
            "FuncCall" => match total_call(node) {
                Some((name, column)) => {
                    let mut via = via.to_vec();
                    via.push(Via::Function(name));
                    self.compared_column(column, via.into(), uses)
                }
                None => self.computed_node(node, &How::Computed, uses),
            },
            "CoalesceExpr" => match node.list("args") {
                [Value::Node(column), rest @ ..]
                    if column.kind == "ColumnRef" && rest.iter().all(is_constant) =>
                {
                    self.compared_column(column, via.into(), uses)
                }
                _ => self.computed_node(node, &How::Computed, uses),
            },
            "SubLink" if node.int("sub_link_type") == i64::from(SubLinkType::ExprSublink as i32) => {
                self.compared_output(node, via, uses)
            }
            _ => self.computed_node(node, &How::Computed, uses),
        }
    }

    fn compared_column(&mut self, node: &Node, via: Box<[Via]>, uses: &mut Vec<Use>) -> Built<()> {
        self.taken.columns += 1;
        let (reference, star) = reference_of(node)?;
        uses.push(match star {
            true => Use::Row { of: reference, how: How::Computed },
            false => Use::Column { column: reference, how: How::Compared(via) },
        });
        Ok(())
    }

    /// `x IN (SELECT …)`, `x = ANY (SELECT …)`, `EXISTS (…)`.
    fn compared_sub_query(&mut self, node: &Node, uses: &mut Vec<Use>) -> Built<()> {
        let kind =
            i32::try_from(node.int("sub_link_type")).ok().and_then(|kind| SubLinkType::try_from(kind).ok());
        let operator = match node.list("oper_name") {
            [] => Some(Name::bare("=")),
            parts => name_of(parts),
        };
        let plain = operator.as_ref().is_some_and(|name| COMPARISONS.contains(&&*name.name));
        match (kind, operator) {
            (Some(SubLinkType::ExistsSublink), _) => self.sub_query(node, &How::Ignored, uses),
            (
                Some(SubLinkType::AnySublink | SubLinkType::AllSublink | SubLinkType::RowcompareSublink),
                Some(operator),
            ) if plain => {
                let via = [Via::Operator(operator)];
                self.operand(node.get("testexpr"), &via, uses)?;
                self.compared_output(node, &via, uses)
            }
            (Some(SubLinkType::ExprSublink), _) => self.compared_output(node, &[], uses),
            _ => self.sub_query(node, &How::Computed, uses),
        }
    }

    fn compared_output(&mut self, node: &Node, via: &[Via], uses: &mut Vec<Use>) -> Built<()> {
        let query = node.child("subselect").ok_or(NotUnderstood("a sub-query was not understood"))?;
        let query = Box::new(self.query(query)?);
        uses.push(Use::Query { query, how: How::Compared(via.into()) });
        Ok(())
    }
}

/// The parts of a column's name; whether it ends in a star, which is left out.
pub(super) fn reference_of(node: &Node) -> Built<(Reference, bool)> {
    let fields = node.list("fields");
    let star = fields.last().and_then(Value::node).is_some_and(|last| last.kind == "AStar");
    let parts = if star { fields.split_last().map_or(fields, |(_, parts)| parts) } else { fields };
    let part = |part: &Value| part.string().map(Into::into);
    let parts: Option<Vec<Box<str>>> = parts.iter().map(part).collect();
    let parts = parts.ok_or(NotUnderstood("a column's name was not understood"))?;
    if parts.is_empty() && !star {
        return Err(NotUnderstood("a column's name was not understood"));
    }
    Ok((parts.into(), star))
}

/// A call of one of [`TOTAL`] over a column and constants.
fn total_call(node: &Node) -> Option<(Name, &Node)> {
    let name = name_of(node.list("funcname"))?;
    let plain = ["agg_order", "agg_filter", "over"].iter().all(|field| node.get(field).is_none())
        && ["agg_within_group", "agg_star", "agg_distinct", "func_variadic"]
            .iter()
            .all(|flag| !node.flag(flag));
    let [Value::Node(column), rest @ ..] = node.list("args") else { return None };
    let fits =
        plain && TOTAL.contains(&&*name.name) && column.kind == "ColumnRef" && rest.iter().all(is_constant);
    // `substr` with a negative length fails, but says nothing of the value.
    fits.then_some((name, &**column))
}

fn is_constant(value: &Value) -> bool {
    value.node().is_some_and(|node| matches!(node.kind, "AConst" | "ParamRef"))
}

/// What the server calls an output column without an alias (`FigureColname` in parse_target.c); nothing where that is not known.
pub(super) fn name_of_output(value: &Value, depth: usize) -> Option<Box<str>> {
    figured(value, depth).map(|(name, _)| name)
}

/// How good a name is: what stands around a weak one names the column instead.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strength {
    /// None, or that of a type.
    Weak,
    Strong,
}

/// `FigureColnameInternal`.
fn figured(value: &Value, depth: usize) -> Option<(Box<str>, Strength)> {
    let node = value.node()?;
    if depth >= MAX_NAME_DEPTH {
        return None;
    }
    let inner = |field: &str| match node.get(field) {
        Some(value) => figured(value, depth + 1),
        None => weak(NAMELESS),
    };
    match node.kind {
        "ColumnRef" => strong(node.list("fields").iter().rev().find_map(Value::string)?),
        "AIndirection" => match node.list("indirection").iter().rev().find_map(Value::string) {
            Some(name) => strong(name),
            None => inner("arg"),
        },
        "FuncCall" => strong(&name_of(node.list("funcname"))?.name),
        "TypeCast" => match inner("arg")? {
            (name, Strength::Strong) => Some((name, Strength::Strong)),
            _ => weak(&name_of(node.child("type_name")?.list("names"))?.name),
        },
        "CollateClause" => inner("arg"),
        "CaseExpr" => match inner("defresult")? {
            (name, Strength::Strong) => Some((name, Strength::Strong)),
            _ => weak("case"),
        },
        "CoalesceExpr" => strong("coalesce"),
        "RowExpr" => strong("row"),
        "AArrayExpr" => strong("array"),
        "GroupingFunc" => strong("grouping"),
        "AConst" | "BoolExpr" | "NullTest" | "BooleanTest" | "ParamRef" => weak(NAMELESS),
        "AExpr" if node.int("kind") != i64::from(Kind::AexprNullif as i32) => weak(NAMELESS),
        "AExpr" => strong("nullif"),
        _ => None,
    }
}

/// What a column is called that nothing names.
const NAMELESS: &str = "?column?";

fn weak(name: &str) -> Option<(Box<str>, Strength)> {
    Some((name.into(), Strength::Weak))
}

fn strong(name: &str) -> Option<(Box<str>, Strength)> {
    Some((name.into(), Strength::Strong))
}
