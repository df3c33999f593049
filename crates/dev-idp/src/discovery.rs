//! Metadata and keys, as OpenID Connect Discovery 1.0 and Entra's own additions have them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{claims, directory::TokenVersion, idp::DevIdp, oauth_error::OAuthError};

/// The value that ties keys to metadata, so that keys of a sovereign cloud do not pass for those of another.
const CLOUD: &str = "microsoftonline.com";
/// What stands for the tenant in metadata that is for several.
const TEMPLATE: &str = "{tenantid}";

pub(crate) async fn metadata_v1(State(idp): State<Arc<DevIdp>>, Path(tenant): Path<String>) -> Response {
    metadata(&idp, &tenant, TokenVersion::V1)
}

pub(crate) async fn metadata_v2(State(idp): State<Arc<DevIdp>>, Path(tenant): Path<String>) -> Response {
    metadata(&idp, &tenant, TokenVersion::V2)
}

/// One JWKS for both formats: `issuer` is the v2.0 template in either.
pub(crate) async fn keys(State(idp): State<Arc<DevIdp>>, Path(tenant): Path<String>) -> Response {
    idp.count().keys += 1;
    answer(&idp, &tenant, |authority, _| {
        let issuer = claims::issuer(authority, TEMPLATE, TokenVersion::V2);
        let now = idp.clock().now();
        idp.keys().jwks(&issuer, CLOUD, now)
    })
}

fn metadata(idp: &DevIdp, tenant: &str, version: TokenVersion) -> Response {
    idp.count().metadata += 1;
    answer(idp, tenant, |authority, issuer_tenant| {
        let base = format!("{authority}/{tenant}");
        let v2 = match version {
            TokenVersion::V1 => "",
            TokenVersion::V2 => "/v2.0",
        };
        json!({
            "issuer": claims::issuer(authority, issuer_tenant, version),
            "token_endpoint": format!("{base}/oauth2{v2}/token"),
            "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
            "jwks_uri": format!("{base}/discovery{v2}/keys"),
            "token_endpoint_auth_methods_supported":
                ["client_secret_post", "client_secret_basic", "private_key_jwt"],
            "code_challenge_methods_supported": ["S256"],
            "device_authorization_endpoint": format!("{base}/oauth2/v2.0/devicecode"),
            "end_session_endpoint": format!("{base}/oauth2/v2.0/logout"),
            "grant_types_supported": [
                "client_credentials", "authorization_code", "refresh_token",
                "urn:ietf:params:oauth:grant-type:device_code",
            ],
            "response_modes_supported": ["query"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "request_uri_parameter_supported": false,
            "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username", "name", "tid", "ver"],
            "tenant_region_scope": Value::Null,
            "cloud_instance_name": CLOUD,
            "msgraph_host": authority.trim_start_matches("http://"),
        })
    })
}

/// Answers for this tenant, and for the names that stand for any.
fn answer(idp: &DevIdp, tenant: &str, body: impl FnOnce(&str, &str) -> Value) -> Response {
    if idp.faults.issuer_failing() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let own = tenant.parse() == Ok(idp.tenant());
    let any = tenant == "common" || tenant == "organizations";
    match idp.authority() {
        Ok(authority) if own => Json(body(authority, &idp.tenant().to_string())).into_response(),
        Ok(authority) if any => Json(body(authority, TEMPLATE)).into_response(),
        Ok(_) => OAuthError::unknown_tenant(tenant).respond(idp),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
