//! What a plan takes in memory.

use super::ir::{
    Alias, Body, CopyTo, Cte, From, How, Join, Key, Modify, Plan, Query, Returning, Select, SetOperation,
    Target, Use, Value, Values, Via,
};
use crate::weight::{Weight, sum_of};

sum_of!(Query: ctes, body);
sum_of!(Cte: name, columns, query);
sum_of!(Select: from, targets, uses, keys);
sum_of!(Values: rows, uses, keys);
sum_of!(SetOperation: branches, uses, keys);
sum_of!(Modify: relation, alias, source, from, compared, uses, returning);
sum_of!(Returning: names, targets);
sum_of!(Target: name, value);
sum_of!(Alias: name, columns);
sum_of!(Join: left, right, using, using_alias, on, alias);

impl Weight for Plan {
    fn weight(&self) -> usize {
        match self {
            Self::Query(query) => query.weight(),
            Self::Discarded(plan) | Self::Stored(plan) => plan.weight(),
            Self::CopyTable { relation, columns, to: CopyTo::Client | CopyTo::Server } => {
                relation.weight() + columns.weight()
            }
            Self::CopyQuery { query, to: CopyTo::Client | CopyTo::Server } => query.weight(),
            Self::RenamesSchema(name) => name.weight(),
            Self::Remembered
            | Self::Harmless
            | Self::Clusters { .. }
            | Self::ChecksType
            | Self::Opaque(_)
            | Self::Other
            | Self::Unknown(_) => 0,
        }
    }
}

impl Weight for Body {
    fn weight(&self) -> usize {
        match self {
            Self::Select(select) => select.weight(),
            Self::Values(values) => values.weight(),
            Self::Set(set) => set.weight(),
            Self::Modify(modify) => modify.weight(),
        }
    }
}

impl Weight for Value {
    fn weight(&self) -> usize {
        match self {
            Self::Column(name) | Self::Star(name) => name.weight(),
            Self::Computed(uses) => uses.weight(),
        }
    }
}

impl Weight for Key {
    fn weight(&self) -> usize {
        match self {
            Self::Position(_) => 0,
            Self::Name(name) => name.weight(),
            Self::Uses(uses) => uses.weight(),
        }
    }
}

impl Weight for From {
    fn weight(&self) -> usize {
        match self {
            Self::Relation { name, alias } => name.weight() + alias.weight(),
            Self::Query { query, lateral: _, alias } => query.weight() + alias.weight(),
            Self::Function { uses, name, columns, count: _, single } => {
                uses.weight() + name.weight() + columns.weight() + single.weight()
            }
            Self::Join(join) => join.weight(),
        }
    }
}

impl Weight for Use {
    fn weight(&self) -> usize {
        match self {
            Self::Column { column, how } => column.weight() + how.weight(),
            Self::Row { of, how } => of.weight() + how.weight(),
            Self::Query { query, how } => query.weight() + how.weight(),
        }
    }
}

impl Weight for How {
    fn weight(&self) -> usize {
        match self {
            Self::Compared(by) => by.weight(),
            Self::Counted(function) => function.weight(),
            Self::Computed | Self::Written | Self::Ignored => 0,
        }
    }
}

impl Weight for Via {
    fn weight(&self) -> usize {
        match self {
            Self::Operator(name) | Self::Function(name) => name.weight(),
        }
    }
}
