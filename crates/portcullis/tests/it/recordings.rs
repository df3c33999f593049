//! Recordings as people and programs see them: transcripts over a recording made here, and what a gateway records.

use std::{
    fmt::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures_util::TryStreamExt as _;
use portcullis_core::{
    ClientSoftware, Clock, EndReason, Principal, PrincipalKind, RuleRef, SessionFacts, Source, Timestamp,
    Verdict,
};
use portcullis_record::{Column, Event, Format, Parameter, Parameters, Recordings, RecordingsConfig};
use portcullis_testkit::Scratch;
use serde_json::Value;

use crate::lab::{Answer, Lab, TRIAGE, run};

const SESSION: &str = "ses_01a0c4506c007000800000000000abcd";
const BEGIN: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// Stands where it was put.
struct Still(AtomicI64);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

fn rule(kind: &'static str, name: &str, line: u32) -> RuleRef {
    RuleRef { kind: kind.into(), name: name.to_owned(), location: Some(format!("policy.yaml:{line}")) }
}

fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = i16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(value.unwrap_or_default());
    }
    body
}

fn columns(each: &mut dyn FnMut(Column<'_>)) {
    each(Column { name: b"id", type_oid: 23, format: Format::Binary, masked: false });
    each(Column { name: b"card_number", type_oid: 25, format: Format::Text, masked: true });
    each(Column { name: b"note", type_oid: 25, format: Format::Text, masked: false });
}

fn bound(each: &mut dyn FnMut(Parameter<'_>)) {
    each(Parameter { type_oid: 23, format: Format::Binary, value: Some(&[0, 0, 0, 2]), length: 4 });
}

/// A recording with one of everything, and values that would like to steer a terminal, in `data/recordings`.
fn record(dir: &Path) {
    let facts = SessionFacts {
        session: SESSION.parse().unwrap(),
        started_at: BEGIN,
        protocol: "postgres".to_owned(),
        source: Source { address: "192.0.2.7:40000".parse().unwrap(), via: None },
        client: ClientSoftware("psql".to_owned()),
        principal: Some(Arc::new(Principal {
            provider: "entra".to_owned(),
            tenant: None,
            object_id: "77aa".to_owned(),
            application_id: None,
            parent_application: None,
            kind: PrincipalKind::Agent,
            name: "triage-agent".to_owned(),
            token_id: "t-1".to_owned(),
            groups: Vec::new(),
            roles: Vec::new(),
            actor: None,
            subject: None,
            issued_at: BEGIN,
            expires_at: BEGIN,
        })),
        connection: Some("shop-db".parse().unwrap()),
        database: Some("shop".to_owned()),
        grants: vec![portcullis_core::GrantId("triage-shop".to_owned())],
        window: None,
        ends_at: None,
    };
    let config = RecordingsConfig::new(dir.join("data/recordings"));
    let clock = Arc::new(Still(AtomicI64::new(BEGIN.as_micros())));
    let recordings = Recordings::open(config, clock.clone(), Arc::new(|_| Ok(()))).unwrap();
    let mut recorder = recordings.begin(&Arc::new(facts)).unwrap();
    let mut at = BEGIN;
    let (grant, guardrail) = (rule("grant", "triage-shop", 12), rule("guardrail", "no destructive ddl", 40));
    let statement = |number, text, parameters| Event::Statement {
        number,
        text,
        text_cut_from: None,
        verdict: Verdict::Allow,
        rule: &grant,
        reason: "in the scope of grant `triage-shop`",
        parameters,
    };
    let mut say = |after, event: &Event<'_>| {
        at = at.plus(Duration::from_millis(after));
        recorder.event(at, event).unwrap();
    };
    say(
        120,
        &statement(
            1,
            "SELECT id, card_number, note\nFROM payments WHERE id <= $1",
            Parameters::Bound(&bound),
        ),
    );
    say(2, &Event::Columns { number: 1, columns: &columns });
    say(
        0,
        &Event::Row {
            number: 1,
            values: &row(&[Some(&[0, 0, 0, 1]), Some(b"************1111"), Some(b"paid")]),
        },
    );
    let steering = "\u{1b}[2J\u{9b}31mred\u{202e}drawkcab\rx\ny";
    say(0, &Event::Row { number: 1, values: &row(&[Some(&[0, 0, 0, 2]), None, Some(steering.as_bytes())]) });
    say(1, &Event::Cut { number: 1 });
    say(4, &Event::Done { number: 1, tag: "SELECT 5000", rows: 5_000, bytes: 150_000 });
    say(
        2_500,
        &Event::Statement {
            number: 2,
            text: "DROP TABLE payments\n\\! rm -rf /",
            text_cut_from: None,
            verdict: Verdict::Deny,
            rule: &guardrail,
            reason: "schema changes go through migrations",
            parameters: Parameters::None,
        },
    );
    say(900, &statement(3, "SELECT 1/0", Parameters::None));
    say(1, &Event::Failed { number: 3, code: "22012", message: "division by zero" });
    say(10, &statement(4, "UPDATE orders SET total = 0 WHERE id = 1 -- once", Parameters::None));
    say(1, &Event::Notice { severity: "NOTICE", code: "00000", message: "a trigger says hello" });
    say(2, &Event::Done { number: 4, tag: "UPDATE 1", rows: 0, bytes: 0 });
    say(60_000, &Event::Note { text: "the rules in force record the session no more" });
    clock.0.store(at.as_micros() + 1_000_000, Ordering::Relaxed);
    recorder.finish(&EndReason::ClientQuit);
    drop(recorder);
    recordings.settle();
}

fn told(args: &[&str], answer: &Answer) -> String {
    let mut text = format!("$ portcullis {}\n{}", args.join(" "), answer.stdout);
    for line in answer.stderr.lines() {
        writeln!(text, "! {line}").unwrap();
    }
    writeln!(text, "[exit {}]\n", answer.code).unwrap();
    text
}

async fn transcript(dir: &Path, commands: &[&[&str]]) -> String {
    let mut text = String::new();
    for args in commands {
        text.push_str(&told(args, &run(args, &[], dir).await));
    }
    text
}

fn recorded() -> Scratch {
    let dir = Scratch::new();
    record(dir.path());
    dir
}

#[tokio::test]
async fn a_person_can_follow_a_recording() {
    let dir = recorded();
    insta::assert_snapshot!(
        transcript(
            dir.path(),
            &[
                &["sessions", "show", SESSION, "--data", "data"],
                &["replay", SESSION, "--data", "data", "--instant"],
                &["replay", SESSION, "--data", "data", "--instant", "--from", "3s"],
            ]
        )
        .await
    );
}

#[tokio::test]
async fn programs_get_json_lines_and_scripts() {
    let dir = recorded();
    insta::assert_snapshot!(
        transcript(
            dir.path(),
            &[
                &["export", SESSION, "--data", "data", "--format", "sql"],
                &["export", SESSION, "--data", "data", "--format", "jsonl"],
                &["sessions", "show", SESSION, "--data", "data", "--output", "json"],
            ]
        )
        .await
    );
}

#[tokio::test]
async fn nothing_recorded_steers_the_terminal_of_who_looks_at_it() {
    let dir = recorded();
    for args in [
        &["sessions", "show", SESSION, "--data", "data"][..],
        &["replay", SESSION, "--data", "data", "--instant"],
        &["watch", SESSION, "--data", "data"],
        &["watch", SESSION, "--data", "data", "--output", "json"],
        &["export", SESSION, "--data", "data", "--format", "jsonl"],
        &["export", SESSION, "--data", "data", "--format", "sql"],
    ] {
        let answer = run(args, &[], dir.path()).await;
        let steering = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!answer.ok().contains(steering), "{args:?}: {:?}", answer.stdout);
    }
}

#[tokio::test]
async fn a_refused_statement_cannot_run_by_running_the_script() {
    let dir = recorded();
    let args = ["export", SESSION, "--data", "data", "--format", "sql", "--file", "session.sql"];
    assert_eq!(run(&args, &[], dir.path()).await.ok(), "");
    let script = std::fs::read_to_string(dir.join("session.sql")).unwrap();
    for line in
        script.lines().filter(|line| line.contains("DROP") || line.contains("rm -rf") || line.contains("1/0"))
    {
        assert!(line.starts_with("-- "), "{line}");
    }
    assert!(script.contains("\nUPDATE orders SET total = 0 WHERE id = 1 -- once\n;\n"), "{script}");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&dir.join("session.sql").metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let again = run(&args, &[], dir.path()).await;
    assert_eq!(again.code, 5, "a file that is there is not written over: {again:?}");
}

#[tokio::test]
async fn a_recording_that_was_altered_is_not_shown() {
    let dir = recorded();
    let folder = dir.join("data/recordings/2026-09-21").join(SESSION);
    let path = folder.join("000001.rec");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for args in [
        &["sessions", "show", SESSION, "--data", "data"][..],
        &["replay", SESSION, "--data", "data", "--instant"],
        &["export", SESSION, "--data", "data"],
    ] {
        let answer = run(args, &[], dir.path()).await;
        assert_eq!((answer.code, answer.stdout.as_str()), (1, ""), "{args:?}");
        assert!(answer.stderr.contains("damaged or was altered"), "{}", answer.stderr);
    }
    let none =
        run(&["replay", "ses_01a0c4506c0070008000000000000000", "--data", "data"], &[], dir.path()).await;
    assert_eq!(none.code, 5);
    assert!(none.stderr.contains("there is no recording"), "{}", none.stderr);
}

/// The id of the one session there was.
async fn only_session(lab: &Lab) -> String {
    let sessions = lab.audit(&["--kind", "session_ended"], |rows| !rows.is_empty()).await;
    sessions[0]["session"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_a_gateway_records_is_shown_exported_and_sealed_in_the_journal() {
    let lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    assert_eq!(lab.psql("shop-db", &token, "SELECT sum(total) FROM orders").await.ok(), "280");
    let id = only_session(&lab).await;
    let sealed = lab.audit(&["--kind", "recording_sealed", "--session", &id], |rows| !rows.is_empty()).await;
    assert_eq!(sealed[0]["last"], true, "{sealed:#?}");

    let shown = lab.cli(&["sessions", "show", &id, "--output", "json"]).await.json();
    assert_eq!(shown["recording"]["state"], "whole", "{shown:#}");
    assert_eq!(shown["state"], "ended");
    assert_eq!(shown["facts"]["principal"]["object_id"], TRIAGE.object_id);
    assert_eq!(shown["statements"][0]["text"], "SELECT sum(total) FROM orders");
    assert_eq!(shown["statements"][0]["decision"], "allow");

    let through_gateway = lab.cli(&["export", &id]).await;
    let data = lab.data().display().to_string();
    let from_disk = lab.cli(&["export", &id, "--data", &data]).await;
    assert_eq!(through_gateway.ok(), from_disk.ok());
    let lines: Vec<Value> =
        from_disk.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["event"], "began");
    assert_eq!(lines.last().unwrap()["event"], "ended");
    assert!(!from_disk.stdout.contains(&token), "no token is recorded");

    let found = lab.cli(&["sessions", "--search", "sum(total)", "--output", "json"]).await.json();
    assert_eq!(found["rows"][0]["session"].as_str(), Some(&*id), "{found:#}");
    let nothing = lab.cli(&["sessions", "--search", "never said", "--output", "json"]).await.json();
    assert_eq!(nothing["rows"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn rows_and_values_are_recorded_whatever_form_they_travel_in() {
    let lab = Lab::new().await;
    let session = lab.open("shop-db", &lab.token(TRIAGE).await).await;
    // Prepared, bound and answered in binary.
    let sql = "SELECT id, total, NULL::text AS nothing FROM orders WHERE id <= $1 ORDER BY id";
    let rows = session.client.query(sql, &[&2_i32]).await.unwrap();
    assert_eq!(rows.len(), 2);
    // As text, and as COPY.
    assert_eq!(session.one("SELECT total FROM orders WHERE id = 3").await, "30");
    let copy = session.client.copy_out("COPY (SELECT id FROM orders ORDER BY id) TO STDOUT").await.unwrap();
    let pieces: Vec<bytes::Bytes> = copy.try_collect().await.unwrap();
    assert_eq!(pieces.len(), 7);
    assert!(session.client.batch_execute("SELECT 1/0 FROM orders").await.is_err());
    drop(session);
    let id = only_session(&lab).await;
    let export = lab.cli(&["export", &id]).await;
    let lines: Vec<Value> = export.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let number = |text: &str| {
        let found =
            lines.iter().rfind(|line| line["text"].as_str().is_some_and(|found| found.contains(text)));
        found.unwrap_or_else(|| panic!("no {text} in {}", export.stdout))["number"].clone()
    };
    let of = |number: &Value, event: &str| {
        let found = lines.iter().filter(|line| line["number"] == *number && line["event"] == event);
        found.collect::<Vec<_>>()
    };
    let bound = number("$1");
    // The client left the type to the server: then the value is told as it travelled.
    let value = &of(&bound, "statement")[0]["parameters"][0]["value"];
    assert!(value == "2" || value == "\\x00000002", "{}", export.stdout);
    let columns = &of(&bound, "columns")[0]["columns"];
    assert_eq!((&columns[0]["name"], &columns[0]["type"]), (&"id".into(), &"int4".into()));
    let values: Vec<_> = of(&bound, "row").iter().map(|row| row["values"].clone()).collect();
    assert_eq!(values, [serde_json::json!(["1", "10", null]), serde_json::json!(["2", "20", null])]);
    assert_eq!(of(&bound, "done")[0]["rows"], 2);
    assert_eq!(of(&number("id = 3"), "row")[0]["values"], serde_json::json!(["30"]));
    let copied: String =
        of(&number("COPY"), "copy_data").iter().map(|line| line["data"].as_str().unwrap()).collect();
    assert_eq!(copied, "1\n2\n3\n4\n5\n6\n7\n");
    assert_eq!(of(&number("1/0"), "failed")[0]["code"], "22012");
}

#[tokio::test]
async fn a_live_session_is_watched_to_its_end() {
    let lab = Lab::new().await;
    let session = lab.open("shop-db", &lab.token(TRIAGE).await).await;
    session.one("SELECT count(*) AS first_statement FROM orders").await;
    let live = lab.cli(&["sessions", "--output", "json"]).await.json();
    let id = live["rows"][0]["session"].as_str().unwrap().to_owned();
    let watch = async { lab.cli(&["watch", &id, "--output", "json"]).await };
    let go_on = async {
        session.one("SELECT count(*) AS second_statement FROM orders").await;
        drop(session);
    };
    let (watched, ()) = tokio::join!(watch, go_on);
    for expected in ["\"began\"", "first_statement", "second_statement", "\"ended\""] {
        assert!(watched.ok().contains(expected), "{expected}: {watched:?}");
    }
}

#[tokio::test]
async fn kill_9_leaves_the_recording_and_says_that_it_was_cut_short() {
    let mut lab = Lab::new().await;
    let session = lab.open("shop-db", &lab.token(TRIAGE).await).await;
    session.one("SELECT count(*) AS kept FROM orders").await;
    let live = lab.cli(&["sessions", "--output", "json"]).await.json();
    let id = live["rows"][0]["session"].as_str().unwrap().to_owned();
    let data = lab.data().display().to_string();
    // Once it can be read it is in the file.
    let deadline = std::time::Instant::now() + crate::lab::PATIENCE;
    while !lab.cli(&["export", &id, "--data", &data]).await.stdout.contains("kept") {
        assert!(std::time::Instant::now() < deadline, "it was never written");
    }
    lab.gateway.kill_hard();
    assert!(lab.cli(&["replay", &id, "--data", &data, "--instant"]).await.ok().contains("kept"));
    lab.restart().await;
    let shown = lab.cli(&["sessions", "show", &id, "--output", "json"]).await.json();
    assert_eq!(shown["recording"]["state"], "torn", "{shown:#}");
    assert_eq!(shown["statements"][0]["text"], "SELECT count(*) AS kept FROM orders");
    let sealed = lab.audit(&["--kind", "recording_sealed", "--session", &id], |rows| !rows.is_empty()).await;
    assert_eq!(sealed[0]["torn"], true);
}

#[tokio::test]
async fn a_disk_that_takes_no_recordings_ends_recorded_sessions_and_lets_none_begin() {
    let lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    let session = lab.open("shop-db", &token).await;
    session.one("SELECT count(*) FROM orders").await;
    let (open, away) = (lab.data().join("recordings/open"), lab.data().join("recordings/away"));
    std::fs::rename(&open, &away).unwrap();
    std::fs::write(&open, "").unwrap();
    // Answered or not: it is the last one.
    let _ = session.client.simple_query("SELECT count(*) AS last FROM orders").await;
    let (code, message) = session.ended().await;
    assert_eq!(code, "57P01");
    assert!(message.contains("cannot record"), "{message}");

    let asked = lab.server.log().matches("connection authorized").count();
    let (code, message) = lab.refused("shop-db", &token).await;
    assert_ne!(code, "28000", "it is not the agent's fault: {message}");
    assert!(!message.contains("recordings/"), "no path is told: {message}");
    assert_eq!(lab.server.log().matches("connection authorized").count(), asked, "the server saw nothing");
    let denied = lab.audit(&["--rule", "recording"], |rows| !rows.is_empty()).await;
    assert_eq!((&denied[0]["decision"], &denied[0]["verb"]), (&"deny".into(), &"connect".into()));
    let ready = lab.http().get(format!("{}/readyz", lab.url())).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    assert!(ready.text().await.unwrap().contains("cannot be recorded"));

    std::fs::remove_file(&open).unwrap();
    std::fs::rename(&away, &open).unwrap();
    lab.psql_until("shop-db", &token, |output| output.stdout.trim() == "1").await;
}

#[tokio::test]
async fn recordings_are_for_auditors_and_administrators() {
    let lab = Lab::asking().await;
    let agent = lab.token(TRIAGE).await;
    lab.psql("shop-db", &agent, "SELECT count(*) FROM orders").await.ok();
    let ended = lab.audit(&["--kind", "session_ended"], |rows| rows.len() == 1).await;
    let session = ended[0]["session"].as_str().unwrap();
    let tokens = [lab.admin_token(), lab.person("robin"), lab.person("sam"), lab.person("alex"), agent];
    let http = lab.http();
    for (id, route, expected) in [
        (session, "", [200, 200, 200, 404, 200]),
        (session, "/recording", [200, 200, 403, 403, 403]),
        (session, "/recording?follow=true", [200, 200, 403, 403, 403]),
        (session, "/recording/events", [200, 200, 403, 403, 403]),
        (SESSION, "", [404, 404, 404, 404, 404]),
        (SESSION, "/recording", [404, 404, 403, 403, 403]),
    ] {
        let url = format!("{}/api/v1/sessions/{id}{route}", lab.url());
        assert_eq!(http.get(&url).send().await.unwrap().status(), 401, "{route}");
        let mut answered = Vec::new();
        for token in &tokens {
            answered.push(http.get(&url).bearer_auth(token).send().await.unwrap().status().as_u16());
        }
        assert_eq!(answered, expected, "{id}{route}");
    }
    for bad in ["nonsense", "ses_..%2f..%2fjournal", "ses_01a0c4506c007000800000000000abcd%00"] {
        let url = format!("{}/api/v1/sessions/{bad}/recording", lab.url());
        let answer = http.get(&url).bearer_auth(lab.admin_token()).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{bad}");
    }
}
