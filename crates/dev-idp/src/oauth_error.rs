//! Refusals in the shape Entra gives them: an OAuth code, and a number that clients branch on.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;
use uuid::Uuid;

use crate::{device::NotYet, directory::Application, idp::DevIdp, refresh::Worthless};

/// An error in the shape Entra gives it: an OAuth code, and an AADSTS number that clients branch on.
#[derive(Debug)]
pub(crate) struct OAuthError {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) code: u32,
    pub(crate) message: String,
}

impl OAuthError {
    pub(crate) fn new(
        status: StatusCode,
        error: &'static str,
        code: u32,
        message: impl Into<String>,
    ) -> Self {
        Self { status, error, code, message: message.into() }
    }

    pub(crate) fn invalid_request(code: u32, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", code, message)
    }

    pub(crate) fn invalid_grant(code: u32, message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_grant", code, message)
    }

    pub(crate) fn invalid_client(code: u32, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", code, message)
    }

    pub(crate) fn unknown_tenant(tenant: &str) -> Self {
        let message =
            format!("Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID.");
        Self::invalid_request(90002, message)
    }

    pub(crate) fn unknown_application(id: &str) -> Self {
        let message = format!("Application with identifier '{id}' was not found in the directory.");
        Self::new(StatusCode::BAD_REQUEST, "unauthorized_client", 700_016, message)
    }

    pub(crate) fn application_disabled(app: &Application) -> Self {
        let message = format!("Application '{}'({}) is disabled.", app.client_id, app.display_name);
        Self::new(StatusCode::BAD_REQUEST, "unauthorized_client", 7_000_112, message)
    }

    pub(crate) fn user_disabled() -> Self {
        Self::invalid_grant(50057, "The user account is disabled.")
    }

    pub(crate) fn unknown_resource(resource: &str) -> Self {
        let message = format!("The resource principal named {resource} was not found in the tenant.");
        Self::new(StatusCode::BAD_REQUEST, "invalid_resource", 500_011, message)
    }

    pub(crate) fn scope(scope: &str) -> Self {
        let message = format!(
            "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with \
             /.default suffixed to the resource identifier (application ID URI)."
        );
        Self::new(StatusCode::BAD_REQUEST, "invalid_scope", 1_002_012, message)
    }

    pub(crate) fn bad_secret(app: &Application) -> Self {
        let message = format!(
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, \
             not the client secret ID, for a secret added to app '{}'.",
            app.client_id
        );
        Self::invalid_client(7_000_215, message)
    }

    pub(crate) fn bad_assertion() -> Self {
        Self::invalid_client(700_213, "No matching federated identity record found for presented assertion.")
    }

    pub(crate) fn no_proof() -> Self {
        let message =
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
        Self::invalid_client(7_000_218, message)
    }

    /// RFC 8628, section 3.5; the numbers are Entra's.
    pub(crate) fn not_yet(not_yet: NotYet) -> Self {
        let (error, code, message) = match not_yet {
            NotYet::Pending => (
                "authorization_pending",
                70_016,
                "OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
            ),
            NotYet::SlowDown => {
                ("slow_down", 90_055, "The device polls too often. Wait five seconds longer.")
            }
            NotYet::Denied => ("access_denied", 65_004, "The person declined to sign in."),
            NotYet::Expired => {
                ("expired_token", 70_020, "The provided value for the device code has expired.")
            }
            NotYet::Unknown => {
                ("invalid_grant", 70_019, "The provided value for the device code is not valid.")
            }
        };
        Self::new(StatusCode::BAD_REQUEST, error, code, message)
    }

    pub(crate) fn worthless(worthless: Worthless) -> Self {
        let (code, message) = match worthless {
            Worthless::Unknown => (70_000, "The provided refresh token is malformed, ended or unknown."),
            Worthless::Expired => (700_082, "The refresh token has expired due to inactivity."),
            Worthless::Reused => {
                (70_008, "The refresh token was used before. The sign-in it belongs to has been ended.")
            }
            Worthless::Foreign => (70_000, "The refresh token was issued to another client."),
        };
        Self::invalid_grant(code, message)
    }

    pub(crate) fn not_public() -> Self {
        let message = "The client application must be marked as 'mobile' (a public client) to use this flow.";
        Self::invalid_client(7_000_218, message)
    }

    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", 90033, "A transient error has occurred.")
    }

    pub(crate) fn respond(&self, idp: &DevIdp) -> Response {
        let (trace, correlation) = (Uuid::new_v4(), Uuid::new_v4());
        let now = idp.clock().now().to_string();
        let now = format!("{}Z", now.get(..19).unwrap_or(&now).replace('T', " "));
        let description = format!(
            "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {now}",
            self.code, self.message
        );
        let body = json!({
            "error": self.error,
            "error_description": description,
            "error_codes": [self.code],
            "timestamp": now,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.code),
        });
        (self.status, Json(body)).into_response()
    }
}
