//! Texts made to be expensive: refused or answered, never followed without end.

use portcullis_sql::{MaskedOutput, NoSessionState, SearchPath, SearchPaths};

use super::database::Database;
use crate::database::ANALYZER;

fn masked(sql: &str) -> Result<Vec<MaskedOutput>, String> {
    let [database, _] = Database::both();
    let paths = SearchPaths::known(SearchPath::new(["app"]), "agent");
    let analysis = ANALYZER.analyze_fresh(sql).unwrap();
    analysis
        .masked(&database.masks, &database.catalog, &paths, &NoSessionState)
        .map_err(|refusal| refusal.reason)
}

#[test]
fn ctes_that_double_their_columns_are_refused() {
    let mut sql = "WITH c0 AS (SELECT * FROM payments)".to_owned();
    for number in 1..200 {
        sql += &format!(", c{number} AS (SELECT *, * FROM c{})", number - 1);
    }
    assert!(masked(&format!("{sql} SELECT 1")).unwrap_err().contains("too many columns"));
}

#[test]
fn ctes_that_name_each_other_twice_are_followed_once_each() {
    let mut sql = "WITH c0 AS (SELECT id, card_number FROM payments)".to_owned();
    for number in 1..100 {
        let before = number - 1;
        sql += &format!(
            ", c{number} AS (SELECT a.id, b.card_number FROM c{before} a JOIN c{before} b ON a.id = b.id)"
        );
    }
    assert!(matches!(masked(&format!("{sql} SELECT * FROM c99")).as_deref(), Ok([MaskedOutput::Rows(_)])));
}

#[test]
fn recursive_queries_in_recursive_queries_end() {
    let mut sql = "SELECT card_number FROM payments".to_owned();
    for _ in 0..20 {
        sql = format!("WITH RECURSIVE r AS ({sql} UNION ALL SELECT * FROM r) SELECT * FROM r");
    }
    // Answered or refused.
    let _ = masked(&sql);
}

#[test]
fn wide_joins_with_many_names_are_refused() {
    let from: Vec<String> = (0..900).map(|number| format!("payments p{number}")).collect();
    let condition: Vec<String> = (0..900).map(|number| format!("p{number}.id = p0.id")).collect();
    let sql = format!("SELECT p0.card_number FROM {} WHERE {}", from.join(", "), condition.join(" AND "));
    assert!(masked(&sql).unwrap_err().contains("too many columns"));
}

#[test]
fn many_keys_of_many_columns_are_refused() {
    let columns: Vec<String> = (0..1_600).map(|number| format!("id AS c{number}")).collect();
    let keys = vec!["c1599"; 3_000].join(", ");
    let sql = format!("SELECT {} FROM payments ORDER BY {keys}", columns.join(", "));
    assert!(masked(&sql).unwrap_err().contains("too many columns"));
}

#[test]
fn long_conditions_and_unions_are_followed() {
    let conditions = vec!["status = 'x'"; 1_000].join(" OR ");
    assert!(masked(&format!("SELECT card_number FROM payments WHERE {conditions}")).is_ok());
    let union = vec!["SELECT card_number FROM payments"; 500].join(" UNION ALL ");
    assert!(matches!(masked(&union).as_deref(), Ok([MaskedOutput::Rows(_)])));
}

#[test]
fn queries_nested_past_the_limit_are_refused_and_below_it_followed() {
    let nested = |depth: usize| {
        let mut sql = "SELECT card_number FROM payments".to_owned();
        for _ in 0..depth {
            sql = format!("SELECT * FROM ({sql}) s");
        }
        masked(&sql)
    };
    assert!(matches!(nested(40).as_deref(), Ok([MaskedOutput::Rows(_)])));
    assert!(nested(200).unwrap_err().contains("nested too deeply"));
}
