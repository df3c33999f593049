//! An identity described on the command line, for questions about the policy. Nothing here is authenticated.

use std::sync::Arc;

use portcullis_core::Principal;
use portcullis_policy::{Policy, Who};

use crate::failure::Failure;

/// Whom a question is about: what a token and a directory would say.
#[derive(Debug, clap::Args)]
pub struct IdentityArgs {
    /// A group it is in, by its friendly name or the provider's id; may be given more than once
    #[arg(long = "identity-group", alias = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// A role its token states; may be given more than once
    #[arg(long = "identity-role", alias = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Its application (client) id
    #[arg(long = "identity-app", alias = "app", value_name = "ID")]
    app: Option<String>,
    /// Its object id, or subject
    #[arg(long = "identity-id", alias = "id", value_name = "ID")]
    id: Option<String>,
    /// Its identity provider, by its name in the documents; else the one that knows the first group, else the first
    #[arg(long = "identity-provider", alias = "provider", value_name = "NAME")]
    provider: Option<String>,
    /// It is a person
    #[arg(long = "identity-user")]
    user: bool,
}

impl IdentityArgs {
    /// Whether nothing was said about whom.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.roles.is_empty() && self.app.is_none() && self.id.is_none()
    }

    /// The principal such a token would make.
    pub fn principal(&self, policy: &Arc<Policy>) -> Result<Principal, Failure> {
        if let Some(name) = &self.provider
            && !policy.providers().iter().any(|provider| provider.name == *name)
        {
            let known: Vec<&str> = policy.providers().iter().map(|provider| provider.name.as_str()).collect();
            return Err(Failure::usage(format!("no identity provider is called `{name}`"))
                .next(format!("the documents have: {}", known.join(", "))));
        }
        let who = Who {
            provider: self.provider.clone(),
            id: self.id.clone(),
            app: self.app.clone(),
            name: None,
            groups: self.groups.clone(),
            roles: self.roles.clone(),
            user: self.user,
        };
        let principal = who.principal(policy);
        for group in principal.groups.iter().filter(|group| group.name.is_none()) {
            eprintln!(
                "portcullis: no identity provider names the group `{}`: it is taken as an id",
                group.id
            );
        }
        Ok(principal)
    }
}
