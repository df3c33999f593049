//! Masks through the real gateway: no value of a masked column is in what the client got, nor in anything the gateway wrote.
//!
//! One session reads masked columns in every way there is, through a proxy that keeps every byte the client gets. Whoever is
//! excepted does the same afterwards and sees the values in the same places, so that the search is known to find them.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use futures_util::TryStreamExt as _;
use portcullis_record::format::{SEALED_HEADER, SEALED_MAGIC, TRAILER};
use portcullis_testkit::gateway::{AGENT, WRITER};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_postgres::{Client, NoTls};

use super::{Setup, Stage};

const SQL: &str = "
CREATE TABLE payments (
    id int PRIMARY KEY, amount int NOT NULL CHECK (amount >= 0), card text UNIQUE, holder jsonb, account int8, sum numeric, token uuid,
    secret bytea, tags text[], note text
);
INSERT INTO payments SELECT n, n * 10, '453957748233725' || n, '{\"name\": \"quixzoa\"}', 7755338899001120 + n, 88990.77551 + n,
    ('77553388-9900-4122-8344-55667788990' || n)::uuid, 'plunkzorm', ARRAY['wxizlump', NULL], 'nothing' FROM generate_series(1, 3) n;
CREATE VIEW payers AS SELECT id, card AS number, holder FROM payments;
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE NOTICE 'card %', NEW.card;
    PERFORM pg_notify('told', NEW.card);
    IF NEW.amount = 13 THEN RAISE EXCEPTION 'no card %', NEW.card USING DETAIL = NEW.secret, HINT = NEW.holder; END IF;
    RETURN NEW; END $$;
CREATE TRIGGER tell BEFORE UPDATE ON payments FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TABLE letters (id int PRIMARY KEY, body text UNIQUE, doc jsonb, parts text[], number int8, exact numeric);
INSERT INTO letters VALUES
    (1, 'write to jovtrynk.shmulp@free.example', '{\"mail\": \"plimzotry.wux@free.example\"}', ARRAY['x', 'snorvikult.myz@free.example'], 4556819995494393, 5301076432894231),
    (2, 'the card is 4929312255297953, the key AKIAZ7QXVW2LMPRT3KYN', '[1, \"DE43129374415459465973\"]', NULL, 7, 7);
";

const MASKS: &str = "masks:
  - { name: cards, connections: [shop], columns: [payments.card], with: redact, except: 'group:writers' }
  - { name: payments, connections: [shop], columns: [payments.holder, payments.account, payments.sum, payments.token, payments.secret, payments.tags], with: redact, except: 'group:writers' }
  - { name: trusting, connections: [trusting], columns: [payments.card, payments.holder, payments.account, payments.sum, payments.token, payments.secret, payments.tags], with: redact, opaque: allow, except: 'group:writers' }
  - { name: looks like a secret, connections: [letters], detect: [credit-card, email, iban, api-key], with: redact, except: 'group:writers' }
";

/// What nobody may see, in each of its forms.
fn raw() -> Vec<(String, Vec<u8>)> {
    let texts = [
        "453957748233725",
        "quixzoa",
        "775533889900112",
        "8899[0-9].7755",
        "77553388-9900-4122-8344-5566",
        "plunkzorm",
        "wxizlump",
        "jovtrynk.shmulp@free.example",
        "plimzotry.wux@free.example",
        "snorvikult.myz@free.example",
        "4556819995494393",
        "5301076432894231",
        "4929312255297953",
        "AKIAZ7QXVW2LMPRT3KYN",
        "DE43129374415459465973",
    ];
    let mut forms = Vec::new();
    for text in texts {
        if let Some((before, after)) = text.split_once("[0-9]") {
            forms.extend((0..10).map(|n| format!("{before}{n}{after}")).map(|t| (t.clone(), t.into_bytes())));
            continue;
        }
        let hex = text.bytes().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        forms.push((text.to_owned(), text.into()));
        forms.push((format!("{text} in hexadecimal"), hex.into()));
    }
    for number in [7_755_338_899_001_121_i64, 7_755_338_899_001_122, 4_556_819_995_494_393] {
        forms.push((format!("{number} in binary"), number.to_be_bytes().into()));
    }
    let numeric = |groups: [u16; 4]| groups.iter().flat_map(|group| group.to_be_bytes()).collect();
    forms.push(("5301076432894231 as a numeric".to_owned(), numeric([5301, 764, 3289, 4231])));
    let uuid = [0x77, 0x55, 0x33, 0x88, 0x99, 0x00, 0x41, 0x22, 0x83, 0x44, 0x55, 0x66];
    forms.push(("the uuid in binary".to_owned(), uuid.into()));
    forms
}

/// The forms that stand in the bytes.
fn found(bytes: &[u8]) -> Vec<String> {
    let is_in = |form: &[u8]| memchr_find(bytes, form);
    raw().into_iter().filter(|(_, form)| is_in(form)).map(|(name, _)| name).collect()
}

/// Whether `needle` is in `bytes`; by its first byte, as whole logs are searched.
fn memchr_find(bytes: &[u8], needle: &[u8]) -> bool {
    let first = needle[0];
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        rest = &rest[at..];
        if rest.starts_with(needle) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

/// Every byte the clients of one port got.
struct Tap {
    port: u16,
    got: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    async fn on(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (tapped, got) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&got);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(gateway) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_gateway, mut to_gateway) = gateway.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_client, &mut to_gateway).await;
                    let _ = to_gateway.shutdown().await;
                });
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(count @ 1..) = from_gateway.read(&mut buffer).await {
                        kept.lock().unwrap().extend_from_slice(&buffer[..count]);
                        if to_client.write_all(&buffer[..count]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { port: tapped, got }
    }

    /// A session, and its end: everything has arrived by then.
    async fn open(&self, connection: &str, token: &str) -> (Client, tokio::task::JoinHandle<()>) {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user(connection).password(token).dbname("shop");
        let (client, connection) = config.connect(NoTls).await.unwrap();
        let ended = tokio::spawn(async move {
            let _ = connection.await;
        });
        (client, ended)
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.got.lock().unwrap())
    }
}

/// What columns are read with.
const PAYMENTS: &[&str] = &[
    "SELECT * FROM payments ORDER BY id",
    "SELECT card AS other, p.token FROM payments AS p",
    "SELECT p FROM payments p",
    "SELECT row_to_json(p) FROM payments p",
    "SELECT to_jsonb(p), json_agg(p), array_agg(p.card) FROM payments p GROUP BY p.id",
    "SELECT upper(card), left(card, 4), md5(card), account + 0, account::text, sum * 1, tags[1], secret || 'x' FROM payments",
    "SELECT string_agg(card, ','), max(card), min(account), sum(sum), count(card) FROM payments",
    "SELECT card FROM payments UNION SELECT note FROM payments",
    "WITH c AS (SELECT card AS x, tags FROM payments) SELECT x, unnest(tags) FROM c",
    "SELECT (SELECT card FROM payments WHERE id = o.id) FROM generate_series(1, 3) AS o(id)",
    "SELECT number, holder->>'name' FROM payers",
    "SELECT * FROM payers",
    "SELECT card FROM payments WHERE card LIKE '4%'",
    "SELECT card::int FROM payments",
    "SELECT id FROM payments WHERE card::int = 1",
    "SELECT amount / (id - id) FROM payments",
    "SELECT * FROM pg_stats WHERE tablename = 'payments'",
    "SELECT query_to_xml('SELECT * FROM payments', true, true, '')",
    "EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM payments",
    "INSERT INTO payments (id, amount, note) VALUES (9, 1, 'mine') RETURNING *",
    "DELETE FROM payments WHERE id = 9 RETURNING *, card",
    "UPDATE payments SET amount = amount RETURNING *",
    "UPDATE payments SET amount = 13 WHERE id = 1",
    "UPDATE payments SET amount = NULL WHERE id = 1",
    "UPDATE payments SET amount = -1 WHERE id = 2",
    "UPDATE payments SET id = 1 WHERE id = 2",
    "INSERT INTO payments (id, amount, card) SELECT 10, 1, card FROM payments WHERE id = 1",
    "DO $$ BEGIN RAISE NOTICE '%', (SELECT string_agg(card, ',') FROM payments); END $$",
    "SELECT set_config('application_name', (SELECT card FROM payments WHERE id = 1), false)",
    "SELECT pg_notify('told', (SELECT card FROM payments WHERE id = 1))",
    "CREATE TEMPORARY TABLE copied AS SELECT * FROM payments",
    "SELECT * FROM copied",
];

/// What triggers tell of them, where code is trusted: it runs, and its words are not passed on.
const TRIGGERS: &[&str] = &[
    "SELECT * FROM payments ORDER BY id",
    "UPDATE payments SET amount = amount RETURNING *",
    "UPDATE payments SET amount = 13 WHERE id = 1",
    "UPDATE payments SET amount = NULL WHERE id = 1",
    "UPDATE payments SET amount = -1 WHERE id = 2",
    "UPDATE payments SET id = 1 WHERE id = 2",
    "SELECT upper(card), holder->>'name', sum * 1 FROM payments",
    "SELECT * FROM payers",
];

const LETTERS: &[&str] = &[
    "SELECT * FROM letters ORDER BY id",
    "SELECT body || '!', upper(body), doc->>'mail', parts[2], number, number::text, exact, exact::text FROM letters",
    "SELECT l FROM letters l",
    "SELECT row_to_json(l), array_agg(l.body) FROM letters l GROUP BY l.id",
    "SELECT body::int FROM letters",
    "INSERT INTO letters (id, body) SELECT 3, body FROM letters WHERE id = 1",
    "DO $$ BEGIN RAISE NOTICE '%', (SELECT body FROM letters WHERE id = 2); END $$",
    "DO $$ BEGIN RAISE EXCEPTION 'x' USING DETAIL = (SELECT body FROM letters WHERE id = 1), HINT = (SELECT doc FROM letters WHERE id = 1); END $$",
    "SELECT set_config('application_name', (SELECT body FROM letters WHERE id = 2), false)",
    "SELECT pg_notify('told', (SELECT body FROM letters WHERE id = 1))",
    "UPDATE letters SET id = id RETURNING *",
];

/// What became of what one identity said.
#[derive(Debug, Default)]
struct Told {
    shown: usize,
    refused: usize,
    /// Every byte the client got.
    bytes: Vec<u8>,
    /// The values in it, with what was asked.
    leaks: Vec<String>,
}

impl Told {
    fn took<T, E>(&mut self, tap: &Tap, asked: &str, result: &Result<T, E>) {
        match result {
            Ok(_) => self.shown += 1,
            Err(_) => self.refused += 1,
        }
        let got = tap.take();
        self.leaks.extend(found(&got).into_iter().map(|form| format!("{form}: {asked}")));
        self.bytes.extend(got);
    }
}

/// Says every statement in every way.
async fn say(client: &mut Client, tap: &Tap, told: &mut Told, table: &str, statements: &[&str]) {
    for sql in statements {
        told.took(tap, sql, &client.simple_query(sql).await);
        told.took(tap, sql, &client.query(*sql, &[]).await);
        if let Ok(statement) = client.prepare(sql).await {
            for _ in 0..2 {
                told.took(tap, sql, &client.query(&statement, &[]).await);
            }
        }
        let chain = format!("BEGIN; {sql}; SELECT 1; ROLLBACK");
        told.took(tap, &chain, &client.simple_query(&chain).await);
        let _ = client.batch_execute("ROLLBACK").await;
    }
    for what in [table.to_owned(), format!("(SELECT * FROM {table})")] {
        for format in ["text", "csv, HEADER", "csv, DELIMITER '5', QUOTE '7'", "binary"] {
            // The server does not say which values of binary COPY data are numbers: detectors look at the texts.
            let what = what.replace("* FROM letters", "id, body, doc, parts FROM letters");
            let what = if what == "letters" { "letters (id, body, doc, parts)" } else { &what };
            let copy = format!("COPY {what} TO STDOUT (FORMAT {format})");
            let copied = match client.copy_out(&copy).await {
                Ok(rows) => rows.try_collect::<Vec<_>>().await,
                Err(error) => Err(error),
            };
            told.took(tap, &copy, &copied);
        }
    }
    let transaction = client.transaction().await.unwrap();
    let all = format!("SELECT * FROM {table} ORDER BY id");
    let portal = transaction.bind(&all, &[]).await.unwrap();
    for _ in 0..3 {
        told.took(tap, "a portal", &transaction.query_portal(&portal, 1).await);
    }
    transaction.batch_execute(&format!("DECLARE reader SCROLL CURSOR FOR {all}")).await.unwrap();
    told.took(tap, "a cursor", &transaction.simple_query("FETCH 1 FROM reader").await);
    told.took(tap, "a cursor", &transaction.query("FETCH ALL FROM reader", &[]).await);
    told.took(tap, "a cursor", &transaction.simple_query("FETCH BACKWARD 2 FROM reader").await);
    transaction.batch_execute(&format!("PREPARE reads AS {all}")).await.unwrap();
    told.took(tap, "EXECUTE", &transaction.simple_query("EXECUTE reads").await);
    transaction.commit().await.unwrap();
}

async fn stage() -> Stage {
    let connections: &[(&str, &str)] = &[("shop", "'*:*'"), ("trusting", "'*:*'"), ("letters", "'*:*'")];
    Stage::start(Setup {
        connections,
        sql: SQL,
        policy: MASKS,
        process: "insecure_plaintext: loopback\nlog: { level: 'trace,hyper=trace,rustls=trace', format: json }",
        ..Setup::default()
    })
    .await
}

/// All of it as one identity.
async fn everything(tap: &Tap, token: &str) -> Told {
    let mut told = Told::default();
    for (connection, table, statements) in
        [("shop", "payments", PAYMENTS), ("trusting", "payments", TRIGGERS), ("letters", "letters", LETTERS)]
    {
        let (mut client, ended) = tap.open(connection, token).await;
        // What a trigger tells a channel is not held back from who listens there.
        if table == "letters" {
            client.batch_execute("LISTEN told").await.unwrap();
        }
        say(&mut client, tap, &mut told, table, statements).await;
        drop(client);
        ended.await.unwrap();
        told.took(tap, "the goodbye", &Ok::<(), ()>(()));
    }
    told
}

#[tokio::test]
async fn no_raw_value_is_in_what_the_client_got_nor_in_anything_that_was_written() {
    let mut stage = stage().await;
    let tap = Tap::on(stage.gateway.postgres_port()).await;
    let token = stage.token_of(AGENT).await;
    let got = everything(&tap, &token).await;
    assert!(got.leaks.is_empty() && found(&got.bytes).is_empty(), "the client got values: {:#?}", got.leaks);
    assert!(got.shown > 100 && got.refused > 100, "{} shown, {} refused", got.shown, got.refused);
    let hidden = b"****";
    assert!(got.bytes.windows(4).filter(|window| window == hidden).count() > 100, "something was masked");

    let told = told(&stage).await;
    assert_eq!(found(told.as_bytes()), Vec::<String>::new(), "the command line shows values");
    assert!(told.contains("SELECT card AS other") && told.contains("****"), "{told}");
    assert!(stage.gateway.process().terminate().await.success());
    let mut written = Vec::new();
    for (name, bytes) in written_by(&stage) {
        written.extend(found(&bytes).into_iter().map(|form| format!("{name}: {form}")));
    }
    assert_eq!(written, Vec::<String>::new(), "values were written");

    // Whoever is excepted sees them all, and so does the recording: the search finds what is there.
    stage.gateway.restart().await;
    let tap = Tap::on(stage.gateway.postgres_port()).await;
    let token = stage.token_of(WRITER).await;
    let seen = found(&everything(&tap, &token).await.bytes);
    let expected = |form: &str| !form.starts_with("8899") && !form.contains("in hexadecimal");
    let all: Vec<String> = raw().into_iter().map(|(name, _)| name).filter(|form| expected(form)).collect();
    let unseen: Vec<&String> = all.iter().filter(|form| !seen.contains(form)).collect();
    assert!(unseen.is_empty(), "never shown, even to whoever is excepted: {unseen:?}");
    assert!(stage.gateway.process().terminate().await.success());
    let recorded: Vec<String> = written_by(&stage)
        .into_iter()
        .filter(|(name, _)| name.contains("recordings"))
        .flat_map(|(_, bytes)| found(&bytes))
        .collect();
    let missing: Vec<&String> = all.iter().filter(|form| !recorded.contains(form)).collect();
    assert!(missing.is_empty(), "not recorded of whoever is excepted: {missing:?}");
}

/// Everything the command line tells of every session.
async fn told(stage: &Stage) -> String {
    let mut told = String::new();
    let listed = stage.gateway.cli(&["sessions", "--all", "--output", "json"]).await;
    let sessions: serde_json::Value = serde_json::from_str(listed.ok()).unwrap();
    let rows = sessions["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3, "{sessions:#}");
    let mut commands: Vec<Vec<&str>> = vec![
        vec!["audit", "search", "--limit", "1000"],
        vec!["audit", "search", "--limit", "1000", "--output", "json"],
    ];
    for id in rows.iter().map(|row| row["session"].as_str().unwrap()) {
        commands.push(vec!["sessions", "show", id]);
        commands.push(vec!["sessions", "show", id, "--output", "json"]);
        commands.push(vec!["replay", id, "--instant"]);
        commands.push(vec!["replay", id, "--instant", "--output", "json"]);
        commands.push(vec!["export", id, "--format", "jsonl"]);
        commands.push(vec!["export", id, "--format", "sql"]);
    }
    for command in commands {
        let answer = stage.gateway.cli(&command).await;
        told.push_str(answer.ok());
        told.push_str(&answer.stderr);
    }
    told
}

/// Everything the gateway wrote, by name: files as they are, recordings unpacked, the journal read, the log.
fn written_by(stage: &Stage) -> Vec<(String, Vec<u8>)> {
    let mut written = vec![("the log".to_owned(), stage.gateway.log().into_bytes())];
    let data = stage.gateway.data();
    for path in files(&data) {
        let bytes = std::fs::read(&path).unwrap();
        let name = path.strip_prefix(&data).unwrap().display().to_string();
        if bytes.starts_with(&SEALED_MAGIC) {
            let packed = &bytes[SEALED_HEADER..bytes.len() - TRAILER];
            written.push((format!("{name}, unpacked"), zstd::decode_all(packed).unwrap()));
        }
        written.push((name, bytes));
    }
    let mut journal = String::new();
    let mut reader = portcullis_audit::read_dir(data.join("journal"));
    while let Some(entry) = reader.read().unwrap() {
        let _ = writeln!(journal, "{:?}", entry.event().unwrap());
    }
    assert!(
        journal.contains("SELECT card AS other") && journal.contains("RecordingSealed"),
        "the journal is read"
    );
    written.push(("the journal, read".to_owned(), journal.into_bytes()));
    let is_there = |part: &str| written.iter().any(|(name, _)| name.contains(part));
    assert!(is_there(".rec, unpacked") && is_there("journal/") && is_there(".sqlite"), "{:?}", files(&data));
    written
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
