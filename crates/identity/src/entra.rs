//! Microsoft Entra access tokens, v1.0 and v2.0: verified claims to a principal.
//!
//! <https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference>; for agents
//! <https://learn.microsoft.com/entra/agent-id/agent-token-claims>.

use portcullis_core::{Principal, PrincipalKind};
use portcullis_policy::{Cloud, Entra};
use serde_json::Value;

use crate::{
    Error,
    claims::{self, Claims, Lifetime},
    keys::Key,
    verify::{Context, GroupClaim},
};

/// The facet that marks an agent identity in `xms_act_fct` and `xms_sub_fct`.
const AGENT_IDENTITY: &str = "11";
/// Stands for the tenant in the `issuer` of a published key.
const TENANT_TEMPLATE: &str = "{tenantid}";

/// The two issuers of one tenant. Which one signs is chosen by the resource's registration, not by who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issuers {
    /// `https://sts.windows.net/{tid}/`, with the slash.
    pub(crate) v1: String,
    /// `https://login.microsoftonline.com/{tid}/v2.0`.
    pub(crate) v2: String,
}

impl Issuers {
    pub(crate) fn of(entra: &Entra) -> Self {
        let base = entra.authority_base();
        let tenant = &entra.tenant;
        let v1 = match (&entra.authority, entra.cloud) {
            (Some(_), _) => format!("{base}/{tenant}/"),
            (None, Cloud::Global | Cloud::UsGov) => format!("https://sts.windows.net/{tenant}/"),
            (None, Cloud::China) => format!("https://sts.chinacloudapi.cn/{tenant}/"),
        };
        Self { v1, v2: format!("{base}/{tenant}/v2.0") }
    }
}

/// Whom the token speaks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Application,
    Person,
}

pub(crate) fn principal(
    context: &Context<'_>,
    entra: &Entra,
    claims: &Claims<'_>,
    lifetime: Lifetime,
) -> Result<(Principal, GroupClaim), Error> {
    let version_2 = check_issuer(context, entra, claims)?;
    let issued_at = lifetime.issued_at.ok_or(Error::Claims { what: "`iat` is missing" })?;
    let object_id = guid(claims, "oid", "`oid` is not a GUID")?;
    let subject = claims.text("sub", "`sub` is not text")?;
    // An ID token has no client: it is for the client, and counts only where the documents say so.
    let client = if version_2 { "azp" } else { "appid" };
    let application_id = match &context.config.sign_in {
        Some(sign_in) if context.id_token(claims) => sign_in.client_id.to_ascii_lowercase(),
        _ => guid(claims, client, "the client (`azp` or `appid`) is not a GUID")?,
    };
    let speaks = speaks_for(claims, &object_id, subject)?;
    if speaks == Speaks::Person && !context.config.allow_users {
        return Err(Error::UserToken { provider: context.config.name.clone() });
    }
    let parent_application = match claims.value("xms_par_app_azp") {
        None => None,
        Some(_) => Some(guid(claims, "xms_par_app_azp", "`xms_par_app_azp` is not a GUID")?),
    };
    let agent = parent_application.is_some() || has_facet(claims, "xms_act_fct", AGENT_IDENTITY)?;
    // An agent's own user account (`xms_sub_fct` 13) and a person it acts for look alike here: an agent acts, somebody else is the subject.
    let delegated = agent && speaks == Speaks::Person && !has_facet(claims, "xms_sub_fct", AGENT_IDENTITY)?;
    let kind = match (agent, speaks) {
        (true, _) => PrincipalKind::Agent,
        (false, Speaks::Application) => PrincipalKind::Application,
        (false, Speaks::Person) => PrincipalKind::User,
    };
    let named = ["app_displayname", "preferred_username", "upn", "unique_name", "name"];
    let named = if speaks == Speaks::Person { &named[1..] } else { &named[..1] };
    let name = named.iter().find_map(|name| claims::text(claims.value(name)));
    let roles = claims.value("roles").map_or(Ok(Vec::new()), |roles| match roles {
        Value::Array(_) => claims::list(roles, "`roles` is not an array of text"),
        _ => Err(Error::Claims { what: "`roles` is not an array of text" }),
    })?;
    let token_id = claims.optional_text("uti", "`uti` is not text")?.unwrap_or(context.digest);
    let principal = Principal {
        provider: context.config.name.clone(),
        tenant: Some(entra.tenant.clone()),
        name: name.unwrap_or(&application_id).to_owned(),
        actor: delegated.then(|| application_id.clone()),
        subject: delegated.then(|| object_id.clone()),
        object_id,
        application_id: Some(application_id),
        parent_application,
        kind,
        token_id: token_id.to_owned(),
        groups: Vec::new(),
        roles,
        issued_at,
        expires_at: lifetime.expires_at,
    };
    Ok((principal, groups(claims)?))
}

/// Version, issuer, tenant and key belong together. Answers whether the token is v2.0.
fn check_issuer(context: &Context<'_>, entra: &Entra, claims: &Claims<'_>) -> Result<bool, Error> {
    let issuers = Issuers::of(entra);
    let issuer = claims.text("iss", "`iss` is not text")?;
    let version = claims.text("ver", "`ver` is not text")?;
    let version_2 = match (version, issuer == issuers.v1, issuer == issuers.v2) {
        ("1.0", true, _) => false,
        ("2.0", _, true) => true,
        (_, false, false) => return Err(Error::Issuer),
        _ => return Err(Error::Claims { what: "`ver` and `iss` do not belong together" }),
    };
    // A second `TID` would be the tenant for a reader that ignores case.
    let spellings = claims.spellings("tid");
    if spellings != 1 {
        return Err(Error::Claims { what: "`tid` does not occur exactly once" });
    }
    let tenant = claims.text("tid", "`tid` is not text")?;
    if !claims::is_guid(tenant) {
        return Err(Error::Claims { what: "`tid` is not a GUID" });
    }
    if tenant != entra.tenant {
        return Err(Error::Tenant);
    }
    check_key(context.key, context.cloud, tenant, issuer, &issuers.v2)?;
    Ok(version_2)
}

/// The key's own `issuer`, with the tenant put in, must be the token's issuer, or for a v1.0 token the tenant's v2.0 issuer, from whose metadata
/// the keys come. A key for personal accounts, or of another cloud, signs nothing here.
pub(crate) fn check_key(
    key: &Key,
    cloud: Option<&str>,
    tenant: &str,
    issuer: &str,
    v2: &str,
) -> Result<(), Error> {
    if let Some(template) = &key.issuer {
        let own = template.replace(TENANT_TEMPLATE, tenant);
        if own != issuer && own != v2 {
            return Err(Error::Key { what: "it is published for another issuer" });
        }
    }
    match (&key.cloud, cloud) {
        (Some(own), Some(cloud)) if own != cloud => {
            Err(Error::Key { what: "it is published for another cloud" })
        }
        _ => Ok(()),
    }
}

/// `idtyp` where the resource asked for it. Otherwise delegated permissions (`scp`) make it a person's; without them, only a subject
/// that is the object itself is taken for an application: person is the careful answer.
fn speaks_for(claims: &Claims<'_>, object_id: &str, subject: &str) -> Result<Speaks, Error> {
    let scopes = claims.optional_text("scp", "`scp` is not text")?.map(str::trim).unwrap_or_default();
    // Agents have "" or "/".
    let has_scopes = !matches!(scopes, "" | "/");
    match claims.optional_text("idtyp", "`idtyp` is not text")? {
        Some("app") if has_scopes => {
            Err(Error::Claims { what: "`idtyp` is `app` but there are delegated permissions" })
        }
        Some("app") => Ok(Speaks::Application),
        Some("user") => Ok(Speaks::Person),
        Some(_) => Err(Error::Claims { what: "`idtyp` is neither `app` nor `user`" }),
        None if has_scopes => Ok(Speaks::Person),
        None if object_id.eq_ignore_ascii_case(subject) => Ok(Speaks::Application),
        None => Ok(Speaks::Person),
    }
}

/// Facets are numbers separated by spaces, in any order; unknown ones do not matter.
fn has_facet(claims: &Claims<'_>, name: &str, facet: &str) -> Result<bool, Error> {
    let facets = claims.optional_text(name, "a facet claim is not text")?.unwrap_or_default();
    Ok(facets.split_ascii_whitespace().any(|one| one == facet))
}

fn guid(claims: &Claims<'_>, name: &str, what: &'static str) -> Result<String, Error> {
    match claims.value(name) {
        Some(Value::String(text)) if claims::is_guid(text) => Ok(text.to_ascii_lowercase()),
        _ => Err(Error::Claims { what }),
    }
}

fn groups(claims: &Claims<'_>) -> Result<GroupClaim, Error> {
    let elsewhere = claims.value("_claim_names").and_then(|names| names.get("groups")).is_some();
    let has_groups = match claims.value("hasgroups") {
        None | Some(Value::Bool(false) | Value::Null) => false,
        Some(Value::String(text)) => !text.eq_ignore_ascii_case("false"),
        Some(_) => true,
    };
    if elsewhere || has_groups {
        return Ok(GroupClaim::Overage);
    }
    match claims.value("groups") {
        None => Ok(GroupClaim::Absent),
        Some(groups @ Value::Array(_)) => {
            Ok(GroupClaim::Stated(claims::list(groups, "`groups` is not an array of text")?))
        }
        Some(_) => Err(Error::Claims { what: "`groups` is not an array of text" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_those_of_the_cloud_or_of_the_loopback_authority() {
        let tenant = "4c5a0d3e-0000-4000-8000-000000000001";
        let issuers = |cloud, authority: Option<&str>| {
            let authority = authority.map(|text| text.parse().unwrap());
            let issuers = Issuers::of(&Entra { tenant: tenant.to_owned(), cloud, authority, graph: None });
            (issuers.v1.replace(tenant, "T"), issuers.v2.replace(tenant, "T"))
        };
        let expected = |v1: &str, v2: &str| (v1.to_owned(), v2.to_owned());
        let windows = "https://sts.windows.net/T/";
        for (cloud, v1, v2) in [
            (Cloud::Global, windows, "https://login.microsoftonline.com/T/v2.0"),
            (Cloud::UsGov, windows, "https://login.microsoftonline.us/T/v2.0"),
            (
                Cloud::China,
                "https://sts.chinacloudapi.cn/T/",
                "https://login.partner.microsoftonline.cn/T/v2.0",
            ),
        ] {
            assert_eq!(issuers(cloud, None), expected(v1, v2));
        }
        let local = issuers(Cloud::Global, Some("http://127.0.0.1:4000/"));
        assert_eq!(local, expected("http://127.0.0.1:4000/T/", "http://127.0.0.1:4000/T/v2.0"));
    }
}
