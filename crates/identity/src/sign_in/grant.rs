//! The token endpoint (RFC 6749 sections 3.2 and 5): a code, a device code or a refresh token for tokens.

use std::time::Duration;

use portcullis_core::Secret;
use reqwest::Url;
use serde_json::{Map, Value};

use super::{endpoints::SecretIn, error::OauthCode};
use crate::{
    Identity,
    http::{Answer, Http},
    json,
};

/// Longest refresh token kept. Entra's take 1 to 2 KB.
const MAX_REFRESH: usize = 16 * 1024;
/// What a token lives where the answer does not say: not worth relying on.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Longest lifetime believed.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The client that asks.
pub(crate) struct Asker<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) secret: Option<(&'a Secret<String>, SecretIn)>,
}

/// What the token endpoint gave, unverified.
pub(crate) struct Granted {
    pub(crate) access: Secret<String>,
    pub(crate) id: Option<Secret<String>>,
    pub(crate) refresh: Option<Secret<String>>,
    pub(crate) lives: Duration,
}

/// Why it gave nothing.
#[derive(Debug)]
pub(crate) enum NotGranted {
    /// It refused.
    Refused(OauthCode),
    /// It did not answer, or not so that one could tell. For operators.
    Unavailable(String),
}

impl Asker<'_> {
    /// Asks the endpoint. Cancel safe, though a code or a refresh token may be used up by then.
    pub(crate) async fn ask(
        &self,
        http: &Http,
        endpoint: &Url,
        form: &[(&str, &str)],
    ) -> Result<Map<String, Value>, NotGranted> {
        let mut form = form.to_vec();
        let mut basic = None;
        match self.secret {
            Some((secret, SecretIn::Header)) => basic = Some((self.client_id, secret.expose().as_str())),
            Some((secret, SecretIn::Form)) => {
                form.push(("client_id", self.client_id));
                form.push(("client_secret", secret.expose()));
            }
            None => form.push(("client_id", self.client_id)),
        }
        let answer = http
            .post_form_as(endpoint, basic, &form)
            .await
            .map_err(|error| NotGranted::Unavailable(error.to_string()))?;
        read(&answer)
    }

    /// Asks for tokens.
    pub(crate) async fn tokens(
        &self,
        http: &Http,
        endpoint: &Url,
        form: &[(&str, &str)],
    ) -> Result<Granted, NotGranted> {
        let body = self.ask(http, endpoint, form).await?;
        Granted::parse(&body).map_err(|what| NotGranted::Unavailable(what.to_owned()))
    }
}

fn read(answer: &Answer) -> Result<Map<String, Value>, NotGranted> {
    let body = json::object(&answer.body);
    match (answer.status, body) {
        (200, Ok(body)) => Ok(body),
        (200, Err(_)) => Err(NotGranted::Unavailable("the answer is not one JSON object".to_owned())),
        // RFC 6749 section 5.2: 400, or 401 for the client's own credential.
        (400..=403, Ok(body)) if body.get("error").is_some_and(Value::is_string) => {
            let text = |name: &str| body.get(name).and_then(Value::as_str);
            Err(NotGranted::Refused(OauthCode::new(
                text("error").unwrap_or_default(),
                text("error_description"),
            )))
        }
        (status, _) => Err(NotGranted::Unavailable(format!("answered with status {status}"))),
    }
}

impl Granted {
    fn parse(body: &Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name: &str, longest: usize, what: &'static str| match body.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if !text.is_empty() && text.len() <= longest => {
                Ok(Some(Secret::new(text.clone())))
            }
            Some(_) => Err(what),
        };
        // RFC 6749 section 7.1: a token of a type one does not know is not used.
        let bearer = |kind: &str| kind.eq_ignore_ascii_case("bearer");
        if !body.get("token_type").and_then(Value::as_str).is_some_and(bearer) {
            return Err("the answer's token is not a bearer token");
        }
        let access = text("access_token", Identity::MAX_TOKEN, "the answer's access token is unusable")?;
        let lives = match body.get("expires_in") {
            Some(Value::Number(seconds)) => seconds.as_u64().map(Duration::from_secs),
            Some(Value::String(seconds)) => seconds.parse().ok().map(Duration::from_secs),
            _ => None,
        };
        Ok(Self {
            access: access.ok_or("the answer has no access token")?,
            id: text("id_token", Identity::MAX_TOKEN, "the answer's id token is unusable")?,
            refresh: text("refresh_token", MAX_REFRESH, "the answer's refresh token is unusable")?,
            lives: lives.unwrap_or(UNKNOWN_LIFETIME).min(MAX_LIFETIME),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_bearer_token_is_a_grant() {
        let parse =
            |value: Value| Granted::parse(value.as_object().unwrap()).map(|granted| granted.lives.as_secs());
        assert_eq!(
            parse(json!({ "token_type": "bearer", "access_token": "a", "expires_in": 3600 })),
            Ok(3600)
        );
        assert_eq!(parse(json!({ "token_type": "Bearer", "access_token": "a", "expires_in": "60" })), Ok(60));
        assert_eq!(parse(json!({ "token_type": "Bearer", "access_token": "a" })), Ok(300));
        assert_eq!(
            parse(json!({ "token_type": "Bearer", "access_token": "a", "expires_in": 9_999_999 })),
            Ok(86_400)
        );
        for bad in [
            json!({ "access_token": "a" }),
            json!({ "token_type": "DPoP", "access_token": "a" }),
            json!({ "token_type": "Bearer" }),
            json!({ "token_type": "Bearer", "access_token": 1 }),
            json!({ "token_type": "Bearer", "access_token": "a", "id_token": [] }),
            json!({ "token_type": "Bearer", "access_token": "a".repeat(Identity::MAX_TOKEN + 1) }),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_failure_of_the_server_is_no_refusal() {
        let read = |status, body: &str| {
            read(&Answer { status, retry_after: None, body: body.as_bytes().to_vec() }).map(|_| ())
        };
        assert!(read(200, "{}").is_ok());
        assert!(matches!(read(400, r#"{"error":"invalid_grant"}"#), Err(NotGranted::Refused(_))));
        for (status, body) in [(500, r#"{"error":"server_error"}"#), (200, "x"), (302, ""), (400, "{}")] {
            assert!(matches!(read(status, body), Err(NotGranted::Unavailable(_))), "{status} {body}");
        }
    }
}
