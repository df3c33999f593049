//! `$batch`: up to 20 operations in one request, each with an answer of its own.

use std::collections::BTreeSet;

use axum::http::{Method, Uri};
use serde_json::{Map, Value, json};

use super::{Call, Reply, Session};

/// Operations in a batch.
const MAX_BATCH: usize = 20;

impl Session<'_> {
    pub(super) fn batch(&self, call: &Call) -> Result<Reply, Reply> {
        if call.method != Method::POST {
            return Err(Reply::unknown_segment());
        }
        let requests = call.body.get("requests").and_then(Value::as_array);
        let requests =
            requests.ok_or_else(|| Reply::bad_request("The collection 'requests' is required."))?;
        if requests.is_empty() || requests.len() > MAX_BATCH {
            return Err(Reply::bad_request("A batch holds between 1 and 20 requests."));
        }
        let (mut seen, mut responses) = (BTreeSet::new(), Vec::new());
        for request in requests {
            let id =
                request.get("id").and_then(Value::as_str).filter(|id| !id.is_empty() && seen.insert(*id));
            let id =
                id.ok_or_else(|| Reply::bad_request("Every request of a batch needs an id of its own."))?;
            if request.get("dependsOn").is_some() {
                return Err(Reply::bad_request("'dependsOn' is not emulated."));
            }
            let reply = parse(request).and_then(|call| self.answer(&call)).unwrap_or_else(|fault| fault);
            let headers: Map<String, Value> =
                std::iter::once(("content-type", "application/json".to_owned()))
                    .chain(reply.headers)
                    .map(|(name, value)| (name.to_owned(), json!(value)))
                    .collect();
            let mut response = json!({ "id": id, "status": reply.status.as_u16(), "headers": headers });
            if let (Some(body), Some(response)) = (reply.body, response.as_object_mut()) {
                response.insert("body".to_owned(), body);
            }
            responses.push(response);
        }
        Ok(Reply::ok(json!({ "responses": responses })))
    }
}

/// One operation of a batch; its address is relative to the version.
fn parse(request: &Value) -> Result<Call, Reply> {
    let text = |name: &str| request.get(name).and_then(Value::as_str);
    let method =
        text("method").and_then(|method| Method::from_bytes(method.to_ascii_uppercase().as_bytes()).ok());
    let url = text("url").map(|url| format!("/{}", url.trim_start_matches('/').replace(' ', "%20")));
    let uri = url.and_then(|url| url.parse::<Uri>().ok());
    let (Some(method), Some(uri)) = (method, uri) else {
        return Err(Reply::bad_request("A request of a batch needs a method and a relative url."));
    };
    Call::parse(method, &uri, request.get("body").cloned().unwrap_or(Value::Null))
}
