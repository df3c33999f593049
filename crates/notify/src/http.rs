//! Posting to chat servers and webhooks: bounded in time and size, never redirected, in the clear to loopback only.
//!
//! Private addresses are allowed, because chat servers live there; who writes the documents chooses the address.

use std::{net::IpAddr, time::Duration};

use portcullis_policy::Url;
use reqwest::{Client, Response, header, redirect};
use rustls::ClientConfig;

use crate::failed::{Again, Failed};

/// Most of an answer that is looked at.
const MAX_ANSWER: usize = 4 * 1024;
/// Longest word of Slack's that is passed on (`invalid_payload`, `channel_is_archived`).
const MAX_WORD: usize = 64;

/// Clients that share connections.
pub(crate) struct Http {
    /// For loopback: never through a proxy of the environment.
    direct: Client,
    /// For everything else: through the proxy of the environment, where there is one.
    outside: Client,
}

/// What to make of the words of an answer that says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    /// They are not looked at.
    Ignored,
    /// Slack's single words are passed on: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>.
    Slack,
}

/// One request.
pub(crate) struct Post<'a> {
    pub(crate) url: &'a Url,
    pub(crate) headers: &'a [(&'static str, String)],
    pub(crate) body: Vec<u8>,
    pub(crate) words: Words,
}

impl Http {
    pub(crate) fn new(tls: &ClientConfig, timeout: Duration) -> Result<Self, String> {
        let client = || {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(redirect::Policy::none())
                .referer(false)
                .timeout(timeout)
                .connect_timeout(timeout)
                .pool_idle_timeout(Duration::from_secs(30))
                .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
        };
        Ok(Self {
            direct: client().no_proxy().build().map_err(|error| error.to_string())?,
            outside: client().build().map_err(|error| error.to_string())?,
        })
    }

    /// Posts JSON. Cancel safe: a dropped request is closed, and may have arrived.
    pub(crate) async fn post(&self, post: Post<'_>) -> Result<(), Failed> {
        let client = self.client(post.url)?;
        let mut request = client.post(post.url.clone()).header(header::CONTENT_TYPE, "application/json");
        for (name, value) in post.headers {
            request = request.header(*name, value);
        }
        let response = request.body(post.body).send().await.map_err(transport)?;
        judge(response, post.words).await
    }

    fn client(&self, url: &Url) -> Result<&Client, Failed> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Failed::never("the address has a user or a password in it"));
        }
        match (is_loopback(url), url.scheme()) {
            (true, "http" | "https") => Ok(&self.direct),
            (false, "https") => Ok(&self.outside),
            _ => Err(Failed::never("the address is neither `https` nor `http` to loopback")),
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// RFC 9110 section 15: what an answer means for the message.
async fn judge(response: Response, words: Words) -> Result<(), Failed> {
    let status = response.status().as_u16();
    let answered = format!("the server answered {status}");
    // Seconds only: the form with a date counts as none, and our own back-off applies.
    let after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let after = after.map(Duration::from_secs);
    match status {
        200..=299 => Ok(()),
        300..=399 => Err(Failed::never(format!("{answered}: redirects are not followed"))),
        408 | 429 => Err(Failed::new(answered, Again::Channel(after))),
        500..=599 if after.is_some() => Err(Failed::new(answered, Again::Channel(after))),
        500..=599 => Err(Failed::message(answered)),
        _ => match word(response, words).await {
            Some(word) => Err(Failed::never(format!("{answered}: {word}"))),
            None => Err(Failed::never(answered)),
        },
    }
}

/// Slack's word, where the answer is one and nothing else.
async fn word(mut response: Response, words: Words) -> Option<String> {
    if words == Words::Ignored {
        return None;
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len().saturating_add(chunk.len()) > MAX_ANSWER {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    let word = String::from_utf8(body).ok()?;
    let is_word = !word.is_empty()
        && word.len() <= MAX_WORD
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_word.then_some(word)
}

fn transport(error: reqwest::Error) -> Failed {
    if error.is_timeout() {
        return Failed::channel("no answer: timed out");
    }
    if error.is_builder() {
        return Failed::never("the address or a header cannot be sent");
    }
    // The innermost cause says what happened (refused, unknown authority); the outer ones repeat the address.
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Failed::channel(format!("no answer: {cause}"))
}
