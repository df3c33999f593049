//! Statement files: `testdata/statements/*.txt`. Blocks are separated by an empty line; the lines before the first `=>` are
//! the text, each `=>` line is one operation: `kinds | pairs | lacks`, or `not: why`. `BLESS=1` writes what is found; a
//! changed line is a changed meaning and is read before it is committed.

use std::{fmt::Write, fs, path::Path};

use portcullis_core::{Operation, operation::Classified};
use portcullis_sql::AnalysisError;

use crate::database::{ANALYZER, CATALOG, Remembering, paths};

#[test]
fn every_statement_means_what_its_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/statements");
    let bless = std::env::var_os("BLESS").is_some();
    let mut statements = 0;
    let mut wrong = String::new();
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let mut found = String::new();
        for block in text.trim_end().split("\n\n") {
            if block.starts_with("# ") {
                found.push_str(block);
                found.push_str("\n\n");
                continue;
            }
            let lines = block.lines().take_while(|line| !line.starts_with("=>"));
            let sql = lines.collect::<Vec<_>>().join("\n");
            statements += 1;
            let now = format!("{sql}\n{}", judge(&sql));
            if now.trim_end() != block.trim_end() {
                writeln!(wrong, "--- the file says\n{block}\n--- found\n{now}").unwrap();
            }
            found.push_str(now.trim_end());
            found.push_str("\n\n");
        }
        if bless {
            fs::write(&file, format!("{}\n", found.trim_end())).unwrap();
        }
    }
    assert!(bless || wrong.is_empty(), "{wrong}");
    assert!(statements >= 250, "only {statements} statements are left");
}

pub fn judge(sql: &str) -> String {
    let analysis = match ANALYZER.analyze_fresh(sql) {
        Ok(analysis) => analysis,
        Err(AnalysisError::Syntax { .. }) => return "=> syntax error".to_owned(),
        Err(error) => return format!("=> error: {error}"),
    };
    let mut lines = String::new();
    for (resolved, statement) in
        analysis.resolve_fully(&*CATALOG, &paths(), &Remembering).iter().zip(analysis.statements())
    {
        let mut line = line_of(&resolved.operation);
        if statement.leaves_read_only() {
            line.push_str(" | leaves read-only");
        }
        if resolved.opaque {
            line.push_str(" | opaque");
        }
        writeln!(lines, "=> {line}").unwrap();
    }
    if lines.is_empty() { "=> nothing".to_owned() } else { lines }
}

fn line_of(operation: &Operation) -> String {
    let kinds: Vec<_> = operation.kinds.iter().map(|kind| kind.as_str()).collect();
    let mut line = kinds.join(" ");
    let pairs = operation.resources.iter().map(|pair| {
        let mut text = format!("{}:{}", pair.verb, pair.resource);
        if !pair.columns.is_empty() {
            write!(text, "({})", pair.columns.join(",")).unwrap();
        }
        if let Some(view) = &pair.through {
            write!(text, " via {view}").unwrap();
        }
        text
    });
    write!(line, " | {}", pairs.collect::<Vec<_>>().join("; ")).unwrap();
    if !operation.lacks.is_empty() {
        write!(line, " | lacks {}", operation.lacks.join(",")).unwrap();
    }
    if let Classified::Not(why) = &operation.classified {
        write!(line, " | not: {why}").unwrap();
    }
    line.trim_end().trim_end_matches(" |").to_owned()
}
