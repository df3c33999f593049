//! A client whose connecting asked for access: it stays, and comes in when people have said yes.
//!
//! The listener's deadline is past; its slot is not. What it waits for ends with the request: people's answer, its time, or the
//! client's leaving, which takes the request back.

use std::time::Duration;

use portcullis_access::Ask;
use portcullis_proxy::gate;

use super::{Postgres, Session};
use crate::{
    codec::{Report, Severity},
    error::{Error, sqlstate},
    handshake::{Credentials, Waiting},
};

/// How often it is told that it still waits: shorter than load balancers and address translation give up on a connection.
const REMIND: Duration = Duration::from_secs(30);

/// How long the upstream's login and what is learned from it may take once people have answered: a listener's own limit.
const ENTER: Duration = Duration::from_secs(30);

/// A client that waits for people.
pub(super) struct Parked {
    pub(super) waits: gate::Waiting,
    pub(super) ask: Ask,
    pub(super) credentials: Credentials,
    pub(super) waiting: Waiting,
}

enum Came {
    Answer,
    Left,
    Time,
}

impl Postgres {
    /// Waits until people have answered. Nothing where there is no session: the peer was told, or is gone.
    pub(super) async fn parked(&self, parked: Box<Parked>) -> Option<Session> {
        let Parked { mut waits, ask, credentials, mut waiting } = *parked;
        let session = ask.session;
        let message = waits.message();
        let until = format!("it waits until {} at most", waits.answer_by());
        let mut notice = Report::new(Severity::Notice, sqlstate::SUCCESSFUL_COMPLETION, message.as_str())
            .detail(until)
            .hint("closing the connection takes the request back");
        loop {
            // A client that reads nothing for so long is none: it must not keep its slot past its request's end.
            waiting = match tokio::time::timeout(REMIND, waiting.park(&notice)).await {
                Ok(Ok(waiting)) => waiting,
                Ok(Err(failed)) => {
                    self.gate.left(waits).await;
                    return self.failed(session, &failed);
                }
                Err(_) => {
                    self.gate.left(waits).await;
                    tracing::info!(%session, "a client that waited for access reads nothing");
                    return None;
                }
            };
            let came = tokio::select! {
                biased;
                () = waiting.left() => Came::Left,
                _ = waits.answered() => Came::Answer,
                () = tokio::time::sleep(REMIND) => Came::Time,
            };
            match came {
                Came::Time => {
                    let still = format!("{message} (still)");
                    notice = Report::new(Severity::Notice, sqlstate::SUCCESSFUL_COMPLETION, still);
                }
                Came::Left => {
                    self.gate.left(waits).await;
                    tracing::info!(%session, "a client that waited for access has left");
                    return None;
                }
                Came::Answer => break,
            }
        }
        match self.gate.admit_after(waits, &ask).await {
            Ok(permit) => {
                let entering = self.enter(*permit, credentials, waiting, &ask);
                tokio::time::timeout(ENTER, entering).await.ok().flatten()
            }
            Err(answer) => {
                let _ = waiting.refuse(&Error::Refused(answer)).await;
                None
            }
        }
    }
}
