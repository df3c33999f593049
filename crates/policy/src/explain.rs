//! `explain`: what the policy says about an identity, a connection and operations, by the same code that decides sessions.

mod masks;
mod needs;

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

use portcullis_core::{ConnectionName, Decision, GrantId, Operation, Principal, RuleRef, Timestamp, Verdict};
use serde::Serialize;

pub use masks::MaskAnswer;
pub use needs::{NeedAnswer, Needed};

use crate::{AskWay, Connection, Expectation, Facts, Grant, Policy, SessionRules, Subject, When};

/// Rules that stand in no document, by the name a [`RuleRef`] has.
pub const BUILT_IN_RULES: [&str; 4] = ["no-grant", "scope", "unclassified", "window"];

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// To which connection.
    pub connection: &'a ConnectionName,
    /// What; empty: only whether the connection opens.
    pub operations: &'a [Operation],
    /// When.
    pub now: Timestamp,
    /// From where.
    pub source: IpAddr,
    /// What the client calls itself.
    pub client: &'a str,
    /// Whether windows are taken as open.
    pub window: Window,
    /// Whether people are taken as having said yes.
    pub people: People,
}

/// Whether windows of grants that need one are taken as open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// They are, of requested and of approved grants.
    Open,
    /// They are not.
    None,
}

/// Whether people are taken as having said yes to whatever needs one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum People {
    /// They are: windows of approved grants are open, and what guardrails hold passes.
    SaidYes,
    /// Nobody was asked.
    Unasked,
}

/// An answer.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// `allow`, `deny`, `hold`, `needs-request` or `needs-approval`.
    pub outcome: Expectation,
    /// The decision on opening, or the first operation's that is not allowed, or the last operation's.
    pub decision: Decision,
    /// Every operation's decision, in order; empty where the connection does not open.
    pub operations: Vec<OperationAnswer>,
    /// Every grant of the connection, and what it has to say.
    pub grants: Vec<GrantAnswer>,
    /// Whose yes is needed: for the window, for what is held, for the commit. Empty where nobody is asked.
    pub needs: Vec<NeedAnswer>,
    /// The masks in force for the identity on the connection; empty where no grant gives access.
    pub masks: Vec<MaskAnswer>,
    /// The policy's version.
    pub policy: Arc<str>,
}

/// One operation's decision.
#[derive(Clone, Debug, Serialize)]
pub struct OperationAnswer {
    /// The statement's kind.
    pub kind: String,
    /// Its text.
    pub text: Arc<str>,
    /// What it touches: `read public.orders`.
    pub resources: Vec<String>,
    /// The decision.
    pub decision: Decision,
    /// Whose yes it needs, or the commit after it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<NeedAnswer>,
}

/// What one grant has to say.
#[derive(Clone, Debug, Serialize)]
pub struct GrantAnswer {
    /// The grant.
    pub grant: GrantId,
    /// `file:line`.
    pub location: String,
    /// Whether it is in use here.
    pub applies: bool,
    /// Why, or why not.
    pub why: String,
    /// Standing, on request, or on request with a person's yes.
    pub when: When,
    /// Whose yes a window of it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<NeedAnswer>,
}

impl Serialize for Expectation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Answers a question.
pub fn explain(policy: &Arc<Policy>, question: &Question<'_>) -> Explanation {
    let found = Found::new(policy, question);
    let Some(connection) = policy.connection(question.connection).filter(|_| !found.is_empty()) else {
        let reason = match found.answers.iter().find(|answer| answer.why.starts_with("its condition")) {
            Some(answer) => format!("{}: {}", no_grant(question.connection), answer.why),
            None => no_grant(question.connection),
        };
        let decision = Decision::deny(built_in("default-deny", "no-grant"), reason);
        return Explanation {
            outcome: Expectation::Deny,
            decision,
            operations: Vec::new(),
            grants: found.answers,
            needs: Vec::new(),
            masks: Vec::new(),
            policy: Arc::clone(policy.version()),
        };
    };
    let masks = policy.session_masks(connection, question.principal);
    let masks = masks.iter().flat_map(|masks| masks.all()).map(|mask| MaskAnswer::new(mask)).collect();
    let (outcome, decision, operations, needs) = found.answer(policy, connection, question);
    Explanation {
        outcome,
        decision,
        operations,
        grants: found.answers,
        needs,
        masks,
        policy: Arc::clone(policy.version()),
    }
}

/// The grants of the connection: their answers, those in use, and those that wait for a window.
struct Found {
    answers: Vec<GrantAnswer>,
    in_use: Vec<Arc<Grant>>,
    /// Asked for, policy opens them at once.
    requested: Vec<Arc<Grant>>,
    /// Asked for, a person must say yes.
    approved: Vec<Arc<Grant>>,
}

type Answer = (Expectation, Decision, Vec<OperationAnswer>, Vec<NeedAnswer>);

impl Found {
    fn new(policy: &Arc<Policy>, question: &Question<'_>) -> Self {
        let facts = Facts {
            now: question.now,
            source: question.source,
            client: question.client,
            principal: question.principal,
            connection: question.connection,
        };
        let (answers, in_use) = (Vec::new(), Vec::new());
        let mut found = Self { answers, in_use, requested: Vec::new(), approved: Vec::new() };
        for grant in policy.grants().iter().filter(|grant| grant.connection == *question.connection) {
            let (applies, why) = found.sort(grant, question, &facts);
            found.answers.push(GrantAnswer {
                grant: grant.id.clone(),
                location: grant.location.clone(),
                applies,
                why,
                when: grant.when,
                needs: NeedAnswer::of_grant(grant),
            });
        }
        found
    }

    /// Where the grant belongs, whether it is in use, and why.
    fn sort(&mut self, grant: &Arc<Grant>, question: &Question<'_>, facts: &Facts<'_>) -> (bool, String) {
        let meant = |subjects: &[Subject]| {
            subjects.iter().find(|subject| subject.matches(question.principal)).map(ToString::to_string)
        };
        let named = meant(&grant.to).map(|subject| format!("it is to {subject}"));
        let at_once = || meant(&grant.break_glass).map(|subject| format!("{subject} may break its glass"));
        let Some(named) = named.or_else(at_once) else {
            let to: Vec<String> = grant.to.iter().map(ToString::to_string).collect();
            return (false, format!("it is to {}", to.join(", ")));
        };
        match grant.applies(facts) {
            Ok(true) => {}
            Ok(false) => return (false, "its condition is false".to_owned()),
            Err(error) => {
                let why = format!("its condition could not be evaluated, which counts as no: {error}");
                return (false, why);
            }
        }
        let open = question.window == Window::Open;
        match &grant.approval {
            _ if grant.when == When::Always || open => {
                self.in_use.push(Arc::clone(grant));
                (true, named)
            }
            Some(_) if question.people == People::SaidYes => {
                self.in_use.push(Arc::clone(grant));
                (true, named)
            }
            Some(approval) => {
                self.approved.push(Arc::clone(grant));
                (false, format!("{named}, on request with the yes of {approval}: no window is open"))
            }
            None => {
                self.requested.push(Arc::clone(grant));
                (false, format!("{named}, on request: no window is open"))
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.in_use.is_empty() && self.requested.is_empty() && self.approved.is_empty()
    }

    fn answer(&self, policy: &Arc<Policy>, connection: &Arc<Connection>, question: &Question<'_>) -> Answer {
        let judge = |grants: &[&Arc<Grant>]| -> Vec<OperationAnswer> {
            let grants: Vec<Arc<Grant>> = grants.iter().map(|grant| Arc::clone(grant)).collect();
            let rules = policy.session_rules(connection, &grants, question.principal);
            question
                .operations
                .iter()
                .map(|operation| OperationAnswer::new(operation, &rules, question.people))
                .collect()
        };
        let in_use: Vec<&Arc<Grant>> = self.in_use.iter().collect();
        let operations = if in_use.is_empty() { Vec::new() } else { judge(&in_use) };
        if in_use.is_empty() || denied(&operations).is_some() {
            // the least that helps: what policy opens by itself, else what a person opens
            let waiting = [&self.requested, &self.approved];
            let with_first = |kinds: usize| -> Vec<&Arc<Grant>> {
                let more = waiting.iter().take(kinds).flat_map(|grants| grants.iter());
                in_use.iter().copied().chain(more).collect()
            };
            for (up_to, grants) in waiting.iter().enumerate().filter(|(_, grants)| !grants.is_empty()) {
                if denied(&judge(&with_first(up_to + 1))).is_none() {
                    let alone = grants.iter().find(|grant| {
                        let with: Vec<_> = in_use.iter().copied().chain([*grant]).collect();
                        denied(&judge(&with)).is_none()
                    });
                    let Some(grant) = alone.or(grants.first()) else { continue };
                    return window_needed(question.connection, grant, operations);
                }
            }
            if in_use.is_empty() {
                // not even a window would help: say what would refuse it
                let operations = judge(&with_first(waiting.len()));
                if let Some(decision) = denied(&operations).cloned() {
                    return (Expectation::Deny, decision, operations, Vec::new());
                }
            }
        }
        let held = || operations.iter().map(|answer| &answer.decision).find(|decision| !decision.is_allow());
        let decision = denied(&operations)
            .or_else(held)
            .or(operations.last().map(|answer| &answer.decision))
            .map_or_else(|| opened(&self.in_use), Decision::clone);
        let mut needs: Vec<NeedAnswer> = Vec::new();
        if decision.verdict != Verdict::Deny {
            for need in operations.iter().flat_map(|answer| &answer.needs) {
                if !needs.contains(need) {
                    needs.push(need.clone());
                }
            }
        }
        (decision.verdict.into(), decision, operations, needs)
    }
}

/// The first decision that no person can turn into an allow.
fn denied(operations: &[OperationAnswer]) -> Option<&Decision> {
    operations.iter().map(|answer| &answer.decision).find(|decision| decision.verdict == Verdict::Deny)
}

fn no_grant(connection: &ConnectionName) -> String {
    format!(
        "no grant gives this identity access to `{connection}`, or there is no such connection; ask the owner of the connection for a grant"
    )
}

fn window_needed(connection: &ConnectionName, grant: &Grant, operations: Vec<OperationAnswer>) -> Answer {
    let needs: Vec<NeedAnswer> = NeedAnswer::of_grant(grant).into_iter().collect();
    let (outcome, terms) = match &grant.approval {
        Some(approval) => (
            Expectation::NeedsApproval,
            format!("under grant `{}` and needs approval by {approval}", grant.id),
        ),
        None => (Expectation::NeedsRequest, format!("under grant `{}`", grant.id)),
    };
    let how = match (grant.ask, &grant.approval) {
        (AskWay::Explicit, None) => {
            format!("open a window with `portcullis request {connection} --reason …`")
        }
        (AskWay::Explicit, Some(_)) => {
            format!("ask for a window with `portcullis request {connection} --reason …`")
        }
        (AskWay::OnConnect, None) => "connecting opens a window".to_owned(),
        (AskWay::OnConnect, Some(_)) => {
            format!("connecting asks for a window, and so does `portcullis request {connection}`")
        }
    };
    let reason = format!("access to `{connection}` is on request {terms}; {how}");
    (outcome, Decision::deny(built_in("window", "window"), reason), operations, needs)
}

fn opened(in_use: &[Arc<Grant>]) -> Decision {
    match in_use.first() {
        Some(grant) => Decision {
            verdict: Verdict::Allow,
            rule: grant.rule_ref(),
            reason: format!("grant `{}` opens the connection", grant.id),
            obligations: Vec::new(),
        },
        None => Decision::deny(built_in("default-deny", "no-grant"), "no grant applies"),
    }
}

fn built_in(kind: &'static str, name: &'static str) -> RuleRef {
    RuleRef { kind: Cow::Borrowed(kind), name: name.to_owned(), location: None }
}

impl OperationAnswer {
    fn new(operation: &Operation, rules: &SessionRules, people: People) -> Self {
        let mut decision = rules.decide(operation);
        let mut needs = Vec::new();
        if decision.verdict != Verdict::Deny && people == People::Unasked {
            let holds = rules.holds(operation).into_iter().chain(rules.commit_holds(operation));
            needs.extend(holds.map(|hold| NeedAnswer::of_hold(&hold)));
        }
        if decision.verdict == Verdict::Hold && people == People::SaidYes {
            decision.verdict = Verdict::Allow;
            decision.reason =
                format!("people said yes, as {} `{}` asks", decision.rule.kind, decision.rule.name);
        }
        let resources = operation.resources.iter().map(|pair| match &pair.through {
            Some(view) => format!("{} {} (through {view})", pair.verb, pair.resource),
            None => format!("{} {}", pair.verb, pair.resource),
        });
        Self {
            kind: operation.kind().to_string(),
            text: Arc::clone(&operation.text),
            resources: resources.collect(),
            decision,
            needs,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.outcome)?;
        writeln!(f, "  rule    {}", self.decision.rule)?;
        writeln!(f, "  reason  {}", self.decision.reason)?;
        for obligation in &self.decision.obligations {
            match obligation {
                portcullis_core::Obligation::Record => writeln!(f, "  with    recording")?,
                portcullis_core::Obligation::ReadOnly => {
                    writeln!(f, "  with    a read-only session upstream")?
                }
                portcullis_core::Obligation::Warn { rule, message } => {
                    writeln!(f, "  warns   {message} ({rule})")?
                }
                // among the needs, where nobody has said yes yet
                portcullis_core::Obligation::ApproveAtCommit { .. } => {}
            }
        }
        for answer in &self.operations {
            writeln!(
                f,
                "  {:<7} {}: {}",
                answer.decision.verdict.to_string(),
                answer.kind,
                answer.resources.join(", ")
            )?;
        }
        for need in &self.needs {
            writeln!(f, "  needs   {need}")?;
        }
        for mask in &self.masks {
            writeln!(f, "  mask    {mask}")?;
        }
        for grant in &self.grants {
            writeln!(f, "  grant   {} ({}): {}", grant.grant, grant.location, grant.why)?;
        }
        write!(f, "  policy  {}", self.policy)
    }
}
