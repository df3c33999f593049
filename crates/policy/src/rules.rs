//! [`SessionRules`]: everything one session's operations are judged by, picked out once when the session opens.

use std::{borrow::Cow, sync::Arc};

use portcullis_core::{
    Decision, Obligation, Operation, Principal, ResourceRef, RuleRef, Verb, Verdict, operation::Classified,
};

use crate::{
    Connection, Grant, Guardrail, GuardrailAction, HoldAt, HoldTerms, HoldingRule, Mask, Policy, ScopeRule,
    SessionMasks,
};

/// The rules of one session: the scopes of its grants together, and the guardrails and masks that bind its
/// principal here.
///
/// INVARIANT(deny-first): a guardrail that blocks is looked at before any scope, and an operation passes only when every
/// (verb, resource) pair it names is in scope. One that holds comes last: nobody is asked about what may not be done anyway.
#[derive(Debug)]
pub struct SessionRules {
    policy_version: Arc<str>,
    connection: Arc<Connection>,
    scopes: Vec<GrantScope>,
    all_scope: Vec<ScopeRule>,
    guardrails: Vec<BoundGuardrail>,
    masks: Option<Arc<SessionMasks>>,
    record: bool,
    read_only: bool,
    pass_through: bool,
    /// Some guardrail holds operations.
    may_hold: bool,
    /// Some guardrail holds commits.
    gates_commits: bool,
    /// The mask without which it would be pass-through.
    stopped_by: Option<Arc<Mask>>,
}

/// One grant's scope, with what an allow by it says.
#[derive(Debug)]
struct GrantScope {
    rules: Vec<ScopeRule>,
    rule: RuleRef,
    reason: String,
}

/// A guardrail, with what its answer says.
#[derive(Debug)]
struct BoundGuardrail {
    guardrail: Arc<Guardrail>,
    rule: RuleRef,
    message: String,
}

impl SessionRules {
    pub(crate) fn new(
        policy: &Policy,
        connection: &Arc<Connection>,
        grants: &[Arc<Grant>],
        principal: &Principal,
    ) -> Self {
        // a grant for another connection gives nothing here, whatever the caller passed
        let grants: Vec<&Arc<Grant>> =
            grants.iter().filter(|grant| grant.connection == connection.name).collect();
        let scopes: Vec<GrantScope> = grants.iter().map(|grant| GrantScope::new(grant)).collect();
        let all_scope: Vec<ScopeRule> = grants.iter().flat_map(|grant| grant.scope.iter().cloned()).collect();
        let covering = || policy.guardrails().iter().filter(|guardrail| guardrail.covers(connection));
        let guardrails: Vec<BoundGuardrail> =
            covering().filter(|guardrail| !guardrail.excepts(principal)).map(BoundGuardrail::new).collect();
        let masks = policy.session_masks(connection, principal);
        let holds_at = |at| {
            let terms = guardrails.iter().filter_map(|bound| bound.guardrail.hold.as_ref());
            terms.into_iter().any(|terms| terms.at == at)
        };
        let (may_hold, gates_commits) = (holds_at(HoldAt::Operation), holds_at(HoldAt::Commit));
        let open = all_scope.iter().any(ScopeRule::is_everything) && covering().next().is_none();
        let stopped_by = masks.as_ref().and_then(|masks| masks.opaque()).filter(|_| open).map(Arc::clone);
        Self {
            policy_version: Arc::clone(policy.version()),
            connection: Arc::clone(connection),
            record: grants.iter().any(|grant| grant.recorded),
            read_only: !all_scope.is_empty() && all_scope.iter().all(|rule| rule.verb == Some(Verb::Read)),
            pass_through: open && stopped_by.is_none(),
            may_hold,
            gates_commits,
            stopped_by,
            scopes,
            all_scope,
            guardrails,
            masks,
        }
    }

    /// The connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The scope rules of all grants together.
    pub fn scope(&self) -> &[ScopeRule] {
        &self.all_scope
    }

    /// The version of the policy the rules are from.
    pub fn policy_version(&self) -> &Arc<str> {
        &self.policy_version
    }

    /// The masks that bind the principal here; `None` where none does.
    pub fn masks(&self) -> Option<&Arc<SessionMasks>> {
        self.masks.as_ref()
    }

    /// Whether the scope has `*:*`, no guardrail is on the connection, and no mask with columns that binds the principal here
    /// refuses code nobody sees into: then what cannot be classified passes. Masks by detector need no classification.
    pub fn is_pass_through(&self) -> bool {
        self.pass_through
    }

    /// Whether every scope rule's verb is `read`: then the upstream session is made read-only too.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether sessions are recorded.
    pub fn is_recorded(&self) -> bool {
        self.record
    }

    /// Judges one operation. Blocks first, then what is not understood, then the scope, then what holds, then warnings. The
    /// obligations of a hold are those of the allow it becomes once every one of [`SessionRules::holds`] is answered yes.
    pub fn decide(&self, operation: &Operation) -> Decision {
        if let Some(block) = self.matching(operation, GuardrailAction::Block).next() {
            return Decision::deny(block.rule.clone(), block.message.clone());
        }
        if let Classified::Not(why) = &operation.classified
            && !self.pass_through
        {
            return match &self.stopped_by {
                Some(mask) => mask.refuses_unclassified(why),
                None => {
                    Decision::deny(rule("classification", "unclassified"), format!("{why}; {NOT_CLASSIFIED}"))
                }
            };
        }
        match self.covering(operation) {
            Ok(scope) => {
                let obligations = self.obligations(operation);
                let (verdict, rule, reason) = match self.holding(operation, HoldAt::Operation).next() {
                    Some((hold, _)) => (Verdict::Hold, &hold.rule, &hold.message),
                    None => (Verdict::Allow, &scope.rule, &scope.reason),
                };
                Decision { verdict, rule: rule.clone(), reason: reason.clone(), obligations }
            }
            Err(pair) => self.out_of_scope(pair),
        }
    }

    /// Whether any operation can be held.
    pub fn may_hold(&self) -> bool {
        self.may_hold
    }

    /// Whether any commit can be held.
    pub fn gates_commits(&self) -> bool {
        self.gates_commits
    }

    /// The guardrail of that name, where it is in force here and holds commits.
    pub fn commit_rule(&self, name: &str) -> Option<HoldingRule> {
        let bound = self.guardrails.iter().find(|bound| bound.rule.name == name)?;
        let terms = bound.guardrail.hold.as_ref().filter(|terms| terms.at == HoldAt::Commit)?;
        Some(BoundGuardrail::holding_rule((bound, terms)))
    }

    /// Every guardrail that holds this operation: each needs its own answer. Empty unless [`SessionRules::decide`] says
    /// hold or the operation is denied anyway.
    pub fn holds(&self, operation: &Operation) -> Vec<HoldingRule> {
        self.holding(operation, HoldAt::Operation).map(BoundGuardrail::holding_rule).collect()
    }

    /// Every guardrail that holds the commit of the transaction this operation runs in. Empty for an operation that only
    /// reads: a commit makes nothing of it last.
    pub fn commit_holds(&self, operation: &Operation) -> Vec<HoldingRule> {
        self.committing(operation).map(BoundGuardrail::holding_rule).collect()
    }

    fn holding<'a>(
        &'a self,
        operation: &'a Operation,
        at: HoldAt,
    ) -> impl Iterator<Item = (&'a BoundGuardrail, &'a Arc<HoldTerms>)> {
        self.matching(operation, GuardrailAction::Approve)
            .filter_map(|bound| Some((bound, bound.guardrail.hold.as_ref()?)))
            .filter(move |(_, terms)| terms.at == at)
    }

    fn committing<'a>(
        &'a self,
        operation: &'a Operation,
    ) -> impl Iterator<Item = (&'a BoundGuardrail, &'a Arc<HoldTerms>)> {
        let changes = self.gates_commits && operation.resources.iter().any(|pair| pair.verb != Verb::Read);
        self.holding(operation, HoldAt::Commit).filter(move |_| changes)
    }

    fn matching<'a>(
        &'a self,
        operation: &'a Operation,
        action: GuardrailAction,
    ) -> impl Iterator<Item = &'a BoundGuardrail> {
        self.guardrails
            .iter()
            .filter(move |bound| bound.guardrail.action == action && bound.guardrail.matches(operation))
    }

    /// The grant that covers the operation (alone, else that of its first pair), or the first pair nothing covers.
    fn covering<'a>(&'a self, operation: &'a Operation) -> Result<&'a GrantScope, Option<&'a ResourceRef>> {
        let named = || operation.resources.iter().filter(|pair| pair.through.is_none());
        if let Some(alone) = self.scopes.iter().find(|scope| named().all(|pair| scope.covers(pair))) {
            return Ok(alone);
        }
        let uncovered = named().find(|pair| !self.scopes.iter().any(|scope| scope.covers(pair)));
        match (uncovered, named().next()) {
            (Some(pair), _) => Err(Some(pair)),
            (None, Some(first)) => self.scopes.iter().find(|scope| scope.covers(first)).ok_or(Some(first)),
            (None, None) => Err(None),
        }
    }

    fn obligations(&self, operation: &Operation) -> Vec<Obligation> {
        // As long as it is, but for warnings: sessions keep many.
        let mut obligations = Vec::with_capacity(usize::from(self.record) + usize::from(self.read_only));
        if self.record {
            obligations.push(Obligation::Record);
        }
        if self.read_only {
            obligations.push(Obligation::ReadOnly);
        }
        obligations.extend(
            self.matching(operation, GuardrailAction::Warn)
                .map(|warn| Obligation::Warn { rule: warn.rule.clone(), message: warn.message.clone() }),
        );
        obligations.extend(self.committing(operation).map(|(bound, terms)| Obligation::ApproveAtCommit {
            rule: bound.rule.clone(),
            rows_over: terms.rows_over,
        }));
        obligations
    }

    fn out_of_scope(&self, pair: Option<&ResourceRef>) -> Decision {
        let rule = rule("default-deny", "scope");
        let Some(pair) = pair else {
            return Decision::deny(rule, "no grant of this session allows anything; ask for access again");
        };
        let (verb, resource) = (pair.verb, &pair.resource);
        let mut scope = String::new();
        for allowed in &self.all_scope {
            if !scope.is_empty() {
                scope.push_str(", ");
            }
            scope.push_str(&allowed.to_string());
        }
        Decision::deny(
            rule,
            format!(
                "`{verb}` on `{resource}` is not in the scope of this session, which is {scope}; ask for a grant with `{verb}:{resource}`"
            ),
        )
    }
}

const NOT_CLASSIFIED: &str =
    "what the gateway does not fully understand is refused; rewrite the statement in a plainer form";

/// A rule that stands in no document.
fn rule(kind: &'static str, name: &'static str) -> RuleRef {
    RuleRef { kind: Cow::Borrowed(kind), name: name.to_owned(), location: None }
}

impl GrantScope {
    fn new(grant: &Grant) -> Self {
        let scope: Vec<String> = grant.scope.iter().map(ToString::to_string).collect();
        Self {
            rules: grant.scope.clone(),
            rule: grant.rule_ref(),
            reason: format!("grant `{}` allows {}", grant.id, scope.join(", ")),
        }
    }

    fn covers(&self, pair: &ResourceRef) -> bool {
        self.rules.iter().any(|rule| rule.covers(pair.verb, pair.resource.as_str()))
    }
}

impl BoundGuardrail {
    fn new(guardrail: &Arc<Guardrail>) -> Self {
        let message = match &guardrail.message {
            Some(message) => format!("guardrail `{}`: {message}", guardrail.name),
            None => match guardrail.action {
                GuardrailAction::Block => format!(
                    "guardrail `{}` refuses this operation; ask the owner of the connection for another way",
                    guardrail.name
                ),
                GuardrailAction::Approve => format!("guardrail `{}` needs a person's yes", guardrail.name),
                GuardrailAction::Warn => format!("guardrail `{}` warns about this operation", guardrail.name),
            },
        };
        Self { rule: guardrail.rule_ref(), guardrail: Arc::clone(guardrail), message }
    }

    fn holding_rule((bound, terms): (&Self, &Arc<HoldTerms>)) -> HoldingRule {
        HoldingRule {
            rule: bound.rule.clone(),
            message: bound.guardrail.message.clone(),
            terms: Arc::clone(terms),
        }
    }
}

impl Grant {
    /// The reference decisions carry.
    pub fn rule_ref(&self) -> RuleRef {
        RuleRef {
            kind: Cow::Borrowed("grant"),
            name: self.id.0.clone(),
            location: Some(self.location.clone()),
        }
    }
}

impl Guardrail {
    /// The reference decisions carry.
    pub fn rule_ref(&self) -> RuleRef {
        RuleRef {
            kind: Cow::Borrowed("guardrail"),
            name: self.name.clone(),
            location: Some(self.location.clone()),
        }
    }
}

impl Mask {
    /// The answer to an operation nobody could classify, where only this mask keeps it from passing.
    fn refuses_unclassified(&self, why: &str) -> Decision {
        let columns: Vec<String> = self.columns.iter().map(|column| format!("`{column}`")).collect();
        let reason = format!(
            "{why}; the mask `{}` on {} refuses what the gateway does not fully understand; rewrite the statement in a plainer form",
            self.name,
            columns.join(", ")
        );
        Decision::deny(self.rule_ref(), reason)
    }
}
