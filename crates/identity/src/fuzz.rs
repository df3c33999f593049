//! The verifier on arbitrary bytes.

use std::collections::BTreeMap;

use portcullis_core::Timestamp;
use portcullis_policy::{Algorithm, ClaimPointers, Cloud, Entra, Oidc, ProviderConfig, ProviderKind};

use crate::{
    claims::Claims,
    jose::{Header, Unverified},
    keys::{
        KeySet,
        source::{Keys, Metadata},
    },
    sign_in::{Callback, Flow, endpoints::Endpoints},
    verify::{self, Context},
};

/// Runs every decoder a peer or an issuer can reach: the bytes as a token; as a header and as claims, with which the judgement goes on as if
/// the signature had been good; as a key set and as a discovery document; as what a browser brings back. Nothing may panic, and no token may verify.
#[doc(hidden)]
pub fn fuzz_token(bytes: &[u8]) {
    let now = Timestamp::from_seconds(1_790_000_000);
    let published = KeySet::parse(KEYS.as_bytes());
    assert!(published.is_ok(), "the built-in key set is well formed");
    let Ok(set) = published else { return };
    let keys = Keys { set, cloud: Some("microsoftonline.com".to_owned()), generation: 1 };
    let providers = [entra(), oidc()];
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(token) = Unverified::parse(text)
    {
        for config in &providers {
            // INVARIANT(no-signature-no-principal): nobody has the private half of the key.
            assert!(verify::verify(config, &token, &keys, now, "digest").is_err());
        }
    }
    drop(Header::parse(bytes));
    if let (Ok(claims), Ok(key)) = (Unverified::claims(bytes), keys.set.select(Some("k1"))) {
        for config in &providers {
            let context = Context { config, cloud: keys.cloud.as_deref(), key, now, digest: "digest" };
            if let Ok(verified) = verify::believe(&context, &Claims::new(&claims)) {
                let principal = verified.principal;
                assert!(!principal.object_id.is_empty() && principal.object_id.len() <= 1024);
                assert!(!principal.name.chars().any(char::is_control));
                assert!(verified.until > now);
            }
        }
    }
    drop(KeySet::parse(bytes));
    if let Ok(url) = "https://idp.example/.well-known/openid-configuration".parse() {
        drop(Metadata::parse(bytes, "https://idp.example", &url));
        drop(Endpoints::parse(bytes, "https://idp.example", &url));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(Flow::from_text(text));
        drop(Callback::from_query(text));
    }
}

/// A P-256 key whose private half was never kept, restricted to an issuer and a cloud.
const KEYS: &str = r#"{"keys":[{"kid":"k1","kty":"EC","crv":"P-256","use":"sig","issuer":"https://login.microsoftonline.com/{tenantid}/v2.0","cloud_instance_name":"microsoftonline.com","x":"WTfWzqQE1Pq5tsGfUnHGrs5OQN3_uDohT2rCwaf5Huc","y":"-DBU64z1Rp-MYHe57oue4Fx5Z0j1DszzLB-KBHMhDyQ"}]}"#;

fn entra() -> ProviderConfig {
    let kind = ProviderKind::Entra(Entra {
        tenant: "4c5a0d3e-0000-4000-8000-000000000001".to_owned(),
        cloud: Cloud::Global,
        authority: None,
        graph: None,
    });
    provider(kind, true)
}

fn oidc() -> ProviderConfig {
    let pointer = |text: &str| Some(text.to_owned());
    let claims = ClaimPointers {
        subject: "/sub".to_owned(),
        groups: pointer("/a/groups"),
        roles: pointer("/roles"),
        name: pointer("/name"),
    };
    provider(ProviderKind::Oidc(Oidc { issuer: "https://idp.example".to_owned(), jwks: None, claims }), false)
}

fn provider(kind: ProviderKind, allow_users: bool) -> ProviderConfig {
    ProviderConfig {
        name: "fuzz".to_owned(),
        kind,
        audience: vec!["api://portcullis".to_owned()],
        groups: BTreeMap::new(),
        algorithms: Algorithm::ALL.to_vec(),
        types: vec!["jwt".to_owned(), "at+jwt".to_owned()],
        liveness: None,
        allow_users,
        sign_in: None,
        location: String::new(),
    }
}
