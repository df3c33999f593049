//! How large the tables of a statement are that has no plan: what the catalog says, as of the last vacuum or analyze.

use std::fmt::Write as _;

use portcullis_core::{StatementKind, Verb};

use super::{
    login::{Login, Trouble, array},
    names::Names,
};

/// The most tables that are told.
const MOST: usize = 50;

/// Each named table with everything that is stored under it: its partitions and children. With `$3`, the tables whose foreign keys
/// lead to it go with it, as in `TRUNCATE … CASCADE`. Rows are -1 where nothing is known.
const SIZES: &str = "
    WITH RECURSIVE named (oid) AS (
        SELECT c.oid FROM unnest($1::text[], $2::text[]) AS w (schema, name)
        JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
        WHERE c.relkind IN ('r', 'p', 'm', 'f')
        UNION
        SELECT k.conrelid FROM named JOIN pg_constraint k ON k.confrelid = named.oid AND k.contype = 'f' WHERE $3::bool
    ), parts (root, oid) AS (
        SELECT oid, oid FROM named
        UNION SELECT p.root, i.inhrelid FROM parts p JOIN pg_inherits i ON i.inhparent = p.oid
    ), sizes AS (
        SELECT p.root, count(*) FILTER (WHERE c.relkind <> 'p') AS stored,
            CASE WHEN bool_or(c.reltuples < 0 AND c.relkind <> 'p') THEN -1
                ELSE coalesce(sum(c.reltuples::float8) FILTER (WHERE c.relkind <> 'p'), 0) END AS rows,
            coalesce(sum(pg_total_relation_size(c.oid)), 0) AS bytes
        FROM parts p JOIN pg_class c ON c.oid = p.oid GROUP BY p.root
    )
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), round(s.rows)::text, pg_size_pretty(s.bytes), s.stored::text,

        EXISTS (SELECT FROM parts p WHERE p.root <> p.oid AND p.oid = c.oid)::text
    FROM sizes s JOIN pg_class c ON c.oid = s.root JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY s.rows DESC, 1";

/// What is known of the tables.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Rows in all of them; absent where one is not known, or where the statement is not about all rows.
    pub(super) rows: Option<u64>,
    /// As text, a line for each.
    pub(super) text: String,
}

/// Asks. Nothing where the statement names no table that is there.
pub(super) async fn ask(
    login: &mut Login,
    names: &Names,
    kinds: &[StatementKind],
) -> Result<Option<Sizes>, Trouble> {
    let own = kinds.first().map_or("", StatementKind::as_str);
    // What an object is made of is admin; what is looked at on the way is not what the statement does.
    let about = |verb: Verb| own == "copy" || verb != Verb::Read;
    let tables = || names.named.iter().filter(|named| about(named.verb));
    let schemas = array(tables().map(|named| named.schema.as_str()));
    let named = array(tables().map(|named| named.name.as_str()));
    let cascades = if names.cascades && own == "truncate" { "t" } else { "f" };
    let rows = login.ask(SIZES, &[&schemas, &named, cascades]).await?.texts()?;
    let reads = names.named.iter().all(|named| named.verb == Verb::Read);
    let all_rows = matches!(own, "truncate" | "drop") || own == "copy" && reads;
    told(&rows, all_rows, names.cascades && own == "drop").ok_or(Trouble::Odd)
}

#[expect(clippy::option_option, reason = "not understood and nothing there are different answers")]
fn told(rows: &[Vec<String>], all_rows: bool, more: bool) -> Option<Option<Sizes>> {
    if rows.is_empty() {
        return Some(None);
    }
    let (mut sum, mut known, mut text) = (0_u64, true, String::new());
    for (at, row) in rows.iter().enumerate() {
        let [name, rows, size, stored, within] = row.as_slice() else { return None };
        let count = rows.parse::<u64>().ok();
        // A partition that is named beside its table is counted with it.
        if within != "true" {
            known &= count.is_some();
            sum = sum.saturating_add(count.unwrap_or(0));
        }
        if at >= MOST {
            continue;
        }
        let about =
            count.map_or_else(|| "an unknown number of rows".to_owned(), |rows| format!("about {rows} rows"));
        let parts = if stored == "1" { String::new() } else { format!(" in {stored} tables") };
        let _ = writeln!(text, "{name}: {about}, {size}{parts}");
    }
    if rows.len() > MOST {
        let _ = writeln!(text, "… and {} more tables", rows.len() - MOST);
    }
    if more {
        text.push_str("and everything that depends on them\n");
    }
    text.push_str("as of the last vacuum or analyze of each table");
    Some(Some(Sizes { rows: (all_rows && known).then_some(sum), text }))
}
