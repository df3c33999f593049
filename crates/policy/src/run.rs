//! `test`: runs the `tests:` of the documents by the code that decides sessions.

use std::{collections::BTreeSet, fmt, sync::Arc};

use portcullis_core::{Operation, StatementKind, operation::Classified};
use serde::Serialize;

use crate::{
    Connection, Expectation, Explanation, People, Policy, Question, TestCase, Window, documents::suggest,
    explain,
};

/// Turns a statement into operations, as the connection's protocol does it. An error is a statement nobody can read: it is
/// judged as one that could not be classified.
pub type ReadStatement<'a> = &'a dyn Fn(&Connection, &str) -> Result<Vec<Operation>, String>;

/// How one test went.
#[derive(Clone, Debug, Serialize)]
pub struct TestOutcome {
    /// The test's name.
    pub name: String,
    /// Where it stands, `file:line`.
    pub location: String,
    /// Whether what came out was expected.
    pub passed: bool,
    /// What was expected.
    pub expected: Expectation,
    /// The rule that was expected to decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_rule: Option<String>,
    /// The masks that were expected to be in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_masks: Option<Vec<String>>,
    /// What came out, and why.
    pub explanation: Explanation,
}

/// Runs every test of the policy, in order.
pub fn run_tests(policy: &Arc<Policy>, read: ReadStatement<'_>) -> Vec<TestOutcome> {
    policy.tests().iter().map(|test| run_test(policy, test, read)).collect()
}

/// Runs one test.
pub fn run_test(policy: &Arc<Policy>, test: &TestCase, read: ReadStatement<'_>) -> TestOutcome {
    let principal = test.identity.principal(policy);
    let operations = match (&test.statement, policy.connection(&test.connection)) {
        (Some(text), Some(connection)) => {
            read(connection, text).unwrap_or_else(|error| vec![unreadable(text, error)])
        }
        _ => Vec::new(),
    };
    let question = Question {
        principal: &principal,
        connection: &test.connection,
        operations: &operations,
        now: test.now,
        source: test.source,
        client: &test.client,
        window: if test.window { Window::Open } else { Window::None },
        people: if test.approved { People::SaidYes } else { People::Unasked },
    };
    let explanation = explain(policy, &question);
    let mut outcome = TestOutcome {
        name: test.name.clone(),
        location: test.location.clone(),
        passed: false,
        expected: test.expect,
        expected_rule: test.rule.clone(),
        expected_masks: test.masks.clone(),
        explanation,
    };
    outcome.passed = outcome.decided_as_expected() && outcome.masked_as_expected();
    outcome
}

fn unreadable(text: &str, error: String) -> Operation {
    Operation {
        kinds: vec![StatementKind::word("unknown")],
        resources: Vec::new(),
        text: text.into(),
        lacks: Vec::new(),
        classified: Classified::Not(error),
    }
}

impl TestOutcome {
    fn decided_as_expected(&self) -> bool {
        let rule = &self.explanation.decision.rule.name;
        self.explanation.outcome == self.expected
            && self.expected_rule.as_ref().is_none_or(|expected| expected == rule)
    }

    /// Whether exactly the expected masks are in force, in any order.
    fn masked_as_expected(&self) -> bool {
        self.expected_masks.as_ref().is_none_or(|expected| {
            let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
            expected == self.explanation.masks.iter().map(|mask| mask.mask.as_str()).collect()
        })
    }
}

impl fmt::Display for TestOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.passed { "ok" } else { "FAILED" };
        write!(f, "{word} {} ({})", self.name, self.location)?;
        if self.passed {
            return Ok(());
        }
        if !self.decided_as_expected() {
            write!(f, "\n  expected {}", self.expected)?;
            if let Some(rule) = &self.expected_rule {
                write!(f, " by `{rule}`")?;
            }
            write!(
                f,
                ", got {} by {}: {}",
                self.explanation.outcome, self.explanation.decision.rule, self.explanation.decision.reason
            )?;
        }
        if let Some(expected) = self.expected_masks.as_ref().filter(|_| !self.masked_as_expected()) {
            let got = self.explanation.masks.iter().map(|mask| mask.mask.as_str());
            let expected = expected.iter().map(String::as_str);
            write!(f, "\n  expected masks: {}, got: {}", listed(expected), listed(got))?;
        }
        Ok(())
    }
}

fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut names = names.peekable();
    if names.peek().is_some() { suggest::list(names) } else { "none".to_owned() }
}
