//! Sessions and their recordings, asked for with the admin token.

use std::{ops::ControlFlow, time::Duration};

use portcullis_core::SessionId;
use portcullis_record::{View, What};
use reqwest::{Method, Response};

use super::{Client, ClientError, MAX_ANSWER, chain};
use crate::{ProblemBody, SessionDetail};

/// How long one request for a recording may take; a longer recording is asked for in several.
const IN_ALL: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the gateway may say nothing: it sends an empty line every ten seconds.
const SILENCE: Duration = Duration::from_secs(40);
/// Requests in a row that may bring nothing new.
const ATTEMPTS: u32 = 3;

impl Client {
    /// One session.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn session(&self, session: SessionId) -> Result<SessionDetail, ClientError> {
        self.get(&format!("sessions/{session}"), &()).await
    }

    /// The events of a recording from `from` on, one after the other, until there are no more or `each` breaks. With `follow`
    /// until the session ends. `each` may take its time: the gateway waits, and is asked again where it did not.
    ///
    /// # Errors
    /// See [`ClientError`]; a recording that cannot be read on is [`ClientError::Recording`].
    pub async fn recording(
        &self,
        session: SessionId,
        from: u64,
        follow: bool,
        mut each: impl FnMut(View) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let mut next = from;
        let mut attempts = 0;
        loop {
            let before = next;
            let outcome = self.recording_once(session, &mut next, follow, &mut each).await;
            attempts = if next > before { 0 } else { attempts + 1 };
            match outcome {
                // Cut off by the gateway, which ends every transport after a while.
                Err(ClientError::Unreachable { .. }) if attempts < ATTEMPTS && next > from => {}
                outcome => return outcome,
            }
        }
    }

    async fn recording_once(
        &self,
        session: SessionId,
        next: &mut u64,
        follow: bool,
        each: &mut impl FnMut(View) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let unreachable = |error: reqwest::Error| ClientError::Unreachable {
            url: self.base.to_string(),
            detail: chain(&error.without_url()),
        };
        let url = self.url(&format!("sessions/{session}/recording"))?;
        let query = [("from", next.to_string()), ("follow", follow.to_string())];
        let request = self.http.request(Method::GET, url).query(&query).timeout(IN_ALL);
        let mut answer = self.authorized(request).send().await.map_err(unreachable)?;
        if !answer.status().is_success() {
            return Err(refused(answer).await);
        }
        let mut held = Vec::new();
        loop {
            let chunk = match tokio::time::timeout(SILENCE, answer.chunk()).await {
                Ok(chunk) => chunk.map_err(unreachable)?,
                Err(_) => {
                    let detail = "it says nothing more".to_owned();
                    return Err(ClientError::Unreachable { url: self.base.to_string(), detail });
                }
            };
            let Some(chunk) = chunk else { break };
            held.extend_from_slice(&chunk);
            if held.len() > MAX_ANSWER {
                return Err(ClientError::Answer(format!("a line is longer than {MAX_ANSWER} bytes")));
            }
            let Some(end) = held.iter().rposition(|byte| *byte == b'\n') else { continue };
            let rest = held.split_off(end + 1);
            for line in held.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let view: View =
                    serde_json::from_slice(line).map_err(|error| ClientError::Answer(error.to_string()))?;
                if let What::Error { error } = view.what {
                    return Err(ClientError::Recording(error));
                }
                *next = view.seq + 1;
                if each(view).is_break() {
                    return Ok(());
                }
            }
            held = rest;
        }
        if held.is_empty() { Ok(()) } else { Err(ClientError::Answer("it ends in the middle".to_owned())) }
    }
}

pub(super) async fn refused(mut answer: Response) -> ClientError {
    let status = answer.status();
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            break;
        }
    }
    match serde_json::from_slice::<ProblemBody>(&body) {
        Ok(problem) => ClientError::Refused(Box::new(problem)),
        Err(_) => ClientError::Answer(format!("status {status} without a reason")),
    }
}
