//! Issuers that we did not write: `oauth2-mock-server` and `oidc-provider` (OpenID certified), from `tests/interop`.

use std::{
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
};

use portcullis_core::{PrincipalKind, Secret, SystemClock};
use portcullis_identity::{Authenticated, Error, Identity};
use portcullis_policy::ProviderConfig;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::world::{oidc_config, secrets};

/// Where the packages are: `PORTCULLIS_NODE_TOOLS`, else where `scripts/setup` puts them. `None` skips the test, except in CI.
fn packages() -> Option<PathBuf> {
    let default = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/node_modules"));
    let folder = std::env::var_os("PORTCULLIS_NODE_TOOLS").map_or(default, PathBuf::from);
    if folder.join("oidc-provider").is_dir() && folder.join("oauth2-mock-server").is_dir() {
        return Some(folder);
    }
    let notice = format!("no issuers in {}: run `scripts/setup test`", folder.display());
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{notice}");
    eprintln!("SKIPPED: {notice}");
    None
}

/// An issuer in a process of its own; it ends when its standard input does.
struct Issuer {
    url: String,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Issuer {
    async fn start(script: &str, arguments: &[&str]) -> Option<Self> {
        let folder = packages()?;
        let mut child = Command::new("node")
            .arg(format!("{}/tests/interop/{script}", env!("CARGO_MANIFEST_DIR")))
            .arg(folder)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = loop {
            let line = output.next_line().await.unwrap().expect("the issuer says where it is");
            if line.starts_with("http://") {
                break line;
            }
        };
        Some(Self { url, child, input, output })
    }

    async fn stop(mut self) -> ExitStatus {
        drop(self.input);
        self.child.wait().await.unwrap()
    }

    /// The access token of a client credentials request.
    async fn token(&self, form: &str) -> String {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        // HTTP/1.0, so that the answer is not chunked.
        let request = format!(
            "POST /token HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
        body["access_token"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
    }
}

fn identity(config: ProviderConfig) -> Arc<Identity> {
    let identity = Identity::new(Arc::new(SystemClock), secrets());
    identity.configure(&[Arc::new(config)]).unwrap();
    identity
}

async fn authenticate(identity: &Identity, token: String) -> Result<Authenticated, Error> {
    identity.authenticate(&Secret::new(token)).await
}

#[tokio::test]
async fn tokens_of_oauth2_mock_server_are_judged() {
    let Some(mut issuer) = Issuer::start("oauth2-mock-server.mjs", &[]).await else { return };
    let identity = identity(oidc_config(&issuer.url));
    let form = "grant_type=client_credentials&scope=connect";
    let proof = authenticate(&identity, issuer.token(form).await).await.unwrap();
    let principal = proof.principal();
    assert_eq!((principal.object_id.as_str(), principal.kind), ("agent-1", PrincipalKind::Application));
    let groups: Vec<&str> = principal.groups.iter().map(|group| group.id.as_str()).collect();
    assert_eq!(groups, ["dba", "sre"]);

    for (change, expected) in [
        (json!({ "aud": "other" }), "audience"),
        (json!({ "exp": 1_000_000_000, "iat": 999_999_000 }), "expired"),
        (json!({ "iss": "http://127.0.0.1:1" }), "issuer"),
        (json!({ "exp": null }), "claims"),
        (json!({ "nonce": "n" }), "token_type"),
        (json!({ "cnf": { "jkt": "x" } }), "sender_constrained"),
    ] {
        let encoded: String = change.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
        let token = issuer.token(&format!("{form}&change={encoded}")).await;
        assert_eq!(authenticate(&identity, token).await.unwrap_err().label(), expected, "{change}");
    }

    issuer.input.write_all(b"rotate\n").await.unwrap();
    assert_eq!(issuer.output.next_line().await.unwrap().as_deref(), Some("rotated"));
    for _ in 0..4 {
        // The server takes its keys in turn; the new one is fetched when it is first met.
        assert!(authenticate(&identity, issuer.token(form).await).await.is_ok());
    }
    assert!(issuer.stop().await.success());
}

#[tokio::test]
async fn tokens_of_oidc_provider_are_judged_under_every_algorithm_both_have() {
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let Some(issuer) = Issuer::start("oidc-provider.mjs", &[algorithm]).await else { return };
        let mut config = oidc_config(&issuer.url);
        config.audience = vec!["urn:portcullis".to_owned()];
        config.types = vec!["at+jwt".to_owned()];
        let portcullis_policy::ProviderKind::Oidc(oidc) = &mut config.kind else {
            panic!("an OIDC provider")
        };
        oidc.claims.roles = Some("/roles".to_owned());
        let identity = identity(config.clone());
        let form = "grant_type=client_credentials&client_id=agent-1&client_secret=agent-secret&scope=connect";
        let token = issuer.token(form).await;
        let proof = authenticate(&identity, token.clone())
            .await
            .unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        let principal = proof.principal();
        assert_eq!(principal.application_id.as_deref(), Some("agent-1"));
        assert_eq!(principal.kind, PrincipalKind::Application);
        assert_eq!((principal.groups.len(), principal.roles.len()), (2, 2));

        let other = issuer.token(&format!("{form}&resource=urn%3Aother")).await;
        assert_eq!(authenticate(&identity, other).await.unwrap_err(), Error::Audience);
        // The same token where its algorithm is not pinned.
        config.algorithms = vec![portcullis_policy::Algorithm::ES384];
        let elsewhere = self::identity(config);
        assert_eq!(authenticate(&elsewhere, token).await.unwrap_err(), Error::Algorithm);
        assert!(issuer.stop().await.success());
    }
}
