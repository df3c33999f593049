//! `identity:` -> [`ProviderConfig`]s.

use std::{collections::BTreeMap, net::IpAddr, ops::Range, time::Duration};

use url::{Host, Url};

use crate::{
    Algorithm, ClaimPointers, Cloud, Entra, GraphCredential, GraphLiveness, JwksSource, Oidc, ProviderConfig,
    ProviderKind,
    documents::{
        draft::Draft,
        keys,
        reader::{Fields, Reader, shown},
        sign_in, suggest,
        tree::{Node, Value},
    },
    grant::is_guid,
};

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Entra,
    Oidc,
    Saml,
}

const SECOND: Duration = Duration::from_secs(1);

/// Reads the list of providers into the draft.
pub(crate) fn read(reader: &mut Reader<'_>, node: &Node, draft: &mut Draft) {
    for item in reader.list(node, "`identity`") {
        match provider(reader, item) {
            Some(provider) => draft.providers.push(reader.placed(item, provider)),
            None => draft.refused_providers += 1,
        }
    }
}

fn provider(reader: &mut Reader<'_>, node: &Node) -> Option<ProviderConfig> {
    let kind = kind(reader, node)?;
    let keys = match kind {
        Kind::Entra => &keys::PROVIDER_ENTRA,
        Kind::Oidc => &keys::PROVIDER_OIDC,
        Kind::Saml => return None,
    };
    let fields = reader.fields(node, keys)?;
    let name = reader.required(&fields, "name").and_then(|node| name(reader, node, "a provider's name"));
    let audience = reader
        .required(&fields, "audience")
        .map(|node| reader.many(node, "`audience`", |r, n| r.text(n, "an audience").map(str::to_owned)));
    let groups = fields.get("groups").map(|node| groups(reader, node, kind)).unwrap_or_default();
    let algorithms = fields
        .get("algorithms")
        .map(|node| algorithms(reader, node))
        .unwrap_or_else(|| vec![Algorithm::RS256]);
    let types = fields
        .get("types")
        .map(|node| types(reader, node))
        .unwrap_or_else(|| vec!["jwt".to_owned(), "at+jwt".to_owned()]);
    let allow_users = fields
        .get("users")
        .and_then(|node| reader.word(node, "`users`", &[("allow", true), ("deny", false)]));
    let (kind, liveness) = match kind {
        Kind::Entra => {
            let entra = entra(reader, &fields);
            let graph = entra.as_ref().map(Entra::graph_base).unwrap_or_default();
            let liveness = fields.get("liveness").and_then(|node| liveness(reader, node, graph));
            (ProviderKind::Entra(entra?), liveness)
        }
        Kind::Oidc => (ProviderKind::Oidc(oidc(reader, &fields)?), None),
        Kind::Saml => return None,
    };
    let location = reader.place(&fields.head()).location();
    // `users` means people: an OIDC token does not say what it was issued to, so only Entra's are told apart
    let allow_users = allow_users.unwrap_or(matches!(kind, ProviderKind::Oidc(_)));
    let sign_in = fields.entry("sign_in").map(|entry| {
        let beside = sign_in::Beside {
            is_entra: matches!(kind, ProviderKind::Entra(_)),
            audience: audience.as_deref().unwrap_or_default(),
            allow_users,
        };
        sign_in::read(reader, entry, &beside)
    });
    Some(ProviderConfig {
        name: name?,
        kind,
        audience: audience?,
        groups,
        algorithms,
        types,
        liveness,
        allow_users,
        // refused and told: there is no policy then
        sign_in: sign_in.flatten(),
        location,
    })
}

/// `kind` is read before the other keys, because it says which keys there are.
fn kind(reader: &mut Reader<'_>, node: &Node) -> Option<Kind> {
    let Value::Map(entries) = &node.value else {
        reader.error(&node.span, format!("an identity provider is a map of keys, this is {}", node.what()));
        return None;
    };
    let Some(entry) = entries.iter().find(|entry| entry.key == "kind") else {
        let first = entries.first().map_or(node.span.clone(), |entry| entry.key_span.clone());
        let misspelt =
            entries.iter().find(|entry| suggest::nearest(&entry.key, ["kind"].into_iter()).is_some());
        let span = misspelt.map_or(first, |entry| entry.key_span.clone());
        reader.error_help(
            &span,
            "`kind` is missing in an identity provider",
            "write `kind: entra` or `kind: oidc`",
        );
        return None;
    };
    let kind = reader.word(
        &entry.value,
        "`kind`",
        &[("entra", Kind::Entra), ("oidc", Kind::Oidc), ("saml", Kind::Saml)],
    )?;
    if kind == Kind::Saml {
        reader.not_yet(
            &entry.value.span,
            "SAML assertions are not verified yet, so providers of this kind are",
            "use `kind: entra` or `kind: oidc`",
        );
    }
    Some(kind)
}

/// Names that other lines refer to: visible ASCII, so that no two look alike.
pub(crate) fn name(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<String> {
    let text = reader.text(node, what)?;
    check_name(reader, text, &node.span, what).then(|| text.to_owned())
}

fn check_name(reader: &mut Reader<'_>, text: &str, span: &Range<usize>, what: &str) -> bool {
    let good = !text.is_empty()
        && text.len() <= 128
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'`' | b'/' | b','));
    if !good {
        let foreign = text.chars().find(|c| !c.is_ascii());
        let message = format!("`{}` cannot be {what}", shown(text));
        let help = match foreign {
            Some(c) => format!(
                "U+{:04X} (`{c}`) is not ASCII and may look like a letter that is; use 1 to 128 of a-z, A-Z, 0-9, `-`, `_`, `.`",
                u32::from(c)
            ),
            None => "use 1 to 128 of a-z, A-Z, 0-9, `-`, `_`, `.`".to_owned(),
        };
        reader.error_help(span, message, help);
    }
    good
}

fn groups(reader: &mut Reader<'_>, node: &Node, kind: Kind) -> BTreeMap<String, String> {
    let mut groups = BTreeMap::new();
    let mut by_id: BTreeMap<String, String> = BTreeMap::new();
    for entry in reader.named(node, "`groups`") {
        let good = check_name(reader, &entry.key, &entry.key_span, "a group's name");
        let Some(id) = reader.text(&entry.value, "a group's id") else { continue };
        if !good {
            continue;
        }
        if kind == Kind::Entra && !is_guid(id) {
            reader.warn(
                &entry.value.span,
                format!("`{}` is not an object id: no token of Entra names a group so", shown(id)),
                "write the group's object id, a GUID, from its overview page or `az ad group show --group NAME --query id`",
            );
        }
        if let Some(other) = by_id.insert(id.to_ascii_lowercase(), entry.key.clone()) {
            reader.error_help(
                &entry.key_span,
                format!("`{}` and `{other}` are the same group", entry.key),
                "keep one name: a decision names the group it used",
            );
        }
        groups.insert(entry.key.clone(), id.to_owned());
    }
    groups
}

fn algorithms(reader: &mut Reader<'_>, node: &Node) -> Vec<Algorithm> {
    let words = Algorithm::ALL.map(|algorithm| (algorithm.as_str(), algorithm));
    reader.many(node, "`algorithms`", |reader, item| {
        let text = reader.text(item, "an algorithm")?;
        if text.eq_ignore_ascii_case("none") || text.starts_with("HS") {
            let message = format!("`{}` lets whoever knows the public key sign tokens", shown(text));
            reader.error_help(
                &item.span,
                message,
                "list the asymmetric algorithms the issuer uses: RS256, ES256, …",
            );
            return None;
        }
        reader.word(item, "`algorithms`", &words)
    })
}

fn types(reader: &mut Reader<'_>, node: &Node) -> Vec<String> {
    reader.many(node, "`types`", |reader, item| {
        let text = reader.text(item, "a token type")?.to_ascii_lowercase();
        Some(text.strip_prefix("application/").map_or(text.clone(), str::to_owned))
    })
}

fn entra(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Entra> {
    let tenant = reader.required(fields, "tenant").and_then(|node| {
        let text = reader.text(node, "`tenant`")?;
        if !is_guid(text) {
            let message = format!("`{}` is not a tenant id", shown(text));
            reader.error_help(&node.span, message, "write the directory (tenant) id, a GUID: tokens name the tenant so, and `common` would let every tenant in");
            return None;
        }
        Some(text.to_ascii_lowercase())
    });
    let cloud = fields
        .get("cloud")
        .and_then(|node| reader.word(node, "`cloud`", &Cloud::ALL.map(|cloud| (cloud.as_str(), cloud))));
    let mut loopback = |key: &str| {
        let node = fields.get(key)?;
        let url = url(reader, node, &format!("`{key}`"))?;
        if is_loopback(&url) {
            return Some(url);
        }
        let help = "it is for `portcullis dev-idp`; for another cloud of Microsoft's, set `cloud: usgov` or `cloud: china`";
        reader.error_help(&node.span, format!("`{key}` may only be on loopback"), help);
        None
    };
    let (authority, graph) = (loopback("authority"), loopback("graph"));
    Some(Entra { tenant: tenant?, cloud: cloud.unwrap_or_default(), authority, graph })
}

fn oidc(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Oidc> {
    let issuer = reader.required(fields, "issuer").and_then(|node| {
        let url = safe_url(reader, node, "`issuer`")?;
        if url.query().is_some() || url.fragment().is_some() {
            reader.error(
                &node.span,
                "an issuer has no query and no fragment (OpenID Connect Discovery 1.0 section 2)",
            );
            return None;
        }
        reader.text(node, "`issuer`").map(str::to_owned)
    });
    let jwks = fields.get("jwks").and_then(|node| jwks(reader, node));
    let claims = fields.get("claims").and_then(|node| claims(reader, node)).unwrap_or_default();
    Some(Oidc { issuer: issuer?, jwks, claims })
}

fn jwks(reader: &mut Reader<'_>, node: &Node) -> Option<JwksSource> {
    let text = reader.text(node, "`jwks`")?;
    if text.contains("://") {
        return safe_url(reader, node, "`jwks`").map(JwksSource::Url);
    }
    reader.joined(node, text.strip_prefix("file:").unwrap_or(text), "`jwks`").map(JwksSource::File)
}

fn claims(reader: &mut Reader<'_>, node: &Node) -> Option<ClaimPointers> {
    let fields = reader.fields(node, &keys::CLAIMS)?;
    let mut pointer = |key: &str| {
        let node = fields.get(key)?;
        let text = reader.text(node, "a claim")?;
        let good = text.starts_with('/')
            && text.len() > 1
            && !text.replace("~0", "").replace("~1", "").contains('~');
        if !good {
            let message = format!("`{}` is no JSON pointer", shown(text));
            reader.error_help(
                &node.span,
                message,
                format!(
                    "a pointer starts with `/`: did you mean `/{}`?",
                    shown(text.trim_start_matches('$').trim_start_matches('.'))
                ),
            );
        }
        good.then(|| text.to_owned())
    };
    let (groups, roles, name) = (pointer("groups"), pointer("roles"), pointer("name"));
    let subject = pointer("subject").unwrap_or_else(|| ClaimPointers::default().subject);
    Some(ClaimPointers { subject, groups, roles, name })
}

fn liveness(reader: &mut Reader<'_>, node: &Node, graph: String) -> Option<GraphLiveness> {
    let fields = reader.fields(node, &keys::LIVENESS)?;
    let source =
        reader.required(&fields, "source").and_then(|node| reader.word(node, "`source`", &[("graph", ())]));
    let mut duration = |key: &str, range: Range<Duration>, default: Duration| {
        fields.get(key).and_then(|node| reader.duration(node, &format!("`{key}`"), range)).unwrap_or(default)
    };
    let interval = duration("interval", SECOND..SECOND * 3_600, SECOND * 10);
    let grace = duration("grace", Duration::ZERO..SECOND * 86_400, SECOND * 60);
    let credential = match fields.get("credential") {
        Some(node) => credential(reader, node),
        None => Some(GraphCredential::Environment),
    };
    source?;
    Some(GraphLiveness { interval, grace, credential: credential?, graph })
}

fn credential(reader: &mut Reader<'_>, node: &Node) -> Option<GraphCredential> {
    let fields = reader.fields(node, &keys::LIVENESS_CREDENTIAL)?;
    let client_id = reader
        .required(&fields, "client_id")
        .and_then(|node| reader.text(node, "`client_id`").map(str::to_owned));
    match (fields.get("client_secret"), fields.get("federated_token_file")) {
        (Some(secret), None) => {
            let client_secret = reader.secret(secret, "`client_secret`");
            Some(GraphCredential::Secret { client_id: client_id?, client_secret: client_secret? })
        }
        (None, Some(file)) => {
            let token_file = reader.path(file, "`federated_token_file`");
            Some(GraphCredential::Federated { client_id: client_id?, token_file: token_file? })
        }
        (Some(_), Some(file)) => {
            reader.error_help(
                &file.span,
                "both `client_secret` and `federated_token_file` are given",
                "keep one: a federated token needs no secret",
            );
            None
        }
        (None, None) => {
            reader.error_help(
                &fields.head(),
                "the credential is incomplete",
                "add `client_secret: env:NAME` or `federated_token_file: PATH`",
            );
            None
        }
    }
}

pub(super) fn url(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Url> {
    let text = reader.text(node, what)?;
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    match url {
        None => reader.error_help(
            &node.span,
            format!("`{}` is no URL for {what}", shown(text)),
            "write it as `https://host/path`",
        ),
        Some(ref url) if !url.username().is_empty() || url.password().is_some() => {
            let place = reader.place(&node.span);
            reader.report.hide(&place);
            reader.error(&node.span, format!("{what} has a user or password in it"));
            return None;
        }
        Some(_) => {}
    }
    url
}

/// `https`, or `http` on loopback.
fn safe_url(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Url> {
    let url = url(reader, node, what)?;
    if url.scheme() == "https" || is_loopback(&url) {
        return Some(url);
    }
    reader.error_help(
        &node.span,
        format!("{what} is fetched over plain http"),
        "use https; http is for loopback only",
    );
    None
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        None => false,
    }
}
