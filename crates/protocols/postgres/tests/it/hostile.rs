//! Hostile bytes, hostile pace, and sessions that end while something is under way.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use portcullis_audit::storage::{Disk, SegmentFile, Storage};
use portcullis_core::{AuditEvent, Clock, EndReason, SystemClock};
use portcullis_dev_idp::TokenSpec;
use portcullis_testkit::ManualClock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    lab::{AGENT, Lab, Setup},
    wire::Raw,
};

async fn raw(lab: &Lab) -> Raw {
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    assert_eq!(raw.send(1).await.last().map(String::as_str), Some("Z:I"));
    raw
}

/// Asks the server until it says yes; a test that waits for ever is ended by the runner.
async fn until(client: &tokio_postgres::Client, question: &str) {
    while !client.query_one(question, &[]).await.unwrap().get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }
}

/// Waits until no session is left, here and on the server.
async fn all_gone(lab: &Lab, superuser: &tokio_postgres::Client) {
    lab.gate.sessions.empty().await;
    until(superuser, "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE '%[77aa%'").await;
}

fn end_of_the_last_session(lab: &Lab) -> EndReason {
    let ended = |event| if let AuditEvent::SessionEnded { reason, .. } = event { Some(reason) } else { None };
    lab.events().into_iter().rev().find_map(ended).expect("a session that ended")
}

/// What this process has resident, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Sends bytes and gives whatever comes until the other side closes.
async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    // Whoever closes first is right: what matters is that it is closed.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

fn message(tag: u8, length: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn whole(tag: u8, body: &[u8]) -> Vec<u8> {
    message(tag, u32::try_from(body.len() + 4).unwrap(), body)
}

/// Messages that no session may send.
fn nonsense() -> Vec<Vec<u8>> {
    let mut all = vec![
        message(b'Q', 0, b""),
        message(b'Q', 3, b""),
        message(b'Q', 4, b""),
        message(b'Q', u32::MAX, b"SELECT 1\0"),
        message(b'Q', 0x8000_0000, b"SELECT 1\0"),
        message(b'X', 1_000_000, b""),
        message(b'S', 5, b"x"),
        message(b'H', 0x7fff_ffff, b""),
        message(b'E', 20_000, b"x\0"),
        whole(b'Q', b"SELECT 1"),
        whole(b'Q', b"SELECT 1\0DROP TABLE orders\0"),
        whole(b'P', b"a\0SELECT 1\0"),
        whole(b'P', b"a\0SELECT 1\0\xff\xff"),
        whole(b'P', b"\0SELECT 1\0\0\0x"),
        whole(b'B', b"\0\0\0\x02\0\x01\0\0\0\0"),
        whole(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xf0\0\0"),
        whole(b'B', b"\0\0\0\0\xff\xff\0\0"),
        whole(b'D', b"Z\0"),
        whole(b'C', b"Px"),
        whole(b'F', b"\0\0\0"),
        whole(b'F', b"\0\0\x05\xb3\0\0\0\x01\x7f\xff\xff\xffx\0\0"),
        whole(b'p', b"another-token\0"),
        whole(b'R', b"\0\0\0\0"),
        whole(b'Z', b"I"),
        whole(0, b""),
        whole(b'\xff', b"x"),
        vec![0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f],
        vec![0x16, 3, 1, 0, 200, 1],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
    ];
    all.push(whole(b'E', &[b'x'; 9_000]));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_in_every_state_ends_that_session_and_nothing_else() {
    let lab = Lab::start("[read:*, write:public.orders]", "").await;
    let superuser = lab.superuser().await;
    let bystander = lab.client().await;
    let states: [&[&str]; 4] = [&[], &["BEGIN"], &["BEGIN", "SELECT 1 / 0"], &["COPY orders FROM STDIN"]];
    for state in states {
        for bytes in nonsense() {
            let mut one = raw(&lab).await;
            for text in state {
                one.query(text);
            }
            one.stream.write_all(&one.out.split()).await.unwrap();
            let answer = exchange(&mut one.stream, &bytes).await;
            let text = String::from_utf8_lossy(&answer);
            assert!(!text.contains("app-secret") && !text.contains("eyJ"), "{text}");
        }
    }
    // Inside a sequence, and inside a Bind that comes in pieces.
    for bytes in nonsense() {
        let mut one = raw(&lab).await;
        one.parse("", "SELECT length($1)").message(b'H', b"");
        one.stream.write_all(&one.out.split()).await.unwrap();
        exchange(&mut one.stream, &bytes).await;
        let mut one = raw(&lab).await;
        one.parse("", "SELECT length($1)");
        one.stream.write_all(&one.out.split()).await.unwrap();
        one.stream.write_all(&message(b'B', 100_000, b"\0\0\0\0\0\x01\0\x01\x80\0")).await.unwrap();
        exchange(&mut one.stream, &bytes).await;
    }
    assert_eq!(bystander.query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get::<_, i64>(0), 1000);
    drop(bystander);
    all_gone(&lab, &superuser).await;
    assert!(!lab.server.saw("DROP TABLE"), "{}", lab.server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_before_a_session_opens_none() {
    let lab = Lab::start("read:*", "").await;
    let mark = lab.server.log().len();
    let startup = |body: &[u8]| {
        let mut bytes = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(&196_608_u32.to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    let token = lab.token();
    let good = startup(b"user\0shop\0\0");
    let mut attempts: Vec<Vec<u8>> = nonsense();
    attempts.push(vec![0; 64]);
    attempts.push(vec![0xff; 64]);
    attempts.push(startup(b""));
    attempts.push(startup(b"user"));
    attempts.push(startup(b"user\0shop\0"));
    attempts.push(startup(b"user\0shop\0\0trailing"));
    attempts.push(startup(b"user\0shop\0user\0another\0\0")[..20].to_vec());
    attempts.push(startup(&[b'x'; 20_000]));
    // What is sent instead of a token, and behind one.
    for bytes in nonsense() {
        attempts.push([good.clone(), bytes].concat());
    }
    attempts.push([good.clone(), whole(b'p', b"\0")].concat());
    attempts.push([good.clone(), whole(b'p', format!("{token}\0{token}\0").as_bytes())].concat());
    attempts.push([good.clone(), whole(b'p', token.as_bytes())].concat());
    attempts.push([good.clone(), message(b'p', 0x3fff_ffff, b"eyJ")].concat());
    attempts.push([good.clone(), whole(b'p', &[b'e'; 100_000])].concat());
    attempts
        .push([good.clone(), whole(b'p', b"wrong\0"), whole(b'p', format!("{token}\0").as_bytes())].concat());
    attempts.push(
        [good.clone(), whole(b'Q', b"SELECT 1\0"), whole(b'p', format!("{token}\0").as_bytes())].concat(),
    );
    for bytes in attempts {
        let mut stream = TcpStream::connect(lab.address).await.unwrap();
        let answer = exchange(&mut stream, &bytes).await;
        assert!(
            !answer.windows(6).any(|window| window == b"Z\0\0\0\x05I"),
            "{:?}",
            bytes.escape_ascii().to_string()
        );
    }
    assert_eq!(lab.server.log_since(mark), "");
    assert_eq!(lab.gate.sessions.count(), 0);
    // And it still takes those who behave.
    raw(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_message_and_gone_leaves_nothing_behind() {
    let lab = Lab::start("[read:*, write:public.orders]", "").await;
    let superuser = lab.superuser().await;
    let mut whole_one = raw(&lab).await;
    whole_one
        .run("UPDATE orders SET note = 'half' WHERE id = 3")
        .query("UPDATE orders SET note = 'half' WHERE id = 4");
    let bytes = whole_one.out.split();
    for end in (0..bytes.len()).step_by(7) {
        let mut one = raw(&lab).await;
        one.stream.write_all(&bytes[..end]).await.unwrap();
        drop(one);
    }
    drop(whole_one);
    all_gone(&lab, &superuser).await;
    let half =
        superuser.query_one("SELECT count(*) FROM orders WHERE note = 'half' AND id = 4", &[]).await.unwrap();
    assert_eq!(half.get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_costs_little_memory() {
    let lab = Lab::start("read:*", "").await;
    let superuser = lab.superuser().await;
    let mut one = raw(&lab).await;
    let before = resident();
    one.query("SELECT repeat('x', 1000) FROM generate_series(1, 200000)");
    one.stream.write_all(&one.out.split()).await.unwrap();
    until(&superuser, "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'ClientWrite'").await;
    // More that is asked for meanwhile waits outside.
    let more = {
        one.query("SELECT 1");
        one.out.split()
    };
    let mut written = 0;
    while written < 100 * 1024 * 1024 {
        match tokio::time::timeout(Duration::from_millis(500), one.stream.write(&more)).await {
            Ok(Ok(n)) => written += n,
            _ => break,
        }
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 24 * 1024 * 1024, "{grown} bytes more");
    drop(one);
    all_gone(&lab, &superuser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_statements_in_one_go_are_answered_in_order_and_in_little_memory() {
    const COUNT: usize = 100_000;
    let lab = Lab::start("read:*", "").await;
    let mut one = raw(&lab).await;
    one.run("SELECT 1").sync();
    let good = one.out.split();
    let comment = "x".repeat(1000);
    one.query(&format!("DROP TABLE orders /* {comment} */"));
    let bad = one.out.split();
    let before = resident();
    let (mut reader, mut writer) = one.stream.into_split();
    let writing = tokio::spawn(async move {
        for number in 0..COUNT {
            writer.write_all(if number % 10 == 9 { &bad } else { &good }).await.unwrap();
        }
        writer
    });
    let (mut ready, mut rows, mut denied, mut most) = (0, 0, 0, 0);
    let mut buffer = bytes::BytesMut::new();
    while ready < COUNT {
        assert!(reader.read_buf(&mut buffer).await.unwrap() > 0, "closed after {ready}");
        loop {
            use portcullis_postgres::codec::{Direction, Frames, Next};
            let mut frames = Frames::new(Direction::Backend, &buffer);
            let Next::Frame(frame) = frames.next().unwrap() else { break };
            match frame.tag {
                b'Z' => ready += 1,
                b'D' => rows += 1,
                b'E' => denied += 1,
                _ => {}
            }
            let length = frame.bytes.len();
            let _ = buffer.split_to(length);
        }
        most = most.max(resident());
    }
    assert_eq!((rows, denied), (COUNT / 10 * 9, COUNT / 10));
    let grown = most.saturating_sub(before);
    assert!(grown < 48 * 1024 * 1024, "{grown} bytes more");
    drop(writing.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_with_a_wrong_key_cancels_nothing() {
    let lab = Lab::start("'*:*'", "").await;
    let superuser = lab.superuser().await;
    let mut one = raw(&lab).await;
    let at = one.seen.windows(5).position(|window| window == b"K\0\0\0\x0c").unwrap() + 5;
    let (process, key) = (one.seen[at..at + 4].to_vec(), one.seen[at + 4..at + 8].to_vec());
    one.query("SELECT pg_sleep(1000)");
    one.stream.write_all(&one.out.split()).await.unwrap();
    let running = "SELECT count(*) = 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(1000)' AND state = 'active'";
    until(&superuser, running).await;
    let cancel = |process: &[u8], key: &[u8]| {
        let mut bytes = u32::try_from(12 + key.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(&80_877_102_u32.to_be_bytes());
        bytes.extend_from_slice(process);
        bytes.extend_from_slice(key);
        bytes
    };
    for malformed in [&b""[..], &[0; 300], &key[..3]] {
        let mut stream = TcpStream::connect(lab.address).await.unwrap();
        exchange(&mut stream, &cancel(&process, malformed)).await;
        assert!(superuser.query_one(running, &[]).await.unwrap().get::<_, bool>(0));
    }
    let mut wrong = vec![cancel(&process, &[0; 4]), cancel(&[0; 4], &key)];
    for bit in 0..32 {
        let mut other = key.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        wrong.push(cancel(&process, &other));
    }
    wrong.push(cancel(&process, &[key.clone(), vec![0]].concat()));
    for bytes in wrong {
        let mut stream = TcpStream::connect(lab.address).await.unwrap();
        assert_eq!(exchange(&mut stream, &bytes).await, b"", "a cancel request is never answered");
        assert!(superuser.query_one(running, &[]).await.unwrap().get::<_, bool>(0));
    }
    let mut stream = TcpStream::connect(lab.address).await.unwrap();
    exchange(&mut stream, &cancel(&process, &key)).await;
    assert_eq!(one.read(1).await.last().map(String::as_str), Some("Z:I"));
    // A key is worth nothing once its session is over.
    drop(one);
    all_gone(&lab, &superuser).await;
    let mut stream = TcpStream::connect(lab.address).await.unwrap();
    assert_eq!(exchange(&mut stream, &cancel(&process, &key)).await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_on_time_while_a_statement_runs() {
    let clock = ManualClock::at(SystemClock.now());
    let lab = Lab::set_up(Setup { scope: "'*:*'", clock: Arc::new(clock.clone()), ..Setup::default() }).await;
    let superuser = lab.superuser().await;
    let mut one = raw(&lab).await;
    one.query("SELECT pg_sleep(1000)");
    one.stream.write_all(&one.out.split()).await.unwrap();
    let running = "SELECT count(*) = 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(1000)' AND state = 'active'";
    until(&superuser, running).await;
    clock.advance(Duration::from_secs(24 * 3600));
    let said = one.read(1).await;
    assert_eq!(said, ["E:57P01", "closed"]);
    all_gone(&lab, &superuser).await;
    assert_eq!(end_of_the_last_session(&lab), EndReason::WindowOver);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_killed_in_the_middle_of_a_copy() {
    let lab = Lab::start("[read:*, write:public.orders]", "").await;
    let superuser = lab.superuser().await;
    let mut one = raw(&lab).await;
    one.query("COPY orders FROM STDIN").message(b'd', b"9001\t1\t1\tx\n").message(b'd', b"9002\t1");
    // Half a message, too.
    one.out.extend_from_slice(&message(b'd', 1_000_000, b"\t1\tx\n9003"));
    one.stream.write_all(&one.out.split()).await.unwrap();
    until(&superuser, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query = 'COPY orders FROM STDIN' AND state = 'active'").await;
    let killed = EndReason::Killed { by: "admin".to_owned(), reason: "enough".to_owned() };
    assert_eq!(lab.gate.sessions.end_where(|_| true, &killed), 1);
    let said = one.read(1).await;
    assert!(said.contains(&"E:57P01".to_owned()) && said.contains(&"closed".to_owned()), "{said:?}");
    all_gone(&lab, &superuser).await;
    let rows = superuser.query_one("SELECT count(*) FROM orders", &[]).await.unwrap();
    assert_eq!(rows.get::<_, i64>(0), 1000);
    assert_eq!(end_of_the_last_session(&lab), killed);
}

/// The disk, full when told so.
#[derive(Clone, Default)]
struct Filling {
    full: Arc<AtomicBool>,
}

struct FillingFile(Filling, Arc<dyn SegmentFile>);

impl Filling {
    fn check(&self) -> io::Result<()> {
        if self.full.load(SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl SegmentFile for FillingFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.check()?;
        self.1.write_at(bytes, offset)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.1.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.check()?;
        self.1.sync()
    }
}

impl Storage for Filling {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        self.check()?;
        Ok(Arc::new(FillingFile(self.clone(), Disk.create(path)?)))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(FillingFile(self.clone(), Disk.open(path)?)))
    }
    fn probe(&self, folder: &Path) -> io::Result<()> {
        self.check()?;
        Disk.probe(folder)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_ends_the_session_and_never_reaches_the_server() {
    for sync in [portcullis_audit::Sync::Fast, portcullis_audit::Sync::Strict] {
        let disk = Filling::default();
        let storage = Arc::new(disk.clone());
        let lab = Lab::set_up(Setup { scope: "'*:*'", storage, sync, ..Setup::default() }).await;
        let superuser = lab.superuser().await;
        let (mut simple, mut extended, mut copying, mut calling, mut refused) =
            (raw(&lab).await, raw(&lab).await, raw(&lab).await, raw(&lab).await, raw(&lab).await);
        copying.query("COPY orders FROM STDIN").message(b'd', b"9001\t1\t1\tx\n");
        copying.stream.write_all(&copying.out.split()).await.unwrap();
        extended.parse("s", "UPDATE orders SET note = 'unseen' WHERE id = $1").sync().send(1).await;
        let mark = lab.server.log().len();
        disk.full.store(true, SeqCst);
        simple.query("UPDATE orders SET note = 'unseen'");
        extended.bind("", "s", &["1"]).execute("").sync();
        calling.function(1299, &[]);
        refused.run("SELECT 'unseen'").sync();
        for one in [&mut simple, &mut extended, &mut calling, &mut refused] {
            let said = one.send(1).await;
            assert_eq!(said, ["E:57P01", "closed"]);
        }
        // What was recorded before goes on; the next thing it asks for does not.
        copying.message(b'c', b"").query("SELECT 'unseen'");
        let said = copying.send(2).await;
        assert_eq!(said.last().map(String::as_str), Some("closed"), "{said:?}");
        assert!(!lab.server.log_since(mark).contains("unseen"), "{}", lab.server.log_since(mark));
        // Nobody gets in meanwhile.
        let mut late = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
        assert_eq!(late.send(1).await, ["E:57P03", "closed"]);
        let rows =
            superuser.query_one("SELECT count(*) FROM orders WHERE note = 'unseen'", &[]).await.unwrap();
        assert_eq!(rows.get::<_, i64>(0), 0);
        disk.full.store(false, SeqCst);
        while Raw::connect(lab.address, "shop", &lab.token(), &[])
            .await
            .send(1)
            .await
            .last()
            .map(String::as_str)
            != Some("Z:I")
        {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_parts_or_twice_opens_nothing() {
    let lab = Lab::start("read:*", "").await;
    let token = lab.token();
    let spec = TokenSpec::new(AGENT, "api://portcullis").claim("filler", "x".repeat(70_000));
    let mark = lab.server.log().len();
    for bad in [
        lab.mint(&spec),
        format!("{token}{token}"),
        format!("{token}.{token}"),
        format!(" {token}"),
        token[..token.len() - 1].to_owned(),
        token.replace('.', ".."),
        format!("{token}\n"),
    ] {
        let mut one = Raw::connect(lab.address, "shop", &bad, &[]).await;
        let said = one.send(1).await;
        assert_eq!(said, ["E:28P01", "closed"], "{} bytes", bad.len());
    }
    assert_eq!(lab.server.log_since(mark), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn texts_of_many_statements_cost_no_memory_that_lasts() {
    // One worker and one parser: the first such text that a thread deals with leaves its allocator some 28 MiB to use again, and which
    // thread that is, is chance.
    let lab = Lab::set_up(Setup { parsers: 1, ..Setup::default() }).await;
    let mut one = raw(&lab).await;
    let mut most = 0;
    for round in 0..12 {
        // Each text is new, and none runs: the last statement is refused.
        let mut text = format!("SELECT {round} AS a{round};").repeat(20_000);
        text.push_str("DROP TABLE orders");
        one.query(&text);
        let said = one.send(1).await;
        assert_eq!(said, ["E:42501", "Z:I"]);
        let allowed = format!("SELECT {round} AS b{round} WHERE false;").repeat(2_000);
        one.query(&allowed);
        assert_eq!(one.send(1).await.last().map(String::as_str), Some("Z:I"));
        one.seen.clear();
        if round == 3 {
            most = resident();
        }
    }
    let grown = resident().saturating_sub(most);
    assert!(grown < 12 * 1024 * 1024, "{grown} bytes more after eight more rounds");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_and_deep_texts_are_judged_or_refused() {
    let lab = Lab::start("read:*", "").await;
    let mut one = raw(&lab).await;
    for length in [9_000, 100_000, 900_000] {
        let text = format!("SELECT 1 /* {} */; DROP TABLE orders", "x".repeat(length));
        assert_eq!(one.query(&text).send(1).await, ["E:42501", "Z:I"]);
        assert_eq!(one.run(&text).sync().send(1).await, ["E:42501", "Z:I"]);
        let text = format!("SELECT 1 /* {} */", "x".repeat(length));
        assert_eq!(one.query(&text).send(1).await, ["T", "D:1", "C:SELECT 1", "Z:I"]);
        assert_eq!(one.run(&text).sync().send(1).await, ["1", "2", "D:1", "C:SELECT 1", "Z:I"]);
        // Two long ones and a short one in one write keep their order.
        let other = format!("SELECT 2 /* {} */", "y".repeat(length));
        let said = one.query(&text).query(&other).query("SELECT 3").send(3).await;
        let rows: Vec<_> = said.iter().filter(|one| one.starts_with('D')).collect();
        assert_eq!(rows, ["D:1", "D:2", "D:3"]);
    }
    for deep in [
        format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("SELECT {}1", "- ".repeat(200_000)),
        format!("SELECT {}1", "NOT ".repeat(100_000)),
        format!("{}SELECT 1{}", "SELECT * FROM (".repeat(30_000), ") x".repeat(30_000)),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(40_000)),
        format!("SELECT 1{}", " + 1".repeat(100_000)),
        format!("SELECT ARRAY{}1{}", "[".repeat(50_000), "]".repeat(50_000)),
        format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(20_000), " END".repeat(20_000)),
    ] {
        let said = one.query(&deep).send(1).await;
        assert_eq!(said.last().map(String::as_str), Some("Z:I"), "{}", &deep[..40]);
        assert!(said[0].starts_with("E:") || said[0] == "T", "{said:?}");
    }
    assert_eq!(one.query("SELECT 1").send(1).await[1], "D:1");
}
