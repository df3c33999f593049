//! From token and connection name to a permit, at once or after people answered.

use std::sync::Arc;

use portcullis_access::{
    Answer, Ask, Granted, Permit, RequestRefused,
    requests::{AnswerRefused, Outcome, Request, Withdrawer},
};
use portcullis_audit::{Batch, JournalSession};
use portcullis_core::{
    AuditEvent, Decision, ErrorKind, RequestId, Resource, ResourceRef, RuleRef, Secret, SessionFacts,
    StatementKind, Timestamp, Verb, decision::DecisionEvent,
};
use portcullis_identity::{Authenticated, Standing};
use portcullis_record::Health;
use tokio::sync::watch;

use super::{Gate, NotRecorded};

/// What a connect came to, where it was not refused.
#[derive(Debug)]
pub enum Admitted {
    /// It is allowed.
    In(Box<Permit>),
    /// Connecting asked for access, and people have to answer: the peer is told where, and [`Gate::admit_after`] goes on.
    Waits(Box<Waiting>),
}

/// A peer that is who it says, and waits for people's answer.
#[derive(Debug)]
pub struct Waiting {
    who: Authenticated,
    request: Request,
    link: Option<String>,
    /// Its connecting filed it: one that waited already is not its to take back.
    filed: bool,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Waiting {
    /// The request.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Its id.
    pub fn id(&self) -> RequestId {
        self.request.id()
    }

    /// Until when people may answer.
    pub fn answer_by(&self) -> Timestamp {
        self.request.asked().answer_by
    }

    /// What the peer is told while it waits.
    pub fn message(&self) -> String {
        let whom = self.request.asked().needs.iter().flat_map(|need| need.approvers.iter());
        let whom: Vec<&str> = whom.map(String::as_str).collect();
        let place = match &self.link {
            Some(link) => format!(": {link}"),
            None => String::new(),
        };
        format!("access request {} waits for approval by {}{place}", self.id(), whom.join(", "))
    }

    /// Waits until people answered, or nobody did in time. Cancel safe.
    pub async fn answered(&mut self) -> Outcome {
        let gone = || Outcome::Withdrawn { note: "the gateway is stopping".to_owned() };
        match self.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(gone),
            Err(_) => gone(),
        }
    }
}

impl Gate {
    /// Token and connection name -> permit, or a request that waits for people. What is decided is journalled (and, in strict
    /// mode, on the disk) before this returns.
    ///
    /// Cancel safety: dropping it leaves nothing behind but, perhaps, a journalled decision or a request that waits.
    ///
    /// # Errors
    /// What the peer is told.
    pub async fn admit(&self, ask: &Ask, token: &Secret<String>) -> Result<Admitted, Answer> {
        let who = match self.identity.identify(token).await {
            Ok(who) => who,
            Err(rejected) => {
                let error = &rejected.error;
                tracing::info!(session = %ask.session, source = %ask.source.address, %error, "authentication failed");
                let message = error.client_message().to_owned();
                let rule =
                    RuleRef { kind: "identity".into(), name: error.label().to_owned(), location: None };
                let decision = Decision::deny(rule, message.clone());
                let unavailable = error.kind() == ErrorKind::Dependency;
                let answer =
                    if unavailable { Answer::Unavailable } else { Answer::NotAuthenticated { message } };
                return self.refuse(ask, &ask.refused_facts(rejected.principal), decision, answer).await;
            }
        };
        let refusal = match self.access.authorize(&who, ask) {
            Ok(permit) => return self.let_in(ask, permit).await,
            Err(refusal) => refusal,
        };
        let Answer::WindowNeeded { on_connect: true, .. } = refusal.answer else {
            return self.refuse(ask, &refusal.facts, refusal.decision, refusal.answer).await;
        };
        match self.ask_for(who, ask).await {
            Ok((who, Granted::Window(_))) => self.decide(ask, &who).await,
            Ok((who, Granted::Waits(filed))) => {
                let decision = Decision { verdict: portcullis_core::Verdict::Hold, ..refusal.decision };
                self.journal_connect(ask, &refusal.facts, decision).await?;
                let link = self.access.request_link(filed.request.id());
                Ok(Admitted::Waits(Box::new(Waiting {
                    who,
                    request: filed.request,
                    link,
                    filed: filed.new,
                    outcome: filed.outcome,
                })))
            }
            Err(refused) => {
                let hint = refusal.answer.hint();
                let message = refused.to_string();
                let decision = Decision::deny(refusal.decision.rule, message.clone());
                let answer = match refused {
                    RequestRefused::Unavailable { detail } => {
                        tracing::error!(session = %ask.session, %detail, "a request could not be filed");
                        Answer::Unavailable
                    }
                    _ => Answer::NotGiven { message, hint },
                };
                self.refuse(ask, &refusal.facts, decision, answer).await
            }
        }
    }

    /// What people answered -> permit. The decision is made anew: they opened a window, everything else must still hold.
    ///
    /// # Errors
    /// What the peer is told.
    pub async fn admit_after(&self, mut waiting: Waiting, ask: &Ask) -> Result<Box<Permit>, Answer> {
        let outcome = waiting.answered().await;
        let id = waiting.id();
        let message = match &outcome {
            Outcome::Approved { .. } => {
                return self.decide_again(ask, &waiting.who).await;
            }
            Outcome::Denied { by, note } => format!("access request {id} was denied by {by}: {note}"),
            Outcome::Expired => format!("nobody answered access request {id} in time"),
            Outcome::Withdrawn { note } => format!("access request {id} was withdrawn: {note}"),
        };
        let rule = waiting.request.asked().needs.first().map(|need| need.rule.clone());
        let rule =
            rule.unwrap_or_else(|| RuleRef { kind: "window".into(), name: id.to_string(), location: None });
        let decision = Decision::deny(rule, message.clone());
        let facts = ask.refused_facts(Some(Arc::clone(waiting.who.principal())));
        self.refuse(ask, &facts, decision, Answer::NotGiven { message, hint: None }).await
    }

    /// The peer that waited is gone: so is the request that it filed, unless others wait for it by now.
    pub async fn left(&self, waiting: Waiting) {
        let (access, id) = (Arc::clone(&self.access), waiting.id());
        if !waiting.filed {
            return;
        }
        drop(waiting);
        if access.waiters(id) > 0 {
            return;
        }
        let withdrawn = tokio::task::spawn_blocking(move || {
            access.withdraw(id, &Withdrawer::Gateway, "the client that waited is gone")
        });
        match withdrawn.await {
            Ok(Ok(_) | Err(AnswerRefused::Over(..))) => {}
            Ok(Err(error)) => tracing::warn!(request = %id, %error, "a request could not be withdrawn"),
            Err(error) => tracing::warn!(request = %id, %error, "a request could not be withdrawn"),
        }
    }

    /// Asks for what the connect needs. Store and journal are waited for off the reactor.
    async fn ask_for(
        &self,
        who: Authenticated,
        ask: &Ask,
    ) -> Result<(Authenticated, Granted), RequestRefused> {
        let (access, ask) = (Arc::clone(&self.access), ask.clone());
        let asked = tokio::task::spawn_blocking(move || {
            access.request_on_connect(&who, &ask).map(|granted| (who, granted))
        });
        let failed =
            |error: tokio::task::JoinError| RequestRefused::Unavailable { detail: error.to_string() };
        asked.await.map_err(failed)?
    }

    /// As [`Gate::decide`], for a principal that was verified when it began to wait, perhaps days ago: whether it is still good, and
    /// its groups, are asked for now. Who cannot be asked about does not come in.
    async fn decide_again(&self, ask: &Ask, who: &Authenticated) -> Result<Box<Permit>, Answer> {
        let facts = ask.refused_facts(Some(Arc::clone(who.principal())));
        let rule = |name: &str| RuleRef { kind: "identity".into(), name: name.to_owned(), location: None };
        let principal = match self.identity.recheck(who.principal()).await {
            Standing::Good(principal) => principal,
            Standing::Revoked { detail } => {
                let decision = Decision::deny(rule("revoked"), detail.clone());
                let answer = Answer::NotGiven { message: detail, hint: None };
                return self.refuse(ask, &facts, decision, answer).await;
            }
            Standing::Unknown { detail } => {
                tracing::warn!(session = %ask.session, detail, "liveness is not known");
                let decision =
                    Decision::deny(rule("unknown"), "whether the identity is still good is not known");
                return self.refuse(ask, &facts, decision, Answer::Unavailable).await;
            }
        };
        let permit = match self.access.authorize(who, ask) {
            Ok(permit) => permit,
            Err(refusal) => return self.refuse(ask, &refusal.facts, refusal.decision, refusal.answer).await,
        };
        if let Err(reason) = self.access.reauthorize(permit.live(), &principal) {
            let message = reason.to_string();
            let decision = Decision::deny(rule("changed"), message.clone());
            return self.refuse(ask, &facts, decision, Answer::NotGiven { message, hint: None }).await;
        }
        match self.let_in(ask, permit).await? {
            Admitted::In(permit) => Ok(permit),
            // Not reached: deciding files nothing.
            Admitted::Waits(_) => Err(Answer::Unavailable),
        }
    }

    async fn decide(&self, ask: &Ask, who: &Authenticated) -> Result<Admitted, Answer> {
        match self.access.authorize(who, ask) {
            Ok(permit) => self.let_in(ask, permit).await,
            Err(refusal) => self.refuse(ask, &refusal.facts, refusal.decision, refusal.answer).await,
        }
    }

    async fn let_in(&self, ask: &Ask, permit: Permit) -> Result<Admitted, Answer> {
        if !self.can_record(&permit) {
            let rule = RuleRef { kind: "recording".into(), name: "not possible".to_owned(), location: None };
            let decision = Decision::deny(rule, "the session cannot be recorded now");
            return self.refuse(ask, permit.facts(), decision, Answer::Unavailable).await;
        }
        self.journal_connect(ask, permit.facts(), permit.decision().clone()).await?;
        Ok(Admitted::In(Box::new(permit)))
    }

    async fn refuse<T>(
        &self,
        ask: &Ask,
        facts: &Arc<SessionFacts>,
        decision: Decision,
        answer: Answer,
    ) -> Result<T, Answer> {
        self.journal_connect(ask, facts, decision).await?;
        Err(answer)
    }

    /// Whether a session under the permit can be recorded, where it must be.
    fn can_record(&self, permit: &Permit) -> bool {
        !permit.rules().is_recorded() || self.recordings.health() == Health::Good
    }

    async fn journal_connect(
        &self,
        ask: &Ask,
        facts: &Arc<SessionFacts>,
        decision: Decision,
    ) -> Result<(), Answer> {
        let verdict = decision.verdict;
        let policy = Arc::clone(self.access.policy().version());
        let event = connect_event(facts, decision, policy, ask, self.clock.now());
        if let Err(error) = self.record(facts, &event).await {
            tracing::error!(session = %ask.session, %error, "a connect decision could not be journalled");
            return Err(Answer::Unavailable);
        }
        metrics::counter!("portcullis_connects_total", "protocol" => ask.protocol, "decision" => verdict.to_string()).increment(1);
        Ok(())
    }

    async fn record(&self, facts: &Arc<SessionFacts>, event: &AuditEvent) -> Result<(), NotRecorded> {
        let failed = |error: portcullis_audit::Error| NotRecorded(error.to_string());
        let mut batch = Batch::new();
        batch.push(event).map_err(failed)?;
        let session = JournalSession::new(Arc::clone(facts));
        let position = self.journal.append(Some(&session), &batch).map_err(failed)?;
        self.journal.settled(position).await.map_err(failed)
    }
}

fn connect_event(
    facts: &SessionFacts,
    decision: Decision,
    policy: Arc<str>,
    ask: &Ask,
    now: Timestamp,
) -> AuditEvent {
    let name =
        facts.connection.as_ref().map_or_else(|| printable(&ask.connection), |name| name.as_str().to_owned());
    let resource = ResourceRef {
        verb: Verb::Connect,
        resource: Resource::from(name),
        columns: Vec::new(),
        through: None,
    };
    AuditEvent::Decision(DecisionEvent {
        at: now,
        session: facts.session,
        number: 0,
        verb: Verb::Connect,
        resources: Arc::from([resource]),
        statement: StatementKind::word("connect"),
        text: Arc::from(""),
        text_cut_from: None,
        binds: None,
        decision: decision.verdict,
        rule: decision.rule,
        reason: decision.reason.into(),
        obligations: decision.obligations,
        policy,
    })
}

/// What an unknown peer wrote, bounded and without control characters.
fn printable(text: &str) -> String {
    text.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
