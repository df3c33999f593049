//! `explain`: what the policy says about an identity, a connection and operations, by the same code that decides sessions.

mod masks;

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

use portcullis_core::{ConnectionName, Decision, GrantId, Operation, Principal, RuleRef, Timestamp, Verdict};
use serde::Serialize;

pub use masks::MaskAnswer;

use crate::{Expectation, Facts, Grant, Policy, When};

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
    /// Whether windows of requested grants are taken as open.
    pub window: Window,
}

/// Whether windows of requested grants are taken as open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// They are.
    Open,
    /// They are not.
    None,
}

/// An answer.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// `allow`, `deny`, `hold` or `needs-request`.
    pub outcome: Expectation,
    /// The decision on opening, or the first operation's that is not allowed, or the last operation's.
    pub decision: Decision,
    /// Every operation's decision, in order; empty where the connection does not open.
    pub operations: Vec<OperationAnswer>,
    /// Every grant of the connection, and what it has to say.
    pub grants: Vec<GrantAnswer>,
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
}

impl Serialize for Expectation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Answers a question.
pub fn explain(policy: &Arc<Policy>, question: &Question<'_>) -> Explanation {
    let (answers, in_use, waiting) = grants(policy, question);
    let Some(connection) =
        policy.connection(question.connection).filter(|_| !(in_use.is_empty() && waiting.is_empty()))
    else {
        let reason = match answers.iter().find(|answer| answer.why.starts_with("its condition")) {
            Some(answer) => format!("{}: {}", no_grant(question.connection), answer.why),
            None => no_grant(question.connection),
        };
        let decision = Decision::deny(built_in("default-deny", "no-grant"), reason);
        return Explanation {
            outcome: Expectation::Deny,
            decision,
            operations: Vec::new(),
            grants: answers,
            masks: Vec::new(),
            policy: Arc::clone(policy.version()),
        };
    };
    let masks = policy.session_masks(connection, question.principal);
    let masks = masks.iter().flat_map(|masks| masks.all()).map(|mask| MaskAnswer::new(mask)).collect();
    let judge = |grants: &[Arc<Grant>]| -> Vec<OperationAnswer> {
        let rules = policy.session_rules(connection, grants, question.principal);
        question
            .operations
            .iter()
            .map(|operation| OperationAnswer::new(operation, rules.decide(operation)))
            .collect()
    };
    let operations = if in_use.is_empty() { Vec::new() } else { judge(&in_use) };
    let refused = operations.iter().find(|answer| !answer.decision.is_allow());
    let opens = !in_use.is_empty() && refused.is_none();
    if !opens && !waiting.is_empty() {
        let both: Vec<Arc<Grant>> = in_use.iter().chain(&waiting).map(Arc::clone).collect();
        if judge(&both).iter().all(|answer| answer.decision.is_allow())
            && let Some(grant) = waiting.first()
        {
            let decision =
                Decision::deny(built_in("window", "window"), window_needed(question.connection, grant));
            return Explanation {
                outcome: Expectation::NeedsRequest,
                decision,
                operations,
                grants: answers,
                masks,
                policy: Arc::clone(policy.version()),
            };
        }
        if in_use.is_empty() {
            // not even a window would help: say what would refuse it
            let operations = judge(&both);
            if let Some(decision) = operations
                .iter()
                .map(|answer| &answer.decision)
                .find(|decision| !decision.is_allow())
                .cloned()
            {
                return Explanation {
                    outcome: decision.verdict.into(),
                    decision,
                    operations,
                    grants: answers,
                    masks,
                    policy: Arc::clone(policy.version()),
                };
            }
        }
    }
    let decision =
        refused.or(operations.last()).map_or_else(|| opened(&in_use), |answer| answer.decision.clone());
    Explanation {
        outcome: decision.verdict.into(),
        decision,
        operations,
        grants: answers,
        masks,
        policy: Arc::clone(policy.version()),
    }
}

/// The grants of the connection with their answers; those in use; those that wait for a window.
fn grants(
    policy: &Arc<Policy>,
    question: &Question<'_>,
) -> (Vec<GrantAnswer>, Vec<Arc<Grant>>, Vec<Arc<Grant>>) {
    let facts = Facts {
        now: question.now,
        source: question.source,
        client: question.client,
        principal: question.principal,
        connection: question.connection,
    };
    let (mut answers, mut in_use, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    for grant in policy.grants().iter().filter(|grant| grant.connection == *question.connection) {
        let (applies, why) = match (
            grant.to.iter().find(|subject| subject.matches(question.principal)),
            grant.applies(&facts),
        ) {
            (None, _) => (
                false,
                format!(
                    "it is to {}",
                    grant.to.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                ),
            ),
            (Some(_), Ok(false)) => (false, "its condition is false".to_owned()),
            (Some(_), Err(error)) => {
                (false, format!("its condition could not be evaluated, which counts as no: {error}"))
            }
            (Some(subject), Ok(true)) if grant.when == When::Always || question.window == Window::Open => {
                in_use.push(Arc::clone(grant));
                (true, format!("it is to {subject}"))
            }
            (Some(subject), Ok(true)) => {
                waiting.push(Arc::clone(grant));
                (false, format!("it is to {subject}, on request: no window is open"))
            }
        };
        answers.push(GrantAnswer { grant: grant.id.clone(), location: grant.location.clone(), applies, why });
    }
    (answers, in_use, waiting)
}

fn no_grant(connection: &ConnectionName) -> String {
    format!(
        "no grant gives this identity access to `{connection}`, or there is no such connection; ask the owner of the connection for a grant"
    )
}

fn window_needed(connection: &ConnectionName, grant: &Grant) -> String {
    format!(
        "access to `{connection}` is on request under grant `{}`; open a window with `portcullis request {connection} --reason …`",
        grant.id
    )
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
    fn new(operation: &Operation, decision: Decision) -> Self {
        let resources = operation.resources.iter().map(|pair| match &pair.through {
            Some(view) => format!("{} {} (through {view})", pair.verb, pair.resource),
            None => format!("{} {}", pair.verb, pair.resource),
        });
        Self {
            kind: operation.kind().to_string(),
            text: Arc::clone(&operation.text),
            resources: resources.collect(),
            decision,
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
                portcullis_core::Obligation::ApproveAtCommit { rule, rows_over } => {
                    writeln!(f, "  commits after a person's yes, over {rows_over} affected rows ({rule})")?
                }
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
        for mask in &self.masks {
            writeln!(f, "  mask    {mask}")?;
        }
        for grant in &self.grants {
            writeln!(f, "  grant   {} ({}): {}", grant.grant, grant.location, grant.why)?;
        }
        write!(f, "  policy  {}", self.policy)
    }
}
