//! Every deny path asserts three things: what the client saw, that the upstream saw nothing, what was audited.

use std::{sync::Arc, time::Duration};

use portcullis_access::Block;
use portcullis_core::{AuditEvent, EndReason, Verdict, decision::DecisionEvent};
use portcullis_dev_idp::TokenSpec;
use portcullis_policy::Limits;
use portcullis_postgres::codec::{Direction, ErrorFields, Frames, Next};

use crate::{
    lab::{AGENT, Lab, Setup},
    wire::Raw,
};

/// What a client was told.
#[derive(Debug)]
struct Told {
    severity: String,
    code: String,
    message: String,
    detail: String,
    hint: String,
}

/// The last error among what came.
fn told(raw: &Raw) -> Told {
    let mut frames = Frames::new(Direction::Backend, &raw.seen);
    let mut last = None;
    while let Next::Frame(frame) = frames.next().expect("messages") {
        if frame.tag == b'E' {
            let fields = ErrorFields::decode(frame.body).expect("an error");
            let text = |field| String::from_utf8_lossy(fields.field(field).unwrap_or_default()).into_owned();
            last = Some(Told {
                severity: text(b'V'),
                code: text(b'C'),
                message: text(b'M'),
                detail: text(b'D'),
                hint: text(b'H'),
            });
        }
    }
    last.expect("an error")
}

/// One attempt to connect that is refused; what the client was told and the one decision it left behind. The server must
/// not have heard of it.
async fn refused(lab: &Lab, user: &str, token: &str, parameters: &[(&str, &str)]) -> (Told, DecisionEvent) {
    let mark = lab.server.log().len();
    let before = lab.decisions().len();
    let mut raw = Raw::connect(lab.address, user, token, parameters).await;
    let said = raw.send(1).await;
    assert_eq!(said.last().map(String::as_str), Some("closed"), "{said:?}");
    assert!(!said.iter().any(|one| one.starts_with('Z')), "{said:?}");
    assert_eq!(lab.server.log_since(mark), "", "the upstream heard of it");
    let mut decisions = lab.decisions().split_off(before);
    let denied = decisions.pop().expect("a decision");
    assert_eq!(denied.decision, Verdict::Deny, "{denied:?}");
    let told = told(&raw);
    assert_eq!(told.severity, "FATAL");
    for secret in ["app-secret", "eyJ", "127.0.0.1:"] {
        assert!(!format!("{told:?}{denied:?}").contains(secret), "{secret}: {told:?} {denied:?}");
    }
    (told, denied)
}

fn rule(denied: &DecisionEvent) -> (&str, &str) {
    (&denied.rule.kind, &denied.rule.name)
}

/// Who the facts of the last decision's session name.
fn principal(lab: &Lab, denied: &DecisionEvent) -> Option<String> {
    let mut reader = lab.gate.journal.reader(portcullis_audit::Position::START);
    let mut found = None;
    while let Some(entry) = reader.read().expect("the journal") {
        if let AuditEvent::Session(facts) = entry.event().expect("an event")
            && facts.session == denied.session
        {
            found = facts.principal.as_ref().map(|principal| principal.object_id.clone());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_none() {
    let lab = Lab::start("read:*", "").await;
    let (told, denied) = refused(&lab, "shop", "nonsense", &[]).await;
    assert_eq!((told.code.as_str(), denied.rule.kind.as_ref()), ("28P01", "identity"));
    assert!(told.message.contains("token"), "{told:?}");
    assert_eq!(principal(&lab, &denied), None);
    assert_eq!(denied.verb, portcullis_core::Verb::Connect);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_yesterday() {
    let lab = Lab::start("read:*", "").await;
    let spec = TokenSpec::new(AGENT, "api://portcullis")
        .claim("exp", 1_700_000_000_i64)
        .claim("nbf", 1_600_000_000_i64);
    let (told, denied) = refused(&lab, "shop", &lab.mint(&spec), &[]).await;
    assert_eq!((told.code.as_str(), denied.rule.kind.as_ref()), ("28P01", "identity"));
    assert!(told.message.contains("expired"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_somebody_else() {
    let lab = Lab::start("read:*", "").await;
    let spec = TokenSpec::new(AGENT, "api://portcullis").claim("aud", "api://another");
    let (told, denied) = refused(&lab, "shop", &lab.mint(&spec), &[]).await;
    assert_eq!((told.code.as_str(), denied.rule.kind.as_ref()), ("28P01", "identity"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_such_connection_and_no_grant_are_one_answer() {
    let lab = Lab::start("read:*", "").await;
    let (unknown, first) = refused(&lab, "nothing", &lab.token(), &[]).await;
    let other = lab.mint(&TokenSpec::new("77aa0000-0000-4000-8000-000000000002", "api://portcullis"));
    let (ungranted, second) = refused(&lab, "shop", &other, &[]).await;
    assert_eq!(unknown.code, "28000");
    assert_eq!(
        (&unknown.code, &unknown.message, &unknown.hint, &unknown.detail),
        (&ungranted.code, &ungranted.message, &ungranted.hint, &ungranted.detail)
    );
    assert!(unknown.hint.contains("portcullis connections"), "{unknown:?}");
    assert_eq!(rule(&first), ("default-deny", "no such connection"));
    assert_eq!(rule(&second), ("default-deny", "no grant"));
    assert_eq!(principal(&lab, &first).as_deref(), Some(AGENT));
    assert_eq!(principal(&lab, &second).as_deref(), Some("77aa0000-0000-4000-8000-000000000002"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_the_connections() {
    let lab = Lab::start("read:*", "").await;
    let (told, denied) = refused(&lab, "shop", &lab.token(), &[("database", "postgres")]).await;
    assert_eq!((told.code.as_str(), rule(&denied)), ("3D000", ("database", "shop")));
    assert!(told.message.contains("`postgres`") && told.hint.contains("leave the database out"), "{told:?}");
    assert_eq!(principal(&lab, &denied).as_deref(), Some(AGENT));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_does_not_hold() {
    let grant = "    when: always\n    condition: 'source.ip in cidr(\"10.11.12.0/24\")'";
    let lab = Lab::set_up(Setup { grant, ..Setup::default() }).await;
    let (told, denied) = refused(&lab, "shop", &lab.token(), &[]).await;
    assert_eq!((told.code.as_str(), denied.rule.kind.as_ref()), ("28000", "condition"));
    assert!(denied.rule.location.is_some(), "{denied:?}");
    assert!(!told.message.contains("10.11.12"), "the condition is not the client's to know: {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_must_be_asked_for() {
    let grant = "    when: requested\n    lifetime: 15m";
    let lab = Lab::set_up(Setup { grant, ..Setup::default() }).await;
    let (told, denied) = refused(&lab, "shop", &lab.token(), &[]).await;
    assert_eq!((told.code.as_str(), denied.rule.kind.as_ref()), ("28000", "window"));
    assert!(told.hint.contains("portcullis request shop"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_was_blocked() {
    let lab = Lab::start("read:*", "").await;
    // A session first: its facts say how the principal is called.
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    let facts = lab.gate.sessions.list().pop().expect("a session").facts;
    let principal = facts.principal.as_ref().expect("a principal").key();
    let now = lab.gate.clock.now();
    let block = Block {
        principal,
        connection: None,
        by: "admin".to_owned(),
        reason: "too curious".to_owned(),
        until: now.plus(Duration::from_secs(3600)),
    };
    lab.gate.access.block(block).expect("a block");
    let said = raw.query("SELECT 1").send(1).await;
    assert!(!said.is_empty());
    let (told, denied) = refused(&lab, "shop", &lab.token(), &[]).await;
    assert_eq!((told.code.as_str(), rule(&denied)), ("28000", ("block", "admin")));
    assert!(told.message.contains("too curious"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_startup_parameter_that_is_not_allowed() {
    let lab = Lab::start("read:*", "").await;
    for (name, value) in [
        ("role", "postgres"),
        ("options", "-c default_transaction_read_only=off"),
        ("options", "-f s"),
        ("client_encoding", "SJIS"),
        ("session_replication_role", "replica"),
        ("some.thing", "x"),
    ] {
        let (told, denied) = refused(&lab, "shop", &lab.token(), &[(name, value)]).await;
        assert_eq!(told.code, "42501", "{name}");
        assert!(
            told.message.contains("startup parameter") && told.hint.contains("leave the parameter out"),
            "{told:?}"
        );
        assert_eq!(rule(&denied), ("classification", "startup parameters"));
        assert!(denied.reason.contains("startup parameter"), "{denied:?}");
        assert_eq!(principal(&lab, &denied).as_deref(), Some(AGENT));
        let ended = lab.events().into_iter().rev().find_map(|event| match event {
            AuditEvent::SessionEnded { session, reason, .. } if session == denied.session => Some(reason),
            _ => None,
        });
        assert!(matches!(ended, Some(EndReason::ProtocolViolation { .. })), "{ended:?}");
    }
}

/// One statement that is refused while the session goes on.
async fn statement(lab: &Lab, text: &str) -> (Told, DecisionEvent) {
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    let mark = lab.server.log().len();
    let before = lab.decisions().len();
    let said = raw.query(text).send(1).await;
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(said[1], "Z:I");
    let answer = told(&raw);
    assert_eq!(answer.severity, "ERROR");
    assert_eq!(lab.server.log_since(mark), "", "the upstream heard of it");
    let mut decisions = lab.decisions().split_off(before);
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    let denied = decisions.pop().expect("a decision");
    assert_eq!((denied.decision, principal(lab, &denied).as_deref()), (Verdict::Deny, Some(AGENT)));
    // The session goes on, and in the extended protocol it is the same.
    assert_eq!(raw.query("SELECT 1").send(1).await.last().map(String::as_str), Some("Z:I"));
    let extended = raw.run(text).sync().send(1).await;
    assert_eq!(extended, [format!("E:{}", answer.code), "Z:I".to_owned()]);
    assert_eq!(raw.query("SELECT 1").send(1).await.last().map(String::as_str), Some("Z:I"));
    (answer, denied)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_out_of_scope() {
    let lab = Lab::start("read:public.orders", "").await;
    let (told, denied) = statement(&lab, "SELECT * FROM secrets").await;
    assert_eq!((told.code.as_str(), rule(&denied)), ("42501", ("default-deny", "scope")));
    assert!(
        told.message.contains("`read` on `public.secrets`") && told.message.contains("read:public.orders"),
        "{told:?}"
    );
    assert!(told.detail.contains("default-deny"), "{told:?}");
    assert_eq!(&*denied.text, "SELECT * FROM secrets");
    assert!(denied.resources.iter().any(|pair| pair.resource.as_str() == "public.secrets"), "{denied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_a_guardrail_blocks() {
    let more = "guardrails:\n  - name: no drops\n    protocols: [postgres]\n    statements: [drop]\n    action: block\n    message: ask a person\n";
    let lab = Lab::start("'*:*'", more).await;
    let (told, denied) = statement(&lab, "DROP TABLE orders").await;
    assert_eq!((told.code.as_str(), rule(&denied)), ("42501", ("guardrail", "no drops")));
    assert!(told.message.contains("ask a person") && told.detail.contains("no drops"), "{told:?}");
    assert!(denied.rule.location.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_does_not_parse() {
    let lab = Lab::start("read:*", "").await;
    let (told, denied) = statement(&lab, "SELEC 1").await;
    assert_eq!((told.code.as_str(), rule(&denied)), ("42601", ("classification", "unparseable")));
    assert!(told.message.contains("SELEC"), "{told:?}");
    // What the parser quotes of a text can be all of it.
    let (told, _) =
        statement(&lab, &format!("SELECT 1 {}", "x".repeat(200_000).as_str().to_owned() + " y z")).await;
    assert!(told.message.len() < 4096, "{}", told.message.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_too_long() {
    let limits = Limits { statement: 100_000, ..Limits::default() };
    let lab = Lab::set_up(Setup { limits, ..Setup::default() }).await;
    for length in [100_001, 350_000, 3_000_000] {
        let text = format!("SELECT 1 /* {} */", "x".repeat(length));
        let (told, denied) = statement(&lab, &text).await;
        assert_eq!(told.code, "42501", "{told:?}");
        assert_eq!(denied.rule.kind, "classification");
        assert!(told.message.contains("bytes"), "{told:?}");
        assert!(
            denied.text.len() <= 64 * 1024 && denied.text.starts_with("SELECT 1"),
            "{}",
            denied.text.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_out_of_a_read_only_session() {
    let lab = Lab::start("read:*", "").await;
    let (told, denied) = statement(&lab, "SET default_transaction_read_only = off").await;
    assert_eq!((told.code.as_str(), rule(&denied)), ("42501", ("classification", "read-only")));
    assert!(told.message.contains("read-only"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_in_another_encoding() {
    let lab = Lab::start("read:*", "").await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    let mark = lab.server.log().len();
    portcullis_postgres::codec::frontend::query(&mut raw.out, b"SELECT '\xff\xfe'");
    assert_eq!(raw.send(1).await, ["E:42501", "Z:I"]);
    assert_eq!(lab.server.log_since(mark), "");
    let denied = lab.decisions().pop().expect("a decision");
    assert_eq!(rule(&denied), ("classification", "unclassified"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_called_by_its_number() {
    let lab = Arc::new(Lab::start("read:public.orders", "").await);
    let superuser = lab.superuser().await;
    for (name, values, code) in [
        ("set_config", &["default_transaction_read_only", "off", "f"][..], "42501"),
        ("pg_read_file(text)", &["PG_VERSION"][..], "42501"),
        ("lo_create", &["0"][..], "42501"),
        ("query_to_xml", &["SELECT * FROM secrets", "t", "f", ""][..], "42501"),
        ("public.leak", &[][..], "42501"),
        ("public.touch", &[][..], "42501"),
        ("pg_advisory_lock(bigint)", &["1"][..], "42501"),
        ("pg_terminate_backend", &["1"][..], "42501"),
        ("nextval", &["orders"][..], "42501"),
    ] {
        let kind = if name.contains('(') { "regprocedure" } else { "regproc" };
        let oid: u32 =
            superuser.query_one(&format!("SELECT '{name}'::{kind}::oid"), &[]).await.expect(name).get(0);
        let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
        raw.send(1).await;
        let mark = lab.server.log().len();
        raw.function(oid, values);
        assert_eq!(raw.send(1).await, [format!("E:{code}"), "Z:I".to_owned()], "{name}");
        assert_eq!(lab.server.log_since(mark), "", "{name}");
        let denied = lab.decisions().pop().expect("a decision");
        assert_eq!(denied.decision, Verdict::Deny, "{name}: {denied:?}");
        assert!(denied.text.contains("FunctionCall"), "{denied:?}");
        // An oid that no function has.
        raw.function(4_000_000_000, values);
        assert_eq!(raw.send(1).await, ["E:42501", "Z:I"]);
        // Inside a transaction it fails that.
        assert_eq!(raw.query("BEGIN").send(1).await, ["C:BEGIN", "Z:T"]);
        raw.function(oid, values);
        assert_eq!(raw.send(1).await, ["E:42501", "Z:E"], "{name}");
        // Long arguments change nothing.
        raw.query("ROLLBACK").send(1).await;
        raw.function(oid, &["x".repeat(100_000).as_str()]);
        assert_eq!(raw.send(1).await, ["E:42501", "Z:I"], "{name}");
    }
    // What is free is free by its number too.
    let oid: u32 = superuser.query_one("SELECT 'md5(text)'::regprocedure::oid", &[]).await.unwrap().get(0);
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    raw.function(oid, &["abc"]);
    assert_eq!(raw.send(1).await, ["V", "Z:I"]);
    assert!(raw.seen.windows(3).any(|window| window == b"900"));
}
