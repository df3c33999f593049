//! Names -> things, across all documents: the draft becomes the parts of a policy.

mod approvals;
mod cases;
mod guardrails;
mod masks;
mod notifications;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use aws_lc_rs::digest;
use portcullis_core::{ConnectionName, GrantId, Pattern};

use crate::{
    Connection, Grant, Guardrail, Mask, Protocol, ProviderConfig, ProviderKind, Subject, When,
    capability::{self, Control, Support},
    documents::{
        draft::{Draft, GrantDraft, GuardrailDraft, MaskDraft, SubjectDraft, SubjectKind},
        reader::{Placed, shown},
        suggest,
    },
    grant::{Claimed, GroupSubject, is_guid, same_id},
    mask::Masks,
    policy::Parts,
    report::{Place, Report, Severity},
};

/// Resolves every name of the draft.
pub(crate) struct Resolver<'a> {
    report: &'a mut Report,
    providers: Vec<Arc<ProviderConfig>>,
    connections: BTreeMap<ConnectionName, Arc<Connection>>,
    refused_connections: Vec<String>,
    /// A provider was written and refused: groups it would map are not told to be unknown.
    providers_refused: bool,
}

/// The resolved grants and guardrails with their places, for the checks that look at all of them.
pub(crate) struct Resolved {
    pub(crate) parts: Parts,
    pub(crate) grants: Vec<(Arc<Grant>, GrantDraft)>,
    pub(crate) guardrails: Vec<(Arc<Guardrail>, GuardrailDraft)>,
    pub(crate) masks: Vec<(Arc<Mask>, MaskDraft)>,
    pub(crate) connections: Vec<Placed<ConnectionName>>,
}

/// Resolves the draft. What is wrong goes to the report.
pub(crate) fn resolve(draft: Draft, report: &mut Report) -> Resolved {
    let mut resolver = Resolver {
        report,
        providers: Vec::new(),
        connections: BTreeMap::new(),
        refused_connections: draft.refused_connections,
        providers_refused: draft.refused_providers > 0,
    };
    resolver.providers = resolver.providers(draft.providers);
    let connection_places = draft
        .connections
        .iter()
        .map(|c| Placed { value: c.value.name.clone(), place: c.place.clone() })
        .collect();
    resolver.connections = resolver.connections(draft.connections);
    let grants = resolver.grants(draft.grants);
    let guardrails = resolver.guardrails(draft.guardrails);
    let masks = resolver.masks(draft.masks);
    let mask_names = masks.iter().map(|(mask, _)| mask.name.clone()).collect();
    let mut rules = rule_names(&grants, &guardrails);
    rules.extend(masks.iter().map(|(mask, _)| mask.name.clone()));
    let roles = resolver.roles(draft.roles);
    let notifications = resolver.notifications(draft.notifications);
    let tests = resolver.tests(draft.tests, &rules, &mask_names);
    let parts = Parts {
        version: String::new(),
        providers: resolver.providers,
        connections: resolver.connections,
        grants: grants.iter().map(|(grant, _)| Arc::clone(grant)).collect(),
        guardrails: guardrails.iter().map(|(guardrail, _)| Arc::clone(guardrail)).collect(),
        masks: Masks::new(masks.iter().map(|(mask, _)| Arc::clone(mask)).collect()),
        roles,
        notifications,
        tests,
        retention: draft.retention.map(|retention| retention.value).unwrap_or_default(),
    };
    Resolved { parts, grants, guardrails, masks, connections: connection_places }
}

fn rule_names(
    grants: &[(Arc<Grant>, GrantDraft)],
    guardrails: &[(Arc<Guardrail>, GuardrailDraft)],
) -> BTreeSet<String> {
    let grants = grants.iter().map(|(grant, _)| grant.id.0.clone());
    grants.chain(guardrails.iter().map(|(guardrail, _)| guardrail.name.clone())).collect()
}

impl Resolver<'_> {
    pub(crate) fn error(&mut self, place: &Place, message: String, help: impl Into<String>) {
        self.report.push(Severity::Error, place, message, vec![help.into()]);
    }

    fn warn(&mut self, place: &Place, message: String, help: impl Into<String>) {
        self.report.push(Severity::Warning, place, message, vec![help.into()]);
    }

    fn providers(&mut self, drafts: Vec<Placed<ProviderConfig>>) -> Vec<Arc<ProviderConfig>> {
        let mut seen: HashMap<String, String> = HashMap::new();
        let mut providers = Vec::new();
        for Placed { value, place } in drafts {
            if let Some(earlier) = seen.insert(value.name.clone(), value.location.clone()) {
                let message = format!("two identity providers are named `{}`", value.name);
                self.error(&place, message, format!("the other stands at {earlier}"));
            }
            providers.push(Arc::new(value));
        }
        providers
    }

    fn connections(&mut self, drafts: Vec<Placed<Connection>>) -> BTreeMap<ConnectionName, Arc<Connection>> {
        let mut connections: BTreeMap<ConnectionName, Arc<Connection>> = BTreeMap::new();
        for Placed { value, place } in drafts {
            if let Some(earlier) = connections.get(&value.name) {
                let message = format!("two connections are named `{}`", value.name);
                let help = format!("the other stands at {}", earlier.location);
                self.error(&place, message, help);
                continue;
            }
            connections.insert(value.name.clone(), Arc::new(value));
        }
        connections
    }

    fn grants(&mut self, drafts: Vec<GrantDraft>) -> Vec<(Arc<Grant>, GrantDraft)> {
        let mut seen: HashMap<String, String> = HashMap::new();
        let mut grants = Vec::new();
        for draft in drafts {
            let Some(grant) = self.grant(&draft) else { continue };
            if let Some(earlier) = seen.insert(grant.id.0.clone(), grant.location.clone()) {
                let (place, message) = match &draft.name {
                    Some(name) => (name.place.clone(), format!("two grants are named `{}`", name.value)),
                    None => {
                        (draft.head.place.clone(), "two grants say the same but for their terms".to_owned())
                    }
                };
                self.error(
                    &place,
                    message,
                    format!("the other stands at {earlier}; give each a `name` of its own, or keep one"),
                );
            }
            grants.push((Arc::new(grant), draft));
        }
        grants
    }

    fn grant(&mut self, draft: &GrantDraft) -> Option<Grant> {
        let connection = self.find_connection(&draft.connection);
        let to: Vec<Subject> = draft.to.iter().filter_map(|subject| self.subject(subject)).collect();
        let mut approval = draft.approval.as_ref().and_then(|approval| self.approval(approval, &to));
        let mut break_glass: Vec<Subject> = draft
            .break_glass
            .iter()
            .flat_map(|subjects| &subjects.value)
            .filter_map(|subject| self.subject(subject))
            .collect();
        if draft.when != Some(When::Approved) {
            // an error, and told
            approval = None;
            break_glass.clear();
        }
        let connection = connection?;
        for rule in &draft.scope {
            self.check_scope(rule, connection.protocol);
        }
        let scope: Vec<_> = draft.scope.iter().map(|rule| rule.value.clone()).collect();
        if to.is_empty() || scope.is_empty() {
            return None;
        }
        let when = draft.when?;
        let id = match &draft.name {
            Some(name) => GrantId(name.value.clone()),
            None => made_id(&connection.name, when, draft),
        };
        Some(Grant {
            id,
            connection: connection.name.clone(),
            to,
            when,
            approval,
            ask: draft.ask,
            reason_required: draft.reason_required,
            answer_within: draft.answer_within,
            break_glass,
            lifetime: draft.lifetime.as_ref().map(|lifetime| lifetime.value),
            cooldown: draft.cooldown,
            max_per_day: draft.max_per_day,
            recorded: draft.recorded,
            scope,
            condition: draft.condition.clone(),
            location: draft.head.place.location(),
        })
    }

    fn check_scope(&mut self, rule: &Placed<crate::ScopeRule>, protocol: Protocol) {
        let pattern = rule.value.pattern.as_str();
        if let Some(verb) = rule.value.verb
            && capability::support(protocol, Control::Scope(verb)) != Support::Enforced
        {
            let message = format!(
                "no operation of {protocol} has the verb `{verb}`, so `{}` allows nothing",
                rule.value
            );
            self.error(&rule.place, message, "remove it");
        } else if protocol == Protocol::Postgres && names_no_schema(&rule.value.pattern) {
            let message = format!("`{pattern}` names no schema, so it matches no table");
            self.warn(
                &rule.place,
                message,
                format!("SQL resources are `schema.table`: write `public.{pattern}` or `*.{pattern}`"),
            );
        }
    }

    fn find_connection(&mut self, name: &Placed<String>) -> Option<Arc<Connection>> {
        let found = name.value.parse::<ConnectionName>().ok().and_then(|name| self.connections.get(&name));
        if let Some(found) = found {
            return Some(Arc::clone(found));
        }
        if !self.refused_connections.contains(&name.value) {
            let known = || self.connections.keys().map(ConnectionName::as_str);
            let refused = self.refused_connections.iter().map(String::as_str);
            let help = match suggest::nearest(&name.value, known().chain(refused)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if self.connections.is_empty() => {
                    "no connection is defined; add it under `connections:`".to_owned()
                }
                None => format!("the connections are {}", suggest::list(known().take(12))),
            };
            self.error(&name.place, format!("there is no connection `{}`", shown(&name.value)), help);
        }
        None
    }

    /// Resolves a subject to what the providers state.
    fn subject(&mut self, subject: &Placed<SubjectDraft>) -> Option<Subject> {
        let draft = &subject.value;
        if draft.kind == SubjectKind::Group {
            return self.group(&draft.value, &subject.place).map(Subject::Group);
        }
        let claimed = self.claimed(draft, &subject.place)?;
        match draft.kind {
            SubjectKind::Role => Some(Subject::Role(claimed)),
            SubjectKind::App => Some(Subject::App(claimed)),
            SubjectKind::Id | SubjectKind::Group => Some(Subject::Id(claimed)),
        }
    }

    fn group(&mut self, name: &str, place: &Place) -> Option<GroupSubject> {
        let mapped: Vec<(String, String)> = self
            .providers
            .iter()
            .filter_map(|provider| provider.groups.get(name).map(|id| (provider.name.clone(), id.clone())))
            .collect();
        if !mapped.is_empty() {
            return Some(GroupSubject { name: name.to_owned(), ids: mapped });
        }
        if is_guid(name) {
            return self.group_by_id(name, place);
        }
        if self.providers_refused {
            return None;
        }
        let known = || self.providers.iter().flat_map(|provider| provider.groups.keys().map(String::as_str));
        let help = match suggest::nearest(name, known()) {
            Some(near) => format!("did you mean `group:{near}`?"),
            None => "map it under a provider's `groups:`, as `name: object id`".to_owned(),
        };
        let foreign = name.chars().find(|c| !c.is_ascii());
        let looks = foreign
            .map(|c| format!(" (it contains U+{:04X}, which is not ASCII)", u32::from(c)))
            .unwrap_or_default();
        self.error(place, format!("no identity provider maps the group `{}`{looks}", shown(name)), help);
        None
    }

    /// A bare object id: known to Entra providers only, whose ids are unique.
    fn group_by_id(&mut self, id: &str, place: &Place) -> Option<GroupSubject> {
        let mapped = self.providers.iter().find_map(|provider| {
            let (name, own) = provider.groups.iter().find(|(_, own)| own.eq_ignore_ascii_case(id))?;
            Some((provider.name.clone(), own.clone(), name.clone()))
        });
        if let Some((provider, own, _)) = mapped {
            return Some(GroupSubject { name: id.to_owned(), ids: vec![(provider, own)] });
        }
        let entra = |provider: &&Arc<ProviderConfig>| matches!(provider.kind, ProviderKind::Entra(_));
        let ids: Vec<_> = self
            .providers
            .iter()
            .filter(entra)
            .map(|provider| (provider.name.clone(), id.to_owned()))
            .collect();
        if ids.is_empty() {
            if !self.providers_refused {
                let help = "map it under the provider's `groups:`, so that it is known whose group it is";
                self.error(place, format!("no identity provider maps the group `{id}`"), help);
            }
            return None;
        }
        self.warn(
            place,
            format!("the group `{id}` has no name: nobody maps it"),
            "map it under the provider's `groups:`, so that people can read the grant and a typing error is found",
        );
        Some(GroupSubject { name: id.to_owned(), ids })
    }

    /// `value`, or `provider/value`: with several providers it must be said whose word counts.
    fn claimed(&mut self, draft: &SubjectDraft, place: &Place) -> Option<Claimed> {
        let (kind, text) = (draft.kind.as_str(), draft.value.as_str());
        let named = text.split_once('/').and_then(|(name, value)| {
            self.providers
                .iter()
                .find(|provider| provider.name == name)
                .map(|provider| (Arc::clone(provider), value))
        });
        let (provider, value) = match (named, self.providers.as_slice()) {
            (Some(named), _) => named,
            (None, [only]) => (Arc::clone(only), text),
            (None, []) => {
                if !self.providers_refused {
                    self.error(
                        place,
                        format!("`{kind}:{}` is stated by no identity provider", shown(text)),
                        "add one under `identity:`",
                    );
                }
                return None;
            }
            (None, several) => {
                let names = suggest::list(several.iter().map(|provider| provider.name.as_str()));
                let first = several.first().map(|provider| provider.name.clone()).unwrap_or_default();
                self.error(
                    place,
                    format!(
                        "`{kind}:{}` does not say whose word counts: the providers are {names}",
                        shown(text)
                    ),
                    format!("write the provider before it: `{kind}:{first}/{}`", shown(text)),
                );
                return None;
            }
        };
        let mut value = value;
        if let ProviderKind::Entra(entra) = &provider.kind {
            if let Some((tenant, object)) = value.split_once('/')
                && draft.kind == SubjectKind::Id
                && tenant.eq_ignore_ascii_case(&entra.tenant)
            {
                value = object;
            }
            if draft.kind != SubjectKind::Role && !is_guid(value) {
                self.error(
                    place,
                    format!(
                        "`{}` is no Entra {} id",
                        shown(value),
                        if draft.kind == SubjectKind::App { "application" } else { "object" }
                    ),
                    "write the GUID; names are not stable and not unique",
                );
                return None;
            }
        }
        if draft.kind == SubjectKind::App
            && provider.sign_in.as_ref().is_some_and(|sign_in| same_id(&sign_in.client_id, value))
        {
            self.warn(
                place,
                format!("`app:{}` is everybody: people sign in with this application", shown(text)),
                "name the people by a group, a role or their ids",
            );
        }
        Some(Claimed { provider: provider.name.clone(), value: value.to_owned() })
    }
}

/// SQL resources have a dot (`schema.table`) or slashes (`server/role/x`): a pattern with neither matches none.
fn names_no_schema(pattern: &Pattern) -> bool {
    let text = pattern.as_str();
    !pattern.is_everything() && !text.contains(['.', '/']) && !text.contains("**")
}

/// `<connection>#<8 hex digits>` over what makes it this grant: connection, `to`, `when`, `scope`.
fn made_id(connection: &ConnectionName, when: When, draft: &GrantDraft) -> GrantId {
    let mut to: Vec<String> =
        draft.to.iter().map(|s| format!("{}:{}", s.value.kind.as_str(), s.value.value)).collect();
    let mut scope: Vec<String> = draft.scope.iter().map(|rule| rule.value.to_string()).collect();
    to.sort_unstable();
    scope.sort_unstable();
    let text = format!("{connection}\0{}\0{}\0{}", to.join("\u{1}"), when.as_str(), scope.join("\u{1}"));
    GrantId(format!("{connection}#{}", hex_prefix(text.as_bytes(), 4)))
}

/// The first `bytes` bytes of SHA-256, in hex.
pub(crate) fn hex_prefix(data: &[u8], bytes: usize) -> String {
    let digest = digest::digest(&digest::SHA256, data);
    digest.as_ref().iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}
