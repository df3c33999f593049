//! Lineage and the server's own description must agree: a catalog that was changed past the gateway, and is believed for a while,
//! shows nothing.

use portcullis_core::{AuditEvent, EndReason};

use crate::{
    lab::{Lab, Setup},
    wire::Raw,
};

const CARDS: &str = "CREATE TABLE cards (id int PRIMARY KEY, number text, note text);
    INSERT INTO cards VALUES (1, '4539578763621486', 'harmless');";

const MASKS: &str = "masks:
  - name: cards
    columns: [cards.number]
    with: redact
";

/// What is done behind the gateway's back, and a statement that shows the number if the old catalog is believed.
const CHANGES: [(&str, &str); 6] = [
    (
        "ALTER TABLE cards RENAME number TO hidden; ALTER TABLE cards RENAME note TO number",
        "SELECT id, hidden FROM cards",
    ),
    (
        "ALTER TABLE cards RENAME number TO kept; ALTER TABLE cards RENAME note TO number; ALTER TABLE cards RENAME kept TO note",
        "SELECT note FROM cards",
    ),
    ("CREATE VIEW fresh AS SELECT number AS n FROM cards", "SELECT n FROM fresh"),
    ("CREATE VIEW fresh AS SELECT number AS n FROM cards", "COPY (SELECT n FROM fresh) TO STDOUT"),
    ("CREATE TABLE child () INHERITS (cards); INSERT INTO child SELECT * FROM cards", "SELECT * FROM child"),
    (
        "ALTER TABLE cards ADD COLUMN first text; ALTER TABLE cards RENAME number TO again",
        "SELECT * FROM cards",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_result_whose_description_is_not_the_expected_one_ends_the_session() {
    for (change, statement) in CHANGES {
        for extended in [false, true] {
            shows_nothing(change, statement, extended).await;
        }
    }
}

async fn shows_nothing(change: &str, statement: &str, extended: bool) {
    let lab = Lab::set_up(Setup { scope: "['*:*']", more: MASKS, sql: CARDS, ..Setup::default() }).await;
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.send(1).await;
    // The catalog is read, and as it was.
    let said = raw.query("SELECT number FROM cards").send(1).await;
    assert!(said.iter().any(|line| line.contains("****")), "{said:?}");
    lab.superuser().await.batch_execute(change).await.unwrap();
    match extended {
        false => raw.query(statement),
        true => raw.run(statement).sync(),
    };
    let said = raw.send(1).await;
    let seen = raw.seen.windows(12).any(|window| window == b"453957876362");
    assert!(!seen, "after `{change}`, `{statement}` showed the number: {said:?}");
    // Refused, failed by the server, or the session ended and the audit log says why.
    let refused = lab.decisions().iter().any(|decision| decision.rule.kind == "mask");
    let failed = said.iter().any(|line| line.starts_with('E'));
    let ended = lab
        .events()
        .iter()
        .any(|event| matches!(event, AuditEvent::SessionEnded { reason: EndReason::NotMasked { .. }, .. }));
    assert!(refused || failed || ended, "after `{change}`, `{statement}`: {said:?}");
    assert!(ended || !said.iter().any(|line| line == "closed"), "after `{change}`, `{statement}`: {said:?}");
}
