//! The tables' history: SQL files applied in order, once, each in a transaction of its own with its checksum.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_core::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::Error;

/// One step. An applied step never changes; a correction is a new one.
struct Migration {
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { name: "001_windows_and_audit", sql: include_str!("../migrations/001_windows_and_audit.sql") },
    Migration { name: "002_runs", sql: include_str!("../migrations/002_runs.sql") },
    Migration { name: "003_requests", sql: include_str!("../migrations/003_requests.sql") },
];

impl Migration {
    fn checksum(&self) -> String {
        digest(&SHA256, self.sql.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Brings the tables up to date; refuses a history that is not a beginning of ours.
pub(crate) fn apply(connection: &mut Connection, path: &Path, now: Timestamp) -> Result<(), Error> {
    apply_all(connection, path, now, MIGRATIONS)
}

fn apply_all(
    connection: &mut Connection,
    path: &Path,
    now: Timestamp,
    migrations: &[Migration],
) -> Result<(), Error> {
    let of = Error::of(path);
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS migrations (
                 number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL
             ) STRICT",
        )
        .map_err(&of)?;
    let applied: Vec<(String, String)> = connection
        .prepare("SELECT name, checksum FROM migrations ORDER BY number")
        .and_then(|mut select| select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .map_err(&of)?;
    if applied.len() > migrations.len() {
        return Err(Error::Newer { path: path.to_owned(), number: migrations.len() + 1 });
    }
    for ((name, checksum), migration) in applied.iter().zip(migrations) {
        if name != migration.name || *checksum != migration.checksum() {
            return Err(Error::Differs { path: path.to_owned(), name: name.clone() });
        }
    }
    for migration in migrations.iter().skip(applied.len()) {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&of)?;
        transaction.execute_batch(migration.sql).map_err(&of)?;
        transaction
            .execute(
                "INSERT INTO migrations (name, checksum, applied_at) VALUES (?1, ?2, ?3)",
                params![migration.name, migration.checksum(), now.as_micros()],
            )
            .map_err(&of)?;
        transaction.commit().map_err(&of)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[Migration] = &[
        Migration { name: "001_a", sql: "CREATE TABLE a (x INTEGER)" },
        Migration { name: "002_b", sql: "INSERT INTO a VALUES (1)" },
    ];

    fn run(connection: &mut Connection, migrations: &[Migration]) -> Result<(), Error> {
        apply_all(connection, Path::new("test.db"), Timestamp::from_seconds(1), migrations)
    }

    #[test]
    fn migrations_are_applied_in_order_and_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        run(&mut connection, &TWO[..1]).unwrap();
        run(&mut connection, TWO).unwrap();
        run(&mut connection, TWO).unwrap();
        let rows: i64 = connection.query_row("SELECT count(*) FROM a", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1);
    }

    #[test]
    fn a_later_database_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        run(&mut connection, TWO).unwrap();
        assert!(matches!(run(&mut connection, &TWO[..1]), Err(Error::Newer { number: 2, .. })));
    }

    #[test]
    fn an_applied_migration_that_changed_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        run(&mut connection, &TWO[..1]).unwrap();
        let changed = [Migration { name: "001_a", sql: "CREATE TABLE a (x TEXT)" }];
        assert!(
            matches!(run(&mut connection, &changed), Err(Error::Differs { name, .. }) if name == "001_a")
        );
    }

    #[test]
    fn a_migration_that_fails_leaves_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        let broken =
            [Migration { name: "001_a", sql: "CREATE TABLE a (x INTEGER); CREATE TABLE a (y INTEGER)" }];
        assert!(run(&mut connection, &broken).is_err());
        run(&mut connection, TWO).unwrap();
    }
}
