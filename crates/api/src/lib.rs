//! The web listener's API: what agents ask for, what people answer, what an administrator sees and ends, and the console's pages.
//!
//! **Promises.** Promise 5, revocable now: a kill blocks, ends windows, sessions and sign-ins, in this order, so that nothing gets
//! back in between. Who may what is one table (`caller`); an approver's rights are those of the moment they answer. No answer,
//! error or log line repeats a token or what a request held. Requests are bounded in size, time and number; a follower of events
//! costs no memory however slow it is. A dead notification channel delays no answer.
//!
//! **Does not** decide (`access`, `policy`), verify (`identity`), accept transports (`proxy::listener`), send notices (`notify`), build
//! pages (`console`) or know files and flags (`portcullis`). What goes over the wire is in `client`, with the other end.
//!
//! **How to read it**: `routes.rs` (every route, what it wants, what it answers), `caller` (who asks), `people` (sessions of people),
//! [`problem`] (errors), `hub` (events), [`server`] (transport to router).
//!
//! **References**: RFC 9110 (HTTP), RFC 9457 (problem details), RFC 6750 (bearer tokens), RFC 6265bis (cookies), OpenAPI 3.1.

mod bearer;
mod caller;
mod cookie;
mod documents;
mod hub;
pub mod kill;
mod limit;
mod notices;
mod openapi;
mod people;
mod places;
pub mod problem;
mod routes;
pub mod server;
mod status;
mod views;

pub use bearer::AdminToken;
pub use documents::{
    IfMatch, MAX_DOCUMENTS, MAX_DOCUMENTS_BYTES, ManagedDocuments, NotReplaced, etag, is_document_name,
};
pub use hub::Hub;
pub use limit::RateLimits;
pub use openapi::document as openapi;
pub use people::People;
pub use portcullis_client::{
    Client, ClientError, ConnectionView, GrantView, KillAnswer, KillIdentity, KillSession, LiftAnswer,
    LiftIdentity, PolicyView, ProblemBody, RecordingView, SessionDetail, SessionState, SessionView,
    WhoamiView, client,
};
pub use problem::Problem;
pub use server::{Api, PublicUrl, ReadStatements};
pub use status::PolicyStatus;
pub use views::session as session_view;

use std::{sync::Arc, time::Duration};

/// How often sessions of people that are over are looked for.
const TIDY: Duration = Duration::from_secs(30);

/// What goes on beside requests: events for followers, notices for channels, the end of sessions of people. Until dropped.
/// Access requests that are over are ended by `proxy`'s supervisor.
pub async fn background(api: Arc<Api>) {
    let tidy = async {
        loop {
            tokio::time::sleep(TIDY).await;
            let api = Arc::clone(&api);
            let _ = tokio::task::spawn_blocking(move || api.people.tidy(&api)).await;
        }
    };
    tokio::join!(hub::feed(Arc::clone(&api)), notices::follow(Arc::clone(&api)), tidy);
}
