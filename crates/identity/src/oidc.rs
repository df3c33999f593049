//! Access tokens of any OpenID Connect issuer: verified claims to a principal, by the pointers of the documents.

use portcullis_core::{Principal, PrincipalKind};
use portcullis_policy::Oidc;
use serde_json::Value;

use crate::{
    Error,
    claims::{self, Claims, Lifetime},
    verify::{Context, GroupClaim},
};

pub(crate) fn principal(
    context: &Context<'_>,
    oidc: &Oidc,
    claims: &Claims<'_>,
    lifetime: Lifetime,
) -> Result<(Principal, GroupClaim), Error> {
    if claims.text("iss", "`iss` is not text")? != oidc.issuer {
        return Err(Error::Issuer);
    }
    let id_token = context.id_token(claims);
    check_token_use(claims, id_token)?;
    let pointers = &oidc.claims;
    let object_id = claims::text(claims.pointer(&pointers.subject))
        .ok_or(Error::Claims { what: "the subject is missing or not text" })?
        .to_owned();
    // RFC 9068 `client_id`; `azp` of OpenID Connect, Auth0 and Keycloak; `cid` of Okta; `appid` of AD FS.
    let application_id =
        ["client_id", "azp", "cid", "appid"].into_iter().find_map(|name| claims::text(claims.value(name)));
    // An id token is for the application that asked for it.
    let application_id = match &context.config.sign_in {
        Some(sign_in) if id_token => application_id.or(Some(sign_in.client_id.as_str())),
        _ => application_id,
    };
    let signed_in = id_token || context.of_sign_in(application_id);
    let person = is_person(claims, application_id, signed_in);
    if person && !context.config.allow_users {
        return Err(Error::UserToken { provider: context.config.name.clone() });
    }
    let name = pointers.name.as_deref().and_then(|pointer| claims::text(claims.pointer(pointer)));
    let roles = match pointers.roles.as_deref().and_then(|pointer| claims.pointer(pointer)) {
        None => Vec::new(),
        Some(roles) => claims::list(roles, "the roles are not a list of text")?,
    };
    // RFC 8693 section 4.1: the current actor is the outermost `act`.
    let actor = match claims.value("act") {
        None => None,
        Some(act) => Some(
            claims::text(act.get("sub")).ok_or(Error::Claims { what: "`act` names no `sub`" })?.to_owned(),
        ),
    };
    let token_id = claims.optional_text("jti", "`jti` is not text")?.unwrap_or(context.digest);
    let principal = Principal {
        provider: context.config.name.clone(),
        tenant: None,
        name: name.unwrap_or(&object_id).to_owned(),
        subject: actor.as_ref().map(|_| object_id.clone()),
        actor,
        object_id,
        application_id: application_id.map(str::to_owned),
        parent_application: None,
        kind: if person { PrincipalKind::User } else { PrincipalKind::Application },
        token_id: token_id.to_owned(),
        groups: Vec::new(),
        roles,
        // `iat` is optional outside RFC 9068 (SPIFFE): then the token was issued by now.
        issued_at: lifetime.issued_at.unwrap_or(context.now),
        expires_at: lifetime.expires_at,
    };
    Ok((principal, groups(oidc, claims)?))
}

/// Issuers that say in a claim what a token is for: Keycloak's `typ` (`Bearer`, `ID`, `Refresh`, `Logout`), Cognito's `token_use`.
fn check_token_use(claims: &Claims<'_>, id_token: bool) -> Result<(), Error> {
    let right = match (claims.value("typ"), claims.value("token_use")) {
        (Some(Value::String(typ)), _) if !typ.eq_ignore_ascii_case("bearer") => {
            id_token && typ.eq_ignore_ascii_case("id")
        }
        (_, Some(Value::String(token_use))) if token_use != "access" => id_token && token_use == "id",
        _ => true,
    };
    if right { Ok(()) } else { Err(Error::TokenType { what: "its claims say it is for something else" }) }
}

/// Whether the token speaks for a person. No standard claim says so; what is taken for an application first: client credentials by
/// name (`gty`), a subject that is the client (RFC 9068 section 2.2), Keycloak's service accounts. Then signs of a sign-in, among them
/// that the token is one of the application people sign in to.
fn is_person(claims: &Claims<'_>, application_id: Option<&str>, of_sign_in: bool) -> bool {
    let text = |name: &str| claims.value(name).and_then(Value::as_str);
    let username = text("preferred_username");
    let application = text("gty") == Some("client-credentials")
        || (application_id.is_some() && text("sub") == application_id)
        || username.is_some_and(|name| name.starts_with("service-account-"));
    let signed_in = ["auth_time", "amr", "given_name", "family_name"].iter().any(|name| claims.has(name));
    !application && (username.is_some() || signed_in || of_sign_in)
}

fn groups(oidc: &Oidc, claims: &Claims<'_>) -> Result<GroupClaim, Error> {
    let Some(pointer) = oidc.claims.groups.as_deref() else {
        return Ok(GroupClaim::Absent);
    };
    match claims.pointer(pointer) {
        Some(groups) => Ok(GroupClaim::Stated(claims::list(groups, "the groups are not a list of text")?)),
        None => {
            // OpenID Connect Core 1.0 section 5.6.2: the claim is somewhere else, at an address that is not followed.
            let name = pointer.trim_start_matches('/').split('/').next().unwrap_or_default();
            let elsewhere = claims.value("_claim_names").and_then(|names| names.get(name)).is_some();
            Ok(if elsewhere { GroupClaim::Overage } else { GroupClaim::Absent })
        }
    }
}
