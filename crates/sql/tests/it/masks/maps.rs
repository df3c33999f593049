//! What is masked in the database, column by column.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_sql::{CatalogSnapshot, ColumnRule, MaskMap, RelationKind};

use super::database::{Database, RULES, catalog, rules};

/// `relation.column rule[ whole]` of every masked column.
fn masked(catalog: &CatalogSnapshot, masks: &MaskMap) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for relation in catalog.relations() {
        for column in &relation.columns {
            if let Some(masked) = masks.column(relation.oid, column.number) {
                assert_eq!(
                    (&masked.schema, &masked.table, &masked.column),
                    (&relation.schema, &relation.name, &column.name)
                );
                let whole = if masked.whole { " whole" } else { "" };
                found.insert(format!(
                    "{}.{} {}{whole}",
                    relation.name,
                    column.name,
                    RULES[usize::from(masked.rule)]
                ));
            }
        }
    }
    found
}

#[test]
fn views_carry_on_what_they_select() {
    for database in Database::both() {
        let expected: BTreeSet<String> = [
            "payments.card_number cards",
            "payments.email emails",
            "customers.email emails",
            "gen.secret emails",
            "gen.z emails whole",
            "people.ssn people",
            "people_eu.ssn people",
            "events.payload people",
            "events_1.payload people",
            "m_plain.card_number cards",
            "v_plain.card_number cards",
            "v_alias.c cards",
            "v_upper.u cards whole",
            "v_union.x cards",
            "v_union2.x cards whole",
            "v_count.m cards whole",
            "v_join.email emails",
            "v_nested.d cards",
            "v_deep.e cards whole",
            "v_deep.d cards",
            "v_row.j cards whole",
            "v_sub.c cards whole",
            "v_cte.k cards",
            "v_using.card_number cards",
            "v_using.email emails",
            "v_usingc.card_number cards",
            "v_case.brand cards whole",
            "v_window.r cards whole",
            "v_window.prev cards whole",
            "v_rec.card_number cards",
            "v_lateral.c cards",
            "v_values.x cards",
            "v_vault.key cards",
            "v_distinct.card_number cards",
            "v_self.c1 cards",
            "v_self.c2 cards",
            "v_self.c3 cards whole",
            // Its function is given a masked column: not understood.
            "v_srf.id cards whole",
            "v_srf.t cards whole",
        ]
        .map(str::to_owned)
        .into();
        assert_eq!(masked(&database.catalog, &database.masks), expected);
    }
}

#[test]
fn a_view_without_a_definition_is_hidden_as_a_whole() {
    let rows = include_str!("../../../testdata/masks/catalog-18.psv");
    let without: Vec<String> = rows
        .lines()
        .map(|line| {
            let mut cells: Vec<&str> = line.splitn(8, '|').collect();
            if matches!(cells[3], "v_alias" | "v_clear") {
                cells[7] = "";
            }
            cells.join("|")
        })
        .collect();
    let catalog = catalog(&without.join("\n"));
    let masks = MaskMap::build(&catalog, &rules());
    let found = masked(&catalog, &masks);
    for expected in [
        "v_alias.c cards whole",
        "v_alias.n cards whole",
        "v_nested.d cards whole",
        "v_clear.id cards whole",
        "v_clear.amount cards whole",
    ] {
        assert!(found.contains(expected), "{expected}: {found:#?}");
    }
}

#[test]
fn of_several_rules_on_a_column_the_strongest_wins_and_every_one_must_allow_filters() {
    let rule = |name: &str, strength: u8, filter_allowed: bool| ColumnRule {
        name: name.into(),
        strength,
        filter_allowed,
        opaque_refused: false,
        matches: Arc::new(|_, table, column| (table, column) == ("orders", "note")),
        trusts: Arc::new(|_, _| true),
    };
    let catalog = catalog(include_str!("../../../testdata/masks/catalog-15.psv"));
    let masks = MaskMap::build(&catalog, &[rule("a", 1, true), rule("b", 9, true), rule("c", 9, false)]);
    let orders = catalog.relations().find(|relation| &*relation.name == "orders").unwrap();
    assert_eq!(masks.column(orders.oid, 4).unwrap().rule, 1);
    assert!(masks.may_name("orders") && masks.may_name("v_union") && !masks.may_name("payments"));
    assert!(masks.relations().any(|relation| relation == ("app", "orders")));
}

#[test]
fn nothing_is_masked_where_no_column_matches() {
    let catalog = catalog(include_str!("../../../testdata/masks/catalog-15.psv"));
    let nothing = ColumnRule { matches: Arc::new(|_, _, _| false), ..rules().remove(0) };
    let masks = MaskMap::build(&catalog, &[nothing]);
    assert!(masks.is_empty());
    assert!(catalog.relations().filter(|relation| relation.kind == RelationKind::Table).count() > 5);
}
