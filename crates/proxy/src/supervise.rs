//! [`Supervisor`]: watches over live sessions, so that what was decided at connect stays true or the session ends.
//!
//! **Promises.** Promise 5, revocable now: a policy that changed is applied to every live session at once; identities whose
//! provider has liveness are asked about at its interval; conditions and windows are looked at every few seconds. A session
//! is only ever narrowed here, or ended.
//!
//! **Does not** ask the directory (`identity`) or decide (`access`).

use std::{collections::HashMap, sync::Arc, time::Duration};

use portcullis_core::{EndReason, Principal, PrincipalKey, Timestamp};
use portcullis_identity::Standing;
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    gate::{Gate, InForce},
    sessions::SessionControl,
};

/// How often sessions are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often the decision of a session is repeated though nothing is known to have changed: conditions depend on time.
const REPEAT: Duration = Duration::from_secs(5);
/// Questions to the directory under way at once.
const AT_ONCE: usize = 16;

type Control = Arc<SessionControl<InForce>>;

/// Repeats decisions for live sessions.
pub struct Supervisor {
    gate: Arc<Gate>,
    changed: Notify,
    /// Requests may be under rules that are no more.
    moved: Notify,
    /// Providers may have changed: everybody is asked about once, also where no directory is.
    all: Notify,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").finish_non_exhaustive()
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

impl Supervisor {
    /// For the live sessions of a gate.
    pub fn new(gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self { gate, changed: Notify::new(), moved: Notify::new(), all: Notify::new() })
    }

    /// Another policy, window or block is in force: look at every session now.
    pub fn policy_changed(&self) {
        self.changed.notify_one();
        self.moved.notify_one();
        self.all.notify_one();
    }

    /// Runs until dropped. Cancel safe: a question under way is asked again.
    pub async fn run(self: Arc<Self>) {
        // Side by side, so that a directory that is slow to answer does not delay what needs no directory.
        tokio::join!(self.repeat_when_due(), self.recheck_when_due(), self.tidy_requests());
    }

    async fn repeat_when_due(&self) {
        let mut ticks = ticks(REPEAT);
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                _ = ticks.tick() => {}
            }
            self.repeat_all();
        }
    }

    /// Ends requests that are over: out of time, blocked, or under rules that are no more.
    async fn tidy_requests(&self) {
        let mut ticks = ticks(TICK);
        loop {
            tokio::select! {
                () = self.moved.notified() => {}
                _ = ticks.tick() => {}
            }
            let access = Arc::clone(&self.gate.access);
            if let Err(error) = tokio::task::spawn_blocking(move || access.tidy_requests()).await {
                tracing::error!(%error, "requests could not be looked at");
            }
        }
    }

    async fn recheck_when_due(&self) {
        let mut ticks = ticks(TICK);
        loop {
            let due = tokio::select! {
                () = self.all.notified() => Timestamp::MAX,
                _ = ticks.tick() => self.gate.clock.now(),
            };
            self.recheck_due(due).await;
        }
    }

    /// Repeats the decision of every session with the principal as last known.
    fn repeat_all(&self) {
        for control in self.gate.sessions.controls() {
            let principal = Arc::clone(control.rules().live.principal());
            self.apply(&control, &principal);
        }
    }

    /// Asks about every principal that is due at `now`, about everybody at the end of time, and applies the answers as they come.
    async fn recheck_due(&self, now: Timestamp) {
        let mut sessions: HashMap<PrincipalKey, Vec<Control>> = HashMap::new();
        for control in self.gate.sessions.controls() {
            let principal = Arc::clone(control.rules().live.principal());
            let all = now == Timestamp::MAX;
            if all || self.gate.identity.next_recheck(&principal).is_some_and(|at| at <= now) {
                sessions.entry(principal.key()).or_default().push(control);
            }
        }
        let mut waiting = sessions.into_values();
        let mut asking = JoinSet::new();
        loop {
            while asking.len() < AT_ONCE {
                let Some(controls) = waiting.next() else { break };
                let identity = Arc::clone(&self.gate.identity);
                asking.spawn(async move {
                    let principal =
                        controls.first().map(|control| Arc::clone(control.rules().live.principal()));
                    let standing = match principal {
                        Some(principal) => identity.recheck(&principal).await,
                        None => return None,
                    };
                    Some((controls, standing))
                });
            }
            match asking.join_next().await {
                None => return,
                Some(Ok(Some((controls, standing)))) => self.answer(&controls, &standing),
                Some(Ok(None)) => {}
                Some(Err(error)) => tracing::error!(%error, "a liveness check failed"),
            }
        }
    }

    fn answer(&self, controls: &[Control], standing: &Standing) {
        for control in controls {
            match standing {
                Standing::Good(principal) => self.apply(control, principal),
                Standing::Revoked { detail } => {
                    control.end(EndReason::IdentityRevoked { detail: detail.clone() });
                }
                Standing::Unknown { detail } => {
                    tracing::warn!(session = %control.facts().session, detail, "liveness is not known");
                }
            }
        }
    }

    /// Repeats the decision with `principal` as it is now; swaps the rules where they changed, ends the session where
    /// nothing allows it any more.
    fn apply(&self, control: &Control, principal: &Arc<Principal>) {
        let before = control.rules_owned();
        match self.gate.access.reauthorize(&before.live, principal) {
            Err(reason) => {
                control.end(reason);
            }
            Ok(rules) => {
                let same = rules.policy_version() == before.rules.policy_version()
                    && rules.scope() == before.rules.scope()
                    && **before.live.principal() == **principal;
                if !same {
                    let live = before.live.with_principal(Arc::clone(principal));
                    control.replace_rules(Arc::new(InForce { rules, live }));
                }
            }
        }
    }
}
