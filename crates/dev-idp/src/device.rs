//! The device flow (RFC 8628): a code for a person to confirm on a page, while the device asks whether it was.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use aws_lc_rs::rand;
use axum::{
    Json,
    extract::{Form, Path, Query, State, rejection::FormRejection, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use portcullis_core::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::{
    authorize::{self, Asked, error_page, escape, html},
    claims,
    idp::DevIdp,
    oauth_error::OAuthError,
    refresh::Granted,
    token_endpoint::Parameters,
};

/// How long a code waits to be confirmed, as in Entra.
const LIFETIME: Duration = Duration::from_secs(900);
/// Least time between two questions, and what each question that comes sooner adds to it (RFC 8628 section 3.5).
const INTERVAL: Duration = Duration::from_secs(5);
/// Codes waiting at most; the oldest gives way.
const MAX_CODES: usize = 1_000;
/// Letters and digits of user codes that nobody mixes up (RFC 8628 section 6.1), 32 of them.
const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const USER_CODE: usize = 8;

/// One device that waits.
struct Waiting {
    user_code: String,
    /// Without the person, which is nil until one confirms.
    asked: Granted,
    answer: Answer,
    expires: Timestamp,
    interval: Duration,
    polled: Option<Timestamp>,
}

enum Answer {
    None,
    Yes,
    No,
}

/// Devices that wait, by their device code.
#[derive(Default)]
pub(crate) struct Devices(BTreeMap<String, Waiting>);

/// What a device is told that has no tokens yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotYet {
    Pending,
    SlowDown,
    Denied,
    Expired,
    Unknown,
}

impl Devices {
    fn begin(&mut self, asked: Granted, now: Timestamp) -> (String, String) {
        if self.0.len() >= MAX_CODES {
            let oldest =
                self.0.iter().min_by_key(|(_, waiting)| waiting.expires).map(|(code, _)| code.clone());
            oldest.and_then(|code| self.0.remove(&code));
        }
        let device_code = format!("{}{}", claims::random(), claims::random());
        let mut user_code = user_code();
        while self.0.values().any(|waiting| waiting.user_code == user_code) {
            user_code = self::user_code();
        }
        let waiting = Waiting {
            user_code: user_code.clone(),
            asked,
            answer: Answer::None,
            expires: now.plus(LIFETIME),
            interval: INTERVAL,
            polled: None,
        };
        self.0.insert(device_code.clone(), waiting);
        (device_code, user_code)
    }

    /// What a device's question is answered with. A code that was answered for good is forgotten, so it works once.
    pub(crate) fn poll(&mut self, code: &str, client: Uuid, now: Timestamp) -> Result<Granted, NotYet> {
        let waiting = self.0.get_mut(code).filter(|waiting| waiting.asked.client == client);
        let waiting = waiting.ok_or(NotYet::Unknown)?;
        let told = match waiting.answer {
            _ if now >= waiting.expires => NotYet::Expired,
            Answer::No => NotYet::Denied,
            Answer::Yes => return self.0.remove(code).map(|waiting| waiting.asked).ok_or(NotYet::Unknown),
            Answer::None => {
                let last = waiting.polled.replace(now);
                if last.is_some_and(|last| now.since(last) < waiting.interval) {
                    waiting.interval += INTERVAL;
                    return Err(NotYet::SlowDown);
                }
                return Err(NotYet::Pending);
            }
        };
        self.0.remove(code);
        Err(told)
    }

    fn find(&mut self, user_code: &str, now: Timestamp) -> Option<&mut Waiting> {
        let typed: String = user_code.chars().filter(char::is_ascii_alphanumeric).collect();
        let same = |waiting: &&mut Waiting| {
            waiting.user_code.eq_ignore_ascii_case(&typed)
                && now < waiting.expires
                && matches!(waiting.answer, Answer::None)
        };
        self.0.values_mut().find(same)
    }
}

/// `POST /{tenant}/oauth2/v2.0/devicecode`
pub(crate) async fn begin(
    State(idp): State<Arc<DevIdp>>,
    Path(tenant): Path<String>,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    idp.count().device += 1;
    if idp.faults.issuer_failing() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let begun = match form {
        Ok(Form(form)) => Parameters::new(form).and_then(|parameters| Begun::new(&idp, &tenant, &parameters)),
        Err(rejection) => return rejection.into_response(),
    };
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    match begun {
        Err(error) => (no_store, error.respond(&idp)).into_response(),
        Ok(Begun { device_code, user_code, page }) => {
            let message = format!(
                "To sign in, use a web browser to open the page {page} and enter the code {user_code} to authenticate."
            );
            let body = json!({
                "device_code": device_code,
                "user_code": user_code,
                "verification_uri": page,
                "expires_in": LIFETIME.as_secs(),
                "interval": INTERVAL.as_secs(),
                "message": message,
            });
            (no_store, Json(body)).into_response()
        }
    }
}

struct Begun {
    device_code: String,
    user_code: String,
    page: String,
}

impl Begun {
    fn new(idp: &DevIdp, tenant: &str, parameters: &Parameters) -> Result<Self, OAuthError> {
        if tenant.parse() != Ok(idp.tenant()) {
            return Err(OAuthError::unknown_tenant(tenant));
        }
        let id = parameters.require("client_id")?;
        let app = id.parse::<Uuid>().ok().and_then(|id| idp.world().application(id).cloned());
        let app = app.ok_or_else(|| OAuthError::unknown_application(id))?;
        // RFC 8628 is for clients that cannot keep a secret; Entra asks for "allow public client flows".
        if !app.public_client {
            return Err(OAuthError::not_public());
        }
        if !app.enabled {
            return Err(OAuthError::application_disabled(&app));
        }
        let asked = Asked::scopes(idp, parameters.require("scope")?)?.by(app.client_id, Uuid::nil());
        let authority = idp.authority().map_err(|_| OAuthError::internal())?;
        let page = format!("{authority}/{}/oauth2/deviceauth", idp.tenant());
        let now = idp.clock().now();
        let (device_code, user_code) = idp.world().devices.begin(asked, now);
        Ok(Self { device_code, user_code, page })
    }
}

/// `GET /{tenant}/oauth2/deviceauth`: asks for the code, then for the person.
pub(crate) async fn page(
    State(idp): State<Arc<DevIdp>>,
    Path(tenant): Path<String>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    idp.count().device += 1;
    let parameters = match query {
        Ok(Query(query)) => Parameters::new(query),
        Err(rejection) => return rejection.into_response(),
    };
    let parameters = match parameters {
        Ok(_) if tenant.parse() != Ok(idp.tenant()) => {
            return error_page(&OAuthError::unknown_tenant(&tenant));
        }
        Ok(parameters) => parameters,
        Err(error) => return error_page(&error),
    };
    let Some(code) = parameters.find("user_code") else {
        let body = "<h1>Enter code</h1><form method=\"get\"><input name=\"user_code\" autocomplete=\"off\" \
                    aria-label=\"Code\" required><button>Next</button></form>";
        return html(StatusCode::OK, body);
    };
    match client_of(&idp, code) {
        Err(error) => error_page(&error),
        Ok(client) => {
            let hidden = format!("<input type=\"hidden\" name=\"user_code\" value=\"{}\">", escape(code));
            let mut body = format!("<h1>Sign in to {} on another device</h1>", escape(&client));
            body.push_str(&authorize::people(&idp, &hidden));
            let _ = write!(
                body,
                "<form method=\"post\">{hidden}<input type=\"hidden\" name=\"answer\" value=\"deny\">\
                 <button>Cancel</button></form>"
            );
            html(StatusCode::OK, &body)
        }
    }
}

/// `POST /{tenant}/oauth2/deviceauth`: `user_code` with `user` (and `password`), or with `answer=deny`.
pub(crate) async fn answer(
    State(idp): State<Arc<DevIdp>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    idp.count().device += 1;
    if authorize::is_cross_site(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let parameters = match form {
        Ok(Form(form)) => Parameters::new(form),
        Err(rejection) => return rejection.into_response(),
    };
    let answered = parameters.and_then(|parameters| {
        if tenant.parse() != Ok(idp.tenant()) {
            return Err(OAuthError::unknown_tenant(&tenant));
        }
        let code = parameters.require("user_code")?.to_owned();
        client_of(&idp, &code)?;
        let user = match parameters.find("answer") {
            Some("deny") => None,
            Some(_) => {
                return Err(OAuthError::invalid_request(
                    90023,
                    "The parameter 'answer' is 'deny' or absent.",
                ));
            }
            None => Some(authorize::user(&idp, &parameters)?),
        };
        let now = idp.clock().now();
        let mut world = idp.world();
        let waiting = world.devices.find(&code, now).ok_or_else(unknown_code)?;
        match user {
            Some(user) => {
                waiting.asked.user = user;
                waiting.answer = Answer::Yes;
            }
            None => waiting.answer = Answer::No,
        }
        Ok(user.is_some())
    });
    match answered {
        Err(error) => error_page(&error),
        Ok(true) => html(StatusCode::OK, "<h1>You are signed in</h1><p>You may close this page.</p>"),
        Ok(false) => html(StatusCode::OK, "<h1>Cancelled</h1><p>The device is not signed in.</p>"),
    }
}

/// The display name of the client that a user code is for.
fn client_of(idp: &DevIdp, user_code: &str) -> Result<String, OAuthError> {
    let now = idp.clock().now();
    let mut world = idp.world();
    let client =
        world.devices.find(user_code, now).map(|waiting| waiting.asked.client).ok_or_else(unknown_code)?;
    let name = world.application(client).map(|app| app.display_name.clone());
    name.ok_or_else(|| OAuthError::unknown_application(&client.to_string()))
}

fn unknown_code() -> OAuthError {
    OAuthError::invalid_request(70_019, "The code that was entered is unknown or has expired.")
}

/// Forty random bits.
fn user_code() -> String {
    let mut bytes = [0; USER_CODE];
    if rand::fill(&mut bytes).is_err() {
        bytes.iter_mut().zip(Uuid::new_v4().as_bytes()).for_each(|(to, from)| *to = *from);
    }
    bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 32))).copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(client: u128) -> Granted {
        Granted {
            client: Uuid::from_u128(client),
            user: Uuid::nil(),
            resource: "api://portcullis".to_owned(),
            scope: String::new(),
            granted: "api://portcullis/.default".to_owned(),
            openid: false,
            offline: false,
        }
    }

    #[test]
    fn codes_waiting_are_bounded_and_belong_to_their_client() {
        let mut devices = Devices::default();
        let now = Timestamp::from_seconds(1_790_000_000);
        let (first, typed) = devices.begin(asked(1), now);
        assert_eq!(typed.len(), USER_CODE);
        assert_eq!(devices.poll(&first, Uuid::from_u128(2), now), Err(NotYet::Unknown));
        assert_eq!(devices.poll(&first, Uuid::from_u128(1), now), Err(NotYet::Pending));
        for second in 1..=MAX_CODES as u64 {
            devices.begin(asked(1), now.plus(Duration::from_secs(second)));
        }
        assert_eq!(devices.0.len(), MAX_CODES);
        assert_eq!(devices.poll(&first, Uuid::from_u128(1), now), Err(NotYet::Unknown));
        assert!(devices.find(&typed, now).is_none());
    }
}
