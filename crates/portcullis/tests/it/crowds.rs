//! Many at once: a thousand requests that wait, two hundred sessions that work. What counts is that everything gets through; how long
//! it takes is measured by `benches/requests`.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::Value;

use crate::{
    lab::{Lab, SYNC, TRIAGE},
    people::{RAISE, id},
};

const REQUESTS: usize = 1_000;
const SESSIONS: usize = 200;
/// Of the sessions, those that are held live. The other requests are tickets, which no client waits for.
const HELD: usize = 40;
const PAGE: usize = 100;

#[tokio::test]
async fn a_thousand_requests_keep_nobody_from_working() {
    let lab = Lab::asking_for(400, "limits: { pending_per_identity: 2000 }\n").await;
    let (triage, sync) = (lab.token(TRIAGE).await, lab.token(SYNC).await);
    let filing = (0..4).map(|worker| {
        let (lab, triage) = (&lab, &triage);
        async move {
            let session = lab.open("shop-tickets", triage).await;
            for number in (worker..REQUESTS - HELD).step_by(4) {
                let sql = format!("UPDATE orders SET total = {number}");
                let error = session.client.simple_query(&sql).await.unwrap_err();
                assert_eq!(error.as_db_error().unwrap().code().code(), "55P03", "{error:?}");
            }
        }
    });
    join_all(filing).await;
    let held: Vec<_> = join_all((0..HELD).map(|_| lab.open("shop-db", &sync))).await;
    let held: Vec<_> = held
        .into_iter()
        .map(|session| tokio::spawn(async move { session.client.simple_query(RAISE).await.map(|_| session) }))
        .collect();
    let sam = lab.person("sam");
    let pending = loop {
        let pending = inbox(&lab, &sam).await;
        if pending.len() == REQUESTS {
            break pending;
        }
        assert!(pending.len() < REQUESTS && held.iter().all(|running| !running.is_finished()));
    };
    let ids: BTreeSet<&str> = pending.iter().map(id).collect();
    assert_eq!(ids.len(), REQUESTS, "every request once, over all pages");

    let sessions = join_all((0..SESSIONS - HELD).map(|_| lab.open("shop-db", &triage))).await;
    let working = sessions.iter().enumerate().map(|(number, session)| async move {
        for round in 0..10 {
            let asked = format!("SELECT {number} * 1000 + {round} FROM orders LIMIT 1");
            assert_eq!(session.one(&asked).await, (number * 1000 + round).to_string());
        }
    });
    join_all(working).await;
    assert_eq!(lab.total().await, "280", "nothing that waits has run");

    let live = pending.iter().find(|request| request["operation"]["mode"] == "live").unwrap();
    lab.approve(&sam, id(live)).await.ok();
    let ticket = pending.iter().find(|request| request["operation"]["mode"] == "ticket").unwrap();
    lab.approve(&sam, id(ticket)).await.ok();
    let (done, rest): (Vec<_>, Vec<_>) = {
        let (done, _, rest) = futures_util::future::select_all(held).await;
        (vec![done], rest)
    };
    assert!(done.into_iter().all(|ran| ran.unwrap().is_ok()), "the approved one ran");
    assert!(rest.iter().all(|running| !running.is_finished()), "and no other");
    assert_eq!((lab.total().await.as_str(), lab.ran(RAISE)), ("287", 1));
    let text = ticket["operation"]["text"].as_str().unwrap();
    lab.psql("shop-tickets", &triage, text).await.ok();
    assert_eq!(lab.ran(text), 1);
    assert_eq!(inbox(&lab, &sam).await.len(), REQUESTS - 2);
    rest.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Every pending request, page by page.
async fn inbox(lab: &Lab, token: &str) -> Vec<Value> {
    let (http, url) = (lab.http(), format!("{}/api/v1/requests", lab.url()));
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut query = vec![("state", "pending".to_owned()), ("limit", PAGE.to_string())];
        if !cursor.is_empty() {
            query.push(("cursor", cursor));
        }
        let page = http.get(&url).bearer_auth(token).query(&query).send().await.unwrap();
        assert_eq!(page.status(), 200);
        let page: Value = page.json().await.unwrap();
        let listed = page["rows"].as_array().unwrap();
        assert!(listed.len() <= PAGE);
        rows.extend(listed.iter().cloned());
        match &page["next"] {
            Value::Null => return rows,
            Value::String(next) => cursor = next.clone(),
            next => cursor = next.to_string(),
        }
    }
}
