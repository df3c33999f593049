//! Recording, as part of the pipeline: a session whose rules in force say `recorded` has a recorder, or ends.

use std::sync::Arc;

use portcullis_core::{EndReason, SessionFacts};
use portcullis_record::{Event, NotRecording, Recorder, Recordings};

use super::{GateSession, InForce};
use crate::sessions::{SessionControl, SessionHandle};

/// What records one session.
pub(super) struct Recording {
    recordings: Arc<Recordings>,
    state: State,
}

enum State {
    /// The rules never said so.
    Never,
    On(Recorder),
    /// The rules said so once and do not now.
    Paused(Recorder),
    /// It could not begin: the session is told to end.
    Failed(NotRecording),
}

impl Recording {
    pub(super) const fn new(recordings: Arc<Recordings>) -> Self {
        Self { recordings, state: State::Never }
    }

    /// Brings the recording up to what the rules in force say.
    fn follow(&mut self, wanted: bool, handle: &SessionHandle<InForce>) {
        match (&mut self.state, wanted) {
            (State::Never, true) => self.state = begin(&self.recordings, handle.facts(), handle.control()),
            (State::On(recorder) | State::Paused(recorder), _) => {
                let text = if wanted {
                    "the rules in force record the session again"
                } else {
                    "the rules in force record the session no more"
                };
                let at = self.recordings.now();
                let _failure_is_asked_for = recorder.event(at, &Event::Note { text });
                self.state = match (std::mem::replace(&mut self.state, State::Never), wanted) {
                    (State::On(recorder) | State::Paused(recorder), true) => State::On(recorder),
                    (State::On(recorder) | State::Paused(recorder), false) => State::Paused(recorder),
                    (other, _) => other,
                };
            }
            (State::Never | State::Failed(_), _) => {}
        }
    }

    const fn is_on(&self) -> bool {
        matches!(self.state, State::On(_) | State::Failed(_))
    }
}

fn begin(
    recordings: &Recordings,
    facts: &Arc<SessionFacts>,
    control: &Arc<SessionControl<InForce>>,
) -> State {
    match recordings.begin(facts) {
        Ok(recorder) => {
            let control = Arc::downgrade(control);
            recorder.on_failure(move |failure| {
                if let Some(control) = control.upgrade() {
                    control.end(failure.into());
                }
            });
            State::On(recorder)
        }
        Err(error) => {
            let failure = NotRecording(error.to_string());
            control.end(failure.clone().into());
            State::Failed(failure)
        }
    }
}

impl GateSession {
    /// The session's recorder, where the rules in force say that it is recorded. It begins here when a reload says so;
    /// where it cannot, the session is told to end and [`GateSession::commit`] lets nothing pass.
    pub fn recorder(&mut self) -> Option<&mut Recorder> {
        let wanted = self.handle.rules().rules.is_recorded();
        if wanted != self.recording.is_on() {
            self.recording.follow(wanted, &self.handle);
        }
        match &mut self.recording.state {
            State::On(recorder) => Some(recorder),
            _ => None,
        }
    }

    /// Why the session must end, if it should be recorded and is not. Cheap enough for every turn.
    pub fn recording_failed(&mut self) -> Option<EndReason> {
        self.not_recording().map(EndReason::from)
    }

    pub(super) fn not_recording(&mut self) -> Option<NotRecording> {
        if let Some(recorder) = self.recorder() {
            return recorder.failure();
        }
        match &self.recording.state {
            State::Failed(failure) => Some(failure.clone()),
            _ => None,
        }
    }

    /// Ends the recording, if there is one.
    pub(super) fn finish_recording(&mut self, reason: &EndReason) {
        if let State::On(recorder) | State::Paused(recorder) = &mut self.recording.state {
            recorder.finish(reason);
        }
    }
}
