//! The API's description, OpenAPI 3.1, made from the table of routes and the types on the wire.
//!
//! OpenAPI 3.1 schemas are JSON Schema 2020-12, which `schemars` writes; the documents' own schema is made with it too. So there is no
//! second set of derives over the core's types, and no macro that could say other than what is mounted.

use std::sync::OnceLock;

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use portcullis_client::ProblemBody;
use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::{Contract, SchemaSettings},
};
use serde_json::{Map, Value, json};

use crate::{
    caller::May,
    routes::{Route, table},
};

type Shape = fn(&mut SchemaGenerator) -> Schema;

/// What a route takes and answers, for the description.
pub(crate) struct Doc {
    tag: &'static str,
    summary: &'static str,
    query: Option<Shape>,
    body: Option<Shape>,
    answers: Vec<(u16, &'static str, Option<Shape>)>,
}

/// A description with its group and one sentence.
pub(crate) const fn doc(tag: &'static str, summary: &'static str) -> Doc {
    Doc { tag, summary, query: None, body: None, answers: Vec::new() }
}

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The shape itself, not a reference to it: its keys become parameters.
fn whole<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

impl Doc {
    pub(crate) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(whole::<T>);
        self
    }

    pub(crate) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(shape::<T>);
        self
    }

    pub(crate) fn answers<T: JsonSchema>(mut self, status: u16) -> Self {
        self.answers.push((status, "application/json", Some(shape::<T>)));
        self
    }

    pub(crate) fn empty(mut self, status: u16) -> Self {
        self.answers.push((status, "", None));
        self
    }

    pub(crate) fn redirects(self) -> Self {
        self.empty(303)
    }

    pub(crate) fn lines(mut self) -> Self {
        self.answers.push((200, "application/x-ndjson", None));
        self
    }

    pub(crate) fn stream(mut self) -> Self {
        self.answers.push((200, "text/event-stream", None));
        self
    }
}

/// The keys a query has, for people who mistyped one.
pub(crate) fn keys<T: JsonSchema>() -> Vec<String> {
    let schema = whole::<T>(&mut generator(Contract::Deserialize));
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.map(|properties| properties.keys().cloned().collect()).unwrap_or_default()
}

/// Of what is sent (`Contract::Deserialize`: what has a default may be left out) or of what is answered (it is always there).
fn generator(contract: Contract) -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        "/components/schemas".clone_into(settings.definitions_path.to_mut());
        settings.meta_schema = None;
        settings.contract = contract;
    });
    settings.into_generator()
}

/// The description.
pub fn document() -> Value {
    let mut taken = generator(Contract::Deserialize);
    let mut told = generator(Contract::Serialize);
    let problem = shape::<ProblemBody>(&mut told);
    let mut paths: Map<String, Value> = Map::new();
    for route in table() {
        let operation = operation(&route, &mut taken, &mut told, &problem);
        let path = paths.entry(format!("/api/v1{}", route.path)).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.as_str().to_ascii_lowercase(), operation);
        }
    }
    let mut schemas = told.take_definitions(true);
    // What is sent and answered alike has one shape, or a name of its own: `description.rs` of the tests sees to it.
    schemas.extend(taken.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Portcullis",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Access for agents and people: ask, answer, see, end. Fields are added, never renamed; who reads ignores what it does not know.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "An access token of a configured identity provider, or the admin token" },
                "session": { "type": "apiKey", "in": "cookie", "name": crate::cookie::SESSION, "description": "A person's session in the console. Writes need `X-Portcullis-CSRF` (see `GET /api/v1/me`) and a same-origin `Origin`" },
            },
        },
    })
}

fn operation(
    route: &Route,
    taken: &mut SchemaGenerator,
    told: &mut SchemaGenerator,
    problem: &Schema,
) -> Value {
    let mut parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    if let Some(query) = route.doc.query {
        let schema = query(taken);
        let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, mut schema) in properties {
            let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            let description = description.unwrap_or_default();
            parameters.push(
                json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema }),
            );
        }
    }
    if route.path == "/events" {
        parameters.push(json!({
            "name": "Last-Event-ID", "in": "header", "required": false, "schema": { "type": "string" },
            "description": "Resumes after this event; `reset` says that it cannot",
        }));
    }
    let mut responses = Map::new();
    for (status, media, shape) in &route.doc.answers {
        let content = match (media.is_empty(), shape) {
            (true, _) => json!({}),
            (false, Some(shape)) => json!({ *media: { "schema": shape(told) } }),
            (false, None) => json!({ *media: { "schema": { "type": "string" } } }),
        };
        let mut response = json!({ "description": said(*status) });
        if !media.is_empty()
            && let Some(response) = response.as_object_mut()
        {
            response.insert("content".to_owned(), content);
        }
        responses.insert(status.to_string(), response);
    }
    let problem = json!({
        "description": "A problem (RFC 9457)",
        "content": { "application/problem+json": { "schema": problem } },
    });
    responses.insert("default".to_owned(), problem);
    let mut operation = json!({
        "operationId": id(route),
        "tags": [route.doc.tag],
        "summary": route.doc.summary,
        "description": format!("For {}.", route.may.wants()),
        "responses": responses,
        "security": match route.may {
            May::Anyone => json!([]),
            May::AnyoneSeen => json!([{}, { "token": [] }, { "session": [] }]),
            _ => json!([{ "token": [] }, { "session": [] }]),
        },
    });
    if let Some(operation) = operation.as_object_mut() {
        if !parameters.is_empty() {
            operation.insert("parameters".to_owned(), parameters.into());
        }
        if let Some(body) = route.doc.body {
            let body =
                json!({ "required": true, "content": { "application/json": { "schema": body(taken) } } });
            operation.insert("requestBody".to_owned(), body);
        }
    }
    operation
}

/// `GET /requests/{id}` is `getRequestsId`.
fn id(route: &Route) -> String {
    let mut id = route.method.as_str().to_ascii_lowercase();
    for word in route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let mut letters = word.chars();
        id.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        id.push_str(letters.as_str());
    }
    id
}

const fn said(status: u16) -> &'static str {
    match status {
        201 => "Opened",
        202 => "Waits for people",
        204 => "Done",
        303 => "Goes on there",
        _ => "The answer",
    }
}

/// `GET /api/v1/openapi.json`.
pub(crate) async fn serve() -> Response {
    static DOCUMENT: OnceLock<Vec<u8>> = OnceLock::new();
    let body = DOCUMENT.get_or_init(|| serde_json::to_vec(&document()).unwrap_or_default());
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body.as_slice()).into_response()
}
