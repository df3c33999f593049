//! `kill -9` at random points, many times: every statement that ran is in the journal.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use portcullis_core::AuditEvent;
use portcullis_testkit::drivers::DriverTarget;

use super::{Setup, Stage, client};

const ROUNDS: usize = 20;
/// A round ends when so many values at most were acknowledged, and a moment after that.
const MOST: u64 = 300;
const MOMENT_MICROS: u64 = 3000;
const TABLE: &str = "CREATE TABLE written (value text PRIMARY KEY);";

/// How a client writes its values.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// In the text of a simple query.
    Simple,
    /// In the text of a statement that is prepared, bound and run once.
    Extended,
    /// As the bind value of one prepared statement: its decisions differ by the fingerprint alone.
    Bound,
}

#[tokio::test]
async fn kill_9_at_any_point_loses_no_event_of_a_statement_that_ran() {
    let seed: u64 = match std::env::var("PORTCULLIS_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => u64::from_le_bytes(fresh()),
    };
    println!("PORTCULLIS_SEED={seed}");
    let mut random = Random(seed | 1);

    let policy = "  - { connection: later, to: \"group:agents\", when: requested, lifetime: 1h, recorded: yes, scope: 'read:*' }\n";
    let connections: &[(&str, &str)] = &[("shop", "['read:public.*', 'write:public.*']")];
    let mut stage =
        Stage::start(Setup { connections, on_request: "later", policy, sql: TABLE, ..Setup::default() })
            .await;
    let token = stage.token().await;
    stage
        .gateway
        .cli_with(&["request", "later", "--reason", "a test"], &[("PORTCULLIS_TOKEN", &token)])
        .await
        .ok();

    let mut torn = 0;
    for round in 0..ROUNDS {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let target = stage.target("shop", &token);
        let mut writers = Vec::new();
        for (name, way) in [("a", Way::Simple), ("b", Way::Extended), ("c", Way::Bound), ("d", Way::Bound)] {
            let (target, acknowledged) = (target.clone(), Arc::clone(&acknowledged));
            writers.push(tokio::spawn(write(target, way, format!("r{round}{name}"), acknowledged)));
        }
        let enough = usize::try_from(random.below(MOST)).unwrap();
        while acknowledged.load(Ordering::Relaxed) < enough
            && !writers.iter().all(tokio::task::JoinHandle::is_finished)
        {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        tokio::time::sleep(Duration::from_micros(random.below(MOMENT_MICROS))).await;
        stage.gateway.kill_hard();
        for writer in writers {
            writer.await.unwrap();
        }
        if round % 5 == 4 {
            // A power failure's mark: half an event behind the last whole one.
            let bytes = 1 + usize::try_from(random.below(15)).unwrap();
            torn += bytes;
            let mut segment =
                OpenOptions::new().append(true).open(last_segment(&stage.gateway.data())).unwrap();
            segment.write_all(&vec![1; bytes]).unwrap();
        }
        stage.gateway.restart().await;
    }

    // A statement on its way when the gateway died may still have been running.
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
    let deadline = Instant::now() + Duration::from_secs(60);
    while stage.server.execute_as_superuser(busy).await != "0" {
        assert!(Instant::now() < deadline, "the server still runs what a dead gateway sent");
    }
    let ran = stage.server.execute_in("shop", "SELECT value FROM written").await;
    let ran: BTreeSet<&str> = ran.lines().collect();
    println!("{} statements ran", ran.len());
    assert!(ran.len() > ROUNDS, "something ran: {}", ran.len());

    let journal = Recorded::read(&stage.gateway.data());
    let mut bound: BTreeMap<&str, usize> = BTreeMap::new();
    for value in &ran {
        let (writer, _) = value.split_once('n').unwrap();
        if writer.ends_with(['c', 'd']) {
            *bound.entry(writer).or_default() += 1;
        } else {
            assert!(
                journal.texts.contains(*value),
                "{value} was written and is not in the journal (seed {seed})"
            );
        }
    }
    for (writer, ran) in bound {
        let decided = journal.fingerprints.get(writer).map_or(0, BTreeSet::len);
        assert!(
            decided >= ran,
            "{writer}: {ran} values were written, {decided} are in the journal (seed {seed})"
        );
    }
    assert_eq!(journal.starts.len(), ROUNDS + 1, "every start is an event");
    // A kill may cut a write short as well.
    let recovered: u64 = journal.starts.iter().sum();
    let said = journal.starts.iter().filter(|bytes| **bytes > 0).count();
    assert!(
        recovered >= u64::try_from(torn).unwrap() && said >= ROUNDS / 5,
        "what was cut off is said: {:?}",
        journal.starts
    );

    // The search has them too, once it has caught up.
    for value in ran.iter().filter(|value| value.contains('a')).step_by(ran.len() / 5 + 1) {
        while !stage
            .gateway
            .cli(&["audit", "search", "--text", value, "--output", "json"])
            .await
            .ok()
            .contains(value)
        {
            assert!(Instant::now() < deadline, "{value} is in the journal and cannot be found");
        }
    }
    // The window opened before the first of it is still open.
    let later = stage.gateway.psql("later", &token);
    assert_eq!(later.query("SELECT count(*) FROM written").await.ok(), ran.len().to_string());
}

/// Writes values until the session breaks.
async fn write(target: DriverTarget, way: Way, name: String, acknowledged: Arc<AtomicUsize>) {
    // The kill may come before the login is over.
    let Ok(client) = client::connect(&target).await else { return };
    let insert = match way {
        Way::Bound => match client.prepare(&format!("INSERT INTO written VALUES ($1) -- {name}")).await {
            Ok(insert) => Some(insert),
            Err(_) => return,
        },
        _ => None,
    };
    for at in 0.. {
        let value = format!("{name}n{at}");
        let text = format!("INSERT INTO written VALUES ('{value}')");
        let written = match (way, &insert) {
            (Way::Bound, Some(insert)) => client.execute(insert, &[&value]).await.map(drop),
            (Way::Extended, _) => client.execute(&text, &[]).await.map(drop),
            _ => client.simple_query(&text).await.map(drop),
        };
        match written {
            Ok(()) => acknowledged.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                assert!(error.as_db_error().is_none(), "refused, not broken off: {error:?}");
                return;
            }
        };
    }
}

/// What the journal's files say.
#[derive(Default)]
struct Recorded {
    /// Values that stand in a text.
    texts: BTreeSet<String>,
    /// Fingerprints of bind values, by the writer's name.
    fingerprints: BTreeMap<String, BTreeSet<String>>,
    /// Bytes cut off by each start.
    starts: Vec<u64>,
}

impl Recorded {
    fn read(data: &Path) -> Self {
        let mut recorded = Self::default();
        let mut reader = portcullis_audit::read_dir(data.join("journal"));
        while let Some(entry) = reader.read().unwrap() {
            match entry.event().unwrap() {
                AuditEvent::Decision(decision) => {
                    if let Some((_, name)) = decision.text.split_once(" -- ") {
                        let of_writer = recorded.fingerprints.entry(name.to_owned()).or_default();
                        of_writer.extend(decision.binds.clone());
                    } else if let Some(value) = decision.text.split('\'').nth(1) {
                        recorded.texts.insert(value.to_owned());
                    }
                }
                AuditEvent::GatewayStarted { recovered_bytes, .. } => recorded.starts.push(recovered_bytes),
                _ => {}
            }
        }
        assert_eq!(reader.torn(), None);
        recorded
    }
}

fn last_segment(data: &Path) -> PathBuf {
    let entries = std::fs::read_dir(data.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).max().unwrap()
}

/// xorshift64*: enough to choose moments.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

fn fresh() -> [u8; 8] {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}
