use super::*;

fn column(pattern: &str, schema: &str, table: &str, column: &str) -> bool {
    pattern.parse::<ColumnPattern>().unwrap().matches(schema, table, column)
}

fn function(pattern: &str, schema: &str, function: &str) -> bool {
    pattern.parse::<FunctionPattern>().unwrap().matches(schema, function)
}

#[test]
fn two_parts_mean_any_schema() {
    assert!(column("payments.card_number", "public", "payments", "card_number"));
    assert!(column("payments.card_number", "archive.2026", "payments", "card_number"));
    assert!(column("*.payments.card_number", "x", "payments", "card_number"));
    assert!(!column("public.payments.card_number", "x", "payments", "card_number"));
    assert!(!column("payments.card_number", "payments", "card_number", "x"));
}

#[test]
fn globs_stay_in_their_part_and_take_whole_names() {
    assert!(column("public.pay*.card_?", "public", "payments", "card_1"));
    assert!(!column("public.pay*.card_?", "public", "payments", "card_"));
    assert!(!column("public.pay*.card_?", "public", "repay", "card_1"));
    // a name may have dots, slashes, stars: still one name
    assert!(column("*.*.*", "a.b", "c.d/e", "f.g"));
    assert!(column("*.a*z.*", "s", "a.b.z", "c"));
    assert!(column("**.**.**", "a", "b", "c"));
    assert!(!column("a.b.c", "a", "b", "c.d"));
    assert!(!column("a.b.c", "a.b", "b", "c"));
}

#[test]
fn capitals_hide_no_column() {
    assert!(column("payments.card_number", "public", "Payments", "CARD_NUMBER"));
    assert!(column("Payments.Card_Number", "public", "payments", "card_number"));
    assert!(column("größe.übermaß", "public", "GRÖßE", "ÜBERMAß"));
}

#[test]
fn quotes_mean_exactly_that_name() {
    assert!(column("\"pay.2026\".card", "public", "pay.2026", "card"));
    assert!(!column("\"pay.2026\".card", "pay", "2026", "card"));
    assert!(!column("\"Pay\".card", "public", "pay", "card"));
    assert!(column("\"a\"\"b\".\"*\"", "public", "a\"b", "*"));
    assert!(!column("\"a\"\"b\".\"*\"", "public", "a\"b", "x"));
    assert!(column("\"my table\".c", "public", "my table", "c"));
}

#[test]
fn an_open_schema_leaves_the_servers_own_catalogs_alone() {
    for system in SYSTEM_SCHEMAS {
        assert!(!column("*.*.*", system, "pg_class", "relname"));
        assert!(!column("*.*", system, "pg_class", "relname"));
        assert!(!column("?*.*.*", system, "pg_class", "relname"));
        assert!(column(&format!("{system}.*.*"), system, "pg_class", "relname"));
    }
    assert!(column("pg_*.pg_class.*", "pg_catalog", "pg_class", "relname"));
    assert!(column("*.*.*", "pg_toast", "pg_toast_1", "chunk_data"));
    // not the catalog, whatever it looks like
    assert!(column("*.*.*", "PG_CATALOG", "t", "c"));
}

#[test]
fn what_is_trusted_is_folded_and_not_more() {
    assert!(function("public.clean", "public", "clean"));
    assert!(function("Public.Clean_*", "public", "clean_up"));
    assert!(!function("public.clean", "public", "Clean"));
    assert!(!function("public.clean", "Public", "clean"));
    assert!(function("public.\"Clean\"", "public", "Clean"));
    assert!(!function("public.clean", "public", "clean.x"));
    assert!(!function("public.k", "public", "\u{212a}"));
}

#[test]
fn what_is_no_pattern_says_why() {
    let why = |text: &str| text.parse::<ColumnPattern>().unwrap_err().to_string();
    assert_eq!(why("card_number"), "it has 1 part, expected 2 or 3");
    assert_eq!(why("*"), "it has 1 part, expected 2 or 3");
    assert_eq!(why("db.public.payments.card"), "it has 4 parts, expected 2 or 3");
    for empty in ["", ".", "a.", ".a", "a..b", "a.\"\""] {
        assert_eq!(why(empty), "a part of it is empty", "{empty}");
    }
    for quotes in ["\"a", "a.b\"c", "\"a\"b.c", "\"a\"\".b", "a.\"b"] {
        assert!(why(quotes).starts_with("double quotes"), "{quotes}");
    }
    assert!(why("a b.c").contains("spaces"));
    assert!(why(&"a".repeat(2_000)).contains("longer"));
    assert_eq!("f".parse::<FunctionPattern>().unwrap_err().to_string(), "it has 1 part, expected 2");
}

#[test]
fn many_stars_cost_no_more_than_the_product() {
    let pattern = format!("t.{}b", "*a".repeat(200));
    assert!(!column(&pattern, "s", "t", &"a".repeat(5_000)));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_text_is_read_without_a_panic(text in "[a-zA-Z.\"*? é]{0,30}", name in "[a-zA-Z.\"é]{0,12}") {
        if let Ok(pattern) = text.parse::<ColumnPattern>() {
            let _ = pattern.matches(&name, &name, &name);
        }
    }

    #[test]
    fn a_quoted_name_is_that_name(name in "[a-zA-Z.\"*? é]{1,12}", other in "[a-zA-Z.\"*? é]{1,12}") {
        let text = format!("t.\"{}\"", name.replace('"', "\"\""));
        proptest::prop_assert!(column(&text, "s", "t", &name));
        proptest::prop_assert_eq!(column(&text, "s", "t", &other), name == other);
    }

    #[test]
    fn a_glob_agrees_with_its_definition(glob in "[ab*?]{1,6}", name in "[ab]{0,8}") {
        let wanted = regex::Regex::new(&format!("^{}$", glob.replace('*', ".*").replace('?', "."))).unwrap();
        proptest::prop_assert_eq!(column(&format!("t.{glob}"), "s", "t", &name), wanted.is_match(&name));
    }
}
