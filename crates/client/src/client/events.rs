//! The stream of events: what changed, as it changes.

use std::{ops::ControlFlow, time::Duration};

use reqwest::Method;
use serde_json::Value;

use super::{Client, ClientError, chain, recording::refused};

/// How long one stream may take; the gateway ends it sooner, and it is resumed.
const IN_ALL: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the gateway may say nothing: it sends a comment every fifteen seconds.
const SILENCE: Duration = Duration::from_secs(45);
/// The longest event.
const MAX_EVENT: usize = 64 * 1024;
/// Streams in a row that may bring nothing at all.
const ATTEMPTS: u32 = 3;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What to resume after.
    pub id: Option<String>,
    /// `hello`, `request`, `session`, `policy`, `kill`, or `reset`: what came before is not known, look anew.
    pub event: String,
    /// What it says.
    pub data: Value,
}

impl Client {
    /// Follows the events until `each` breaks. A stream that ends is resumed where it was; `reset` says where that is impossible.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn follow(&self, mut each: impl FnMut(Told) -> ControlFlow<()>) -> Result<(), ClientError> {
        let (mut last, mut attempts) = (None, 0);
        loop {
            let mut told = false;
            let outcome = self.stream(&mut last, &mut told, &mut each).await;
            attempts = if told { 0 } else { attempts + 1 };
            match outcome {
                Ok(ControlFlow::Break(())) => return Ok(()),
                Ok(ControlFlow::Continue(())) | Err(ClientError::Unreachable { .. })
                    if attempts < ATTEMPTS =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(ControlFlow::Continue(())) => {
                    let detail = "it ends the stream of events".to_owned();
                    return Err(ClientError::Unreachable { url: self.base.to_string(), detail });
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn stream(
        &self,
        last: &mut Option<String>,
        told: &mut bool,
        each: &mut impl FnMut(Told) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ClientError> {
        let unreachable = |error: reqwest::Error| ClientError::Unreachable {
            url: self.base.to_string(),
            detail: chain(&error.without_url()),
        };
        let mut request = self.http.request(Method::GET, self.url("events")?).timeout(IN_ALL);
        if let Some(last) = &*last {
            request = request.header("Last-Event-ID", last);
        }
        let mut answer = self.authorized(request).send().await.map_err(unreachable)?;
        if !answer.status().is_success() {
            return Err(refused(answer).await);
        }
        let mut reader = Reader::default();
        loop {
            let Ok(chunk) = tokio::time::timeout(SILENCE, answer.chunk()).await else {
                return Ok(ControlFlow::Continue(()));
            };
            let Some(chunk) = chunk.map_err(unreachable)? else { return Ok(ControlFlow::Continue(())) };
            for event in
                reader.read(&chunk).map_err(|()| ClientError::Answer("an event is too long".to_owned()))?
            {
                *told = true;
                if event.id.is_some() {
                    last.clone_from(&event.id);
                }
                if each(event).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }
}

/// Bytes to events.
#[derive(Debug, Default)]
struct Reader {
    held: Vec<u8>,
    id: Option<String>,
    event: String,
    data: String,
}

impl Reader {
    fn read(&mut self, bytes: &[u8]) -> Result<Vec<Told>, ()> {
        self.held.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
            let rest = self.held.split_off(end + 1);
            let line = std::mem::replace(&mut self.held, rest);
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            events.extend(self.line(line));
        }
        if self.held.len() + self.data.len() > MAX_EVENT { Err(()) } else { Ok(events) }
    }

    fn line(&mut self, line: &str) -> Option<Told> {
        if line.is_empty() {
            let (event, data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
            let id = self.id.take();
            if event.is_empty() && data.is_empty() {
                return None;
            }
            let data = serde_json::from_str(&data).unwrap_or(Value::Null);
            return Some(Told { id, event, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_owned()),
            "event" => self.event = value.to_owned(),
            "data" => self.data.push_str(value),
            // A comment, or a field this does not know.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text =
            b": ping\n\nid: a-1\nevent: request\ndata: {\"id\":\"req_1\"}\n\nevent: reset\ndata: {}\n\n";
        for size in [1, 7, text.len()] {
            let mut reader = Reader::default();
            let events: Vec<Told> = text.chunks(size).flat_map(|piece| reader.read(piece).unwrap()).collect();
            assert_eq!(events.len(), 2, "{size}");
            assert_eq!(events[0].id.as_deref(), Some("a-1"));
            assert_eq!(events[0].data["id"], "req_1");
            assert_eq!((events[1].id.as_deref(), events[1].event.as_str()), (None, "reset"));
        }
        assert!(Reader::default().read(&[b'x'; MAX_EVENT + 1]).is_err());
    }
}
