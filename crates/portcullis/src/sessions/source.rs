//! Where a recording is read from: a gateway, or the folder of one.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use portcullis_client::{Client, RecordingView, SessionDetail, SessionState, SessionView};
use portcullis_core::{SessionFacts, SessionId, Timestamp, Verdict};
use portcullis_record::{Error, Recording, Seek, State, View, Views, What};

use crate::{
    failure::{Exit, Failure},
    gateway::data::DataDir,
    remote::{self, AdminArgs},
};

/// How often the folder is looked at for more of a live recording.
const LOOK: Duration = Duration::from_millis(200);

/// Which recording, and where it is.
#[derive(Debug, clap::Args)]
pub struct SourceArgs {
    /// The session, as `portcullis sessions` names it
    #[arg(value_name = "SESSION")]
    pub session: SessionId,
    /// Read the recordings in this data directory; no gateway is asked, and none need run
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Whether a live recording is followed to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// What is there by now.
    No,
    /// Until the session ends.
    Yes,
}

/// Where recordings are.
pub enum Source {
    /// In the folder of recordings of a data directory.
    Folder(PathBuf),
    /// Behind a gateway.
    Gateway(Client),
}

impl SourceArgs {
    /// As the flags say; the data directory of `--config` where no gateway runs on it.
    pub fn open(&self) -> Result<Source, Failure> {
        if let Some(data) = &self.data {
            return Ok(Source::Folder(DataDir::at(data).recordings()));
        }
        if let (Some(data), false) = (self.admin.data()?, self.admin.names_address())
            && data.listeners().is_none()
        {
            eprintln!("portcullis: no gateway runs here; this is read from `{}`", data.path().display());
            return Ok(Source::Folder(data.recordings()));
        }
        Ok(Source::Gateway(self.admin.client()?))
    }
}

impl Source {
    /// Every event of a recording from the first on, until there are no more or `each` breaks.
    pub fn each(
        &self,
        session: SessionId,
        follow: Follow,
        each: impl FnMut(View) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        match self {
            Self::Folder(dir) => in_folder(dir, session, follow, each),
            Self::Gateway(client) => {
                crate::block_on(client.recording(session, 0, follow == Follow::Yes, each))?
                    .map_err(remote::failed)
            }
        }
    }

    /// What is known of a session besides its events; `None` where only the recording can say.
    pub fn detail(&self, session: SessionId) -> Result<Option<SessionDetail>, Failure> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::Gateway(client) => {
                crate::block_on(client.session(session))?.map(Some).map_err(remote::failed)
            }
        }
    }

    /// The files of a recording, where they are here.
    pub fn recording(&self, session: SessionId) -> Result<Option<Recording>, Failure> {
        match self {
            Self::Folder(dir) => Recording::open(dir, session).map(Some).map_err(failed),
            Self::Gateway(_) => Ok(None),
        }
    }
}

fn in_folder(
    dir: &Path,
    session: SessionId,
    follow: Follow,
    mut each: impl FnMut(View) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let recording = Recording::open(dir, session).map_err(failed)?;
    let is_open = recording.state() == State::Open;
    let mut views = Views::new(recording, Seek::START);
    loop {
        for view in views.by_ref() {
            let view = view.map_err(failed)?;
            let is_end = matches!(view.what, What::Ended { .. });
            if each(view).is_break() || is_end {
                return Ok(());
            }
        }
        if follow == Follow::No || !is_open || views.has_ended() {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

/// A recording's error as the command line says it.
pub fn failed(error: Error) -> Failure {
    match error {
        Error::NotFound(_) => Failure::cannot(error.to_string())
            .next("was the grant `recorded`? its decisions are in `portcullis audit search --session SESSION`"),
        Error::Broken { .. } | Error::Missing { .. } => Failure::new(Exit::No, error.to_string())
            .next("compare the hashes in the journal: portcullis audit search --kind recording_sealed --session SESSION"),
        error => Failure::cannot(error.to_string()),
    }
}

/// A session as its recording alone tells it.
pub fn from_recording(
    recording: &Recording,
    facts: Option<Arc<SessionFacts>>,
    events: &[View],
) -> SessionDetail {
    let decisions = || {
        events.iter().filter_map(|view| match &view.what {
            What::Statement(statement) => Some(statement.decision),
            _ => None,
        })
    };
    let end = events.iter().rev().find_map(|view| match &view.what {
        What::Ended { reason } => Some((view.at, reason.clone())),
        _ => None,
    });
    let state = match (&end, recording.state()) {
        (Some(_), _) => SessionState::Ended,
        (None, State::Open) => SessionState::Live,
        (None, _) => SessionState::Lost,
    };
    let (ended_at, reason) = end.unzip();
    SessionDetail {
        session: SessionView {
            session: recording.session(),
            started_at: facts.as_ref().map_or_else(Timestamp::default, |facts| facts.started_at),
            state,
            reason,
            ended_at,
            identity: facts
                .as_ref()
                .and_then(|facts| facts.principal.as_ref())
                .map(|principal| principal.key().to_string()),
            facts,
            statements: decisions().count() as u64,
            denied: Some(decisions().filter(|decision| *decision == Verdict::Deny).count() as u64),
            bytes_in: 0,
            bytes_out: 0,
        },
        recording: Some(RecordingView::from(recording)),
    }
}
