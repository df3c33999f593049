//! `portcullis login` and `logout`: the real command line, the development issuer, and a web listener that answers as a gateway does.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use portcullis_core::SystemClock;
use portcullis_dev_idp::{DevIdp, Directory, Running};
use portcullis_testkit::{Process, ProcessOptions, Scratch, TestCa};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::lab::{Answer, run};

const CLI: &str = "9f2c0000-0000-4000-8000-0000000000f2";

struct Bench {
    idp: Running,
    ca: TestCa,
    url: String,
    seen: Arc<Mutex<Vec<(String, String)>>>,
    home: Scratch,
}

impl Bench {
    /// A gateway that knows whoever presents a token, or (`knows_people: false`) nobody.
    async fn new(knows_people: bool) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/demo/directory.yaml");
        let directory = Directory::load(path.as_ref()).unwrap();
        let idp = DevIdp::new(directory, Arc::new(SystemClock)).unwrap().start().await.unwrap();
        let provider = json!({
            "name": "entra", "kind": "entra", "issuer": idp.issuer().unwrap(), "client_id": CLI, "device": true, "token": "access",
            "scopes": ["api://portcullis/.default", "openid", "profile", "offline_access"],
        });
        let (ca, seen) = (TestCa::new(), Arc::default());
        let url = gateway(&ca, Arc::clone(&seen), provider, knows_people).await;
        Self { idp, ca, url, seen, home: Scratch::new() }
    }

    fn kept(&self) -> Vec<PathBuf> {
        let listed = std::fs::read_dir(self.home.join("state/portcullis")).into_iter().flatten();
        let files = listed.map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
    }

    async fn cli(&self, args: &[&str]) -> Answer {
        let state = self.home.join("state").display().to_string();
        run(args, &[("XDG_STATE_HOME", &state)], self.home.path()).await
    }

    /// Begins to sign in with a browser; the address it prints.
    async fn login(&self) -> (Process, reqwest::Url) {
        let mut login = Process::start(
            ProcessOptions::new(env!("CARGO_BIN_EXE_portcullis"))
                .args(["login", "--browser", "--no-browser", "--gateway", self.url.as_str(), "--ca"])
                .arg(self.ca.path())
                .env("XDG_STATE_HOME", self.home.join("state")),
        );
        let line = login.wait_for_line("/authorize?").await;
        (login, line.trim().parse().unwrap())
    }

    /// Begins to sign in with the device flow, which is what happens without flags; where to type which code.
    async fn login_elsewhere(&self) -> (Process, String, String) {
        let mut login = Process::start(
            ProcessOptions::new(env!("CARGO_BIN_EXE_portcullis"))
                .args(["login", "--gateway", self.url.as_str(), "--ca"])
                .arg(self.ca.path())
                .env("XDG_STATE_HOME", self.home.join("state")),
        );
        let page = login.wait_for_line("/oauth2/deviceauth").await.trim().to_owned();
        let code = login
            .wait_until("a code", |login| {
                let log = login.log();
                let mut lines = log.lines().skip_while(|line| !line.contains("/oauth2/deviceauth")).skip(1);
                lines.next().map(|line| line.trim().to_owned()).filter(|code| code.len() == 8)
            })
            .await;
        (login, page, code)
    }

    /// The bearer tokens seen at this path.
    fn presented(&self, path: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(asked, _)| asked == path).map(|(_, token)| token.clone()).collect()
    }
}

/// A person in a browser: signs in on the issuer's page and follows it back.
async fn browse(url: &reqwest::Url) -> String {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let http =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let mut page = url.clone();
    page.set_query(None);
    let mut form: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    form.push(("user".to_owned(), "sam".to_owned()));
    let answer = http.post(page).form(&form).send().await.unwrap();
    let back = answer.headers()["location"].to_str().unwrap().to_owned();
    http.get(back).send().await.unwrap().text().await.unwrap()
}

async fn gateway(
    ca: &TestCa,
    seen: Arc<Mutex<Vec<(String, String)>>>,
    provider: Value,
    knows_people: bool,
) -> String {
    let certificate = ca.localhost();
    let chain = vec![CertificateDer::from_pem_slice(certificate.certificate_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).unwrap();
    let tls =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen, provider) = (acceptor.clone(), Arc::clone(&seen), provider.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let token = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("authorization")
                        .then(|| value.trim_start_matches("Bearer ").to_owned())
                });
                seen.lock().unwrap().push((path.clone(), token.clone().unwrap_or_default()));
                let (status, body) = match (path.as_str(), token) {
                    ("/api/v1/me", None) => {
                        ("200 OK", json!({ "signed_in": false, "providers": [provider], "version": "0" }))
                    }
                    ("/api/v1/whoami", Some(_)) if knows_people => (
                        "200 OK",
                        json!({
                            "key": "entra/t/55aa", "provider": "entra", "tenant": "t", "object_id": "55aa", "kind": "user", "name": "sam",
                            "token_id": "x", "groups": [], "roles": [], "issued_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T01:00:00Z",
                        }),
                    ),
                    _ => (
                        "401 Unauthorized",
                        json!({
                            "type": "about:blank", "title": "Unauthorized", "status": 401, "detail": "tokens of people are not accepted here",
                        }),
                    ),
                };
                let body = body.to_string();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.ok();
                stream.shutdown().await.ok();
            });
        }
    });
    url
}

#[tokio::test]
async fn a_person_signs_in_is_known_and_signs_out() {
    let bench = Bench::new(true).await;
    let (mut login, address) = bench.login().await;
    assert!(browse(&address).await.contains("Signed in"));
    assert!(login.wait().await.success(), "{}", login.log());
    assert!(login.log().contains(" as sam\n") && login.log().contains("renews itself"), "{}", login.log());
    assert_eq!(bench.presented("/api/v1/me"), [""], "settings are asked for by nobody in particular");

    let kept = bench.kept();
    let [file] = kept.as_slice() else { panic!("{kept:?}") };
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(file), mode(file.parent().unwrap())), (0o600, 0o700));
    let token = bench.presented("/api/v1/whoami").pop().unwrap();
    assert!(token.starts_with("ey") && !login.log().contains(&token), "nothing printed repeats a token");

    // Without flags or environment: the one gateway somebody is signed in to, with its certificate and token.
    assert!(bench.cli(&["whoami"]).await.ok().contains("sam"));
    assert_eq!(bench.presented("/api/v1/whoami").pop().unwrap(), token);

    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = bench.cli(&["whoami"]).await;
    assert!(refused.code == 5 && refused.stderr.contains("can be read by others"), "{refused:?}");
    assert_eq!(bench.presented("/api/v1/whoami").len(), 2, "it was not presented");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();

    assert!(bench.cli(&["logout"]).await.ok().contains("signed out of"));
    assert!(bench.kept().is_empty());
    assert_eq!(bench.idp.requests().logout, 1);
    let nobody = bench.cli(&["whoami"]).await;
    assert!(nobody.code == 2 && nobody.stderr.contains("no gateway is named"), "{nobody:?}");
    assert!(bench.cli(&["logout"]).await.ok().contains("nobody is signed in"));
}

#[tokio::test]
async fn a_code_typed_in_anywhere_signs_in_and_one_declined_does_not() {
    let bench = Bench::new(true).await;
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let type_in = async |page: &str, code: &str, answer: (&str, &str)| {
        let form = [("user_code", code), answer];
        assert!(http.post(page).form(&form).send().await.unwrap().status().is_success());
    };
    let (mut declined, page, code) = bench.login_elsewhere().await;
    type_in(&page, &code, ("answer", "deny")).await;
    let (mut login, page, code) = bench.login_elsewhere().await;
    type_in(&page, &code, ("user", "sam")).await;
    assert_eq!(declined.wait().await.code(), Some(4), "{}", declined.log());
    assert!(declined.log().contains("the sign-in was declined"), "{}", declined.log());
    assert!(login.wait().await.success(), "{}", login.log());
    assert_eq!(
        (bench.kept().len(), bench.presented("/api/v1/whoami").len()),
        (1, 1),
        "of the one who said yes"
    );
}

#[tokio::test]
async fn signing_out_forgets_the_token_whatever_the_provider_says() {
    let bench = Bench::new(true).await;
    let (mut login, address) = bench.login().await;
    browse(&address).await;
    assert!(login.wait().await.success(), "{}", login.log());
    bench.idp.set_issuer_failing(true);
    let answer = bench.cli(&["logout", "--gateway", &bench.url]).await;
    assert!(answer.ok().contains("signed out of") && answer.stderr.contains("goes on"), "{answer:?}");
    assert!(bench.kept().is_empty());
}

#[tokio::test]
async fn what_the_gateway_does_not_accept_is_not_kept() {
    let bench = Bench::new(false).await;
    let (mut login, address) = bench.login().await;
    browse(&address).await;
    assert_eq!(login.wait().await.code(), Some(4), "{}", login.log());
    assert!(login.log().contains("tokens of people are not accepted here"), "{}", login.log());
    assert!(bench.kept().is_empty());
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_named_with_those_that_are() {
    let bench = Bench::new(true).await;
    let ca = bench.ca.path().display().to_string();
    let answer = bench.cli(&["login", "--gateway", &bench.url, "--ca", &ca, "--provider", "okta"]).await;
    assert!(answer.code == 2 && answer.stderr.contains("one of: entra"), "{answer:?}");
    assert_eq!(bench.idp.requests().token, 0);
}
