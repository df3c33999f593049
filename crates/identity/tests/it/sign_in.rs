//! People signing in with the development issuer: the code, what can be wrong with it, and what holds afterwards.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_core::{PrincipalKind, Secret, Timestamp};
use portcullis_dev_idp::{DevIdp, Directory, Running};
use portcullis_identity::{Callback, Flow, Identity, SignInError, SignIns, SignedIn, Standing};
use portcullis_policy::{GraphCredential, ProviderConfig, SecretRef, SignIn, SignInToken};
use portcullis_testkit::ManualClock;
use reqwest::{Url, redirect::Policy};

use crate::world::{NOW, Secrets, TENANT, entra_config, graph_liveness};

pub const CONSOLE: &str = "9f2c0000-0000-4000-8000-000000000044";
pub const CLI: &str = "9f2c0000-0000-4000-8000-000000000034";
const BACK: &str = "https://gateway.example/auth/callback/entra";
const SAM: &str = "55aa0000-0000-4000-8000-00000000000a";

const DIRECTORY: &str = "
tenant: 4c5a0d3e-0000-4000-8000-000000000001
apis:
  - client_id: 6b1f0f0e-0000-4000-8000-000000000002
    display_name: Portcullis
    identifier_uris: [api://portcullis]
    requested_access_token_version: 2
applications:
  - client_id: 9f2c0000-0000-4000-8000-000000000024
    object_id: 77aa0000-0000-4000-8000-000000000023
    display_name: gateway
    secret: gateway-secret
    graph_permissions: [Directory.Read.All]
  - client_id: 9f2c0000-0000-4000-8000-000000000034
    object_id: 77aa0000-0000-4000-8000-000000000033
    display_name: cli
    public_client: true
    redirect_uris: [http://localhost]
  - client_id: 9f2c0000-0000-4000-8000-000000000044
    object_id: 77aa0000-0000-4000-8000-000000000043
    display_name: console
    secret: 'console: s/cret+%'
    redirect_uris: [https://gateway.example/auth/callback/entra, https://gateway.example/auth/callback/other]
users:
  - { object_id: 55aa0000-0000-4000-8000-00000000000a, name: sam@contoso.example }
  - { object_id: 55aa0000-0000-4000-8000-00000000000b, name: kim@contoso.example }
groups:
  - { object_id: 3fa80000-0000-4000-8000-000000000005, display_name: triage, members: [sam@contoso.example] }
";

pub struct Bench {
    pub idp: Running,
    pub clock: ManualClock,
    pub identity: Arc<Identity>,
    sign_ins: SignIns,
    config: ProviderConfig,
}

impl Bench {
    pub async fn new(change: impl FnOnce(&mut ProviderConfig)) -> Self {
        let clock = ManualClock::at(Timestamp::from_seconds(NOW));
        let idp = issuer(&clock).await;
        let secrets = Secrets(BTreeMap::from([
            ("env:AZURE_CLIENT_ID".to_owned(), "9f2c0000-0000-4000-8000-000000000024".to_owned()),
            ("env:AZURE_CLIENT_SECRET".to_owned(), "gateway-secret".to_owned()),
            ("env:CONSOLE_SECRET".to_owned(), "console: s/cret+%".to_owned()),
        ]));
        let identity = Identity::new(Arc::new(clock.clone()), Arc::new(secrets));
        let mut config = people(&idp);
        change(&mut config);
        identity.configure(&[Arc::new(config.clone())]).unwrap();
        let sign_ins = SignIns::new(Arc::clone(&identity));
        Self { idp, clock, identity, sign_ins, config }
    }

    /// A sign-in of sam as far as the browser's return.
    async fn browsed(&self) -> (Flow, Callback) {
        let begun = self.sign_ins.begin("entra", BACK).await.unwrap();
        let query = browse(&begun.url, "sam@contoso.example").await;
        (begun.flow, Callback::from_query(&query).unwrap())
    }

    async fn signed_in(&self) -> SignedIn {
        let (flow, callback) = self.browsed().await;
        self.sign_ins.finish(flow, &callback, BACK).await.unwrap()
    }
}

async fn issuer(clock: &ManualClock) -> Running {
    let directory = Directory::parse(DIRECTORY, "test").unwrap();
    DevIdp::new(directory, Arc::new(clock.clone())).unwrap().start().await.unwrap()
}

/// The issuer as a provider that signs people in, with liveness.
fn people(idp: &Running) -> ProviderConfig {
    let authority = idp.authority().unwrap();
    let mut config = entra_config(authority);
    let mut liveness = graph_liveness(authority);
    liveness.credential = GraphCredential::Environment;
    config.liveness = Some(liveness);
    config.allow_users = true;
    config.sign_in = Some(SignIn {
        client_id: CONSOLE.to_owned(),
        client_secret: Some(SecretRef::Env("CONSOLE_SECRET".to_owned())),
        scopes: ["api://portcullis/.default", "openid", "profile", "offline_access"]
            .map(str::to_owned)
            .to_vec(),
        token: SignInToken::Access,
    });
    config
}

pub fn browser() -> reqwest::Client {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap()
}

/// Signs in on the issuer's page; the address the browser is sent back to.
pub async fn browse_to(url: &Url, user: &str) -> Url {
    let mut page = url.clone();
    page.set_query(None);
    let mut form: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    form.push(("user".to_owned(), user.to_owned()));
    let answer = browser().post(page).form(&form).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 302);
    answer.headers()["location"].to_str().unwrap().parse().unwrap()
}

async fn browse(url: &Url, user: &str) -> String {
    browse_to(url, user).await.query().unwrap().to_owned()
}

/// The flow with one member of its text replaced.
fn with_member(flow: &Flow, name: &str, value: &str) -> Flow {
    let json = URL_SAFE_NO_PAD.decode(flow.to_text().expose()).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    json[name] = value.into();
    Flow::from_text(&URL_SAFE_NO_PAD.encode(json.to_string())).unwrap()
}

#[tokio::test]
async fn a_person_signs_in_with_a_code() {
    let bench = Bench::new(|_| {}).await;
    let (flow, callback) = bench.browsed().await;
    // As carried in a cookie.
    let flow = Flow::from_text(flow.to_text().expose()).unwrap();
    let signed_in = bench.sign_ins.finish(flow, &callback, BACK).await.unwrap();
    let principal = Arc::clone(signed_in.who.principal());
    assert_eq!(principal.key().to_string(), format!("entra/{TENANT}/{SAM}"));
    assert_eq!((principal.kind, principal.application_id.as_deref()), (PrincipalKind::User, Some(CONSOLE)));
    assert_eq!(
        principal.groups.iter().filter_map(|group| group.name.as_deref()).collect::<Vec<_>>(),
        ["triage"]
    );
    assert_eq!((signed_in.provider.as_str(), signed_in.expires_at), ("entra", principal.expires_at));
    assert!(bench.identity.authenticate(&signed_in.token).await.is_ok());
    let shown = format!("{signed_in:?}");
    assert!(!shown.contains(signed_in.token.expose().as_str()), "nothing shows a token");
}

#[tokio::test]
async fn a_code_works_once() {
    let bench = Bench::new(|_| {}).await;
    let (flow, callback) = bench.browsed().await;
    let replayed = Flow::from_text(flow.to_text().expose()).unwrap();
    assert!(bench.sign_ins.finish(flow, &callback, BACK).await.is_ok());
    let error = bench.sign_ins.finish(replayed, &callback, BACK).await.unwrap_err();
    assert_eq!(error.to_string(), "provider `entra` gave no tokens: invalid_grant (AADSTS70008)");
    assert_eq!(error.kind(), portcullis_core::ErrorKind::Denied);
}

#[tokio::test]
async fn a_code_of_another_flow_is_refused_before_anybody_is_asked() {
    let bench = Bench::new(|_| {}).await;
    let (_, callback) = bench.browsed().await;
    let (mine, _) = bench.browsed().await;
    assert!(matches!(bench.sign_ins.finish(mine, &callback, BACK).await, Err(SignInError::State)));
    assert_eq!(bench.idp.requests().token, 0);
}

#[tokio::test]
async fn a_stolen_code_is_worth_nothing_without_the_verifier_and_nonce_of_its_flow() {
    let bench = Bench::new(|_| {}).await;
    for (member, expected) in [("verifier", "refused"), ("nonce", "nonce")] {
        let (flow, callback) = bench.browsed().await;
        let flow = with_member(&flow, member, &"A".repeat(43));
        let error = bench.sign_ins.finish(flow, &callback, BACK).await.unwrap_err();
        assert_eq!(error.label(), expected);
    }
}

#[tokio::test]
async fn a_code_is_redeemed_at_its_own_provider_only() {
    let bench = Bench::new(|_| {}).await;
    let bad = issuer(&bench.clock).await;
    let mut other = people(&bad);
    other.name = "other".to_owned();
    other.audience = vec!["api://other".to_owned()];
    bench.identity.configure(&[Arc::new(bench.config.clone()), Arc::new(other)]).unwrap();

    // The person chose `other`, which sent the browser on to the good one with the state it was given.
    let other_back = "https://gateway.example/auth/callback/other";
    let begun = bench.sign_ins.begin("other", other_back).await.unwrap();
    let state = begun.url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let (_, good) = bench.browsed().await;
    assert!(good.state().is_some_and(|mine| mine != state));
    let honest = bench.sign_ins.begin("entra", BACK).await.unwrap();
    let query = browse(&honest.url, "sam@contoso.example").await;
    let (code, _) = query.split_once('&').unwrap();
    let mixed = Callback::from_query(&format!("{code}&state={state}")).unwrap();
    // It arrives at the good provider's address, since that is where the good one sends it: nobody gets to see the code.
    let flow = Flow::from_text(begun.flow.to_text().expose()).unwrap();
    let error = bench.sign_ins.finish(flow, &mixed, BACK).await.unwrap_err();
    assert_eq!((error.label(), bad.requests().token, bench.idp.requests().token), ("issuer", 0, 0));

    // A flow whose provider means another one by now.
    let renamed = with_member(&honest.flow, "provider", "other");
    let callback = Callback::from_query(&query).unwrap();
    let error = bench.sign_ins.finish(renamed, &callback, BACK).await.unwrap_err();
    assert_eq!((error.label(), bad.requests().token), ("changed", 0));
}

#[tokio::test]
async fn what_the_provider_declines_is_said_without_its_words() {
    let bench = Bench::new(|_| {}).await;
    let begun = bench.sign_ins.begin("entra", BACK).await.unwrap();
    let state = begun.url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let query =
        format!("error=access_denied&error_description=AADSTS65004%3A+%3Cb%3Eno%3C%2Fb%3E&state={state}");
    let callback = Callback::from_query(&query).unwrap();
    let error = bench.sign_ins.finish(begun.flow, &callback, BACK).await.unwrap_err();
    assert_eq!(error.to_string(), "provider `entra` did not sign in: access_denied (AADSTS65004)");
    assert_eq!(bench.idp.requests().token, 0);
}

#[tokio::test]
async fn a_sign_in_that_takes_too_long_is_refused() {
    let bench = Bench::new(|_| {}).await;
    let (flow, callback) = bench.browsed().await;
    bench.clock.advance(Duration::from_secs(15 * 60));
    assert!(matches!(bench.sign_ins.finish(flow, &callback, BACK).await, Err(SignInError::TooLate)));
    assert_eq!(bench.idp.requests().token, 0);
}

#[tokio::test]
async fn a_refresh_token_is_renewed_for_the_same_person_and_not_twice() {
    let bench = Bench::new(|_| {}).await;
    let signed_in = bench.signed_in().await;
    let (key, first) = (signed_in.who.principal().key(), signed_in.refresh.unwrap());
    bench.clock.advance(Duration::from_secs(75 * 60));
    let renewed = bench.sign_ins.refresh("entra", &first, &key).await.unwrap();
    assert!(renewed.expires_at > signed_in.expires_at);
    let second = renewed.refresh.unwrap();

    let mut stranger = key.clone();
    stranger.object_id = "55aa0000-0000-4000-8000-00000000000b".to_owned();
    let error = bench.sign_ins.refresh("entra", &second, &stranger).await.unwrap_err();
    assert_eq!(error.label(), "subject");

    let error = bench.sign_ins.refresh("entra", &first, &key).await.unwrap_err();
    assert_eq!(error.to_string(), "provider `entra` gave no tokens: invalid_grant (AADSTS70008)");
    assert_eq!(error.client_message(), "the sign-in is over: sign in again");
}

#[tokio::test]
async fn a_signed_in_person_who_leaves_a_group_loses_it_within_the_interval() {
    let bench = Bench::new(|_| {}).await;
    let principal = Arc::clone(bench.signed_in().await.who.principal());
    let asked = bench.idp.requests().graph;
    for _ in 0..100 {
        assert!(matches!(bench.identity.recheck(&principal).await, Standing::Good(_)));
    }
    assert_eq!(
        bench.idp.requests().graph,
        asked,
        "a request of a signed-in person costs the directory nothing"
    );

    bench.idp.set_member("triage", "sam@contoso.example", false).unwrap();
    bench.clock.advance(Duration::from_secs(10));
    let Standing::Good(now) = bench.identity.recheck(&principal).await else { panic!("good") };
    assert!(now.groups.is_empty());

    bench.idp.set_enabled("sam@contoso.example", false).unwrap();
    bench.clock.advance(Duration::from_secs(10));
    assert!(matches!(bench.identity.recheck(&principal).await, Standing::Revoked { .. }));
}

#[tokio::test]
async fn who_may_not_come_in_may_not_sign_in() {
    let bench = Bench::new(|config| config.allow_users = false).await;
    let (flow, callback) = bench.browsed().await;
    let error = bench.sign_ins.finish(flow, &callback, BACK).await.unwrap_err();
    assert_eq!(
        (error.label(), error.client_message()),
        ("rejected", "tokens of people are not accepted here: use an application's identity",)
    );

    let bench = Bench::new(|config| config.sign_in = None).await;
    let error = bench.sign_ins.begin("entra", BACK).await.unwrap_err();
    assert_eq!((error.label(), bench.sign_ins.views().await.len()), ("provider", 0));
    assert!(matches!(bench.sign_ins.begin("nobody", BACK).await, Err(SignInError::Provider)));
}

#[tokio::test]
async fn a_wrong_client_secret_is_the_gateways_trouble_and_is_not_shown() {
    let bench = Bench::new(|config| {
        let sign_in = config.sign_in.as_mut().unwrap();
        sign_in.client_secret = Some(SecretRef::Env("AZURE_CLIENT_SECRET".to_owned()));
    })
    .await;
    let (flow, callback) = bench.browsed().await;
    let error = bench.sign_ins.finish(flow, &callback, BACK).await.unwrap_err();
    assert_eq!(error.kind(), portcullis_core::ErrorKind::Dependency);
    assert!(!format!("{error} {error:?}").contains("gateway-secret"));
    assert!(error.to_string().contains("AADSTS7000215"), "{error}");
}

#[tokio::test]
async fn what_a_terminal_needs_to_know_is_told() {
    let bench = Bench::new(|_| {}).await;
    let views = serde_json::to_value(bench.sign_ins.views().await).unwrap();
    let expected = serde_json::json!([{
        "name": "entra", "kind": "entra", "issuer": bench.idp.issuer().unwrap(), "client_id": CONSOLE, "device": true, "token": "access",
        "scopes": ["api://portcullis/.default", "openid", "profile", "offline_access"],
    }]);
    assert_eq!(views, expected);
    let end = bench.sign_ins.end_session("entra", Some("https://gateway.example/")).await.unwrap().unwrap();
    assert!(end.path().ends_with("/oauth2/v2.0/logout"), "{end}");
    assert!(end.query().unwrap().contains("post_logout_redirect_uri=https%3A%2F%2Fgateway.example%2F"));
}

#[tokio::test]
async fn an_id_token_stands_for_its_person_where_the_documents_say_so() {
    let bench = Bench::new(|config| {
        config.audience.push(CONSOLE.to_owned());
        config.sign_in.as_mut().unwrap().token = SignInToken::Id;
    })
    .await;
    let signed_in = bench.signed_in().await;
    assert_eq!(signed_in.who.principal().key().object_id, SAM);
    assert_eq!(signed_in.who.principal().kind, PrincipalKind::User);

    let mut config = bench.config.clone();
    config.sign_in.as_mut().unwrap().token = SignInToken::Access;
    bench.identity.configure(&[Arc::new(config)]).unwrap();
    let error = bench.identity.authenticate(&signed_in.token).await.unwrap_err();
    assert_eq!(error.label(), "token_type");
    let none = Secret::new(String::new());
    assert!(bench.identity.authenticate(&none).await.is_err());
}
