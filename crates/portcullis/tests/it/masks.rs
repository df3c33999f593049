//! Masks that come and go under live sessions, by a change of the documents and by a change of groups; and what the command line
//! says of them.

use std::time::Instant;

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::lab::{Lab, PATIENCE, TRIAGE};

const RAW: &str = "4111111111111111";
const SHOWN: &str = "************1111";
const CARDS: &str = "SELECT card_number FROM payments ORDER BY id";

/// With a mask, as the documents have it.
const MASKS: &str = "masks:
  - name: card numbers
    columns: [payments.card_number]
    with: last4
    except: group:sync-agents

";
const NEXT: &str = "guardrails:\n";

/// A policy that lets the triage agent read the table, and change it.
async fn lab() -> Lab {
    let mut lab = Lab::new().await;
    lab.edit_policy("admin:public.*]", "admin:public.*, read:public.payments, write:public.payments]");
    lab.gateway.wait_for_line("policy loaded").await;
    lab
}

fn add_masks(lab: &Lab) {
    lab.edit_policy(NEXT, &format!("{MASKS}{NEXT}"));
}

fn remove_masks(lab: &Lab) {
    lab.edit_policy(MASKS, "");
}

fn card(messages: &[SimpleQueryMessage]) -> Option<String> {
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}

/// Asks until the answer is `wanted`: a change takes effect within seconds.
async fn until(client: &Client, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = card(&client.simple_query(CARDS).await.unwrap()).unwrap();
        if shown == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "it stays `{shown}`");
        tokio::task::yield_now().await;
    }
}

/// What was shown, or that it was refused with a reason that names the column or the mask.
fn shown_or_refused<T>(result: Result<T, tokio_postgres::Error>, card: impl Fn(T) -> String) -> String {
    match result {
        Ok(rows) => card(rows),
        Err(error) => {
            let error = error.as_db_error().unwrap_or_else(|| panic!("refused by protocol: {error:?}"));
            assert!(["42501", "34000"].contains(&error.code().code()), "{error:?}");
            "refused".to_owned()
        }
    }
}

fn first(rows: Vec<tokio_postgres::Row>) -> String {
    rows[0].get(0)
}

#[tokio::test]
async fn a_mask_that_is_added_counts_for_the_next_statement_of_live_sessions() {
    let mut lab = lab().await;
    let token = lab.token(TRIAGE).await;
    let watcher = lab.open("shop-db", &token).await;
    until(&watcher.client, RAW).await;

    // What was begun before: statements prepared in both ways, a portal and two cursors.
    let prepared = lab.open("shop-db", &token).await;
    let statement = prepared.client.prepare(CARDS).await.unwrap();
    assert_eq!(first(prepared.client.query(&statement, &[]).await.unwrap()), RAW);
    let named = lab.open("shop-db", &token).await;
    named.client.batch_execute(&format!("PREPARE named AS {CARDS}")).await.unwrap();
    assert_eq!(named.one("EXECUTE named").await, RAW);
    let cursor = lab.open("shop-db", &token).await;
    cursor.client.batch_execute(&format!("BEGIN; DECLARE c SCROLL CURSOR FOR {CARDS}")).await.unwrap();
    assert_eq!(cursor.one("FETCH FIRST FROM c").await, RAW);
    let held = lab.open("shop-db", &token).await;
    held.client.batch_execute(&format!("DECLARE c SCROLL CURSOR WITH HOLD FOR {CARDS}")).await.unwrap();
    let mut portal = lab.open("shop-db", &token).await;
    let transaction = portal.client.transaction().await.unwrap();
    let bound = transaction.bind(CARDS, &[]).await.unwrap();
    // An order of rows that tells of the values is one of the things that end.
    let filtered = lab.open("shop-db", &token).await;
    let filter =
        filtered.client.prepare("SELECT id FROM payments WHERE card_number LIKE '4%'").await.unwrap();
    assert_eq!(filtered.client.query(&filter, &[]).await.unwrap().len(), 1);

    add_masks(&lab);
    until(&watcher.client, SHOWN).await;
    let prepared_shows = shown_or_refused(prepared.client.query(&statement, &[]).await, first);
    assert_eq!(prepared_shows, SHOWN, "a prepared statement");
    let copied = prepared.client.query("SELECT card_number AS other FROM payments", &[]).await;
    assert_eq!(shown_or_refused(copied, first), SHOWN, "a new statement");
    let named_shows =
        shown_or_refused(named.client.simple_query("EXECUTE named").await, |m| card(&m).unwrap());
    assert_eq!(named_shows, SHOWN, "EXECUTE");
    let fetched = cursor.client.simple_query("FETCH FIRST FROM c").await;
    assert_ne!(shown_or_refused(fetched, |m| card(&m).unwrap()), RAW, "a cursor");
    let fetched = held.client.query("FETCH FIRST FROM c", &[]).await;
    assert_ne!(shown_or_refused(fetched, first), RAW, "a cursor that outlives its transaction");
    let fetched = transaction.query_portal(&bound, 1).await;
    assert_ne!(shown_or_refused(fetched, first), RAW, "a portal");
    drop(transaction);
    let refused = filtered.client.query(&filter, &[]).await.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.code().code(), "42501");
    for part in ["payments.card_number", "card numbers"] {
        assert!(refused.message().contains(part), "{part}: {refused:?}");
    }

    remove_masks(&lab);
    until(&watcher.client, RAW).await;
    assert_eq!(first(prepared.client.query(&statement, &[]).await.unwrap()), RAW);
    assert_eq!(named.one("EXECUTE named").await, RAW);
    assert_eq!(first(held.client.query("FETCH FIRST FROM c", &[]).await.unwrap()), RAW);
    assert_eq!(filtered.client.query(&filter, &[]).await.unwrap().len(), 1);
    lab.gateway.wait_for_line("policy loaded").await;
}

#[tokio::test]
async fn whoever_is_excepted_sees_values_until_the_group_is_lost() {
    let lab = lab().await;
    lab.idp.set_member("sync-agents", TRIAGE.name, true).unwrap();
    add_masks(&lab);
    let token = lab.token(TRIAGE).await;
    // The gateway asks for groups every second.
    let deadline = Instant::now() + PATIENCE;
    let session = loop {
        let session = lab.open("shop-db", &token).await;
        if session.one(CARDS).await == RAW && is_masked_policy(&lab).await {
            break session;
        }
        assert!(Instant::now() < deadline, "the exception never counted");
    };
    let statement = session.client.prepare(CARDS).await.unwrap();
    assert_eq!(first(session.client.query(&statement, &[]).await.unwrap()), RAW);

    lab.idp.set_member("sync-agents", TRIAGE.name, false).unwrap();
    until(&session.client, SHOWN).await;
    assert_eq!(first(session.client.query(&statement, &[]).await.unwrap()), SHOWN);
    // The token still names the group; what the directory says counts.
    let again = lab.open("shop-db", &token).await;
    assert_eq!(again.one(CARDS).await, SHOWN);

    lab.idp.set_member("sync-agents", TRIAGE.name, true).unwrap();
    until(&session.client, RAW).await;
}

/// Whether the mask is in force: an identity that is not excepted does not see the values.
async fn is_masked_policy(lab: &Lab) -> bool {
    let answer = lab.http().get(format!("{}/api/v1/policy", lab.url())).bearer_auth(lab.admin_token());
    answer.send().await.unwrap().text().await.unwrap().contains("card numbers")
}

#[tokio::test]
async fn the_command_line_tells_of_masks_and_replays_masked_rows() {
    let mut lab = lab().await;
    add_masks(&lab);
    let token = lab.token(TRIAGE).await;
    let session = lab.open("shop-db", &token).await;
    until(&session.client, SHOWN).await;
    assert_eq!(first(session.client.query(CARDS, &[]).await.unwrap()), SHOWN);
    drop(session);

    let config = lab.config().display().to_string();
    let check = lab.cli(&["check", "--config", &config]).await;
    assert!(check.stdout.contains("1 mask"), "{check:?}");
    for (who, bound) in [("incident-triage-agents", true), ("sync-agents", false)] {
        let sql = "SELECT card_number FROM payments";
        let explained =
            lab.cli(&["explain", "--config", &config, "--identity-group", who, "shop-db", sql]).await;
        assert_eq!(explained.stdout.contains("card numbers"), bound, "{who}: {explained:?}");
    }
    let reach = lab.cli(&["reach", "--config", &config, "--connection", "shop-db"]).await;
    assert!(reach.ok().contains("card numbers"), "{reach:?}");

    let ended = lab.audit(&["--kind", "recording_sealed"], |rows| !rows.is_empty()).await;
    let id = ended[0]["session"].as_str().unwrap();
    let shown = lab.cli(&["sessions", "show", id]).await;
    assert!(shown.ok().contains("card_number") && shown.stdout.contains("whole"), "{shown:?}");
    let listed = lab.cli(&["sessions", "--all"]).await;
    assert!(listed.ok().contains(id), "{listed:?}");
    let replayed = lab.cli(&["replay", id, "--instant"]).await;
    assert!(replayed.ok().contains(SHOWN), "{replayed:?}");
    lab.gateway.wait_for_line("policy loaded").await;
}

#[tokio::test]
async fn a_refusal_says_the_column_the_rule_and_what_to_do_and_is_journalled() {
    let lab = lab().await;
    add_masks(&lab);
    let token = lab.token(TRIAGE).await;
    let session = lab.open("shop-db", &token).await;
    until(&session.client, SHOWN).await;
    let sql = "SELECT id FROM payments WHERE card_number = 'guess_77'";
    let refused = session.client.simple_query(sql).await.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.code().code(), "42501");
    assert!(refused.message().contains("payments.card_number"), "{refused:?}");
    assert!(!lab.server.saw("guess_77"), "the server saw nothing");
    let denied = lab.audit(&["--decision", "deny", "--text", "guess_77"], |rows| !rows.is_empty()).await;
    assert_eq!(
        (&denied[0]["rule"]["kind"], &denied[0]["rule"]["name"]),
        (&"mask".into(), &"card numbers".into())
    );
    assert_eq!(session.one(CARDS).await, SHOWN, "the session goes on");
}
