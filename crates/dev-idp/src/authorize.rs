//! Sign-in: a plain page that lists the directory's people, and the code it sends back (RFC 6749, section 4.1, with
//! PKCE S256 required).
//!
//! Errors before the redirect address is known to be the client's are shown as a page and never redirected: an open
//! redirect would hand codes to strangers (RFC 6749, section 4.1.2.1).

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    extract::{Form, Path, Query, State, rejection::FormRejection, rejection::QueryRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_core::Timestamp;
use uuid::Uuid;

use crate::{
    claims::{self, GRAPH, Resource},
    directory::Application,
    idp::DevIdp,
    oauth_error::OAuthError,
    refresh::Granted,
    token_endpoint::Parameters,
};

/// How long a code waits to be redeemed.
const CODE_LIFETIME: Duration = Duration::from_secs(600);
/// Codes waiting at most; the oldest gives way.
const MAX_CODES: usize = 1_000;
/// The parameters a sign-in carries from the page to the form.
const CARRIED: [&str; 8] = [
    "client_id",
    "response_type",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
];

/// What a code stands for.
pub(crate) struct Code {
    pub(crate) redirect_uri: String,
    pub(crate) challenge: String,
    pub(crate) granted: Granted,
    pub(crate) nonce: Option<String>,
    expires: Timestamp,
}

/// Codes that wait to be redeemed, once each.
#[derive(Default)]
pub(crate) struct Codes(BTreeMap<String, Code>);

impl Codes {
    fn insert(&mut self, code: Code) -> String {
        if self.0.len() >= MAX_CODES {
            let oldest = self.0.iter().min_by_key(|(_, code)| code.expires).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.0.remove(&key));
        }
        let key = format!("{}{}", claims::random(), claims::random());
        self.0.insert(key.clone(), code);
        key
    }

    /// The code, if it has not expired; it is gone after that either way.
    pub(crate) fn take(&mut self, key: &str, now: Timestamp) -> Option<Code> {
        self.0.remove(key).filter(|code| now < code.expires)
    }
}

/// A sign-in request whose client and redirect address belong together.
struct SignIn {
    app: Application,
    redirect_uri: String,
    state: Option<String>,
}

/// What the client asks for, once it may be answered by redirect.
struct Challenged {
    asked: Asked,
    challenge: String,
}

/// What the scopes ask for.
pub(crate) struct Asked {
    resource: String,
    scope: String,
    granted: String,
    openid: bool,
    offline: bool,
}

pub(crate) async fn page(
    State(idp): State<Arc<DevIdp>>,
    Path(tenant): Path<String>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    idp.count().authorize += 1;
    let parameters = match query {
        Ok(Query(query)) => Parameters::new(query),
        Err(rejection) => return rejection.into_response(),
    };
    let checked = parameters.and_then(|parameters| {
        let sign_in = SignIn::check(&idp, &tenant, &parameters)?;
        Ok((sign_in, parameters))
    });
    match checked {
        Err(error) => error_page(&error),
        Ok((sign_in, parameters)) => match Challenged::check(&idp, &parameters) {
            Err(error) => sign_in.redirect_error(&error),
            Ok(_) => html(StatusCode::OK, &users_page(&idp, &sign_in, &parameters)),
        },
    }
}

pub(crate) async fn sign_in(
    State(idp): State<Arc<DevIdp>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    idp.count().authorize += 1;
    if is_cross_site(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let parameters = match form {
        Ok(Form(form)) => Parameters::new(form),
        Err(rejection) => return rejection.into_response(),
    };
    let checked = parameters.and_then(|parameters| {
        let sign_in = SignIn::check(&idp, &tenant, &parameters)?;
        Ok((sign_in, parameters))
    });
    let (sign_in, parameters) = match checked {
        Ok(checked) => checked,
        Err(error) => return error_page(&error),
    };
    let asked = match Challenged::check(&idp, &parameters) {
        Ok(asked) => asked,
        Err(error) => return sign_in.redirect_error(&error),
    };
    match user(&idp, &parameters) {
        Err(error) => error_page(&error),
        Ok(user) => sign_in.redirect_code(&idp, user, asked, parameters.find("nonce")),
    }
}

impl SignIn {
    fn check(idp: &DevIdp, tenant: &str, parameters: &Parameters) -> Result<Self, OAuthError> {
        if tenant.parse() != Ok(idp.tenant()) {
            return Err(OAuthError::unknown_tenant(tenant));
        }
        let id = parameters.require("client_id")?;
        let app = id.parse::<Uuid>().ok().and_then(|id| idp.world().application(id).cloned());
        let app = app.ok_or_else(|| OAuthError::unknown_application(id))?;
        let redirect_uri = parameters.require("redirect_uri")?;
        if !app.redirect_uris.iter().any(|registered| redirects_to(registered, redirect_uri)) {
            let message = format!(
                "The redirect URI '{redirect_uri}' specified in the request does not match the redirect URIs \
                 configured for the application '{id}'."
            );
            return Err(OAuthError::invalid_request(50011, message));
        }
        if !app.enabled {
            return Err(OAuthError::application_disabled(&app));
        }
        let state = parameters.find("state").map(str::to_owned);
        Ok(Self { app, redirect_uri: redirect_uri.to_owned(), state })
    }

    fn redirect_code(self, idp: &DevIdp, user: Uuid, asked: Challenged, nonce: Option<&str>) -> Response {
        let code = Code {
            redirect_uri: self.redirect_uri.clone(),
            challenge: asked.challenge,
            granted: asked.asked.by(self.app.client_id, user),
            nonce: nonce.map(str::to_owned),
            expires: idp.clock().now().plus(CODE_LIFETIME),
        };
        let code = idp.world().codes.insert(code);
        self.redirect(&[("code", &code)])
    }

    fn redirect_error(&self, error: &OAuthError) -> Response {
        let description = format!("AADSTS{}: {}", error.code, error.message);
        self.redirect(&[("error", error.error), ("error_description", &description)])
    }

    fn redirect(&self, answer: &[(&str, &str)]) -> Response {
        let mut target = self.redirect_uri.clone();
        let state = self.state.as_deref().map(|state| ("state", state));
        for (name, value) in answer.iter().copied().chain(state) {
            target.push(if target.contains('?') { '&' } else { '?' });
            let _ = write!(target, "{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        }
        match HeaderValue::try_from(target) {
            Ok(target) => (StatusCode::FOUND, [(header::LOCATION, target)]).into_response(),
            Err(_) => StatusCode::BAD_REQUEST.into_response(),
        }
    }
}

impl Challenged {
    fn check(idp: &DevIdp, parameters: &Parameters) -> Result<Self, OAuthError> {
        if parameters.require("response_type")? != "code" {
            return Err(OAuthError::invalid_request(700_054, "Only response_type 'code' is enabled."));
        }
        if parameters.find("response_mode").is_some_and(|mode| mode != "query") {
            return Err(OAuthError::invalid_request(90023, "Only response_mode 'query' is supported."));
        }
        let challenge = parameters.require("code_challenge")?;
        if parameters.find("code_challenge_method") != Some("S256") || challenge.len() != 43 {
            return Err(OAuthError::invalid_request(
                501_491,
                "A code_challenge with method S256 is required.",
            ));
        }
        let asked = Asked::scopes(idp, parameters.require("scope")?)?;
        Ok(Self { asked, challenge: challenge.to_owned() })
    }
}

impl Asked {
    /// Reads the scopes: of one resource, which is Graph where none is named.
    pub(crate) fn scopes(idp: &DevIdp, scope: &str) -> Result<Self, OAuthError> {
        let (mut resource, mut scopes, mut openid, mut offline) = (None, Vec::new(), false, false);
        for part in scope.split_ascii_whitespace() {
            match part {
                "openid" => openid = true,
                "offline_access" => offline = true,
                "profile" | "email" => {}
                _ => {
                    let (name, permission) = part.rsplit_once('/').unwrap_or((GRAPH, part));
                    if resource.replace(name).is_some_and(|other| other != name) {
                        let message = "Scopes of several resources cannot be asked for at once.";
                        return Err(OAuthError::invalid_request(28000, message));
                    }
                    scopes.push(if permission == ".default" { "user_impersonation" } else { permission });
                }
            }
        }
        let resource = resource.unwrap_or(GRAPH);
        if Resource::find(&idp.world(), resource).is_none() {
            return Err(OAuthError::unknown_resource(resource));
        }
        Ok(Self {
            resource: resource.to_owned(),
            scope: scopes.join(" "),
            granted: scope.to_owned(),
            openid,
            offline,
        })
    }

    /// As granted to a client by a person.
    pub(crate) fn by(self, client: Uuid, user: Uuid) -> Granted {
        let Self { resource, scope, granted, openid, offline } = self;
        Granted { client, user, resource, scope, granted, openid, offline }
    }
}

/// Whether a form was posted by a page of another site: a browser says so itself (Fetch Metadata), a program says nothing.
pub(crate) fn is_cross_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
}

/// The person a form names, with the password where there is one.
pub(crate) fn user(idp: &DevIdp, parameters: &Parameters) -> Result<Uuid, OAuthError> {
    let name = parameters.require("user")?;
    let world = idp.world();
    let wrong = || {
        OAuthError::invalid_request(
            50126,
            "Error validating credentials due to invalid username or password.",
        )
    };
    let user = world.user(name).ok_or_else(wrong)?;
    if let Some(password) = &user.password
        && !password.matches(parameters.find("password").unwrap_or_default().as_bytes())
    {
        return Err(wrong());
    }
    if user.enabled { Ok(user.object_id) } else { Err(OAuthError::user_disabled()) }
}

/// Exact comparison, but that a loopback address matches with any port (RFC 8252, section 7.3).
pub(crate) fn redirects_to(registered: &str, given: &str) -> bool {
    if given.len() > 2048 || given.contains('#') {
        return false;
    }
    if registered == given {
        return true;
    }
    let (Ok(registered), Ok(given)) = (registered.parse::<Uri>(), given.parse::<Uri>()) else { return false };
    let loopback = registered.host().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
    let userinfo = given.authority().is_some_and(|authority| authority.as_str().contains('@'));
    loopback
        && !userinfo
        && registered.scheme() == given.scheme()
        && registered.host() == given.host()
        && registered.path_and_query() == given.path_and_query()
}

fn users_page(idp: &DevIdp, sign_in: &SignIn, parameters: &Parameters) -> String {
    let mut hidden = String::new();
    for name in CARRIED {
        if let Some(value) = parameters.find(name) {
            let _ = write!(hidden, "<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value));
        }
    }
    format!("<h1>Sign in to {}</h1>{}", escape(&sign_in.app.display_name), people(idp, &hidden))
}

/// One form for each person; `hidden` goes into each.
pub(crate) fn people(idp: &DevIdp, hidden: &str) -> String {
    let mut body = String::new();
    for user in idp.world().users.values() {
        let password = match user.password {
            Some(_) => "<input type=\"password\" name=\"password\" placeholder=\"Password\" required>",
            None => "",
        };
        let disabled = if user.enabled { "" } else { " (disabled)" };
        let _ = write!(
            body,
            "<form method=\"post\">{hidden}<input type=\"hidden\" name=\"user\" value=\"{}\">{password}\
             <button>{}{disabled}</button></form>",
            user.object_id,
            escape(&user.name)
        );
    }
    body.push_str("<p>A development issuer: it asks for no proof of who you are.</p>");
    body
}

pub(crate) fn error_page(error: &OAuthError) -> Response {
    let body = format!("<h1>Sign-in failed</h1><p>AADSTS{}: {}</p>", error.code, escape(&error.message));
    html(error.status, &body)
}

pub(crate) fn html(status: StatusCode, body: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Development sign-in</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>body{{font:16px system-ui;margin:3rem auto;\
         max-width:26rem;padding:0 1rem}}button{{font:inherit;padding:.6rem 1rem;margin:.3rem 0;width:100%}}</style>\
         {body}</html>"
    );
    let headers: [(HeaderName, &str); 3] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, Html(page)).into_response()
}

pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_redirect_matches_with_any_port_and_nothing_else() {
        let registered = "http://localhost/callback";
        for good in ["http://localhost/callback", "http://localhost:51823/callback"] {
            assert!(redirects_to(registered, good), "{good}");
        }
        for bad in [
            "http://localhost:1/other",
            "https://localhost:1/callback",
            "http://localhost.example:1/callback",
            "http://localhost:1@example.org/callback",
            "http://x@localhost:1/callback",
            "http://localhost:1/callback#x",
            "http://localhost:1/callback?x=y",
        ] {
            assert!(!redirects_to(registered, bad), "{bad}");
        }
        assert!(!redirects_to("https://console.example/cb", "https://console.example:8443/cb"));
    }

    #[test]
    fn text_from_the_request_cannot_become_markup() {
        assert_eq!(escape("<script>\"'&"), "&lt;script&gt;&quot;&#39;&amp;");
    }
}
