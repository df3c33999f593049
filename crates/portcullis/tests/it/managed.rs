//! Documents that the API manages, and what is known of upstreams.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::lab::{Lab, SYNC, TRIAGE};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn documents(lab: &Lab) -> Value {
    let request =
        lab.http().get(format!("{}/api/v1/policy/documents", lab.url())).bearer_auth(lab.admin_token());
    request.send().await.unwrap().json().await.unwrap()
}

async fn put(lab: &Lab, etag: &str, text: &str) -> (u16, Value) {
    let request = lab.http().put(format!("{}/api/v1/policy/documents", lab.url()));
    let body = json!({ "files": [{ "name": "policy.yaml", "text": text }] });
    let request = request.bearer_auth(lab.admin_token()).header("if-match", etag).json(&body);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn kept(lab: &Lab, name: &str) -> PathBuf {
    lab.data().join(name).join("policy.yaml")
}

#[tokio::test]
async fn the_first_documents_come_by_apply_and_outlive_the_process() {
    let mut lab = Lab::managed().await;
    assert!(lab.gateway.log().contains("portcullis apply FILES"), "{}", lab.gateway.log());
    assert_eq!(mode(&lab.data().join("policy")), 0o700);
    let token = lab.token(TRIAGE).await;
    assert_eq!(lab.refused("shop-db", &token).await.0, "28P01", "no provider, no token");
    lab.server_saw_nobody();

    let tried = lab.cli(&["apply", "--dry-run", "policy.yaml"]).await;
    assert!(tried.ok().contains("added  policy.yaml") && tried.ok().contains("nothing changed"), "{tried:?}");
    assert!(!kept(&lab, "policy").exists());
    let applied = lab.cli(&["apply", "policy.yaml"]).await;
    assert!(applied.ok().contains("in force: policy "), "{applied:?}");
    assert_eq!(mode(&kept(&lab, "policy")), 0o600);
    // At once: nobody waits for a look at the disk.
    let session = lab.open("shop-db", &token).await;
    assert_eq!(session.one("SELECT count(*) FROM orders").await, "7");
    let loaded = lab.audit(&["--kind", "policy_loaded"], |rows| rows.len() == 2).await;
    assert_eq!(loaded[0].get("by"), None, "{loaded:?}");
    assert!(loaded[1]["by"].as_str().unwrap().starts_with("an administrator at 127.0.0.1"), "{loaded:?}");

    assert!(lab.cli(&["check"]).await.ok().contains("2 connections"), "as the process file says");
    lab.gateway.kill_hard();
    lab.restart().await;
    lab.psql("shop-db", &token, "SELECT 1").await.ok();
}

#[tokio::test]
async fn a_replacement_counts_for_live_sessions_and_keeps_the_set_before() {
    let lab = Lab::managed().await;
    lab.cli(&["apply", "policy.yaml"]).await.ok();
    let first = fs::read_to_string(kept(&lab, "policy")).unwrap();
    let (token, other) = (lab.token(TRIAGE).await, lab.token(SYNC).await);
    let (session, bystander) = (lab.open("shop-db", &token).await, lab.open("shop-db", &other).await);
    lab.edit_policy(
        "- name: triage-shop\n    connection: shop-db\n    to: group:incident-triage-agents",
        "- name: triage-shop\n    connection: shop-db\n    to: app:00000000-0000-4000-8000-000000000000",
    );
    let applied = lab.cli(&["apply", "policy.yaml"]).await;
    assert!(applied.ok().contains("changed  policy.yaml"), "{applied:?}");
    let (code, message) = session.ended().await;
    assert_eq!(code, "57P01");
    assert!(message.contains("no grant covers"), "{message}");
    assert_eq!(lab.refused("shop-db", &token).await.0, "28000");
    assert_eq!(bystander.one("SELECT 1").await, "1");
    assert_eq!(fs::read_to_string(kept(&lab, "policy.previous")).unwrap(), first);
}

#[tokio::test]
async fn a_bad_replacement_changes_nothing() {
    let lab = Lab::managed().await;
    lab.cli(&["apply", "policy.yaml"]).await.ok();
    let before = documents(&lab).await;
    let session = lab.open("shop-db", &lab.token(TRIAGE).await).await;
    for (from, to, said) in [
        ("action: block", "action: blok", "blok"),
        ("file:shop", "file:../data/admin.token", "only files in the folder `secrets`"),
        ("env:PORTCULLIS_SECRET_GRAPH", "env:PATH", "variables that begin with `PORTCULLIS_SECRET_`"),
    ] {
        lab.edit_policy(from, to);
        let refused = lab.cli(&["apply", "policy.yaml"]).await;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stdout.contains(said) && refused.stdout.contains("nothing changed"), "{refused:?}");
        lab.edit_policy(to, from);
    }
    let away = "connections: { x: { protocol: postgres, address: 'evil.example:1', database: x, \
                credential: { username: u, password: 'file:/etc/hostname' } } }";
    let (status, problem) = put(&lab, "*", away).await;
    assert_eq!((status, problem["diagnostics"][0]["file"].as_str()), (422, Some("policy.yaml")), "{problem}");
    assert_eq!(documents(&lab).await, before);
    assert_eq!(session.one("SELECT count(*) FROM orders").await, "7");
    lab.audit(&["--kind", "policy_loaded"], |rows| rows.len() == 2).await;
}

#[tokio::test]
async fn of_two_who_replace_at_once_one_wins() {
    let lab = Lab::managed().await;
    lab.cli(&["apply", "policy.yaml"]).await.ok();
    let before = documents(&lab).await;
    let (etag, text) = (before["etag"].as_str().unwrap(), before["files"][0]["text"].as_str().unwrap());
    let (one, two) = (format!("{text}# one\n"), format!("{text}# two\n"));
    let (one, two) = tokio::join!(put(&lab, etag, &one), put(&lab, etag, &two));
    let mut statuses = [one.0, two.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "{one:?} {two:?}");
    let winner = if one.0 == 200 { one.1 } else { two.1 };
    let now = documents(&lab).await;
    assert_eq!((&winner["etag"], &winner["files"]), (&now["etag"], &now["files"]));
    assert_eq!(fs::read_to_string(kept(&lab, "policy")).unwrap(), now["files"][0]["text"].as_str().unwrap());
    lab.audit(&["--kind", "policy_loaded"], |rows| rows.len() == 3).await;
}

#[tokio::test]
async fn a_set_that_cannot_be_written_is_not_in_force() {
    let lab = Lab::managed().await;
    lab.cli(&["apply", "policy.yaml"]).await.ok();
    let before = documents(&lab).await;
    // Nothing can be made where a file stands.
    fs::write(lab.data().join("policy.new"), "in the way").unwrap();
    let text = before["files"][0]["text"].as_str().unwrap();
    let (status, problem) = put(&lab, before["etag"].as_str().unwrap(), &format!("{text}# more\n")).await;
    assert_eq!(status, 500, "{problem}");
    assert!(!problem.to_string().contains("policy.new"), "{problem}");
    assert_eq!(documents(&lab).await, before);
    assert_eq!(fs::read_to_string(kept(&lab, "policy")).unwrap(), text);
    lab.audit(&["--kind", "policy_rejected"], |rows| rows.len() == 1).await;
    fs::remove_file(lab.data().join("policy.new")).unwrap();
    assert_eq!(put(&lab, before["etag"].as_str().unwrap(), &format!("{text}# more\n")).await.0, 200);
}

#[tokio::test]
async fn apply_leaves_documents_in_files_alone() {
    let lab = Lab::new().await;
    let refused = lab.cli(&["apply", "policy.yaml"]).await;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(
        refused.stderr.contains("come from files") && refused.stderr.contains("policy: managed"),
        "{refused:?}"
    );
    let (status, problem) = put(&lab, "*", "").await;
    assert_eq!((status, problem["type"].as_str()), (409, Some("urn:portcullis:problem:file-managed")));
}

#[tokio::test]
async fn sessions_tell_how_an_upstream_is() {
    let mut lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    let health = async |lab: &Lab| {
        let all = lab.cli(&["connections", "--all", "--output", "json"]).await.json();
        let found = all.as_array().unwrap().iter().find(|view| view["connection"] == "shop-db").cloned();
        found.unwrap()["health"].clone()
    };
    let gauge = async |lab: &Lab| {
        let text =
            lab.http().get(format!("{}/metrics", lab.url())).send().await.unwrap().text().await.unwrap();
        text.lines().find(|line| line.starts_with("portcullis_upstream_up{")).map(str::to_owned)
    };
    assert_eq!((health(&lab).await, gauge(&lab).await), (json!({ "state": "unknown" }), None));
    lab.psql("shop-db", &token, "SELECT 1").await.ok();
    let up = health(&lab).await;
    assert_eq!(up["state"], "up", "{up}");
    assert_eq!(gauge(&lab).await.as_deref(), Some("portcullis_upstream_up{connection=\"shop-db\"} 1"));
    let address = lab.server.address();
    lab.server.stop();
    assert_eq!(lab.refused("shop-db", &token).await.0, "08001");
    let down = health(&lab).await;
    assert_eq!((&down["state"], &down["detail"]), (&json!("down"), &json!("it refuses the connection")));
    assert!(down["since"].as_str() > up["since"].as_str() && !down.to_string().contains(&address), "{down}");
    assert_eq!(gauge(&lab).await.as_deref(), Some("portcullis_upstream_up{connection=\"shop-db\"} 0"));
    let table = lab.cli(&["connections", "--all"]).await;
    assert!(table.ok().contains("down since ") && table.ok().contains("shop-on-request"), "{table:?}");
    // Who has no role is not told.
    let theirs = lab.as_agent(&token, &["connections", "--all"]).await;
    assert_eq!(theirs.code, 4, "{theirs:?}");
    lab.edit_policy("mode: disable", "mode: prefer");
    lab.gateway.wait_for_line("policy loaded").await;
    assert_eq!(health(&lab).await, json!({ "state": "unknown" }), "it is another connection now");
}
