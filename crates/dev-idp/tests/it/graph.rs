//! Graph: who may ask, objects, groups, batches, failures.

use portcullis_dev_idp::TokenSpec;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    ADMIN, AGENT, AGENT_OID, Answer, INNER, LONELY, Lab, MACHINE_OID, OUTER, READER, SAM_OID, TENANT,
};

const MISSING: &str = "00000000-0000-4000-8000-000000000000";

struct Graph {
    lab: Lab,
    token: String,
}

impl Graph {
    async fn as_reader() -> Self {
        let lab = Lab::start().await;
        let token = lab.graph_token(READER, "reader").await;
        Self { lab, token }
    }

    async fn as_admin() -> Self {
        let lab = Lab::start().await;
        let token = lab.graph_token(ADMIN, "admin").await;
        Self { lab, token }
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        let url = self.lab.url(&format!("/v1.0/{path}"));
        let request = self.lab.http.request(method, url).bearer_auth(&self.token);
        self.lab.send(if body.is_null() { request } else { request.json(&body) }).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, Value::Null).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, body).await
    }
}

#[tokio::test]
async fn only_graph_tokens_of_this_issuer_are_accepted() {
    let graph = Graph::as_reader().await;
    let url = graph.lab.url("/v1.0/groups");
    graph.lab.get("/v1.0/groups").await.graph_error(401, "InvalidAuthenticationToken");
    let spec = TokenSpec::new("admin", "https://graph.microsoft.com");
    for spec in [
        TokenSpec::new("admin", "api://portcullis"),
        spec.clone().claim("iss", "https://elsewhere.example/"),
        spec.clone().claim("tid", MISSING),
        spec.clone().claim("exp", 1_790_000_000),
        spec.clone().claim("nbf", 1_790_000_001),
        spec.clone().without("exp"),
        spec.clone().header("alg", "RS512"),
        spec.clone().header("kid", "../keys"),
    ] {
        let token = graph.lab.idp.mint(&spec).unwrap();
        let answer = graph.lab.send(graph.lab.http.get(&url).bearer_auth(token)).await;
        answer.graph_error(401, "InvalidAuthenticationToken");
        assert!(answer.headers.contains_key("www-authenticate"));
    }
    let token = graph.lab.idp.mint(&spec).unwrap();
    graph.lab.send(graph.lab.http.get(&url).bearer_auth(token)).await.ok();
}

#[tokio::test]
async fn permissions_decide_who_reads_and_who_writes() {
    let graph = Graph::as_reader().await;
    let off = json!({ "accountEnabled": false });
    let answer = graph.call(Method::PATCH, &format!("servicePrincipals/{AGENT_OID}"), off).await;
    answer.graph_error(403, "Authorization_RequestDenied");
    let none = graph.lab.graph_token(AGENT, "triage: s/cret+%").await;
    let answer = graph.lab.send(graph.lab.http.get(graph.lab.url("/v1.0/groups")).bearer_auth(none)).await;
    answer.graph_error(403, "Authorization_RequestDenied");
}

#[tokio::test]
async fn a_service_principal_is_found_by_object_id_and_by_application_id() {
    let graph = Graph::as_reader().await;
    let select = "$select=id,appId,accountEnabled,servicePrincipalType,disabledByMicrosoftStatus";
    for key in [format!("/{AGENT_OID}"), format!("(appId='{AGENT}')"), format!("(appId=%27{AGENT}%27)")] {
        let mut found = graph.get(&format!("servicePrincipals{key}?{select}")).await.ok();
        assert!(found.as_object_mut().unwrap().remove("@odata.context").is_some());
        let expected = json!({
            "id": AGENT_OID, "appId": AGENT, "accountEnabled": true, "servicePrincipalType": "ServiceIdentity",
            "disabledByMicrosoftStatus": null,
        });
        assert_eq!(found, expected, "{key}");
    }
    let all = graph.get(&format!("servicePrincipals/{MACHINE_OID}")).await.ok();
    assert_eq!(all["servicePrincipalType"], "ManagedIdentity");
    assert_eq!(all["appOwnerOrganizationId"], TENANT);
}

#[tokio::test]
async fn what_does_not_exist_is_404_and_what_is_malformed_is_400() {
    let graph = Graph::as_admin().await;
    for path in [
        format!("servicePrincipals/{MISSING}"),
        format!("servicePrincipals(appId='{MISSING}')"),
        format!("servicePrincipals/{SAM_OID}"),
        format!("groups/{AGENT_OID}"),
        "users/nobody".to_owned(),
        "servicePrincipals/not-an-id".to_owned(),
    ] {
        graph.get(&path).await.graph_error(404, "Request_ResourceNotFound");
    }
    let agent = format!("servicePrincipals/{AGENT_OID}");
    graph.get(&format!("{agent}?$select=nonsense")).await.graph_error(400, "Request_BadRequest");
    graph.get(&format!("{agent}?$expand=owners")).await.graph_error(400, "Request_UnsupportedQuery");
    graph
        .get("servicePrincipals?$filter=startswith(x,'y')")
        .await
        .graph_error(400, "Request_UnsupportedQuery");
    graph.get("servicePrincipals?$top=0").await.graph_error(400, "Request_BadRequest");
    graph.get("planets").await.graph_error(400, "BadRequest");
    let patch = graph.call(Method::PATCH, &agent, json!({ "accountEnabled": "no" })).await;
    patch.graph_error(400, "Request_BadRequest");
    let url = graph.lab.url(&format!("/v1.0/{agent}"));
    let request = graph.lab.http.patch(url).bearer_auth(&graph.token).body("{");
    graph.lab.send(request).await.graph_error(400, "Request_BadRequest");
}

#[tokio::test]
async fn disabling_by_patch_stops_tokens_and_shows() {
    let graph = Graph::as_admin().await;
    let agent = format!("servicePrincipals/{AGENT_OID}");
    let scope = "api://portcullis/.default";
    let secret = "triage: s/cret+%";
    let off = graph.call(Method::PATCH, &agent, json!({ "accountEnabled": false })).await;
    assert_eq!((off.status.as_u16(), off.text.as_str()), (204, ""));
    assert_eq!(graph.get(&agent).await.ok()["accountEnabled"], false);
    graph.lab.client_credentials(AGENT, secret, scope).await.oauth_error(
        400,
        "unauthorized_client",
        7_000_112,
    );
    graph.call(Method::PATCH, &agent, json!({ "accountEnabled": true })).await;
    graph.lab.client_credentials(AGENT, secret, scope).await.ok();
}

#[tokio::test]
async fn a_deleted_service_principal_is_gone_everywhere() {
    let graph = Graph::as_admin().await;
    let agent = format!("servicePrincipals/{AGENT_OID}");
    assert_eq!(graph.call(Method::DELETE, &agent, Value::Null).await.status.as_u16(), 204);
    graph.get(&agent).await.graph_error(404, "Request_ResourceNotFound");
    let asked = json!({ "securityEnabledOnly": false });
    graph.post(&format!("{agent}/getMemberGroups"), asked).await.graph_error(404, "Request_ResourceNotFound");
    let members = graph.get(&format!("groups/{INNER}/members")).await.ok();
    assert_eq!(members["value"].as_array().unwrap().len(), 1);
    let answer = graph.lab.client_credentials(AGENT, "triage: s/cret+%", "api://portcullis/.default").await;
    answer.oauth_error(400, "unauthorized_client", 700_016);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let graph = Graph::as_reader().await;
    let one = graph.get(&format!("servicePrincipals?$filter=appId eq '{AGENT}'&$select=id")).await.ok();
    assert_eq!(one["value"], json!([{ "id": AGENT_OID }]));
    let (mut url, mut names) = ("groups?$top=2&$select=displayName".to_owned(), Vec::new());
    loop {
        let page = graph.get(&url).await.ok();
        names.extend(page["value"].as_array().unwrap().clone());
        match page["@odata.nextLink"].as_str() {
            Some(next) => url = next.split_once("/v1.0/").unwrap().1.to_owned(),
            None => break,
        }
    }
    let names: Vec<&str> = names.iter().map(|group| group["displayName"].as_str().unwrap()).collect();
    assert_eq!(names, ["inner", "outer", "lonely"]);
}

#[tokio::test]
async fn member_groups_are_transitive() {
    let graph = Graph::as_reader().await;
    let asked = json!({ "securityEnabledOnly": false });
    for object in
        [format!("servicePrincipals/{AGENT_OID}"), format!("users/{SAM_OID}"), "users/sam".to_owned()]
    {
        let groups = graph.post(&format!("{object}/getMemberGroups"), asked.clone()).await.ok();
        assert_eq!(groups["value"], json!([INNER, OUTER]), "{object}");
    }
    let cast = format!("servicePrincipals/{AGENT_OID}/transitiveMemberOf/microsoft.graph.group?$select=id");
    assert_eq!(graph.get(&cast).await.ok()["value"], json!([{ "id": INNER }, { "id": OUTER }]));
    let direct = format!("servicePrincipals/{AGENT_OID}/memberOf/microsoft.graph.group?$select=id");
    assert_eq!(graph.get(&direct).await.ok()["value"], json!([{ "id": INNER }]));
    let only = json!({ "securityEnabledOnly": true });
    let agent = format!("servicePrincipals/{AGENT_OID}/getMemberGroups");
    graph.post(&agent, only.clone()).await.graph_error(400, "Request_BadRequest");
    graph.post("users/sam/getMemberGroups", only).await.ok();
    graph.post(&agent, json!({})).await.graph_error(400, "Request_BadRequest");
}

#[tokio::test]
async fn check_member_groups_answers_the_subset_of_at_most_20() {
    let graph = Graph::as_reader().await;
    let path = format!("servicePrincipals/{AGENT_OID}/checkMemberGroups");
    let subset = graph.post(&path, json!({ "groupIds": [LONELY, OUTER, MISSING] })).await.ok();
    assert_eq!(subset["value"], json!([OUTER]));
    let twenty_one = vec![OUTER; 21];
    graph.post(&path, json!({ "groupIds": twenty_one })).await.graph_error(400, "Request_BadRequest");
    graph.post(&path, json!({ "groupIds": ["x"] })).await.graph_error(400, "Request_BadRequest");
}

#[tokio::test]
async fn members_are_added_and_removed_by_reference() {
    let graph = Graph::as_admin().await;
    let add = format!("groups/{LONELY}/members/$ref");
    let reference = json!({ "@odata.id": graph.lab.url(&format!("/v1.0/directoryObjects/{AGENT_OID}")) });
    assert_eq!(graph.post(&add, reference.clone()).await.status.as_u16(), 204);
    graph.post(&add, reference).await.graph_error(400, "Request_BadRequest");
    let unknown =
        json!({ "@odata.id": format!("https://graph.microsoft.com/v1.0/directoryObjects/{MISSING}") });
    graph.post(&add, unknown).await.graph_error(404, "Request_ResourceNotFound");
    let members = graph.get(&format!("groups/{LONELY}/members?$select=id")).await.ok();
    assert_eq!(members["value"], json!([{ "id": AGENT_OID }]));
    let remove = format!("groups/{LONELY}/members/{AGENT_OID}/$ref");
    assert_eq!(graph.call(Method::DELETE, &remove, Value::Null).await.status.as_u16(), 204);
    graph.call(Method::DELETE, &remove, Value::Null).await.graph_error(404, "Request_ResourceNotFound");
}

#[tokio::test]
async fn a_batch_answers_each_of_up_to_20_requests() {
    let graph = Graph::as_reader().await;
    let requests = json!({ "requests": [
        { "id": "1", "method": "GET", "url": format!("/servicePrincipals/{AGENT_OID}?$select=accountEnabled") },
        { "id": "2", "method": "GET", "url": format!("/servicePrincipals/{MISSING}") },
        { "id": "3", "method": "POST", "url": format!("/servicePrincipals/{AGENT_OID}/getMemberGroups"),
          "headers": { "content-type": "application/json" }, "body": { "securityEnabledOnly": false } },
        { "id": "4", "method": "PATCH", "url": format!("/servicePrincipals/{AGENT_OID}"),
          "body": { "accountEnabled": false } },
        { "id": "5", "method": "GET", "url": format!("/servicePrincipals?$filter=id eq '{AGENT_OID}'&$select=id") },
        { "id": "6", "method": "POST", "url": "/$batch", "body": { "requests": [] } },
    ] });
    let answer = graph.post("$batch", requests).await.ok();
    let responses = answer["responses"].as_array().unwrap();
    let statuses: Vec<u64> = responses.iter().map(|response| response["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 404, 200, 403, 200, 400], "{answer}");
    assert_eq!(responses[0]["body"]["accountEnabled"], true);
    assert_eq!(responses[1]["body"]["error"]["code"], "Request_ResourceNotFound");
    assert_eq!(responses[2]["body"]["value"], json!([INNER, OUTER]));
    assert_eq!(graph.lab.idp.requests().graph, 1);
    let many: Vec<Value> =
        (0..21).map(|id| json!({ "id": id.to_string(), "method": "GET", "url": "/groups" })).collect();
    graph.post("$batch", json!({ "requests": many })).await.graph_error(400, "Request_BadRequest");
    let twice = json!({ "id": "1", "method": "GET", "url": "/groups" });
    graph.post("$batch", json!({ "requests": [twice, twice] })).await.graph_error(400, "Request_BadRequest");
}

#[tokio::test]
async fn throttling_and_failing_are_told_as_graph_tells_them() {
    let graph = Graph::as_reader().await;
    graph.lab.idp.fail_next(2);
    for _ in 0..2 {
        let answer = graph.get("groups").await;
        answer.graph_error(429, "TooManyRequests");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    graph.get("groups").await.ok();
    graph.lab.idp.set_graph_failing(true);
    graph.get("groups").await.graph_error(503, "serviceNotAvailable");
    graph.lab.idp.set_graph_failing(false);
    graph.get("groups").await.ok();
    graph.lab.idp.fail_next(1);
    let one = json!({ "requests": [{ "id": "1", "method": "GET", "url": "/groups" }] });
    let answer = graph.post("$batch", one).await.ok();
    assert_eq!(answer["responses"][0]["status"], 429);
    assert_eq!(answer["responses"][0]["headers"]["retry-after"], "1");
}

#[tokio::test]
async fn operations_are_counted_by_shape() {
    let graph = Graph::as_reader().await;
    graph.get(&format!("servicePrincipals/{AGENT_OID}")).await.ok();
    graph.get(&format!("servicePrincipals(appId='{AGENT}')")).await.ok();
    graph.post("users/sam/getMemberGroups", json!({ "securityEnabledOnly": false })).await.ok();
    let counts = graph.lab.idp.requests().graph_operations;
    assert_eq!(counts["GET servicePrincipals/{id}"], 2, "{counts:?}");
    assert_eq!(counts["POST users/{id}/getMemberGroups"], 1, "{counts:?}");
}
