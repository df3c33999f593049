//! The gateway's own development issuer: what the demo and the end-to-end tests rest on.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use portcullis_core::{Principal, PrincipalKind, Secret, Timestamp};
use portcullis_dev_idp::{DevIdp, Directory, GroupsClaim, Running, Signer, TokenSpec, TokenVersion};
use portcullis_identity::{Error, Identity, Standing};
use portcullis_policy::{GraphCredential, ProviderConfig, SecretRef};
use portcullis_testkit::ManualClock;

use crate::world::{NOW, Secrets, TENANT, entra_config, graph_liveness};

const DIRECTORY: &str = "
tenant: 4c5a0d3e-0000-4000-8000-000000000001
apis:
  - client_id: 6b1f0f0e-0000-4000-8000-000000000002
    display_name: Portcullis
    identifier_uris: [api://portcullis]
    requested_access_token_version: 2
applications:
  - client_id: 9f2c0000-0000-4000-8000-000000000004
    object_id: 77aa0000-0000-4000-8000-000000000003
    display_name: triage-agent
    secret: agent-secret
    roles: [Gateway.Connect]
  - client_id: 9f2c0000-0000-4000-8000-000000000014
    object_id: 77aa0000-0000-4000-8000-000000000013
    display_name: deploy-agent
    kind: agent
    parent_application: b1b10000-0000-4000-8000-000000000009
    secret: agent-secret
  - client_id: 9f2c0000-0000-4000-8000-000000000024
    object_id: 77aa0000-0000-4000-8000-000000000023
    display_name: gateway
    secret: gateway-secret
    graph_permissions: [Directory.Read.All]
  - client_id: 9f2c0000-0000-4000-8000-000000000034
    object_id: 77aa0000-0000-4000-8000-000000000033
    display_name: cli
    public_client: true
users:
  - { object_id: 55aa0000-0000-4000-8000-00000000000a, name: sam@contoso.example }
groups:
  - { object_id: 3fa80000-0000-4000-8000-000000000005, display_name: triage, members: [triage-agent, sam@contoso.example] }
  - { object_id: 3fa80000-0000-4000-8000-000000000006, display_name: everyone, members: [triage] }
";

struct Bench {
    idp: Running,
    clock: ManualClock,
    identity: Arc<Identity>,
}

impl Bench {
    async fn new(change: impl FnOnce(&mut ProviderConfig)) -> Self {
        let clock = ManualClock::at(Timestamp::from_seconds(NOW));
        let directory = Directory::parse(DIRECTORY, "test").unwrap();
        let idp = DevIdp::new(directory, Arc::new(clock.clone())).unwrap().start().await.unwrap();
        let secrets = Secrets(BTreeMap::from([
            ("env:AZURE_CLIENT_ID".to_owned(), "9f2c0000-0000-4000-8000-000000000024".to_owned()),
            ("env:AZURE_CLIENT_SECRET".to_owned(), "gateway-secret".to_owned()),
        ]));
        let identity = Identity::new(Arc::new(clock.clone()), Arc::new(secrets));
        let mut config = entra_config(idp.authority().unwrap());
        change(&mut config);
        identity.configure(&[Arc::new(config)]).unwrap();
        Self { idp, clock, identity }
    }

    async fn with_liveness() -> Self {
        Self::new(|config| {
            let portcullis_policy::ProviderKind::Entra(entra) = &config.kind else {
                panic!("an Entra provider")
            };
            let mut liveness = graph_liveness(&entra.graph_base());
            liveness.credential = GraphCredential::Environment;
            config.liveness = Some(liveness);
            config.allow_users = true;
        })
        .await
    }

    async fn judge(&self, spec: TokenSpec) -> Result<Arc<Principal>, Error> {
        let token = Secret::new(self.idp.mint(&spec).unwrap());
        self.identity.authenticate(&token).await.map(|proof| Arc::clone(proof.principal()))
    }
}

fn agent() -> TokenSpec {
    TokenSpec::new("triage-agent", "api://portcullis")
}

#[tokio::test]
async fn both_versions_of_an_applications_token_are_accepted() {
    let bench = Bench::new(|_| {}).await;
    for version in [TokenVersion::V1, TokenVersion::V2] {
        let principal = bench.judge(agent().version(version)).await.unwrap();
        assert_eq!(
            principal.key().to_string(),
            format!("entra/{TENANT}/77aa0000-0000-4000-8000-000000000003")
        );
        assert_eq!(principal.roles, ["Gateway.Connect"]);
        assert_eq!(principal.groups.len(), 2, "nested groups too");
    }
    let agent = bench.judge(TokenSpec::new("deploy-agent", "api://portcullis")).await.unwrap();
    assert_eq!(agent.kind, PrincipalKind::Agent);
    assert_eq!(agent.parent_application.as_deref(), Some("b1b10000-0000-4000-8000-000000000009"));
}

#[tokio::test]
async fn wrong_tokens_are_refused() {
    let bench = Bench::new(|_| {}).await;
    assert!(bench.judge(agent()).await.is_ok());
    for (spec, expected) in [
        (agent().signed_by(Signer::Unpublished), "signature"),
        (agent().signed_by(Signer::Damaged), "signature"),
        (agent().signed_by(Signer::PublicKeyAsSecret), "algorithm"),
        (agent().signed_by(Signer::Nothing), "malformed"),
        (agent().claim("aud", "https://graph.microsoft.com"), "audience"),
        (agent().claim("tid", "4c5a0d3e-0000-4000-8000-0000000000ff"), "tenant"),
        (agent().claim("exp", NOW - 100), "expired"),
        (agent().without("exp"), "claims"),
        (agent().header("typ", "secevent+jwt"), "token_type"),
        (agent().header("kid", "unknown"), "unknown_key"),
        (agent().groups(GroupsClaim::Overage), "groups_overage"),
        (TokenSpec::new("sam@contoso.example", "api://portcullis"), "user_token"),
    ] {
        let told = format!("{spec:?}");
        assert_eq!(bench.judge(spec).await.unwrap_err().label(), expected, "{told}");
    }
}

#[tokio::test]
async fn keys_rotate() {
    let bench = Bench::new(|_| {}).await;
    assert!(bench.judge(agent()).await.is_ok());
    bench.idp.rotate_keys().unwrap();
    assert!(bench.judge(agent()).await.is_ok());
    assert_eq!(bench.idp.requests().keys, 2);
    bench.idp.set_issuer_failing(true);
    bench.clock.advance(Duration::from_secs(3600));
    bench.identity.refresh_keys().await;
    assert!(bench.judge(agent()).await.is_ok(), "the last good keys stay");
}

#[tokio::test]
async fn the_directory_decides_over_sessions_and_connects() {
    let bench = Bench::with_liveness().await;
    let principal = bench.judge(agent().groups(GroupsClaim::Overage)).await.unwrap();
    let names: Vec<_> = principal.groups.iter().filter_map(|group| group.name.as_deref()).collect();
    assert_eq!((principal.groups.len(), names.as_slice()), (2, ["triage"].as_slice()));
    assert_eq!(
        bench.judge(TokenSpec::new("sam@contoso.example", "api://portcullis")).await.unwrap().kind,
        PrincipalKind::User
    );

    bench.idp.set_enabled("triage-agent", false).unwrap();
    bench.clock.advance(Duration::from_secs(10));
    assert!(matches!(bench.identity.recheck(&principal).await, Standing::Revoked { .. }));
    assert_eq!(bench.judge(agent()).await, Err(Error::Disabled));

    bench.idp.set_enabled("triage-agent", true).unwrap();
    bench.clock.advance(Duration::from_secs(2));
    assert!(bench.judge(agent()).await.is_ok());

    bench.idp.set_member("triage", "triage-agent", false).unwrap();
    bench.clock.advance(Duration::from_secs(10));
    let Standing::Good(now) = bench.identity.recheck(&principal).await else { panic!("good") };
    assert!(now.groups.is_empty());

    bench.idp.fail_next(1);
    bench.clock.advance(Duration::from_secs(10));
    assert!(matches!(bench.identity.recheck(&principal).await, Standing::Unknown { .. }));
    bench.clock.advance(Duration::from_secs(2));
    assert!(matches!(bench.identity.recheck(&principal).await, Standing::Good(_)));

    bench.idp.delete("triage-agent").unwrap();
    bench.clock.advance(Duration::from_secs(10));
    assert!(matches!(bench.identity.recheck(&principal).await, Standing::Revoked { .. }));
}

#[tokio::test]
async fn the_gateways_own_credential_may_be_named_in_the_documents() {
    let bench = Bench::new(|config| {
        let portcullis_policy::ProviderKind::Entra(entra) = &config.kind else { panic!("an Entra provider") };
        let mut liveness = graph_liveness(&entra.graph_base());
        liveness.credential = GraphCredential::Secret {
            client_id: "9f2c0000-0000-4000-8000-000000000024".to_owned(),
            client_secret: SecretRef::Env("AZURE_CLIENT_SECRET".to_owned()),
        };
        config.liveness = Some(liveness);
    })
    .await;
    assert_eq!(bench.judge(agent()).await.unwrap().groups.len(), 2);
    assert_eq!(bench.idp.requests().token, 1);
}
