//! People signing in and out.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use portcullis_client::{MeView, types::ProviderView};
use portcullis_core::ErrorKind;
use portcullis_identity::{Callback, SignInError};
use portcullis_policy::{Role, Url};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Json, Queried, blocking};
use crate::{
    Api, Problem,
    caller::{Caller, MaybeCaller},
    cookie,
    limit::{Bucket, Subject},
    people::journal,
    server::Peer,
};

/// The longest place to go to after signing in.
const MAX_NEXT: usize = 1_000;
/// How long the cookie of a sign-in lasts.
const SIGN_IN_LASTS: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// `GET /api/v1/me`.
pub(super) async fn me(State(api): State<Arc<Api>>, MaybeCaller(caller): MaybeCaller) -> Json<MeView> {
    let providers = api.sign_ins.views().await;
    let providers = providers.into_iter().map(|view| ProviderView {
        name: view.name,
        kind: view.kind,
        issuer: view.issuer,
        client_id: view.client_id,
        scopes: view.scopes,
        device: view.device,
        token: view.token,
    });
    let mut me = MeView {
        providers: providers.collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..MeView::default()
    };
    if let Some(caller) = caller {
        me.signed_in = true;
        me.roles = caller.roles().iter().map(|role: Role| role.as_str().to_owned()).collect();
        me.key = caller.key().map(|key| key.to_string());
        me.name = Some(caller.principal().map_or("an administrator", |principal| &principal.name).to_owned());
        me.kind = Some(match caller.principal() {
            Some(principal) => crate::views::request::word(&principal.kind),
            None => "administrator".to_owned(),
        });
        me.csrf = caller.session().map(|session| session.csrf.clone());
        me.ends_at = caller.session().map(|session| session.ends_at);
        me.idle_seconds = caller.session().map(|_| api.people.settings().idle.as_secs());
    }
    Json(me)
}

/// How to sign in.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LoginQuery {
    /// With which provider; may be absent where there is one.
    provider: Option<String>,
    /// Where to go afterwards: a path of the console's.
    next: Option<String>,
}

/// `GET /api/v1/auth/login`.
pub(super) async fn login(
    State(api): State<Arc<Api>>,
    Queried(asked): Queried<LoginQuery>,
) -> Result<Response, Problem> {
    let next = match &asked.next {
        None => "/".to_owned(),
        Some(next) => {
            own_path(&api, next).ok_or_else(|| Problem::malformed("`next` is not a path of the console's"))?
        }
    };
    let names = provider_names(&api);
    let provider = match (asked.provider, names.as_slice()) {
        (Some(name), names) if names.contains(&name) => name,
        (None, [only]) => only.clone(),
        (_, []) => {
            return Err(Problem::not_found("nobody signs in here: no identity provider has `sign_in`"));
        }
        (None, _) => {
            return Err(Problem::malformed("several providers sign people in: name one as `provider`"));
        }
        (Some(_), _) => return Err(Problem::not_found("nobody signs in with a provider of that name")),
    };
    let redirect = redirect_uri(&api, &provider, names.len());
    let begun = match api.sign_ins.begin(&provider, &redirect).await {
        Ok(begun) => begun,
        Err(error) => {
            tracing::warn!(%provider, %error, "a sign-in could not begin");
            return Ok(failed(&error));
        }
    };
    let token = api.people.begin(&begun.flow, next)?;
    let cookie = cookie::set(cookie::SIGN_IN, token.expose(), SIGN_IN_LASTS);
    see_other(begun.url.as_str(), &[cookie])
}

/// The providers with which people sign in.
fn provider_names(api: &Api) -> Vec<String> {
    let policy = api.access.policy();
    let signing_in = policy.providers().iter().filter(|provider| provider.sign_in.is_some());
    signing_in.map(|provider| provider.name.clone()).collect()
}

/// Where a provider sends the browser back to: each to an address of its own where there are several, so that the code of one cannot
/// arrive as another's (RFC 9700 section 4.4.2).
fn redirect_uri(api: &Api, provider: &str, providers: usize) -> String {
    let base = format!("{}/api/v1/auth/callback", api.public.base);
    if providers > 1 { format!("{base}/{provider}") } else { base }
}

/// The path, where it stays here whatever a browser makes of it: `//host`, `/\host`, `/\t/host` and the like do not.
fn own_path(api: &Api, next: &str) -> Option<String> {
    let is_plain = |c: char| !c.is_control() && c != '\\' && !c.is_whitespace();
    if next.len() > MAX_NEXT
        || !next.starts_with('/')
        || next.starts_with("//")
        || !next.chars().all(is_plain)
    {
        return None;
    }
    let base: Url = api.public.base.parse().ok()?;
    let url = base.join(next).ok().filter(|url| url.origin() == base.origin())?;
    // A page, not an address of the API.
    (!url.path().starts_with("/api/"))
        .then(|| {
            let mut path = url.path().to_owned();
            for (mark, part) in [('?', url.query()), ('#', url.fragment())] {
                if let Some(part) = part {
                    path.push(mark);
                    path.push_str(part);
                }
            }
            path
        })
        // As it is carried: what is not ASCII is three times as long there, and a cookie has 4,096 bytes (RFC 6265 section 6.1).
        .filter(|path| !path.starts_with("//") && path.len() <= MAX_NEXT)
}

/// `GET /api/v1/auth/callback`.
pub(super) async fn callback(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let arrived_at = redirect_uri(&api, "", 1);
    finish(api, peer, headers, query.unwrap_or_default(), arrived_at).await
}

/// `GET /api/v1/auth/callback/{provider}`.
pub(super) async fn callback_of(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Path(provider): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let arrived_at = redirect_uri(&api, &provider, 2);
    finish(api, peer, headers, query.unwrap_or_default(), arrived_at).await
}

async fn finish(
    api: Arc<Api>,
    peer: Peer,
    headers: HeaderMap,
    query: String,
    arrived_at: String,
) -> Result<Response, Problem> {
    // A code works once: who goes away meanwhile does not leave it half used.
    let task = tokio::spawn(async move { finished(&api, &peer, &headers, &query, &arrived_at).await });
    task.await.map_err(|error| {
        tracing::error!(%error, "a sign-in panicked");
        Problem::internal()
    })?
}

async fn finished(
    api: &Arc<Api>,
    peer: &Peer,
    headers: &HeaderMap,
    query: &str,
    arrived_at: &str,
) -> Result<Response, Problem> {
    let begun = cookie::find(headers, cookie::SIGN_IN)?.and_then(|token| api.people.begun(&token));
    let Some((begun, flow)) = begun.and_then(|begun| begun.flow().map(|flow| (begun, flow))) else {
        return Ok(failed_with("state", SignInError::State.client_message()));
    };
    let provider = flow.provider().to_owned();
    let outcome = match Callback::from_query(query) {
        Ok(callback) => api.sign_ins.finish(flow, &callback, arrived_at).await,
        Err(error) => Err(error),
    };
    let refused = |who: Option<Arc<portcullis_core::Principal>>, note: String| {
        let (api, peer, provider) = (Arc::clone(api), peer.clone(), provider.clone());
        async move { blocking(move || journal(&api, "refused", &provider, who.as_deref(), &peer, &note)).await? }
    };
    let signed_in = match outcome {
        Ok(signed_in) => signed_in,
        Err(error) => {
            tracing::info!(source = %peer.0.address, %error, "a sign-in failed");
            if error.kind() == ErrorKind::Internal {
                tracing::error!(%error, "a sign-in failed within the gateway");
            }
            let who = match &error {
                SignInError::Rejected(rejected) => rejected.principal.clone(),
                _ => None,
            };
            // Without anybody known, a browser's cookie can be sent again and again: it is not to fill the journal.
            let source = Subject::source(peer.0.address.ip());
            if who.is_none() {
                api.limits.take(Bucket::Failed, source.clone(), api.clock.now())?;
            }
            if who.is_some() || api.limits.is_news(source, api.clock.now()) {
                refused(who, error.to_string()).await?;
            }
            return Ok(failed(&error));
        }
    };
    let principal = Arc::clone(signed_in.who.principal());
    if api.access.blocked(&principal.key()).is_some() {
        let why = "an administrator has blocked this identity";
        refused(Some(principal), why.to_owned()).await?;
        return Ok(failed_with("blocked", why));
    }
    let before = cookie::find(headers, cookie::SESSION).unwrap_or_default();
    let (token, lasts) = api.people.sign_in(api, &principal, before, peer).await?;
    tracing::info!(principal = %principal.key(), "signed in");
    see_other(
        &begun.next,
        &[cookie::set(cookie::SESSION, token.expose(), lasts), cookie::clear(cookie::SIGN_IN)],
    )
}

/// `POST /api/v1/auth/logout`.
pub(super) async fn logout(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    caller: Caller,
) -> Result<Response, Problem> {
    let (Some(session), Some(principal)) = (caller.session(), caller.principal()) else {
        return Err(Problem::conflict("no-session", "there is no session to end: a token ends by itself"));
    };
    api.people.sign_out(&api, session.hash, principal, &peer).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().append(header::SET_COOKIE, cookie::clear(cookie::SESSION));
    Ok(response)
}

/// To the page that says why nobody was signed in.
fn failed(error: &SignInError) -> Response {
    failed_with(error.label(), error.client_message())
}

fn failed_with(label: &str, message: &str) -> Response {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("error", label).append_pair("detail", message);
    let to = format!("/signin?{}", query.finish());
    see_other(&to, &[cookie::clear(cookie::SIGN_IN)]).unwrap_or_else(IntoResponse::into_response)
}

fn see_other(to: &str, cookies: &[HeaderValue]) -> Result<Response, Problem> {
    let location = HeaderValue::from_str(to).map_err(|_| Problem::internal())?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    for cookie in cookies {
        headers.append(header::SET_COOKIE, cookie.clone());
    }
    Ok(response)
}
