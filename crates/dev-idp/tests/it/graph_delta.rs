//! Delta queries.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{AGENT_OID, Answer, INNER, LONELY, Lab, MACHINE_OID, READER, SAM_OID};

struct Delta {
    lab: Lab,
    token: String,
}

impl Delta {
    async fn start() -> Self {
        let lab = Lab::start().await;
        let token = lab.graph_token(READER, "reader").await;
        Self { lab, token }
    }

    async fn get(&self, url: &str) -> Answer {
        let url =
            if url.starts_with("http") { url.to_owned() } else { self.lab.url(&format!("/v1.0/{url}")) };
        let request = self.lab.http.get(url).bearer_auth(&self.token).header("prefer", "odata.maxpagesize=2");
        self.lab.send(request).await
    }

    /// All pages from an address on, and the delta link after them.
    async fn walk(&self, url: &str) -> (Vec<Value>, String) {
        let (mut url, mut objects) = (url.to_owned(), Vec::new());
        loop {
            let page = self.get(&url).await.ok();
            assert!(page["value"].as_array().unwrap().len() <= 2, "the page size is kept");
            objects.extend(page["value"].as_array().unwrap().clone());
            match (page["@odata.nextLink"].as_str(), page["@odata.deltaLink"].as_str()) {
                (Some(next), None) => url = next.to_owned(),
                (None, Some(done)) => return (objects, done.to_owned()),
                _ => panic!("expected one link: {page}"),
            }
        }
    }
}

#[tokio::test]
async fn a_walk_reports_everything_and_then_only_changes() {
    let delta = Delta::start().await;
    let (all, link) = delta.walk("servicePrincipals/delta?$select=accountEnabled,appId").await;
    assert_eq!(all.len(), 6);
    assert!(all[0]["appId"].is_string() && all[0].get("displayName").is_none());
    let (none, link) = delta.walk(&link).await;
    assert_eq!(none, [] as [Value; 0]);
    delta.lab.idp.set_enabled(AGENT_OID, false).unwrap();
    delta.lab.idp.set_enabled("sam", false).unwrap();
    delta.lab.idp.set_member("lonely", "triage-agent", true).unwrap();
    let (changed, link) = delta.walk(&link).await;
    assert_eq!(changed.len(), 1);
    assert_eq!((&changed[0]["id"], &changed[0]["accountEnabled"]), (&json!(AGENT_OID), &json!(false)));
    delta.lab.idp.delete(AGENT_OID).unwrap();
    let (removed, link) = delta.walk(&link).await;
    assert_eq!(removed, [json!({ "id": AGENT_OID, "@removed": { "reason": "changed" } })]);
    assert!(delta.walk(&link).await.0.is_empty());
}

#[tokio::test]
async fn a_filter_holds_for_the_whole_walk() {
    let delta = Delta::start().await;
    let filter = format!("servicePrincipals/delta?$filter=id eq '{AGENT_OID}' or id eq '{LONELY}'");
    let (all, link) = delta.walk(&filter).await;
    assert_eq!(all.len(), 1);
    delta.lab.idp.set_enabled(MACHINE_OID, false).unwrap();
    assert!(delta.walk(&link).await.0.is_empty());
    delta.lab.idp.set_enabled(AGENT_OID, false).unwrap();
    assert_eq!(delta.walk(&link).await.0.len(), 1, "an unused link still knows both changes");
    let by_name = "servicePrincipals/delta?$filter=displayName eq 'x'";
    delta.get(by_name).await.graph_error(400, "Request_UnsupportedQuery");
}

#[tokio::test]
async fn latest_starts_from_now() {
    let delta = Delta::start().await;
    let (none, link) = delta.walk("servicePrincipals/delta?$deltatoken=latest").await;
    assert!(none.is_empty());
    delta.lab.idp.set_enabled(AGENT_OID, false).unwrap();
    assert_eq!(delta.walk(&link).await.0.len(), 1);
}

#[tokio::test]
async fn a_groups_walk_reports_members_that_come_and_go() {
    let delta = Delta::start().await;
    let (all, link) = delta.walk("groups/delta?$select=displayName,members").await;
    let inner = all.iter().find(|group| group["id"] == INNER).unwrap();
    assert_eq!(inner["displayName"], "inner");
    let member = json!({ "@odata.type": "#microsoft.graph.servicePrincipal", "id": AGENT_OID });
    assert!(inner["members@delta"].as_array().unwrap().contains(&member));
    delta.lab.idp.set_member("inner", "triage-agent", false).unwrap();
    delta.lab.idp.set_member("inner", "sam", false).unwrap();
    delta.lab.idp.set_member("inner", "sam", true).unwrap();
    let (changed, link) = delta.walk(&link).await;
    assert_eq!(changed.len(), 1, "the group that holds the group is not reported");
    let members = json!([
        { "@odata.type": "#microsoft.graph.user", "id": SAM_OID },
        { "@odata.type": "#microsoft.graph.servicePrincipal", "id": AGENT_OID, "@removed": { "reason": "deleted" } },
    ]);
    assert_eq!(changed[0]["members@delta"], members);
    delta.lab.idp.delete("lonely").unwrap();
    let (removed, _) = delta.walk(&link).await;
    assert_eq!(removed, [json!({ "id": LONELY, "@removed": { "reason": "deleted" } })]);
}

#[tokio::test]
async fn members_that_were_not_asked_for_are_not_reported() {
    let delta = Delta::start().await;
    let (all, link) = delta.walk("groups/delta?$select=displayName").await;
    assert!(all.iter().all(|group| group.get("members@delta").is_none()));
    delta.lab.idp.set_member("inner", "triage-agent", false).unwrap();
    assert!(delta.walk(&link).await.0.is_empty());
}

#[tokio::test]
async fn a_stale_link_is_gone_and_says_where_to_start_again() {
    let delta = Delta::start().await;
    let (_, link) = delta.walk("servicePrincipals/delta").await;
    delta.lab.idp.expire_delta_links();
    let answer = delta.get(&link).await;
    answer.graph_error(410, "resyncRequired");
    let (all, link) = delta.walk(answer.headers["location"].to_str().unwrap()).await;
    assert_eq!(all.len(), 6);
    delta.lab.clock.advance(Duration::from_secs(7 * 24 * 3600 + 1));
    let token = delta.lab.graph_token(READER, "reader").await;
    Delta { token, ..delta }.get(&link).await.graph_error(410, "resyncRequired");
}

#[tokio::test]
async fn a_malformed_token_is_refused() {
    let delta = Delta::start().await;
    let (_, link) = delta.walk("servicePrincipals/delta").await;
    let token = link.split_once("$deltatoken=").unwrap().1;
    for url in [
        "servicePrincipals/delta?$deltatoken=x".to_owned(),
        format!("groups/delta?$deltatoken={token}"),
        format!("servicePrincipals/delta?$skiptoken={token}"),
        format!("servicePrincipals/delta?$skiptoken={token}&$deltatoken={token}"),
    ] {
        delta.get(&url).await.graph_error(400, "Request_BadRequest");
    }
}
