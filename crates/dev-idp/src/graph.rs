//! Microsoft Graph v1.0, as far as liveness and groups of an identity need it.
//!
//! One function, [`Session::answer`], answers an operation, whether it came as a request of its own or inside a
//! `$batch`. Objects are in `objects`, memberships in `members`, delta queries in `delta`, batches in `batch`.

mod batch;
mod delta;
mod members;
mod objects;

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Query, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    claims::{self, GRAPH},
    directory::{GRAPH_APP_ID, TokenVersion},
    idp::DevIdp,
};

/// More query options than any operation has.
const MAX_OPTIONS: usize = 16;
/// Shapes of operations counted at most: unknown paths have shapes too.
const MAX_SHAPES: usize = 256;
/// Objects on a page unless the client asks for fewer.
const PAGE: usize = 100;
/// Objects on a page at most.
const MAX_PAGE: usize = 999;

pub(crate) async fn serve(
    State(idp): State<Arc<DevIdp>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    idp.count().graph += 1;
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return rejection.into_response(),
    };
    answer(&idp, method, &uri, &headers, &body).unwrap_or_else(|fault| fault).respond()
}

fn answer(idp: &DevIdp, method: Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Reply, Reply> {
    if idp.faults.graph_failing() {
        return Err(Reply::fault(StatusCode::SERVICE_UNAVAILABLE, "serviceNotAvailable", "Told to fail."));
    }
    let session = Session { idp, access: access(idp, headers)? };
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(body).map_err(|_| Reply::bad_request("The request body is not JSON."))?
    };
    let page = headers.get("prefer").and_then(|prefer| prefer.to_str().ok()).and_then(max_page_size);
    let call = Call { page, ..Call::parse(method, uri, body)? };
    match call.path().as_slice() {
        ["$batch"] => session.batch(&call),
        _ => session.answer(&call),
    }
}

/// What the bearer of a token may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// The token's permissions. Entra's fine ones are taken coarsely: `*.Read.All` reads, `*.ReadWrite.All` also writes.
fn access(idp: &DevIdp, headers: &HeaderMap) -> Result<Access, Reply> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = token.ok_or_else(|| Reply::unauthenticated("Access token is empty."))?;
    let now = idp.clock().now();
    let claims = idp.keys().verify(token.trim(), now);
    let claims = claims.ok_or_else(|| Reply::unauthenticated("Access token validation failure."))?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let authority = idp.authority().map_err(|_| Reply::unauthenticated("No issuer."))?;
    let issuer = claims::issuer(authority, &idp.tenant().to_string(), TokenVersion::V1);
    let audience = text("aud").trim_end_matches('/');
    if audience != GRAPH && audience.parse() != Ok(GRAPH_APP_ID) {
        return Err(Reply::unauthenticated("Access token validation failure. Invalid audience."));
    }
    if text("iss") != issuer || text("tid").parse() != Ok(idp.tenant()) {
        return Err(Reply::unauthenticated("Access token validation failure. Invalid issuer."));
    }
    let roles: Vec<&str> = claims
        .get("roles")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if roles.iter().any(|role| role.ends_with(".ReadWrite.All")) {
        Ok(Access::Write)
    } else if roles.iter().any(|role| role.ends_with(".Read.All")) {
        Ok(Access::Read)
    } else {
        Err(Reply::forbidden())
    }
}

fn max_page_size(prefer: &str) -> Option<usize> {
    prefer.split(',').find_map(|part| part.trim().strip_prefix("odata.maxpagesize=")?.parse().ok())
}

/// One Graph operation.
struct Call {
    method: Method,
    segments: Vec<String>,
    query: Vec<(String, String)>,
    body: Value,
    page: Option<usize>,
}

impl Call {
    /// From a method and an address with or without the version in front.
    fn parse(method: Method, uri: &Uri, body: Value) -> Result<Self, Reply> {
        let path = uri.path().strip_prefix("/v1.0").unwrap_or(uri.path());
        let decode =
            |segment: &str| percent_decode_str(segment).decode_utf8().ok().map(|text| text.into_owned());
        let segments: Option<Vec<String>> =
            path.split('/').filter(|segment| !segment.is_empty()).map(decode).collect();
        let query = Query::<Vec<(String, String)>>::try_from_uri(uri).ok().map(|Query(query)| query);
        match (segments, query) {
            (Some(segments), Some(query)) if query.len() <= MAX_OPTIONS => {
                Ok(Self { method, segments, query, body, page: None })
            }
            _ => Err(Reply::bad_request("The request's address is malformed.")),
        }
    }

    fn path(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// A query option; the `$` may be left out.
    fn option(&self, name: &str) -> Option<&str> {
        let matches = |given: &str| given.strip_prefix('$').unwrap_or(given).eq_ignore_ascii_case(name);
        self.query.iter().find(|(given, _)| matches(given)).map(|(_, value)| value.as_str())
    }

    /// Refuses options that would be ignored.
    fn allow_options(&self, allowed: &[&str]) -> Result<(), Reply> {
        for (given, _) in &self.query {
            let name = given.strip_prefix('$').unwrap_or(given);
            if !allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)) {
                let message = format!("Query option '{given}' is not supported here.");
                return Err(Reply::fault(StatusCode::BAD_REQUEST, "Request_UnsupportedQuery", &message));
            }
        }
        Ok(())
    }

    /// The properties asked for; empty means all.
    fn select(&self) -> Vec<String> {
        let list = self.option("select").unwrap_or_default();
        list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// How many objects go on a page.
    fn page_size(&self) -> Result<usize, Reply> {
        let top = match self.option("top") {
            Some(text) => Some(text.parse().map_err(|_| Reply::bad_request("Invalid value for $top."))?),
            None => self.page,
        };
        match top {
            None => Ok(PAGE),
            Some(size @ 1..=MAX_PAGE) => Ok(size),
            Some(_) => Err(Reply::bad_request("The page size must be between 1 and 999.")),
        }
    }

    fn page_token(&self) -> Result<Option<Uuid>, Reply> {
        let token = self.option("skiptoken").map(str::parse);
        token.transpose().map_err(|_| Reply::bad_request("Invalid $skiptoken."))
    }
}

/// A caller with a good token.
struct Session<'a> {
    idp: &'a DevIdp,
    access: Access,
}

impl Session<'_> {
    /// Answers one operation; an error is an answer too.
    fn answer(&self, call: &Call) -> Result<Reply, Reply> {
        if self.idp.faults.take_throttle() {
            return Err(Reply::throttled());
        }
        let (collection, rest) = objects::Collection::parse(&call.path())?;
        self.count(call, collection.name(), &rest);
        if self.access == Access::Read && is_write(call, &rest) {
            return Err(Reply::forbidden());
        }
        match (&call.method, rest.as_slice()) {
            (&Method::GET, []) => self.list(call, collection),
            (&Method::GET, ["delta"]) => self.delta(call, collection),
            (&Method::GET, [key]) => self.object(call, collection, key),
            (&Method::PATCH, [key]) => self.update(call, collection, key),
            (&Method::DELETE, [key]) => self.remove(collection, key),
            (&Method::POST, [key, action]) if *action == "getMemberGroups" => {
                self.member_groups(call, collection, key)
            }
            (&Method::POST, [key, action]) if *action == "checkMemberGroups" => {
                self.check_member_groups(call, collection, key)
            }
            (&Method::GET, [key, "transitiveMemberOf" | "memberOf", "microsoft.graph.group"]) => {
                self.member_of(call, collection, key)
            }
            (&Method::GET, [key, "transitiveMemberOf"]) => self.member_of(call, collection, key),
            (&Method::GET, [group, "members"]) => self.members(call, collection, group),
            (&Method::POST, [group, "members", "$ref"]) => self.add_member(call, collection, group),
            (&Method::DELETE, [group, "members", member, "$ref"]) => {
                self.remove_member(collection, group, member)
            }
            _ => Err(Reply::unknown_segment()),
        }
    }

    /// Counts the operation by its shape, with `{id}` for keys.
    fn count(&self, call: &Call, collection: &str, rest: &[&str]) {
        let mut shape = format!("{} {collection}", call.method);
        for (index, segment) in rest.iter().enumerate() {
            let key = (index == 0 && *segment != "delta") || segment.parse::<Uuid>().is_ok();
            shape.push('/');
            shape.push_str(if key { "{id}" } else { segment });
        }
        let mut count = self.idp.count();
        if count.graph_operations.len() < MAX_SHAPES || count.graph_operations.contains_key(&shape) {
            *count.graph_operations.entry(shape).or_default() += 1;
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1.0/{path}", self.idp.authority().unwrap_or_default())
    }
}

/// Whether an operation changes the directory; the actions that only ask are POSTs too.
fn is_write(call: &Call, rest: &[&str]) -> bool {
    let asks = matches!(rest, [_, "getMemberGroups" | "checkMemberGroups"]);
    call.method != Method::GET && !asks
}

/// An answer of Graph.
struct Reply {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl Reply {
    const fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), body: Some(body) }
    }

    const fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, headers: Vec::new(), body: None }
    }

    /// An error in Graph's shape.
    fn fault(status: StatusCode, code: &str, message: &str) -> Self {
        let id = Uuid::new_v4();
        let inner = json!({ "request-id": id, "client-request-id": id });
        let body = json!({ "error": { "code": code, "message": message, "innerError": inner } });
        Self { status, headers: Vec::new(), body: Some(body) }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn bad_request(message: &str) -> Self {
        Self::fault(StatusCode::BAD_REQUEST, "Request_BadRequest", message)
    }

    fn unknown_segment() -> Self {
        Self::fault(
            StatusCode::BAD_REQUEST,
            "BadRequest",
            "Resource not found for the segment, or not emulated.",
        )
    }

    fn not_found(key: &str) -> Self {
        let message = format!(
            "Resource '{key}' does not exist or one of its queried reference-property objects are not present."
        );
        Self::fault(StatusCode::NOT_FOUND, "Request_ResourceNotFound", &message)
    }

    fn unauthenticated(message: &str) -> Self {
        Self::fault(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken", message)
            .with("www-authenticate", "Bearer realm=\"\", error=\"invalid_token\"")
    }

    fn forbidden() -> Self {
        let message = "Insufficient privileges to complete the operation: the application needs a permission in \
                       `graph_permissions`, such as Directory.Read.All or Directory.ReadWrite.All.";
        Self::fault(StatusCode::FORBIDDEN, "Authorization_RequestDenied", message)
    }

    fn throttled() -> Self {
        Self::fault(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "Too many requests.")
            .with("retry-after", "1")
    }

    fn respond(self) -> Response {
        let mut response = match self.body {
            Some(body) => (self.status, Json(body)).into_response(),
            None => self.status.into_response(),
        };
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// The chosen properties of an object. A name that is no property is an error, as in Graph.
fn project(object: Map<String, Value>, select: &[String]) -> Result<Map<String, Value>, Reply> {
    if select.is_empty() {
        return Ok(object);
    }
    let mut chosen = Map::new();
    for name in select {
        match object.get(name) {
            Some(value) => drop(chosen.insert(name.clone(), value.clone())),
            None => return Err(Reply::bad_request(&format!("Could not find a property named '{name}'."))),
        }
    }
    Ok(chosen)
}
