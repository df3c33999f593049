//! What the data files say, and what each mode sends of it.

use std::{fs, path::PathBuf};

use bytes::BytesMut;
use portcullis_postgres::codec::{
    bind::{Bind, Format},
    frontend::{self, Execute, Named, Parse, Target, tag},
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    pub scope: String,
    pub principals: Principals,
    /// Values under column masks.
    pub columns: Vec<String>,
    /// Those of them that are cards.
    pub cards: Vec<String>,
    /// What detectors find.
    pub detected: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Principals {
    pub columns: String,
    pub filter_allow: String,
    pub detect: String,
    pub except: String,
    pub opaque: String,
}

impl Principals {
    pub fn of(&self, policy: Policy) -> &str {
        match policy {
            Policy::Columns => &self.columns,
            Policy::FilterAllow => &self.filter_allow,
            Policy::Detect => &self.detect,
            Policy::Except => &self.except,
            Policy::Opaque => &self.opaque,
        }
    }
}

/// Under whose masks a case runs.
#[derive(Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    #[default]
    Columns,
    FilterAllow,
    Detect,
    Except,
    Opaque,
}

#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// It runs, has the shape it has without a mask, and shows nothing.
    Masked,
    /// A mask refuses it; the server never hears of it.
    Refused,
    /// Either of the two, or an error of the server: what matters is that nothing is shown.
    Hidden,
    /// It is answered to the byte as it is without the gateway.
    Clear,
    /// The server's own error, of the same SQLSTATE, with nothing shown in it.
    Error,
}

/// What the statement does without the gateway: no case may be about nothing.
#[derive(Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Direct {
    /// It runs and shows a value.
    #[default]
    Shows,
    /// It runs and shows none by nature: an oracle, the first half of an attack.
    Silent,
    /// It fails with an error that shows a value.
    Fails,
    /// It fails, and the error shows none.
    SilentFailure,
    /// It is not to be run here: it writes files.
    Never,
}

/// A known gap.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Gap {
    /// A value is shown that no mask follows.
    Leak,
    /// It is refused, and need not be.
    Refused,
}

impl Gap {
    /// Whether this problem is the gap.
    pub fn explains(self, problem: &str) -> bool {
        match self {
            Self::Leak => {
                problem.starts_with("LEAK")
                    || matches!(problem, "it is as it is without a mask" | "it is not refused")
            }
            Self::Refused => problem.starts_with("it is refused"),
        }
    }
}

#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// `Query`.
    Simple,
    /// Parse, Bind, Describe of the portal, Execute, Sync.
    Extended,
    /// The same without Describe.
    Blind,
    /// As `extended`, results in binary.
    Binary,
    /// A named statement, described once, run twice.
    Prepared,
    /// As `extended`, a row at a time.
    Suspended,
    /// DECLARE and FETCH.
    Cursor,
    BinaryCursor,
    CopyText,
    CopyCsv,
    CopyBinary,
    /// PREPARE and EXECUTE.
    Execute,
    /// `SELECT * FROM (…)`.
    Derived,
    /// As `blind`, every statement in one write.
    Pipelined,
    /// What `wire` says.
    Wire,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Where {
    /// What the client must get to see.
    #[serde(default)]
    pub shows: Vec<String>,
    /// What it may not see, besides the values of its policy.
    #[serde(default)]
    pub hides: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Sql {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    #[serde(default)]
    sql: Option<Sql>,
    #[serde(default)]
    wire: Vec<String>,
    #[serde(default)]
    mode: Vec<Mode>,
    pub expect: Expected,
    #[serde(default, rename = "where")]
    pub checks: Where,
    #[serde(default)]
    pub policy: Policy,
    #[serde(default = "both")]
    pub servers: Vec<u16>,
    #[serde(default)]
    pub direct: Direct,
    /// Between BEGIN and ROLLBACK.
    #[serde(default)]
    tx: bool,
    /// What is known to be wrong with it: then that must still be so.
    #[serde(default)]
    pub gap: Option<Gap>,
    /// Run by the superuser before each run, and after it.
    #[serde(default)]
    pub before: String,
    #[serde(default)]
    pub after: String,
}

fn both() -> Vec<u16> {
    vec![15, 18]
}

/// What is sent in one write.
pub struct Round {
    pub bytes: BytesMut,
    /// How many ReadyForQuery answer it.
    pub ready: usize,
}

/// The modes a statement that gives rows is run in.
const OF_ROWS: [Mode; 13] = [
    Mode::Simple,
    Mode::Extended,
    Mode::Blind,
    Mode::Binary,
    Mode::Prepared,
    Mode::Suspended,
    Mode::Cursor,
    Mode::BinaryCursor,
    Mode::CopyText,
    Mode::CopyCsv,
    Mode::CopyBinary,
    Mode::Execute,
    Mode::Derived,
];

impl Case {
    /// The statements, for a person.
    pub fn text(&self) -> String {
        self.statements()
            .into_iter()
            .chain(self.wire.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn statements(&self) -> Vec<&str> {
        match &self.sql {
            None => Vec::new(),
            Some(Sql::One(one)) => vec![one],
            Some(Sql::Several(several)) => several.iter().map(String::as_str).collect(),
        }
    }

    pub fn modes(&self) -> Vec<Mode> {
        if !self.wire.is_empty() {
            return vec![Mode::Wire];
        }
        if !self.mode.is_empty() {
            return self.mode.clone();
        }
        let reads =
            |text: &str| ["SELECT", "WITH", "VALUES", "TABLE", "("].iter().any(|word| text.starts_with(word));
        match &self.sql {
            Some(Sql::One(one)) if reads(one) && !self.tx => OF_ROWS.to_vec(),
            Some(Sql::One(_)) => vec![Mode::Simple, Mode::Extended, Mode::Blind, Mode::Binary],
            _ => vec![Mode::Simple, Mode::Extended, Mode::Blind],
        }
    }

    /// Whether its runs may share a session: one statement leaves nothing behind.
    pub fn shares(&self) -> bool {
        matches!(self.sql, Some(Sql::One(_)))
    }

    /// What is sent in this mode.
    pub fn rounds(&self, mode: Mode) -> Vec<Round> {
        let mut script = Script::default();
        if self.tx {
            script.query("BEGIN");
        }
        for text in self.statements() {
            script.statement(text, mode);
        }
        if mode == Mode::Pipelined {
            script.join();
        }
        for step in &self.wire {
            script.step(step);
        }
        if self.tx {
            script.query("ROLLBACK");
        }
        script.rounds
    }
}

#[derive(Default)]
struct Script {
    rounds: Vec<Round>,
    out: BytesMut,
    ready: usize,
}

impl Script {
    fn end(&mut self) {
        self.rounds.push(Round { bytes: self.out.split(), ready: self.ready });
        self.ready = 0;
    }

    fn query(&mut self, text: &str) {
        frontend::query(&mut self.out, text.as_bytes());
        self.ready += 1;
        self.end();
    }

    fn sync(&mut self) {
        frontend::empty(&mut self.out, tag::SYNC);
        self.ready += 1;
        self.end();
    }

    fn join(&mut self) {
        let mut all = Round { bytes: BytesMut::new(), ready: 0 };
        for round in self.rounds.drain(..) {
            all.bytes.extend_from_slice(&round.bytes);
            all.ready += round.ready;
        }
        self.rounds.push(all);
    }

    fn parse(&mut self, name: &str, text: &str) {
        Parse::encode(&mut self.out, name.as_bytes(), text.as_bytes(), &[]);
    }

    fn bind(&mut self, portal: &str, name: &str, values: &[&str], formats: &[Format]) {
        let values: Vec<Option<&[u8]>> = values.iter().map(|value| Some(value.as_bytes())).collect();
        Bind::encode(&mut self.out, portal.as_bytes(), name.as_bytes(), &[], &values, formats);
    }

    fn execute(&mut self, portal: &str, max_rows: i32) {
        Execute { portal: portal.as_bytes(), max_rows }.encode(&mut self.out);
    }

    fn statement(&mut self, text: &str, mode: Mode) {
        match mode {
            Mode::Simple | Mode::Wire => self.query(text),
            Mode::Extended | Mode::Blind | Mode::Binary | Mode::Pipelined => {
                let formats: &[Format] = if mode == Mode::Binary { &[Format::Binary] } else { &[] };
                self.parse("", text);
                self.bind("", "", &[], formats);
                if matches!(mode, Mode::Extended | Mode::Binary) {
                    frontend::describe(&mut self.out, portal(""));
                }
                self.execute("", 0);
                self.sync();
            }
            Mode::Prepared => {
                self.parse("s", text);
                frontend::describe(&mut self.out, statement("s"));
                self.sync();
                for formats in [&[][..], &[Format::Binary][..]] {
                    self.bind("", "s", &[], formats);
                    self.execute("", 0);
                    self.sync();
                }
                frontend::close(&mut self.out, statement("s"));
                self.sync();
            }
            Mode::Suspended => {
                self.parse("", text);
                self.bind("p", "", &[], &[]);
                frontend::describe(&mut self.out, portal("p"));
                for rows in [1, 1, 0] {
                    self.execute("p", rows);
                }
                self.sync();
            }
            Mode::Cursor | Mode::BinaryCursor => {
                let kind = if mode == Mode::Cursor { "" } else { "BINARY " };
                self.query("BEGIN");
                self.query(&format!("DECLARE c {kind}CURSOR FOR {text}"));
                self.query("FETCH 2 FROM c");
                self.query("FETCH ALL FROM c");
                self.query("ROLLBACK");
            }
            Mode::CopyText => self.query(&format!("COPY ({text}\n) TO STDOUT")),
            Mode::CopyCsv => self.query(&format!("COPY ({text}\n) TO STDOUT (FORMAT csv, HEADER)")),
            Mode::CopyBinary => self.query(&format!("COPY ({text}\n) TO STDOUT (FORMAT binary)")),
            Mode::Execute => {
                self.query(&format!("PREPARE p AS {text}"));
                self.query("EXECUTE p");
                self.query("DEALLOCATE ALL");
            }
            Mode::Derived => self.query(&format!("SELECT * FROM ({text}\n) AS q")),
        }
    }

    /// One line of `wire`: `parse NAME: TEXT`, `bind PORTAL NAME FORMATS VALUES`, `describe S|P NAME`, `execute PORTAL ROWS`,
    /// `close S|P NAME`, `sync`, `flush`, `query: TEXT`. `-` is the empty name; a verb ending in `+` does not end the write.
    fn step(&mut self, step: &str) {
        let (head, text) = match step.split_once(": ") {
            Some((head, text)) => (head, text),
            None => (step, ""),
        };
        let mut words = head.split_whitespace();
        let verb = words.next().unwrap();
        let goes_on = verb.ends_with('+');
        let words: Vec<&str> = words.map(|word| if word == "-" { "" } else { word }).collect();
        match verb.trim_end_matches('+') {
            "parse" => self.parse(words[0], text),
            "bind" => {
                let format = |word: &str| if word == "binary" { Format::Binary } else { Format::Text };
                let formats: Vec<Format> = words[2].split(',').map(format).collect();
                let values: Vec<&str> = words[3..].iter().map(|value| value.trim_matches('\'')).collect();
                self.bind(words[0], words[1], &values, &formats);
            }
            "describe" => frontend::describe(&mut self.out, named(&words)),
            "close" => frontend::close(&mut self.out, named(&words)),
            "execute" => self.execute(words[0], words[1].parse().unwrap()),
            "flush" => frontend::empty(&mut self.out, tag::FLUSH),
            "sync" => {
                frontend::empty(&mut self.out, tag::SYNC);
                self.ready += 1;
            }
            "query" => {
                frontend::query(&mut self.out, text.as_bytes());
                self.ready += 1;
            }
            other => panic!("`{other}` is no step"),
        }
        if !goes_on && self.ready > 0 {
            self.end();
        }
    }
}

fn statement(name: &str) -> Named<'_> {
    Named { target: Target::Statement, name: name.as_bytes() }
}

fn portal(name: &str) -> Named<'_> {
    Named { target: Target::Portal, name: name.as_bytes() }
}

fn named<'a>(words: &[&'a str]) -> Named<'a> {
    if words[0] == "S" { statement(words[1]) } else { portal(words[1]) }
}

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/masks")
}

pub fn read(file: &str) -> String {
    fs::read_to_string(folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

pub fn parsed<T: for<'de> Deserialize<'de>>(file: &str) -> T {
    serde_saphyr::from_str(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}
