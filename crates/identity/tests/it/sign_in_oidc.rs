//! People signing in with an issuer that answers what a test tells it to: forged, misdirected and misplaced tokens.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use portcullis_core::{PrincipalKind, Timestamp};
use portcullis_identity::{Begun, Callback, Identity, SignInError, SignIns, SignedIn};
use portcullis_policy::{ProviderConfig, SecretRef, SignIn, SignInToken};
use portcullis_testkit::ManualClock;
use serde_json::{Value, json};

use crate::{
    mint::{Key, encode, hs256, with},
    server::{Reply, Server},
    world::{NOW, Secrets, oidc_config},
};

const BACK: &str = "https://gateway.example/auth/callback";
const CLIENT: &str = "console";

struct Shop {
    server: Server,
    key: Key,
    sign_ins: SignIns,
    identity: Arc<Identity>,
    /// What the token endpoint answers.
    answer: Arc<Mutex<Reply>>,
}

impl Shop {
    /// An issuer whose discovery document has `more`.
    async fn new(more: Value, change: impl FnOnce(&mut ProviderConfig)) -> Self {
        let key = Key::p256();
        let keys = json!({ "keys": [key.jwk("k1")] });
        let answer = Arc::new(Mutex::new(Reply::status(500)));
        let base = Arc::new(Mutex::new(String::new()));
        let server = Server::start({
            let (answer, base) = (Arc::clone(&answer), Arc::clone(&base));
            move |asked| {
                let base = base.lock().unwrap().clone();
                match asked.path.as_str() {
                    "/.well-known/openid-configuration" => {
                        let document = json!({
                            "issuer": base,
                            "jwks_uri": format!("{base}/keys"),
                            "authorization_endpoint": format!("{base}/authorize"),
                            "token_endpoint": format!("{base}/token"),
                        });
                        Reply::json(&with(&document, more.clone()))
                    }
                    "/keys" => Reply::json(&keys),
                    "/token" => answer.lock().unwrap().clone(),
                    _ => Reply::status(404),
                }
            }
        })
        .await;
        *base.lock().unwrap() = server.base.clone();
        let clock = ManualClock::at(Timestamp::from_seconds(NOW));
        let secrets = Secrets(BTreeMap::from([("env:CONSOLE_SECRET".to_owned(), "s/cret: +%".to_owned())]));
        let identity = Identity::new(Arc::new(clock), Arc::new(secrets));
        let mut config = oidc_config(&server.base);
        config.allow_users = true;
        config.sign_in = Some(SignIn {
            client_id: CLIENT.to_owned(),
            client_secret: None,
            scopes: ["openid", "profile"].map(str::to_owned).to_vec(),
            token: SignInToken::Access,
        });
        change(&mut config);
        identity.configure(&[Arc::new(config)]).unwrap();
        Self { server, key, sign_ins: SignIns::new(Arc::clone(&identity)), identity, answer }
    }

    async fn begin(&self) -> (Begun, String, String) {
        let begun = self.sign_ins.begin("ci", BACK).await.unwrap();
        let pair = |wanted: &str| {
            let found = begun.url.query_pairs().find(|(name, _)| name == wanted);
            found.unwrap().1.into_owned()
        };
        let (state, nonce) = (pair("state"), pair("nonce"));
        (begun, state, nonce)
    }

    fn header(&self) -> Value {
        json!({ "typ": "JWT", "alg": "ES256", "kid": "k1" })
    }

    fn access(&self, changes: Value) -> String {
        let claims = json!({ "iss": self.server.base, "aud": "portcullis", "sub": "u-1", "azp": CLIENT, "iat": NOW, "exp": NOW + 600 });
        self.key.sign(&self.header(), &with(&claims, changes))
    }

    fn id_claims(&self, nonce: &str) -> Value {
        json!({ "iss": self.server.base, "aud": CLIENT, "sub": "u-1", "nonce": nonce, "iat": NOW, "exp": NOW + 300 })
    }

    fn id(&self, nonce: &str, changes: Value) -> String {
        self.key.sign(&self.header(), &with(&self.id_claims(nonce), changes))
    }

    fn grants(&self, access: &str, id: &str) {
        let body =
            json!({ "token_type": "Bearer", "access_token": access, "id_token": id, "expires_in": 600 });
        *self.answer.lock().unwrap() = Reply::json(&body);
    }

    async fn finish(&self, begun: Begun, query: &str) -> Result<SignedIn, SignInError> {
        self.sign_ins.finish(begun.flow, &Callback::from_query(query).unwrap(), BACK).await
    }

    /// A whole sign-in whose id token is made from the nonce.
    async fn signs_in(&self, id: impl FnOnce(&str) -> String) -> Result<SignedIn, SignInError> {
        let (begun, state, nonce) = self.begin().await;
        self.grants(&self.access(json!({})), &id(&nonce));
        self.finish(begun, &format!("code=c-1&state={state}")).await
    }
}

#[tokio::test]
async fn a_person_signs_in_though_only_the_client_says_that_it_is_one() {
    let shop = Shop::new(json!({}), |_| {}).await;
    let signed_in = shop.signs_in(|nonce| shop.id(nonce, json!({}))).await.unwrap();
    let principal = signed_in.who.principal();
    assert_eq!((principal.key().to_string().as_str(), principal.kind), ("ci/u-1", PrincipalKind::User));
    let asked = shop.server.asked().into_iter().find(|asked| asked.path == "/token").unwrap();
    assert!(
        asked
            .body
            .contains("grant_type=authorization_code&code=c-1&redirect_uri=https%3A%2F%2Fgateway.example")
    );
    assert!(
        asked.body.contains("&code_verifier=") && asked.body.ends_with("&client_id=console"),
        "{}",
        asked.body
    );
}

#[tokio::test]
async fn forged_and_misdirected_id_tokens_are_refused() {
    let shop = Shop::new(json!({}), |_| {}).await;
    let stranger = Key::p256();
    let unsigned = |nonce: &str, alg: &str| {
        let header = json!({ "typ": "JWT", "alg": alg });
        format!("{}.{}.", encode(header.to_string()), encode(shop.id_claims(nonce).to_string()))
    };
    type Make<'a> = Box<dyn Fn(&str) -> String + 'a>;
    let cases: Vec<(&str, Make<'_>, &str)> = vec![
        ("alg none", Box::new(|nonce| unsigned(nonce, "none")), "id_token"),
        ("no signature", Box::new(|nonce| unsigned(nonce, "ES256")), "id_token"),
        ("another key", Box::new(|nonce| stranger.sign(&shop.header(), &shop.id_claims(nonce))), "id_token"),
        (
            "public key as secret",
            Box::new(|nonce| {
                hs256(
                    &with(&shop.header(), json!({ "alg": "HS256" })),
                    &shop.id_claims(nonce),
                    &shop.key.public(),
                )
            }),
            "id_token",
        ),
        (
            "unknown kid",
            Box::new(|nonce| {
                shop.key.sign(&with(&shop.header(), json!({ "kid": "k9" })), &shop.id_claims(nonce))
            }),
            "id_token",
        ),
        ("nonce of another flow", Box::new(|_| shop.id("another", json!({}))), "nonce"),
        ("no nonce", Box::new(|nonce| shop.id(nonce, json!({ "nonce": null }))), "nonce"),
        ("nonce not text", Box::new(|nonce| shop.id(nonce, json!({ "nonce": [nonce] }))), "nonce"),
        ("another client", Box::new(|nonce| shop.id(nonce, json!({ "aud": "wiki" }))), "id_token"),
        (
            "several clients, no azp",
            Box::new(|nonce| shop.id(nonce, json!({ "aud": [CLIENT, "wiki"] }))),
            "id_token",
        ),
        (
            "several clients, another's",
            Box::new(|nonce| shop.id(nonce, json!({ "aud": [CLIENT, "wiki"], "azp": "wiki" }))),
            "id_token",
        ),
        ("another's azp", Box::new(|nonce| shop.id(nonce, json!({ "azp": "wiki" }))), "id_token"),
        (
            "another issuer",
            Box::new(|nonce| shop.id(nonce, json!({ "iss": "https://idp.example" }))),
            "id_token",
        ),
        (
            "expired",
            Box::new(|nonce| shop.id(nonce, json!({ "iat": NOW - 900, "exp": NOW - 600 }))),
            "id_token",
        ),
        (
            "of the future",
            Box::new(|nonce| shop.id(nonce, json!({ "iat": NOW + 600, "exp": NOW + 900 }))),
            "id_token",
        ),
        ("another person", Box::new(|nonce| shop.id(nonce, json!({ "sub": "u-2" }))), "subject"),
        ("nobody", Box::new(|nonce| shop.id(nonce, json!({ "sub": null }))), "id_token"),
        (
            "an access token",
            Box::new(|nonce| {
                shop.key.sign(&with(&shop.header(), json!({ "typ": "at+jwt" })), &shop.id_claims(nonce))
            }),
            "id_token",
        ),
        ("a logout token", Box::new(|nonce| shop.id(nonce, json!({ "events": {} }))), "id_token"),
        ("not a token", Box::new(|_| "x.y".to_owned()), "id_token"),
    ];
    for (told, make, expected) in cases {
        let error = shop.signs_in(|nonce| make(nonce)).await.err();
        assert_eq!(error.map(|error| error.label()), Some(expected), "{told}");
    }
    assert!(
        shop.signs_in(|nonce| shop.id(nonce, json!({ "aud": [CLIENT, "wiki"], "azp": CLIENT })))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn the_access_token_is_verified_like_any_other() {
    let shop = Shop::new(json!({}), |_| {}).await;
    for (changes, label) in [
        (json!({ "aud": "another-api" }), "audience"),
        (json!({ "iss": "https://idp.example" }), "issuer"),
        (json!({ "exp": NOW - 600, "iat": NOW - 900 }), "expired"),
        (json!({ "nonce": "n" }), "token_type"),
    ] {
        let (begun, state, nonce) = shop.begin().await;
        shop.grants(&shop.access(changes), &shop.id(&nonce, json!({})));
        let error = shop.finish(begun, &format!("code=c&state={state}")).await.unwrap_err();
        let SignInError::Rejected(rejected) = &error else { panic!("{error}") };
        assert_eq!(rejected.error.label(), label);
    }
    // The client's own token in place of a person's.
    let (begun, state, nonce) = shop.begin().await;
    shop.grants(&shop.access(json!({ "sub": CLIENT })), &shop.id(&nonce, json!({ "sub": CLIENT })));
    let error = shop.finish(begun, &format!("code=c&state={state}")).await.unwrap_err();
    assert!(matches!(error, SignInError::NotAPerson), "{error}");
}

#[tokio::test]
async fn an_access_token_that_names_no_client_is_known_to_be_given_to_ours_at_the_sign_in_only() {
    let shop = Shop::new(json!({}), |_| {}).await;
    let (begun, state, nonce) = shop.begin().await;
    let token = shop.access(json!({ "azp": null, "preferred_username": "sam" }));
    shop.grants(&token, &shop.id(&nonce, json!({})));
    let signed_in = shop.finish(begun, &format!("code=c&state={state}")).await.unwrap();
    assert_eq!(signed_in.who.principal().application_id.as_deref(), Some(CLIENT));
    // The token by itself says nothing of the kind, and one that says another's keeps it.
    let who = shop.identity.authenticate(&portcullis_core::Secret::new(token)).await.unwrap();
    assert_eq!(who.principal().application_id, None);
    let (begun, state, nonce) = shop.begin().await;
    shop.grants(
        &shop.access(json!({ "azp": "wiki", "preferred_username": "sam" })),
        &shop.id(&nonce, json!({})),
    );
    let signed_in = shop.finish(begun, &format!("code=c&state={state}")).await.unwrap();
    assert_eq!(signed_in.who.principal().application_id.as_deref(), Some("wiki"));
}

#[tokio::test]
async fn an_issuer_that_names_itself_must_do_so_and_no_other_may() {
    let shop = Shop::new(json!({ "authorization_response_iss_parameter_supported": true }), |_| {}).await;
    for iss in ["", "&iss=https%3A%2F%2Fidp.example"] {
        let (begun, state, _) = shop.begin().await;
        let error = shop.finish(begun, &format!("code=c&state={state}{iss}")).await.unwrap_err();
        assert_eq!((error.label(), shop.server.count("/token")), ("issuer", 0));
    }
    let (begun, state, nonce) = shop.begin().await;
    shop.grants(&shop.access(json!({})), &shop.id(&nonce, json!({})));
    let own = encode_query(&shop.server.base);
    assert!(shop.finish(begun, &format!("code=c&state={state}&iss={own}")).await.is_ok());
}

fn encode_query(text: &str) -> String {
    text.replace(':', "%3A").replace('/', "%2F")
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_told_apart_from_one_that_refuses() {
    let shop = Shop::new(json!({}), |_| {}).await;
    let refuse = |status, body: Value| Reply { status, ..Reply::json(&body) };
    for (reply, label) in [
        (Reply::status(500), "unavailable"),
        (Reply::status(302).header("location", "https://evil.example/token"), "unavailable"),
        (Reply::json(&json!({ "token_type": "Bearer", "access_token": "a" })), "unavailable"),
        (Reply::json(&json!({ "token_type": "DPoP", "access_token": "a" })), "unavailable"),
        (
            refuse(400, json!({ "error": "invalid_grant", "error_description": "code c-7 is used" })),
            "refused",
        ),
        (refuse(400, json!({ "error": "\u{1b}[2J" })), "refused"),
    ] {
        let (begun, state, _) = shop.begin().await;
        *shop.answer.lock().unwrap() = reply;
        let error = shop.finish(begun, &format!("code=c-7&state={state}")).await.unwrap_err();
        assert_eq!(error.label(), label, "{error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("c-7") && !shown.contains('\u{1b}'), "{shown}");
    }
}

#[tokio::test]
async fn a_client_secret_goes_where_the_issuer_takes_it() {
    let secret = |config: &mut ProviderConfig| {
        config.sign_in.as_mut().unwrap().client_secret = Some(SecretRef::Env("CONSOLE_SECRET".to_owned()));
    };
    let header = Shop::new(json!({}), secret).await;
    header.signs_in(|nonce| header.id(nonce, json!({}))).await.unwrap();
    let asked = header.server.asked().into_iter().find(|asked| asked.path == "/token").unwrap();
    // RFC 6749 section 2.3.1: form-encoded, then base64.
    assert_eq!(asked.authorization, "Basic Y29uc29sZTpzJTJGY3JldCUzQSslMkIlMjU=");
    assert!(!asked.body.contains("cret"), "{}", asked.body);

    let post =
        json!({ "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"] });
    let form = Shop::new(post, secret).await;
    form.signs_in(|nonce| form.id(nonce, json!({}))).await.unwrap();
    let asked = form.server.asked().into_iter().find(|asked| asked.path == "/token").unwrap();
    assert!(
        asked.authorization.is_empty() && asked.body.ends_with("client_secret=s%2Fcret%3A+%2B%25"),
        "{}",
        asked.body
    );
}

#[tokio::test]
async fn an_id_token_stands_for_its_person_only_where_the_documents_say_so_and_only_the_consoles() {
    let id = |config: &mut ProviderConfig| {
        config.audience = vec!["portcullis".to_owned(), CLIENT.to_owned()];
        config.sign_in.as_mut().unwrap().token = SignInToken::Id;
    };
    let shop = Shop::new(json!({}), id).await;
    let signed_in = shop.signs_in(|nonce| shop.id(nonce, json!({ "typ": "ID" }))).await.unwrap();
    let principal = signed_in.who.principal();
    assert_eq!((principal.kind, principal.application_id.as_deref()), (PrincipalKind::User, Some(CLIENT)));

    let judge = |token: String| async {
        let token = portcullis_core::Secret::new(token);
        shop.identity
            .authenticate(&token)
            .await
            .map(|who| who.principal().kind)
            .map_err(|error| error.label())
    };
    assert_eq!(judge(shop.id("n", json!({}))).await, Ok(PrincipalKind::User));
    assert_eq!(judge(shop.id("n", json!({ "aud": "portcullis" }))).await, Err("token_type"));
    assert_eq!(judge(shop.id("n", json!({ "aud": [CLIENT, "portcullis"] }))).await, Err("token_type"));
    assert_eq!(judge(shop.id("n", json!({ "events": {} }))).await, Err("token_type"));
    assert_eq!(judge(shop.id("n", json!({ "cnf": { "jkt": "x" } }))).await, Err("sender_constrained"));
    assert_eq!(judge(shop.access(json!({ "azp": "ci-job" }))).await, Ok(PrincipalKind::Application));
    assert_eq!(judge(shop.access(json!({}))).await, Ok(PrincipalKind::User));
}

#[tokio::test]
async fn an_address_to_come_back_to_must_be_safe() {
    let shop = Shop::new(json!({}), |_| {}).await;
    for back in
        ["http://gateway.example/auth/callback", "javascript:alert(1)", "", "https://u:p@gateway.example/"]
    {
        assert!(matches!(shop.sign_ins.begin("ci", back).await, Err(SignInError::Internal { .. })), "{back}");
    }
}

#[tokio::test]
async fn where_people_sign_in_is_read_once_an_hour() {
    let shop = Shop::new(json!({}), |_| {}).await;
    for _ in 0..5 {
        shop.begin().await;
    }
    assert_eq!(shop.server.count("openid-configuration"), 1);
    assert!(shop.sign_ins.views().await.iter().all(|view| !view.device));
}

#[tokio::test]
async fn an_issuer_that_is_silent_delays_the_list_of_providers_by_a_second() {
    let device = json!({ "device_authorization_endpoint": "http://127.0.0.1:9/device" });
    let shop = Shop::new(device, |_| {}).await;
    shop.server.hold();
    let sign_ins = shop.sign_ins.clone();
    let asking = tokio::spawn(async move { sign_ins.views().await });
    shop.server.wait_for("openid-configuration", 1).await;
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    tokio::time::resume();
    let views = asking.await.unwrap();
    assert_eq!(
        views.iter().map(|view| (view.name.as_str(), view.device)).collect::<Vec<_>>(),
        [("ci", false)]
    );
    shop.server.release();
    assert!(shop.sign_ins.views().await.iter().all(|view| view.device));
}
