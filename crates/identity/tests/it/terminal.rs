//! Signing in from a terminal with the development issuer.

use std::{sync::Arc, time::Duration};

use portcullis_core::{PrincipalKind, Secret};
use portcullis_identity::{
    SignInError, SignInView,
    terminal::{Ended, Terminal},
};

use crate::sign_in::{Bench, CLI, browse_to, browser};

impl Bench {
    async fn terminal(&self) -> Terminal {
        let view = SignInView {
            name: "entra".to_owned(),
            kind: "entra".to_owned(),
            issuer: self.idp.issuer().unwrap(),
            client_id: CLI.to_owned(),
            scopes: ["api://portcullis/.default", "openid", "profile", "offline_access"]
                .map(str::to_owned)
                .to_vec(),
            device: true,
            token: "access".to_owned(),
        };
        Terminal::open(view, Arc::new(self.clock.clone())).await.unwrap()
    }

    async fn is_sams(&self, token: &Secret<String>) {
        let who = self.identity.authenticate(token).await.unwrap();
        assert_eq!(
            (who.principal().kind, who.principal().name.as_str()),
            (PrincipalKind::User, "sam@contoso.example")
        );
    }
}

#[tokio::test]
async fn a_device_code_that_a_person_confirms_becomes_tokens() {
    let bench = Bench::new(|_| {}).await;
    let terminal = Arc::new(bench.terminal().await);
    assert!(terminal.has_device());
    let device = terminal.device().await.unwrap();
    let form = [("user_code", device.user_code.as_str()), ("user", "sam@contoso.example")];
    let page = browser().post(&device.verification_uri).form(&form).send().await.unwrap();
    assert_eq!(page.status().as_u16(), 200);

    let asking = tokio::spawn({
        let terminal = Arc::clone(&terminal);
        async move { terminal.confirmed(&device).await }
    });
    // It waits its interval first; the requests after that take real time.
    tokio::task::yield_now().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::time::resume();
    let tokens = asking.await.unwrap().unwrap();
    bench.is_sams(&tokens.token).await;
    assert!(tokens.expires_at > portcullis_core::Clock::now(&bench.clock));
}

#[tokio::test]
async fn a_browser_that_comes_back_brings_tokens_and_strangers_bring_nothing() {
    let bench = Bench::new(|_| {}).await;
    let terminal = bench.terminal().await;
    let loopback = terminal.loopback().await.unwrap();
    let back = browse_to(&loopback.url, "sam@contoso.example").await;
    let at = |query: Option<&str>, path: &str| {
        let mut url = back.clone();
        url.set_query(query);
        url.set_path(path);
        browser().get(url).send()
    };
    let strangers = async {
        for (query, path, status) in [
            (None, "/", 404),
            (back.query(), "/other", 404),
            (Some("code=stolen&state=guessed"), "/", 400),
            (Some("error=access_denied"), "/", 400),
            (Some("code=a&code=b"), "/", 400),
        ] {
            assert_eq!(at(query, path).await.unwrap().status().as_u16(), status, "{path}?{query:?}");
        }
        assert_eq!(bench.idp.requests().token, 0, "nothing was redeemed for them");
        let page = at(back.query(), "/").await.unwrap();
        assert_eq!(page.status().as_u16(), 200);
        page.text().await.unwrap()
    };
    let (tokens, page) = tokio::join!(loopback.came_back(), strangers);
    assert!(page.contains("Signed in") && !page.contains("code="), "{page}");
    let tokens = tokens.unwrap();
    bench.is_sams(&tokens.token).await;

    let renewed = terminal.refresh(tokens.refresh.as_ref().unwrap()).await.unwrap();
    bench.is_sams(&renewed.token).await;
    assert_eq!(terminal.end(renewed.refresh.as_ref(), renewed.id.as_ref()).await.unwrap(), Ended::Yes);
    let over = terminal.refresh(renewed.refresh.as_ref().unwrap()).await.unwrap_err();
    assert!(matches!(over, SignInError::Refused { .. }), "{over}");
}

#[tokio::test]
async fn what_the_provider_declines_ends_the_wait() {
    let bench = Bench::new(|_| {}).await;
    let terminal = bench.terminal().await;
    let loopback = terminal.loopback().await.unwrap();
    let pair = |wanted: &str| {
        let found = loopback.url.query_pairs().find(|(name, _)| name == wanted);
        found.unwrap().1.into_owned()
    };
    let back = format!("{}/?error=access_denied&state={}", pair("redirect_uri"), pair("state"));
    let (ended, page) = tokio::join!(loopback.came_back(), browser().get(back).send());
    assert!(matches!(ended, Err(SignInError::Declined { .. })));
    assert!(page.unwrap().text().await.unwrap().contains("Not signed in"));
}

#[tokio::test]
async fn a_provider_elsewhere_in_the_clear_is_not_asked() {
    let bench = Bench::new(|_| {}).await;
    let view = SignInView {
        name: "far".to_owned(),
        kind: "oidc".to_owned(),
        issuer: "http://idp.example".to_owned(),
        client_id: CLI.to_owned(),
        scopes: vec!["openid".to_owned()],
        device: false,
        token: "id".to_owned(),
    };
    let opened = Terminal::open(view, Arc::new(bench.clock.clone())).await;
    assert!(matches!(opened.err(), Some(SignInError::Unavailable { .. })));
}
