//! Documents that the API manages, and how connections' upstreams are.

use std::sync::{Arc, Mutex};

use portcullis_api::{IfMatch, ManagedDocuments, NotReplaced, etag};
use portcullis_policy::{Confinement, Policy, Report, SourceFile, check_confined};
use portcullis_proxy::Failing;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{Caller, Seen, World};

/// Keeps documents in memory. What is in force does not change: that it does is tested with the real one.
#[derive(Default)]
struct Kept {
    files: Mutex<Vec<SourceFile>>,
    by: Mutex<Vec<String>>,
    broken: bool,
}

impl ManagedDocuments for Kept {
    fn check(&self, files: &[SourceFile]) -> (Option<Arc<Policy>>, Report) {
        check_confined(files, &Confinement::default())
    }

    fn replace(&self, files: Vec<SourceFile>, seen: &IfMatch, by: &str) -> Result<(), NotReplaced> {
        let mut kept = self.files.lock().unwrap();
        if !seen.is(&etag(&kept)) {
            return Err(NotReplaced::Changed);
        }
        let (policy, report) = self.check(&files);
        if policy.is_none() {
            return Err(NotReplaced::Unusable(report));
        }
        if self.broken {
            return Err(NotReplaced::Failed("the disk at /var/lib is full".to_owned()));
        }
        *kept = files;
        self.by.lock().unwrap().push(by.to_owned());
        Ok(())
    }
}

const DB: &str = "connections: { db: { protocol: postgres, address: 'db:5432', database: db } }\n";

fn body(files: &[(&str, &str)]) -> Value {
    let files: Vec<Value> = files.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
    json!({ "files": files })
}

async fn put(caller: &Caller<'_>, tag: Option<&str>, body: &Value) -> Seen {
    let mut request = caller.request(Method::PUT, "/policy/documents").json(body);
    if let Some(tag) = tag {
        request = request.header("if-match", tag);
    }
    Seen::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn documents_in_files_are_not_replaced() {
    let world = World::new().await;
    let seen = world.admin().get("/policy/documents").await.json();
    assert_eq!(seen["managed"], "files");
    put(&world.admin(), Some("*"), &body(&[("a.yaml", DB)])).await.is_problem(409, "file-managed");
}

#[tokio::test]
async fn who_replaces_says_what_they_saw() {
    let kept = Arc::new(Kept::default());
    let world = World::managed(Arc::clone(&kept) as _).await;
    let admin = world.admin();
    assert_eq!(admin.get("/policy/documents").await.json()["managed"], "api");
    let documents = body(&[("a.yaml", DB)]);
    put(&admin, None, &documents).await.is_problem(428, "unseen");
    put(&admin, Some("\"another\""), &documents).await.is_problem(412, "changed");
    put(&admin, Some("W/\"weak\""), &documents).await.is_problem(412, "changed");
    assert!(kept.files.lock().unwrap().is_empty());
    let empty = etag(&[]);
    assert_eq!(put(&admin, Some(&empty), &documents).await.status, StatusCode::OK);
    put(&admin, Some(&empty), &body(&[("b.yaml", DB)])).await.is_problem(412, "changed");
    assert_eq!(
        put(&world.browser("root@contoso.example").await, Some("*"), &body(&[("c.yaml", DB)])).await.status,
        StatusCode::OK
    );
    assert_eq!(kept.files.lock().unwrap()[0].path.to_str(), Some("c.yaml"));
    let by = kept.by.lock().unwrap().clone();
    assert!(
        by[0].starts_with("an administrator at ") && by[1].starts_with("root@contoso.example ("),
        "{by:?}"
    );
}

#[tokio::test]
async fn nobody_but_an_admin_replaces_and_no_page_of_another_site_does() {
    let kept = Arc::new(Kept::default());
    let world = World::managed(Arc::clone(&kept) as _).await;
    let documents = body(&[("a.yaml", DB)]);
    put(&world.nobody(), Some("*"), &documents).await.is_problem(401, "not-authenticated");
    for who in ["triage-agent", "oncall-bot"] {
        put(&world.by(who), Some("*"), &documents).await.is_problem(403, "not-allowed");
    }
    for who in ["sam", "vera", "aud", "nobody"] {
        put(&world.browser(&format!("{who}@contoso.example")).await, Some("*"), &documents)
            .await
            .is_problem(403, "not-allowed");
    }
    let root = world.browser("root@contoso.example").await;
    let bare = root.bare(Method::PUT, "/policy/documents").header("if-match", "*").json(&documents);
    Seen::of(bare.send().await.unwrap()).await.is_problem(403, "cross-site");
    assert!(kept.files.lock().unwrap().is_empty() && kept.by.lock().unwrap().is_empty());
}

#[tokio::test]
async fn documents_with_errors_change_nothing_and_every_error_is_told() {
    let kept = Arc::new(Kept::default());
    let world = World::managed(Arc::clone(&kept) as _).await;
    let bad = body(&[(
        "a.yaml",
        "grants: [{ connection: nowhere, to: group:ghosts, when: sometimes, scope: read }]\n",
    )]);
    let seen = put(&world.admin(), Some("*"), &bad).await;
    seen.is_problem(422, "documents");
    let found = seen.json()["diagnostics"].as_array().unwrap().clone();
    assert!(found.len() > 1 && found.iter().all(|found| found["file"] == "a.yaml" && found["line"] == 1));
    let away = "connections: { db: { protocol: postgres, address: 'db:5432', database: db, \
                credential: { username: u, password: 'file:/etc/shadow' } } }";
    let seen = put(&world.admin(), Some("*"), &body(&[("a.yaml", away)])).await;
    seen.is_problem(422, "documents");
    assert!(seen.text.contains("can name no file of this gateway"), "{}", seen.text);
    let checked = world.admin().post("/policy/check", &body(&[("a.yaml", away)])).await.json();
    assert_eq!(checked["ok"], false, "a check says what a replacement would");
    for name in ["../a.yaml", "/etc/a.yaml", "a.txt", ".yaml", "a/b.yaml", ""] {
        put(&world.admin(), Some("*"), &body(&[(name, DB)])).await.is_problem(422, "documents");
    }
    put(&world.admin(), Some("*"), &body(&[("a.yaml", ""), ("A.yaml", "")]))
        .await
        .is_problem(422, "documents");
    assert!(kept.files.lock().unwrap().is_empty());
}

#[tokio::test]
async fn long_documents_are_taken_and_longer_ones_are_not() {
    let kept = Arc::new(Kept::default());
    let world = World::managed(Arc::clone(&kept) as _).await;
    // Line ends are written as two bytes each: the body is twice as long as the documents.
    let text = "#\n".repeat(500 * 1024);
    let names = ["a.yaml", "b.yaml", "c.yaml", "d.yaml"].map(|name| (name, text.as_str()));
    assert_eq!(put(&world.admin(), Some("*"), &body(&names)).await.status, StatusCode::OK);
    let over = [names.as_slice(), &[("e.yaml", text.as_str())]].concat();
    put(&world.admin(), Some("*"), &body(&over)).await.is_problem(413, "too-large");
    let many: Vec<String> = (0..101).map(|n| format!("{n}.yaml")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).collect();
    put(&world.admin(), Some("*"), &body(&many)).await.is_problem(422, "documents");
    assert_eq!(kept.files.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn what_is_inside_stays_inside_when_documents_cannot_be_kept() {
    let world = World::managed(Arc::new(Kept { broken: true, ..Kept::default() })).await;
    let seen = put(&world.admin(), Some("*"), &body(&[("a.yaml", DB)])).await;
    seen.is_problem(500, "internal");
    assert!(!seen.text.contains("/var/lib"), "{}", seen.text);
}

#[tokio::test]
async fn how_an_upstream_is_shows_to_who_has_a_role() {
    let world = World::new().await;
    let health = async || {
        let all = world.browser("vera@contoso.example").await.get("/connections?all=true").await.json();
        let orders = all.as_array().unwrap().iter().find(|view| view["connection"] == "orders-db").cloned();
        orders.unwrap()["health"].clone()
    };
    assert_eq!(health().await, json!({ "state": "unknown" }));
    let policy = world.api.access.policy();
    let orders = policy.connection(&"orders-db".parse().unwrap()).unwrap();
    let now = world.api.clock.now();
    let note = |failing| world.api.health.note(orders, failing, now, || Arc::clone(&policy));
    note(None);
    assert_eq!(health().await, json!({ "state": "up", "since": now, "checked_at": now }));
    note(Some(Failing::Refused));
    let down = health().await;
    assert_eq!((&down["state"], &down["detail"]), (&json!("down"), &json!("it refuses the connection")));
    let mine = world.by("triage-agent").get("/connections").await;
    assert!(mine.json()[0].get("health").is_none(), "{}", mine.text);
}
