//! Tests: the names they use.

use std::collections::{BTreeSet, HashMap};

use super::Resolver;
use crate::{
    TestCase,
    documents::{
        draft::TestDraft,
        reader::{Placed, shown},
        suggest,
    },
};

impl Resolver<'_> {
    pub(super) fn tests(
        &mut self,
        drafts: Vec<TestDraft>,
        rules: &BTreeSet<String>,
        masks: &BTreeSet<String>,
    ) -> Vec<TestCase> {
        let mut seen: HashMap<String, String> = HashMap::new();
        let mut tests = Vec::new();
        for draft in drafts {
            let location = draft.name.place.location();
            if let Some(earlier) = seen.insert(draft.name.value.clone(), location.clone()) {
                let message = format!("two tests are named `{}`", draft.name.value);
                self.error(&draft.name.place, message, format!("the other stands at {earlier}"));
            }
            let name =
                Placed { value: draft.connection.value.to_string(), place: draft.connection.place.clone() };
            let _ = self.find_connection(&name);
            for group in &draft.groups {
                let _ = self.group(&group.value, &group.place);
            }
            if let Some(provider) = &draft.who.value.provider
                && !self.providers.iter().any(|own| own.name == *provider)
                && !self.providers_refused
            {
                let help = format!(
                    "the providers are {}",
                    suggest::list(self.providers.iter().map(|own| own.name.as_str()))
                );
                self.error(
                    &draft.who.place,
                    format!("there is no identity provider `{}`", shown(provider)),
                    help,
                );
            }
            if let Some(rule) = &draft.rule
                && !rules.contains(&rule.value)
                && !crate::explain::BUILT_IN_RULES.contains(&rule.value.as_str())
                && self.report.errors() == 0
            {
                let help = match suggest::nearest(&rule.value, rules.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "name a grant, a guardrail or a mask, or one of the built-in rules".to_owned(),
                };
                self.error(&rule.place, format!("there is no rule `{}`", rule.value), help);
            }
            for name in draft.masks.iter().flatten().filter(|name| !masks.contains(&name.value)) {
                // a mask that was refused is not told to be unknown
                if self.report.errors() == 0 {
                    let help = match suggest::nearest(&name.value, masks.iter().map(String::as_str)) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => {
                            "name masks of the documents; `masks: []` says that none is in force".to_owned()
                        }
                    };
                    self.error(&name.place, format!("there is no mask `{}`", shown(&name.value)), help);
                }
            }
            tests.push(TestCase {
                name: draft.name.value,
                identity: draft.who.value,
                connection: draft.connection.value,
                statement: draft.statement,
                now: draft.now,
                source: draft.source,
                client: draft.client,
                window: draft.window,
                approved: draft.approved,
                expect: draft.expect,
                rule: draft.rule.map(|rule| rule.value),
                masks: draft.masks.map(|names| names.into_iter().map(|name| name.value).collect()),
                location,
            });
        }
        tests
    }
}
