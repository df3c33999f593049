//! What an analysis takes in memory, so that the cache can be bounded by it: a plan weighs many times the text it was made of.
//!
//! Counted as the allocator is asked, with what an allocation costs besides; unused capacity counts.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    analysis::{CallForm, FunctionUse, RelationUse, Shape, Statement, Uses},
    lineage::{CopyOut, Plan},
    names::Name,
    session_state::SessionEffect,
    settings::SettingChange,
};

/// What an allocation takes besides what was asked for, about.
const ALLOCATION: usize = 16;

/// What a node of a tree of texts takes for each text, about.
const LEAF: usize = size_of::<Box<str>>() * 2;

/// Bytes on the heap below a value.
pub(crate) trait Weight {
    fn weight(&self) -> usize;
}

/// Values that are plain: nothing below them.
macro_rules! plain {
    ($($type:ty),+) => { $(impl Weight for $type { fn weight(&self) -> usize { 0 } })+ };
}

/// The sum of what is below some of a struct's fields; the others are plain.
macro_rules! sum_of {
    ($type:ty: $($field:ident),+) => {
        impl $crate::weight::Weight for $type {
            fn weight(&self) -> usize {
                0 $(+ self.$field.weight())+
            }
        }
    };
}
pub(crate) use sum_of;

impl Weight for Box<str> {
    fn weight(&self) -> usize {
        if self.is_empty() { 0 } else { self.len() + ALLOCATION }
    }
}

impl Weight for String {
    fn weight(&self) -> usize {
        if self.capacity() == 0 { 0 } else { self.capacity() + ALLOCATION }
    }
}

impl<T: Weight> Weight for Option<T> {
    fn weight(&self) -> usize {
        self.as_ref().map_or(0, Weight::weight)
    }
}

impl<T: Weight> Weight for Box<T> {
    fn weight(&self) -> usize {
        size_of::<T>() + ALLOCATION + T::weight(self)
    }
}

impl<T: Weight> Weight for Vec<T> {
    fn weight(&self) -> usize {
        let own = if self.capacity() == 0 { 0 } else { self.capacity() * size_of::<T>() + ALLOCATION };
        own + self.iter().map(Weight::weight).sum::<usize>()
    }
}

impl<T: Weight> Weight for Box<[T]> {
    fn weight(&self) -> usize {
        let own = if self.is_empty() { 0 } else { self.len() * size_of::<T>() + ALLOCATION };
        own + self.iter().map(Weight::weight).sum::<usize>()
    }
}

impl<T: Weight, U: Weight> Weight for (T, U) {
    fn weight(&self) -> usize {
        self.0.weight() + self.1.weight()
    }
}

impl Weight for BTreeSet<Box<str>> {
    fn weight(&self) -> usize {
        self.iter().map(|text| LEAF + text.weight()).sum()
    }
}

/// Each of those who share it counts for a part.
impl Weight for Arc<BTreeSet<Box<str>>> {
    fn weight(&self) -> usize {
        (BTreeSet::weight(self) + size_of::<BTreeSet<Box<str>>>() + ALLOCATION)
            / Arc::strong_count(self).max(1)
    }
}

impl Weight for Arc<Plan> {
    fn weight(&self) -> usize {
        size_of::<Plan>() + ALLOCATION + Plan::weight(self)
    }
}

sum_of!(Name: schema, name);
sum_of!(Uses: relations, functions, operators, types, casts, objects, fixed);
sum_of!(RelationUse: name, columns, loose_columns);
sum_of!(FunctionUse: name, form, constants);
sum_of!(CopyOut: null, force_quote, encoding, odd);

plain!(crate::analysis::Lookup, portcullis_core::Verb, u8);

impl Weight for CallForm {
    fn weight(&self) -> usize {
        match self {
            Self::Attribute(name) => name.weight(),
            Self::Call | Self::Procedure | Self::Spelling => 0,
        }
    }
}

/// A setting's value is short, or the statement is: it counts with the text.
impl Weight for SettingChange {
    fn weight(&self) -> usize {
        self.name.weight()
    }
}

impl Weight for SessionEffect {
    fn weight(&self) -> usize {
        match self {
            Self::Prepare { inner, .. } | Self::Declare { inner, .. } => inner.weight(),
            _ => 0,
        }
    }
}

impl Weight for crate::Analysis {
    fn weight(&self) -> usize {
        self.text.len() + size_of::<Self>() + size_of::<Shape>() + 2 * ALLOCATION + self.shape.weight()
    }
}

impl Weight for Statement {
    fn weight(&self) -> usize {
        let Self {
            range: _,
            kinds,
            uses,
            lacks_where: _,
            unclassified,
            settings,
            transaction: _,
            leaves_read_only: _,
            effect,
            explain_only: _,
            opaque: _,
            plan,
            copy_out,
        } = self;
        let kinds = kinds.capacity() * size_of::<portcullis_core::StatementKind>() + ALLOCATION;
        kinds
            + uses.weight()
            + unclassified.weight()
            + settings.weight()
            + effect.weight()
            + plan.weight()
            + copy_out.weight()
    }
}

impl Weight for Shape {
    fn weight(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use crate::{Analyzer, AnalyzerConfig, weight::Weight as _};

    #[test]
    fn what_a_text_weighs_grows_with_its_statements_and_with_what_they_hold() {
        let analyzer = Analyzer::new(AnalyzerConfig { threads: 1, ..AnalyzerConfig::default() }).unwrap();
        let weight = |text: &str| analyzer.analyze_fresh(text).unwrap().weight();
        let one = weight("SELECT 1 AS a");
        let many = weight(&"SELECT 1 AS a;".repeat(1_000));
        assert!(many > 900 * (one - 200), "{many} bytes for a thousand of {one}");
        let short = weight("SELECT a FROM t");
        for (what, long) in [
            ("columns", format!("SELECT {} FROM t", vec!["a"; 1_000].join(","))),
            ("constants", format!("SELECT {}", vec!["1"; 1_000].join(","))),
            ("rows", format!("INSERT INTO t VALUES {}", vec!["(1)"; 1_000].join(","))),
            ("relations", format!("SELECT a FROM {}", vec!["t"; 1_000].join(","))),
            ("branches", vec!["SELECT a FROM t"; 1_000].join(" UNION ALL ")),
            ("conditions", format!("DELETE FROM t WHERE {}", vec!["a = b"; 1_000].join(" AND "))),
            ("sub-queries", format!("SELECT {}", vec!["(SELECT a FROM t)"; 1_000].join(","))),
            (
                "CTEs",
                (1..1_000).fold("WITH c0 AS (SELECT a FROM t)".to_owned(), |text, number| {
                    format!("{text}, c{number} AS (SELECT a FROM t)")
                }) + " SELECT 1",
            ),
        ] {
            let weight = weight(&long);
            assert!(weight > short + 16 * 1_000, "{weight} bytes for a thousand {what}");
        }
    }
}
