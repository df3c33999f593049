//! Errors on the wire: RFC 9457 problem details, with the next step. No problem repeats what the request held.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use portcullis_access::{RequestRefused, requests::AnswerRefused};
use portcullis_client::{ProblemBody, types::DiagnosticView};
use portcullis_core::{Clock, ErrorKind};

/// The media type of a problem (RFC 9457 section 3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A refusal or a failure, for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: String,
    next: Option<String>,
    retry_after: Option<u64>,
    diagnostics: Box<[DiagnosticView]>,
}

impl Problem {
    fn new(status: StatusCode, slug: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            slug,
            title,
            detail: detail.into(),
            next: None,
            retry_after: None,
            diagnostics: Box::default(),
        }
    }

    #[must_use]
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// What is wrong with documents, finding by finding.
    #[must_use]
    pub(crate) fn diagnostics(mut self, diagnostics: Vec<DiagnosticView>) -> Self {
        self.diagnostics = diagnostics.into();
        self
    }

    /// 400.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "the request is malformed", detail)
    }

    /// 401, with a challenge.
    pub fn unauthorized(detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not-authenticated", "the token was not accepted", detail)
            .next(next)
    }

    /// 401: nobody is known.
    pub fn not_authenticated() -> Self {
        Self::unauthorized(
            "nobody is signed in",
            "sign in to the console, or send `Authorization: Bearer <token>`",
        )
    }

    /// 403.
    pub fn forbidden(slug: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, slug, "this is not allowed", detail)
    }

    /// 409.
    pub fn conflict(slug: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, slug, "it is not as you expect", detail)
    }

    /// 412.
    pub fn changed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "changed", "it is not as you saw it", detail)
    }

    /// 428.
    pub fn unseen(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_REQUIRED, "unseen", "say what you saw", detail)
    }

    /// 422.
    pub fn unusable(slug: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, slug, "the request cannot be granted so", detail)
    }

    /// 429, to be tried again after `seconds`.
    pub fn too_many(seconds: u64) -> Self {
        let detail = "more was asked in a short time than is answered";
        Self {
            retry_after: Some(seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate", "too many requests", detail)
        }
    }

    /// 404: of the route, or of something an administrator named.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is no such thing", detail)
    }

    /// 405.
    pub fn method() -> Self {
        let detail = "the address does not answer this method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", "the method is not allowed", detail)
    }

    /// 408.
    pub fn too_slow() -> Self {
        let detail = "the request was not finished in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "the request took too long", detail)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("the body is longer than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the body is too large", detail)
    }

    /// 415.
    pub fn not_json() -> Self {
        let detail = "the body must be JSON";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "the media type is not supported", detail)
            .next("send `Content-Type: application/json`")
    }

    /// 503.
    pub fn unavailable() -> Self {
        let detail = "the gateway cannot decide now";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the gateway cannot answer now", detail)
            .next("try again shortly")
    }

    /// 500: a defect of ours; the log has the rest.
    pub fn internal() -> Self {
        let detail = "the gateway met an internal error; its log says which";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error", detail)
    }

    /// For a token that `identity` did not accept.
    pub(crate) fn of_identity(error: &portcullis_identity::Error) -> Self {
        if error.kind() == ErrorKind::Dependency {
            return Self::unavailable();
        }
        Self::unauthorized(
            error.client_message(),
            "get a fresh access token for this gateway from your identity provider",
        )
    }

    /// For a request that opened no window.
    pub(crate) fn of_request(refused: &RequestRefused, clock: &dyn Clock) -> Self {
        let detail = refused.to_string();
        let denied = |slug| Self::new(StatusCode::FORBIDDEN, slug, "the request was refused", detail.clone());
        let later = |slug, until: portcullis_core::Timestamp| Self {
            retry_after: Some(until.since(clock.now()).as_secs().saturating_add(1)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, slug, "ask again later", detail.clone())
        };
        let wrong = |slug| {
            Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                slug,
                "the request cannot be granted so",
                detail.clone(),
            )
        };
        match refused {
            RequestRefused::NothingToAsk => {
                denied("nothing-to-ask").next("see what you can reach with: portcullis connections")
            }
            RequestRefused::NotNeeded => {
                Self::new(StatusCode::CONFLICT, "not-needed", "nothing to request", detail)
                    .next("connect: it is open")
            }
            RequestRefused::NotNow => denied("not-now"),
            RequestRefused::NoBreakGlass => denied("no-break-glass"),
            RequestRefused::TooMany { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", "too many requests wait", detail)
            }
            RequestRefused::Blocked => denied("blocked").next("ask an administrator of the gateway"),
            RequestRefused::Cooldown { until } => later("cooldown", *until),
            RequestRefused::DailyLimit { until, .. } => later("daily-limit", *until),
            RequestRefused::Lifetime { .. } => {
                wrong("lifetime").next("leave the lifetime out to get the grant's own")
            }
            RequestRefused::Reason => wrong("reason"),
            RequestRefused::Unavailable { .. } => Self::unavailable(),
        }
    }

    /// For an answer that does not count.
    pub(crate) fn of_answer(refused: &AnswerRefused) -> Self {
        let detail = refused.to_string();
        match refused {
            AnswerRefused::Unknown => Self::not_found("there is no such request"),
            AnswerRefused::MayNot(_) => Self::forbidden("may-not-answer", detail),
            AnswerRefused::Over(..) => Self::conflict("over", detail).next("look at it again"),
            AnswerRefused::PolicyChanged => Self::conflict("policy-changed", detail),
            AnswerRefused::NothingToReview => Self::conflict("nothing-to-review", detail),
            AnswerRefused::Note => Self::unusable("note", detail),
            AnswerRefused::Lifetime { .. } | AnswerRefused::NoLifetime => Self::unusable("lifetime", detail),
            AnswerRefused::Unavailable { detail } => {
                tracing::error!(%detail, "a request could not be answered");
                Self::unavailable()
            }
        }
    }

    /// The status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The body.
    pub fn body(&self) -> ProblemBody {
        ProblemBody {
            kind: format!("urn:portcullis:problem:{}", self.slug),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            next: self.next.clone(),
            diagnostics: self.diagnostics.to_vec(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"portcullis\", error=\"invalid_token\""),
            );
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::{SystemClock, Timestamp};

    use super::*;

    #[test]
    fn every_refusal_of_a_request_is_a_client_error_with_its_own_type() {
        let until = Timestamp::MAX;
        let refusals = [
            (RequestRefused::NothingToAsk, 403),
            (RequestRefused::NotNeeded, 409),
            (RequestRefused::NotNow, 403),
            (RequestRefused::Blocked, 403),
            (RequestRefused::NoBreakGlass, 403),
            (RequestRefused::TooMany { limit: 20 }, 429),
            (RequestRefused::Cooldown { until }, 429),
            (RequestRefused::DailyLimit { limit: 3, until }, 429),
            (RequestRefused::Lifetime { limit_seconds: 60 }, 422),
            (RequestRefused::Reason, 422),
            (RequestRefused::Unavailable { detail: "disk full on /var".to_owned() }, 503),
        ];
        let mut kinds = std::collections::BTreeSet::new();
        for (refused, status) in &refusals {
            let body = Problem::of_request(refused, &SystemClock).body();
            assert_eq!(body.status, *status, "{refused:?}");
            assert!(!body.detail.contains("/var"), "what is inside stays inside");
            kinds.insert(body.kind);
        }
        assert_eq!(kinds.len(), refusals.len());
    }

    #[test]
    fn a_refused_token_is_challenged() {
        let response = Problem::unauthorized("no", "get one").into_response();
        assert_eq!(response.status(), 401);
        assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
        assert_eq!(response.headers().get(header::CONTENT_TYPE).unwrap(), MEDIA_TYPE);
    }
}
