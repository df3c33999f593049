//! Logging out (OpenID Connect RP-Initiated Logout 1.0). There is no browser session here to end: what ends is the refresh tokens of the
//! person whose id token is given as a hint.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    extract::{Form, Path, Query, State, rejection::FormRejection, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    authorize::{error_page, html, redirects_to},
    idp::DevIdp,
    oauth_error::OAuthError,
    token_endpoint::Parameters,
};

pub(crate) async fn get(
    State(idp): State<Arc<DevIdp>>,
    Path(tenant): Path<String>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(query)) => answer(&idp, &tenant, query),
        Err(rejection) => rejection.into_response(),
    }
}

pub(crate) async fn post(
    State(idp): State<Arc<DevIdp>>,
    Path(tenant): Path<String>,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    match form {
        Ok(Form(form)) => answer(&idp, &tenant, form),
        Err(rejection) => rejection.into_response(),
    }
}

fn answer(idp: &DevIdp, tenant: &str, pairs: Vec<(String, String)>) -> Response {
    idp.count().logout += 1;
    let ended = Parameters::new(pairs).and_then(|parameters| {
        if tenant.parse() != Ok(idp.tenant()) {
            return Err(OAuthError::unknown_tenant(tenant));
        }
        end(idp, &parameters)
    });
    match ended {
        Err(error) => error_page(&error),
        Ok(None) => html(StatusCode::OK, "<h1>You are signed out</h1><p>You may close this page.</p>"),
        Ok(Some(target)) => match HeaderValue::try_from(target) {
            Ok(target) => (StatusCode::FOUND, [(header::LOCATION, target)]).into_response(),
            Err(_) => StatusCode::BAD_REQUEST.into_response(),
        },
    }
}

/// Ends what there is to end; where to send the browser, if somewhere.
fn end(idp: &DevIdp, parameters: &Parameters) -> Result<Option<String>, OAuthError> {
    let mut client = parameters.find("client_id").and_then(|id| id.parse::<Uuid>().ok());
    if let Some(hint) = parameters.find("id_token_hint") {
        let claims = idp.keys().read(hint);
        let id = |name: &str| claims.as_ref()?.get(name).and_then(Value::as_str)?.parse::<Uuid>().ok();
        // An expired one still says who it was (section 2); one that is not ours says nothing.
        let (Some(user), Some(audience)) = (id("oid"), id("aud")) else {
            return Err(OAuthError::invalid_request(
                90023,
                "The parameter 'id_token_hint' is not an id token.",
            ));
        };
        if client.is_some_and(|client| client != audience) {
            return Err(OAuthError::invalid_request(90023, "The id token is another client's."));
        }
        client = Some(audience);
        idp.world().families.end(user, Some(audience));
    }
    let Some(back_to) = parameters.find("post_logout_redirect_uri") else { return Ok(None) };
    let world = idp.world();
    let known = client
        .and_then(|id| world.application(id))
        .is_some_and(|app| app.redirect_uris.iter().any(|registered| redirects_to(registered, back_to)));
    if !known {
        // As in Entra: signed out all the same, but sent nowhere.
        return Ok(None);
    }
    let mut target = back_to.to_owned();
    if let Some(state) = parameters.find("state") {
        target.push(if target.contains('?') { '&' } else { '?' });
        let _ = write!(target, "state={}", utf8_percent_encode(state, NON_ALPHANUMERIC));
    }
    Ok(Some(target))
}
