//! Mask files: `testdata/masks/{masked,clear,refused}.txt`. Blocks are separated by an empty line; the lines before the first `=>`
//! are the text. The file says what must become of it: something of its output is masked, nothing is, or it is refused. The `=>`
//! lines say how, one for each statement: `-` for a column that is clear, `rule@schema.table.attribute` for a masked one that the
//! server must confirm, `rule` for one it knows nothing of, each with ` whole` where everything is hidden. `BLESS=1` writes them.
//!
//! Lines that begin with `-- paths:`, `-- temporary:` and `-- restructured` set the session up. The catalogs are what PostgreSQL 15 and
//! 18 say of the same tables and views; every file holds under both.

pub mod database;
mod limits;
mod maps;
mod paths;
mod types;

use std::{fmt::Write, fs, path::Path, sync::Arc};

use portcullis_sql::{Analysis, MaskedOutput, OutputColumn, SearchPath, SearchPaths, SessionState};

use self::database::{Database, RULES};
use crate::database::ANALYZER;

#[test]
fn what_is_masked_is_masked() {
    check("masked", 90, |lines| {
        lines.contains('@') || RULES.iter().any(|rule| lines.contains(rule) && !lines.contains("refused"))
    });
}

#[test]
fn what_is_clear_is_clear() {
    check("clear", 90, |lines| {
        !lines.contains("refused")
            && !RULES.iter().any(|rule| lines.contains(rule))
            && !lines.contains("error")
    });
}

#[test]
fn what_could_give_a_value_away_is_refused() {
    check("refused", 150, |lines| lines.contains("=> refused"));
}

fn check(file: &str, fewest: usize, holds: impl Fn(&str) -> bool) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/masks/{file}.txt"));
    let bless = std::env::var_os("BLESS").is_some();
    let text = fs::read_to_string(&path).unwrap();
    let (mut found, mut wrong, mut statements) = (String::new(), String::new(), 0);
    for block in text.trim_end().split("\n\n") {
        if block.starts_with("# ") {
            writeln!(found, "{block}\n").unwrap();
            continue;
        }
        let sql: Vec<_> = block.lines().take_while(|line| !line.starts_with("=>")).collect();
        let sql = sql.join("\n");
        statements += 1;
        let [old, new] = Database::both().map(|database| judge(database, &sql));
        if old != new {
            writeln!(wrong, "--- PostgreSQL 15 and 18 differ\n{sql}\n{old}{new}").unwrap();
        }
        if !holds(&old) {
            writeln!(wrong, "--- not {file}\n{sql}\n{old}").unwrap();
        }
        let now = format!("{sql}\n{}", old.trim_end());
        if !bless && now != block.trim_end() {
            writeln!(wrong, "--- the file says\n{block}\n--- found\n{now}").unwrap();
        }
        writeln!(found, "{now}\n").unwrap();
    }
    if bless {
        fs::write(&path, format!("{}\n", found.trim_end())).unwrap();
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(statements >= fewest, "only {statements} statements are left");
}

/// What the head of a text says of the session.
struct Setup {
    paths: SearchPaths,
    temporary: Vec<String>,
    restructured: bool,
}

impl Setup {
    fn of(sql: &str) -> Self {
        let line = |what: &str| sql.lines().find_map(|line| line.strip_prefix(what)).map(str::trim);
        let mut paths = SearchPaths::known(SearchPath::parse("app, pg_catalog", "agent").unwrap(), "agent");
        if let Some(listed) = line("-- paths:") {
            paths = SearchPaths::unknown("agent");
            let (known, unknown): (Vec<&str>, Vec<&str>) =
                listed.split(';').map(str::trim).partition(|path| *path != "unknown");
            let mut known = known.into_iter().map(|path| SearchPath::parse(path, "agent").unwrap());
            if let Some(first) = known.next() {
                paths = SearchPaths::known(first, "agent");
            }
            known.for_each(|path| paths.add(path));
            if !unknown.is_empty() {
                paths.add_unknown();
            }
        }
        let temporary = line("-- temporary:")
            .into_iter()
            .flat_map(|names| names.split(','))
            .map(|name| name.trim().to_owned());
        Self { paths, temporary: temporary.collect(), restructured: line("-- restructured").is_some() }
    }
}

impl SessionState for Setup {
    fn prepared(&self, name: &str) -> Vec<Arc<Analysis>> {
        let texts: &[&str] = match name {
            "p_card" => &["SELECT id, card_number FROM app.payments"],
            "p_bare" => &["SELECT id, card_number FROM payments"],
            "p_clear" => &["SELECT id FROM app.payments"],
            "p_either" => {
                &["SELECT id, card_number FROM app.payments", "SELECT id, status FROM app.payments"]
            }
            "p_same" => &["SELECT card_number FROM app.payments", "SELECT p.card_number FROM app.payments p"],
            "p_nested" => &["EXECUTE p_nested"],
            "p_insert" => &["INSERT INTO app.payments (id) VALUES ($1) RETURNING card_number"],
            _ => &[],
        };
        texts.iter().map(|text| ANALYZER.analyze(text).unwrap()).collect()
    }

    fn cursor(&self, name: &str) -> Vec<Arc<Analysis>> {
        let texts: &[&str] = match name {
            "c_card" => &["SELECT id, card_number FROM app.payments"],
            "c_bare" => &["SELECT card_number FROM payments UNION ALL SELECT card_number FROM payments"],
            "c_clear" => &["SELECT id FROM app.payments"],
            _ => &[],
        };
        texts.iter().map(|text| ANALYZER.analyze(text).unwrap()).collect()
    }

    fn may_be_temporary(&self, name: &str) -> bool {
        self.temporary.iter().any(|known| known == name)
    }

    fn structure_may_differ(&self) -> bool {
        self.restructured
    }
}

fn judge(database: &Database, sql: &str) -> String {
    let setup = Setup::of(sql);
    let analysis = match ANALYZER.analyze(sql) {
        Ok(analysis) => analysis,
        Err(error) => return format!("=> error: {error}\n"),
    };
    let mut lines = String::new();
    match analysis.masked(&database.masks, &database.catalog, &setup.paths, &setup) {
        Err(refusal) => {
            assert!(refusal.reason.contains(&refusal.column), "{refusal}");
            writeln!(lines, "=> refused {}: {}", refusal.statement, refusal.reason).unwrap();
        }
        Ok(outputs) => {
            assert_eq!(outputs.len(), analysis.statements().len());
            for output in &outputs {
                let line = match output {
                    MaskedOutput::Clear => "clear".to_owned(),
                    MaskedOutput::Rows(columns) => format!("rows {}", shown(database, columns)),
                    MaskedOutput::Copy(columns) => format!("copy {}", shown(database, columns)),
                };
                writeln!(lines, "=> {}", line.trim_end()).unwrap();
            }
        }
    }
    lines
}

fn shown(database: &Database, columns: &[OutputColumn]) -> String {
    let one = |column: &OutputColumn| {
        let Some(mask) = &column.mask else {
            assert_eq!(column.origin, None);
            return "-".to_owned();
        };
        let mut text = RULES[usize::from(mask.rule)].to_owned();
        if let Some((oid, attribute)) = column.origin {
            let relation = database.catalog.relations().find(|relation| relation.oid == oid).unwrap();
            write!(text, "@{}.{}.{attribute}", relation.schema, relation.name).unwrap();
        }
        if mask.whole {
            text.push_str(" whole");
        }
        text
    };
    columns.iter().map(one).collect::<Vec<_>>().join(", ")
}
