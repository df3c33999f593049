//! Statements that wait for a person: shown, approved, run once. What was approved runs nothing else.

use serde_json::Value;
use tokio_postgres::SimpleQueryMessage;

use crate::{
    lab::{Lab, SYNC, Session, TRIAGE, key},
    people::{RAISE, id, id_in, interrupt},
};

/// The request knows how far its statement reaches.
fn is_worked_out(request: &Value) -> bool {
    request["blast_radius"]["state"] == "ready"
}

#[tokio::test]
async fn an_unqualified_update_from_psql_waits_for_a_person_and_runs_once() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let mut psql = lab.start_psql("shop-db", &token, &[RAISE, "SELECT 'sum', sum(total) FROM orders"]);

    let request = lab.waiting(&sam, is_worked_out).await;
    let told = psql.wait_for_line("NOTICE").await;
    assert_eq!(id_in(&psql.log()), id(&request), "{told}");
    assert!(psql.log().contains(&format!("{}/requests/{}", lab.url(), id(&request))), "{}", psql.log());
    let operation = &request["operation"];
    assert_eq!((&request["kind"], &operation["mode"]), (&"operation".into(), &"live".into()));
    assert_eq!(operation["text"], RAISE);
    assert_eq!((&operation["statement"], &operation["qualified"]), (&"update".into(), &false.into()));
    assert_eq!(request["blast_radius"]["estimated_rows"], 7, "{request:#}");
    assert_eq!(request["blast_radius"]["tables"][0]["table"], "public.orders");
    assert_eq!(request["requester"]["key"], key(TRIAGE));
    assert_eq!(request["needs"][0]["approvers"], serde_json::json!(["group:oncall"]));
    assert_eq!((&request["can_answer"], &request["connection"]), (&true.into(), &"shop-db".into()));
    let shown = lab.as_agent(&sam, &["requests", "show", id(&request)]).await;
    assert!(shown.ok().contains(&format!("| {RAISE}")) && shown.ok().contains("about 7"), "{}", shown.stdout);
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (0, "280"), "nothing ran before the answer");

    let approved = lab.approve(&sam, id(&request)).await;
    assert!(approved.ok().contains("approved"), "{approved:?}");
    assert!(psql.wait().await.success(), "{}", psql.log());
    assert!(psql.log().contains("sum|287"), "{}", psql.log());
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (1, "287"));
    let steps = lab.steps(id(&request), "used").await;
    let said: Vec<_> = steps.iter().map(|(step, by, note)| (&**step, &**by, &**note)).collect();
    assert_eq!(said, [("filed", "", ""), ("approved", "sam", "go ahead"), ("used", "", "")]);
    let decided = lab.audit(&["--kind", "decision", "--text", "UPDATE"], |rows| rows.len() == 2).await;
    let verdicts: Vec<_> = decided.iter().map(|row| row["decision"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["hold", "allow"]);
    assert!(decided[1]["reason"].as_str().unwrap().contains("sam"), "{:#}", decided[1]);
    let session = operation["session"].as_str().unwrap();
    let replay = lab.cli(&["replay", session, "--instant"]).await;
    let held = replay.ok().find("HELD by guardrail `every row needs a person`");
    let allowed = replay.stdout.find("allowed by guardrail `every row needs a person`");
    assert!(held.is_some() && held < allowed && replay.stdout.contains("-- UPDATE 7"), "{}", replay.stdout);

    // The very same again is another request.
    let mut again = lab.start_psql("shop-db", &token, &[RAISE]);
    let second = lab.waiting(&sam, |_| true).await;
    assert_ne!(id(&second), id(&request));
    let late = lab.approve(&sam, id(&request)).await;
    assert!(late.code == 4 && late.stderr.contains("no longer pending"), "{late:?}");
    interrupt(&again);
    again.wait().await;
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (1, "287"), "it ran once");
}

#[tokio::test]
async fn an_approval_covers_neither_another_session_nor_a_changed_statement() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let first = lab.open("shop-db", &token).await;
    let running = tokio::spawn(async move { (rows(&first, RAISE).await, first) });
    let request = lab.waiting(&sam, |_| true).await;
    // The same statement, of the same agent, on another connection of its own.
    let second = lab.open("shop-db", &token).await;
    let waiting = tokio::spawn(async move { (rows(&second, RAISE).await, second) });
    let deadline = std::time::Instant::now() + crate::lab::PATIENCE;
    while lab.pending(&sam).await.len() < 2 {
        assert!(std::time::Instant::now() < deadline);
    }
    lab.approve(&sam, id(&request)).await.ok();
    let (ran, first) = running.await.unwrap();
    assert_eq!(ran.unwrap(), 7);
    assert_eq!((lab.ran(RAISE), lab.total().await.as_str()), (1, "287"));
    let other = lab.waiting(&sam, |_| true).await;
    assert!(!waiting.is_finished(), "the other session still waits");
    assert_ne!(other["operation"]["hash"], request["operation"]["hash"]);
    assert_ne!(other["operation"]["session"], request["operation"]["session"]);
    lab.deny(&sam, id(&other), "one raise is enough").await.ok();
    let (refused, _second) = waiting.await.unwrap();
    assert!(refused.unwrap_err().contains("one raise is enough"));

    let changed = "UPDATE orders SET total = total + 2";
    let running = tokio::spawn(async move { (rows(&first, changed).await, first) });
    let third = lab.waiting(&sam, |_| true).await;
    assert_eq!(third["operation"]["text"], changed);
    lab.deny(&sam, id(&third), "no").await.ok();
    assert!(running.await.unwrap().0.is_err());
    assert_eq!((lab.ran(RAISE), lab.ran(changed), lab.total().await.as_str()), (1, 0, "287"));
    assert_eq!(lab.step_names(id(&other), "denied").await, ["filed", "denied"]);
}

#[tokio::test]
async fn bound_values_are_shown_and_other_values_are_another_request() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(SYNC).await, lab.person("kim"));
    let session = lab.open("shop-db", &token).await;
    let statement = session.client.prepare("UPDATE orders SET total = total + $1").await.unwrap();
    let run = |session: Session, statement, by: i32| {
        tokio::spawn(async move { (session.client.execute(&statement, &[&by]).await, session) })
    };
    let running = run(session, statement.clone(), 5);
    let request = lab.waiting(&sam, is_worked_out).await;
    let operation = &request["operation"];
    assert_eq!(operation["text"], "UPDATE orders SET total = total + $1");
    let binds =
        serde_json::json!([{ "position": 1, "type": "int4", "value": "5", "cut": false, "null": false }]);
    assert_eq!(operation["binds"], binds);
    assert_eq!(request["blast_radius"]["estimated_rows"], 7, "{request:#}");
    assert_eq!(lab.total().await, "280");
    lab.approve(&sam, id(&request)).await.ok();
    let (changed, session) = running.await.unwrap();
    assert_eq!(changed.unwrap(), 7);
    assert_eq!(lab.total().await, "315");

    let running = run(session, statement, 6);
    let other = lab.waiting(&sam, |_| true).await;
    assert_ne!(id(&other), id(&request));
    assert_eq!(other["operation"]["binds"][0]["value"], "6");
    assert_ne!(other["operation"]["hash"], operation["hash"]);
    lab.deny(&sam, id(&other), "not six").await.ok();
    let (refused, session) = running.await.unwrap();
    assert!(refused.unwrap_err().as_db_error().unwrap().message().contains("not six"));
    assert_eq!(
        (session.one("SELECT sum(total) FROM orders").await.as_str(), lab.total().await.as_str()),
        ("315", "315")
    );
}

#[tokio::test]
async fn a_preview_counts_and_shows_rows_masked_and_changes_nothing() {
    let lab = Lab::asking().await;
    let (token, sam) = (lab.token(TRIAGE).await, lab.person("sam"));
    let move_ids = "UPDATE payments SET id = id + 100";
    let mut psql = lab.start_psql("shop-preview", &token, &[move_ids]);
    let request = lab.waiting(&sam, is_worked_out).await;
    let radius = &request["blast_radius"];
    assert_eq!(radius["exact_rows"], 1, "{request:#}");
    assert!(radius["before"]["rows"].as_array().is_some_and(|rows| rows.len() == 1), "{radius:#}");
    assert!(radius["after"].to_string().contains("101"), "{radius:#}");
    assert!(!request.to_string().contains("4111111111111111"), "the sample is masked: {request:#}");
    assert_eq!(lab.in_shop("SELECT id FROM payments").await, "1", "it was rolled back");
    lab.approve(&sam, id(&request)).await.ok();
    assert!(psql.wait().await.success(), "{}", psql.log());
    assert_eq!(lab.in_shop("SELECT id FROM payments").await, "101");
}

/// Runs it: how many rows it changed, or what was said instead.
async fn rows(session: &Session, sql: &str) -> Result<u64, String> {
    let messages = session.client.simple_query(sql).await;
    let messages = messages
        .map_err(|error| error.as_db_error().map_or(error.to_string(), |e| e.message().to_owned()))?;
    Ok(messages
        .iter()
        .find_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        })
        .unwrap())
}
