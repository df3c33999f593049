//! Asking for access, and answering who asks.

use std::time::Duration;

use portcullis_access::WindowRequest;
use portcullis_core::RequestId;

use super::{Client, ClientError};
use crate::{AnswerBody, ConnectionView, DecideBody, DeliveryView, MeView, RequestView, Requested, Rows};

/// The longest one call waits for an answer; a longer wait is several.
const MAX_WAIT: Duration = Duration::from_secs(30);

impl Client {
    /// Asks for access. A policy that answers by itself opens a window; else people are asked.
    ///
    /// # Errors
    /// See [`ClientError`]; so for every call here.
    pub async fn ask(&self, request: &WindowRequest) -> Result<Requested, ClientError> {
        self.post("requests", request).await
    }

    /// Requests: keys of `query` are `state`, `connection`, `mine`, `needs_review`, `limit`, `cursor`.
    pub async fn requests(&self, query: &[(&str, String)]) -> Result<Rows<RequestView>, ClientError> {
        self.get("requests", &query).await
    }

    /// One request.
    pub async fn access_request(&self, id: RequestId) -> Result<RequestView, ClientError> {
        self.get(&format!("requests/{id}"), &()).await
    }

    /// One request, once it is no longer pending; after `wait` (30 seconds at most) as it is then.
    pub async fn wait_for(&self, id: RequestId, wait: Duration) -> Result<RequestView, ClientError> {
        let seconds = wait.min(MAX_WAIT).as_secs();
        self.get(&format!("requests/{id}"), &[("wait", seconds.to_string())]).await
    }

    /// Says yes.
    pub async fn approve(&self, id: RequestId, body: &DecideBody) -> Result<RequestView, ClientError> {
        self.post(&format!("requests/{id}/approve"), body).await
    }

    /// Says no.
    pub async fn deny(&self, id: RequestId, note: &str) -> Result<RequestView, ClientError> {
        self.post(&format!("requests/{id}/deny"), &AnswerBody { note: note.to_owned() }).await
    }

    /// Takes an own request back.
    pub async fn withdraw(&self, id: RequestId, note: &str) -> Result<RequestView, ClientError> {
        self.post(&format!("requests/{id}/withdraw"), &AnswerBody { note: note.to_owned() }).await
    }

    /// Notes that a window opened at once was looked at.
    pub async fn review(&self, id: RequestId, note: &str) -> Result<RequestView, ClientError> {
        self.post(&format!("requests/{id}/review"), &AnswerBody { note: note.to_owned() }).await
    }

    /// Who the token is to the gateway, with its roles; without a token, with what people sign in.
    pub async fn me(&self) -> Result<MeView, ClientError> {
        self.get("me", &()).await
    }

    /// Every connection, for who has a role.
    pub async fn all_connections(&self) -> Result<Vec<ConnectionView>, ClientError> {
        self.get("connections", &[("all", "true")]).await
    }

    /// Notices and what became of them; `undelivered`: only those that did not arrive. With the admin token.
    pub async fn deliveries(&self, undelivered: bool) -> Result<Rows<DeliveryView>, ClientError> {
        self.get("notifications/deliveries", &[("undelivered", undelivered.to_string())]).await
    }
}
