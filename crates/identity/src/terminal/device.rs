//! The device flow (RFC 8628): a code that a person types into a browser anywhere, while we ask whether it was.

use std::time::Duration;

use portcullis_core::Secret;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use super::{Terminal, Tokens};
use crate::sign_in::{
    SignInError,
    grant::{Granted, NotGranted},
};

/// RFC 8628 section 3.4.
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Pause between two questions where the provider says nothing (section 3.2), and what `slow_down` adds (section 3.5).
const INTERVAL: Duration = Duration::from_secs(5);
/// Longest pause.
const MAX_INTERVAL: Duration = Duration::from_secs(60);
/// Longest a code is waited for.
const MAX_LIFE: Duration = Duration::from_secs(30 * 60);
/// Longest text shown to the person.
const MAX_SHOWN: usize = 512;

/// A code for a person to confirm.
#[derive(Debug)]
pub struct DeviceCode {
    /// What to type.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same address with the code in it, where the provider offers one.
    pub verification_uri_complete: Option<String>,
    /// How long it is good.
    pub lives: Duration,
    code: Secret<String>,
    interval: Duration,
}

impl Terminal {
    /// Begins the device flow. Cancel safe.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn device(&self) -> Result<DeviceCode, SignInError> {
        let Some(endpoint) = &self.endpoints.device else {
            return Err(self.unavailable("it has no device flow"));
        };
        let scope = self.scope();
        let body = self.asker().ask(&self.http, endpoint, &[("scope", scope.as_str())]).await;
        let body = body.map_err(|error| self.not_granted(error))?;
        DeviceCode::parse(&body).ok_or_else(|| self.unavailable("its device code cannot be used"))
    }

    /// Waits until the person has confirmed the code. Cancel safe.
    ///
    /// # Errors
    /// [`SignInError::Refused`]: declined (`access_denied`, in Entra `authorization_declined`) or too late (`expired_token`).
    pub async fn confirmed(&self, device: &DeviceCode) -> Result<Tokens, SignInError> {
        let form = [("grant_type", DEVICE_CODE), ("device_code", device.code.expose().as_str())];
        let asker = self.asker();
        let granted =
            poll(device.interval, device.lives, || asker.tokens(&self.http, &self.endpoints.token, &form));
        self.take(granted.await.map_err(|error| self.not_granted(error))?, None)
    }
}

impl DeviceCode {
    fn parse(body: &Map<String, Value>) -> Option<Self> {
        // It is printed on a terminal.
        let shown = |name: &str| {
            let text = body.get(name)?.as_str()?;
            let fit = !text.is_empty() && text.len() <= MAX_SHOWN && !text.chars().any(char::is_control);
            fit.then(|| text.to_owned())
        };
        let address = |name: &str| {
            let text = shown(name)?;
            (text.starts_with("https://") || text.starts_with("http://")).then_some(text)
        };
        let seconds = |name: &str| body.get(name).and_then(Value::as_u64).map(Duration::from_secs);
        let code =
            body.get("device_code")?.as_str().filter(|code| !code.is_empty() && code.len() <= 16 * 1024)?;
        Some(Self {
            user_code: shown("user_code")?,
            // `verification_url` is what Google and older Entra say.
            verification_uri: address("verification_uri").or_else(|| address("verification_url"))?,
            verification_uri_complete: address("verification_uri_complete"),
            lives: seconds("expires_in")?.min(MAX_LIFE),
            code: Secret::new(code.to_owned()),
            interval: seconds("interval").unwrap_or(INTERVAL).clamp(Duration::from_secs(1), MAX_INTERVAL),
        })
    }
}

/// Asks until there is an answer, as often as the provider allows (RFC 8628 section 3.5).
async fn poll<A, F>(interval: Duration, lives: Duration, mut ask: A) -> Result<Granted, NotGranted>
where
    A: FnMut() -> F,
    F: Future<Output = Result<Granted, NotGranted>>,
{
    let ends = Instant::now() + lives;
    let mut interval = interval;
    loop {
        if Instant::now() + interval > ends {
            return Err(NotGranted::Refused(crate::sign_in::OauthCode::new("expired_token", None)));
        }
        sleep(interval).await;
        match ask().await {
            Ok(granted) => return Ok(granted),
            Err(NotGranted::Refused(code)) => match code.as_str() {
                "authorization_pending" => {}
                "slow_down" => interval = (interval + INTERVAL).min(MAX_INTERVAL),
                _ => return Err(NotGranted::Refused(code)),
            },
            // No connection, a timeout, a failing server: later, and less often.
            Err(NotGranted::Unavailable(detail)) => {
                tracing::debug!(%detail, "asking about a device code");
                interval = (interval * 2).min(MAX_INTERVAL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sign_in::OauthCode;

    /// Polls a provider that answers as told; when it was asked, in seconds.
    async fn polled(answers: &[&str], interval: u64, lives: u64) -> (Result<(), String>, Vec<u64>) {
        let (began, mut asked, mut answers) = (Instant::now(), Vec::new(), answers.iter());
        let outcome = poll(Duration::from_secs(interval), Duration::from_secs(lives), || {
            asked.push(began.elapsed().as_secs());
            let answer = match *answers.next().unwrap_or(&"authorization_pending") {
                "ok" => Ok(Granted {
                    access: Secret::new("token".to_owned()),
                    id: None,
                    refresh: None,
                    lives: Duration::from_secs(60),
                }),
                "broken" => Err(NotGranted::Unavailable("no answer".to_owned())),
                code => Err(NotGranted::Refused(OauthCode::new(code, None))),
            };
            std::future::ready(answer)
        });
        let outcome = outcome.await.map(|_| ()).map_err(|error| match error {
            NotGranted::Refused(code) => code.to_string(),
            NotGranted::Unavailable(detail) => detail,
        });
        (outcome, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn slow_down_is_obeyed_from_then_on() {
        let (outcome, asked) = polled(
            &["authorization_pending", "slow_down", "authorization_pending", "slow_down", "ok"],
            5,
            900,
        )
        .await;
        assert_eq!(outcome, Ok(()));
        assert_eq!(asked, [5, 10, 20, 30, 45]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_does_not_answer_is_asked_less_often() {
        let (outcome, asked) = polled(&["broken", "broken", "authorization_pending", "ok"], 5, 900).await;
        assert_eq!((outcome, asked.as_slice()), (Ok(()), [5, 15, 35, 55].as_slice()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_code_that_is_declined_or_over_is_not_asked_about_again() {
        for code in ["access_denied", "authorization_declined", "expired_token", "bad_verification_code"] {
            let (outcome, asked) = polled(&["authorization_pending", code, "ok"], 5, 900).await;
            assert_eq!((outcome, asked.as_slice()), (Err(code.to_owned()), [5, 10].as_slice()));
        }
        let (outcome, asked) = polled(&[], 5, 17).await;
        assert_eq!((outcome, asked.as_slice()), (Err("expired_token".to_owned()), [5, 10, 15].as_slice()));
    }

    #[test]
    fn what_is_shown_is_fit_for_a_terminal() {
        let body = |change: Value| {
            let mut body = json!({ "device_code": "d", "user_code": "ABCD-EFGH", "expires_in": 900,
                "verification_uri": "https://idp.example/device" });
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            DeviceCode::parse(body.as_object().unwrap())
        };
        let code = body(json!({})).unwrap();
        assert_eq!((code.interval, code.lives), (Duration::from_secs(5), Duration::from_secs(900)));
        assert!(!format!("{code:?}").contains("\"d\""));
        for bad in [
            json!({ "user_code": "\u{1b}[2J" }),
            json!({ "user_code": "" }),
            json!({ "verification_uri": "javascript:alert(1)" }),
            json!({ "expires_in": "x" }),
            json!({ "device_code": 1 }),
        ] {
            assert!(body(bad.clone()).is_none(), "{bad}");
        }
        let zero = body(json!({ "interval": 0, "expires_in": 999_999 })).unwrap();
        assert_eq!((zero.interval, zero.lives), (Duration::from_secs(1), MAX_LIFE), "never a busy loop");
    }
}
