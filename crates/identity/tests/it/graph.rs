//! What the directory says: at connect and for live sessions, when it answers and when it does not.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use portcullis_core::{GroupRef, Secret};
use portcullis_identity::{Error, GroupSource, Standing};
use portcullis_policy::{GraphCredential, SecretRef};
use serde_json::{Value, json};

use crate::{
    server::{Asked, Reply},
    world::{AGENT, CLIENT, GATEWAY, GROUP, OTHER_GROUP, World, graph_liveness},
};

const PERSON: &str = "55aa0000-0000-4000-8000-00000000000a";

/// A directory that can be changed.
#[derive(Clone)]
struct Directory(Arc<Mutex<Facts>>);

struct Facts {
    object: Reply,
    actor: Reply,
    groups: Reply,
    token: Reply,
}

fn account(enabled: impl Into<Value>) -> Reply {
    Reply::json(
        &json!({ "id": AGENT, "appId": CLIENT, "accountEnabled": enabled.into(), "servicePrincipalType": "Application",
        "disabledByMicrosoftStatus": null }),
    )
}

fn groups(ids: &[&str]) -> Reply {
    Reply::json(&json!({ "@odata.context": "x", "value": ids }))
}

fn gone() -> Reply {
    let body =
        json!({ "error": { "code": "Request_ResourceNotFound", "message": "Resource does not exist." } });
    Reply { status: 404, ..Reply::json(&body) }
}

impl Directory {
    fn of(world: &World) -> Self {
        let token = Reply::json(
            &json!({ "token_type": "Bearer", "access_token": "graph-token", "expires_in": 3599 }),
        );
        let facts = Facts { object: account(true), actor: account(true), groups: groups(&[GROUP]), token };
        let directory = Self(Arc::new(Mutex::new(facts)));
        let answers = directory.clone();
        world.set_graph(move |asked| answers.answer(asked));
        directory
    }

    fn answer(&self, asked: &Asked) -> Reply {
        let facts = self.0.lock().unwrap();
        if asked.path.ends_with("/token") {
            return facts.token.clone();
        }
        assert_eq!(asked.authorization, "Bearer graph-token");
        if asked.path.ends_with("/getMemberGroups") {
            assert_eq!(
                (asked.method.as_str(), asked.body.as_str()),
                ("POST", r#"{"securityEnabledOnly":false}"#)
            );
            facts.groups.clone()
        } else if asked.path.contains("(appId=") {
            facts.actor.clone()
        } else {
            facts.object.clone()
        }
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.0.lock().unwrap());
    }

    fn fail(&self, reply: &Reply) {
        self.change(|facts| {
            facts.object = reply.clone();
            facts.groups = reply.clone();
        });
    }

    fn recover(&self) {
        self.change(|facts| {
            facts.object = account(true);
            facts.groups = groups(&[GROUP]);
        });
    }
}

async fn world() -> (World, Directory) {
    let world = World::entra(|config| {
        let base = match &config.kind {
            portcullis_policy::ProviderKind::Entra(entra) => entra.graph_base(),
            portcullis_policy::ProviderKind::Oidc(_) => panic!("an Entra provider"),
        };
        config.liveness = Some(graph_liveness(&base));
    })
    .await;
    let directory = Directory::of(&world);
    (world, directory)
}

fn named() -> Vec<GroupRef> {
    vec![GroupRef { id: GROUP.to_owned(), name: Some("triage".to_owned()) }]
}

#[tokio::test]
async fn groups_come_from_the_directory_whatever_the_token_says() {
    let (world, _directory) = world().await;
    for changes in [
        json!({}),
        json!({ "groups": [OTHER_GROUP] }),
        json!({ "groups": null }),
        json!({ "groups": null, "_claim_names": { "groups": "src1" }, "_claim_sources": { "src1": { "endpoint": "https://graph.windows.net/x" } } }),
        json!({ "groups": null, "hasgroups": true }),
    ] {
        let proof = world.authenticate(world.sign(&world.v2(changes))).await.unwrap();
        assert_eq!(proof.principal().groups, named());
        assert_eq!(proof.group_source(), GroupSource::Directory);
    }
    let asked = world.server.asked();
    let token = asked.iter().find(|asked| asked.path.ends_with("/token")).unwrap();
    let secret = "client_secret=graph-s3cret";
    assert!(
        token.body.contains("grant_type=client_credentials") && token.body.contains(secret),
        "{}",
        token.body
    );
    assert!(token.body.contains("scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"), "{}", token.body);
    let object = format!(
        "/v1.0/servicePrincipals/{AGENT}?$select=id,appId,displayName,accountEnabled,servicePrincipalType,disabledByMicrosoftStatus"
    );
    assert!(asked.iter().any(|asked| asked.path == object));
    assert_eq!(world.server.count("/token"), 1, "the gateway's own token is kept");
    assert_eq!(world.server.count("getMemberGroups"), 1, "and so is the finding");
}

#[tokio::test]
async fn a_finding_is_asked_for_again_after_the_interval_and_by_one() {
    let (world, directory) = world().await;
    let token = world.sign(&world.v2(json!({})));
    assert!(world.authenticate(token.clone()).await.is_ok());
    world.clock.advance(Duration::from_secs(9));
    directory.change(|facts| facts.object = account(false));
    assert!(world.authenticate(token.clone()).await.is_ok());
    world.clock.advance(Duration::from_secs(1));
    world.server.hold();
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (identity, token) = (Arc::clone(&world.identity), token.clone());
        answers.spawn(async move { identity.authenticate(&Secret::new(token)).await.map(|_| ()) });
    }
    world.server.wait_for("getMemberGroups", 2).await;
    world.server.release();
    while let Some(answer) = answers.join_next().await {
        assert_eq!(answer.unwrap(), Err(Error::Disabled));
    }
    assert_eq!(world.server.count("getMemberGroups"), 2);
}

#[tokio::test]
async fn disabled_deleted_or_disabled_by_microsoft_is_out_and_back_when_enabled() {
    let (world, directory) = world().await;
    let token = world.sign(&world.v2(json!({})));
    let by_microsoft = Reply::json(
        &json!({ "accountEnabled": true, "disabledByMicrosoftStatus": "DisabledDueToViolationOfServicesAgreement" }),
    );
    let not_by_microsoft =
        Reply::json(&json!({ "accountEnabled": true, "disabledByMicrosoftStatus": "NotDisabled" }));
    for (object, expected) in [
        (account(false), Err(Error::Disabled)),
        (account(true), Ok(())),
        (gone(), Err(Error::Deleted)),
        (not_by_microsoft, Ok(())),
        (by_microsoft, Err(Error::Disabled)),
    ] {
        directory.change(|facts| facts.object = object);
        world.clock.advance(Duration::from_secs(10));
        assert_eq!(world.authenticate(token.clone()).await.map(|_| ()), expected);
    }
    // Enabled again: in within two seconds.
    directory.change(|facts| facts.object = account(true));
    world.clock.advance(Duration::from_secs(2));
    assert!(world.authenticate(token).await.is_ok());
}

#[tokio::test]
async fn disabled_counts_even_when_the_groups_cannot_be_had() {
    let (world, directory) = world().await;
    directory.change(|facts| {
        facts.object = account(false);
        facts.groups = Reply::status(500);
    });
    assert_eq!(world.refuses(&world.v2(json!({}))).await, Error::Disabled);
}

#[tokio::test]
async fn answers_that_do_not_answer_are_no_answer() {
    let (world, directory) = world().await;
    let token = world.sign(&world.v2(json!({})));
    for (object, groups) in [
        (Reply::json(&json!({ "id": AGENT })), groups(&[GROUP])),
        (account(Value::Null), groups(&[GROUP])),
        (account("true"), groups(&[GROUP])),
        (Reply::json(&json!([])), groups(&[GROUP])),
        (account(true), Reply::json(&json!({}))),
        (account(true), Reply::json(&json!({ "value": [1] }))),
        (
            account(true),
            Reply::json(&json!({ "value": [GROUP], "@odata.nextLink": "https://graph.microsoft.com/next" })),
        ),
        (account(true), Reply::status(403)),
        (Reply::status(500), Reply::status(500)),
        (Reply::status(302).header("location", "/v1.0/evil"), groups(&[GROUP])),
    ] {
        directory.change(|facts| {
            facts.object = object;
            facts.groups = groups;
        });
        world.clock.advance(Duration::from_secs(10));
        let refused = world.authenticate(token.clone()).await.unwrap_err();
        assert!(matches!(refused, Error::DirectoryUnavailable { .. }), "{refused:?}");
    }
    assert_eq!(world.server.count("evil"), 0);
}

#[tokio::test]
async fn silence_is_borne_for_the_grace_by_whom_is_known_and_no_longer() {
    let (world, directory) = world().await;
    let token = world.sign(&world.v2(json!({})));
    let stranger = world.sign(&world.v2(json!({ "oid": PERSON, "sub": PERSON })));
    let principal = Arc::clone(world.authenticate(token.clone()).await.unwrap().principal());
    assert_eq!(
        world.identity.next_recheck(&principal),
        Some(principal.issued_at.plus(Duration::from_secs(70)))
    );
    directory.fail(&Reply::status(503));

    world.clock.advance(Duration::from_secs(10));
    assert!(matches!(world.identity.recheck(&principal).await, Standing::Unknown { .. }));
    assert!(world.authenticate(token.clone()).await.is_ok(), "known a moment ago");
    assert!(matches!(world.authenticate(stranger).await, Err(Error::DirectoryUnavailable { .. })));

    world.clock.advance(Duration::from_secs(60));
    assert!(matches!(world.identity.recheck(&principal).await, Standing::Unknown { .. }));
    world.clock.advance(Duration::from_secs(2));
    assert!(matches!(world.identity.recheck(&principal).await, Standing::Revoked { .. }));
    assert!(matches!(world.authenticate(token.clone()).await, Err(Error::DirectoryUnavailable { .. })));

    directory.recover();
    world.clock.advance(Duration::from_secs(2));
    assert!(matches!(world.identity.recheck(&principal).await, Standing::Good(_)));
    assert!(world.authenticate(token).await.is_ok());
}

#[tokio::test]
async fn a_live_session_learns_of_disabling_and_of_groups() {
    let (world, directory) = world().await;
    let principal = world.accepts(&world.v2(json!({}))).await;
    let mut polls = 0;
    let mut poll = async |expected: fn(&Standing) -> bool| {
        world.clock.advance(Duration::from_secs(10));
        polls += 1;
        let standing = world.identity.recheck(&principal).await;
        assert!(expected(&standing), "poll {polls}: {standing:?}");
        standing
    };
    let Standing::Good(now) = poll(|standing| matches!(standing, Standing::Good(_))).await else {
        panic!("good")
    };
    assert_eq!(now.groups, named());
    directory.change(|facts| facts.groups = groups(&[OTHER_GROUP]));
    let Standing::Good(now) = poll(|standing| matches!(standing, Standing::Good(_))).await else {
        panic!("good")
    };
    assert_eq!(now.groups, [GroupRef { id: OTHER_GROUP.to_owned(), name: None }]);
    directory.change(|facts| facts.object = account(false));
    let _ = poll(|standing| matches!(standing, Standing::Revoked { .. })).await;
    directory.change(|facts| facts.object = gone());
    let _ = poll(|standing| matches!(standing, Standing::Revoked { .. })).await;
    // Silence after that is no reason to trust it again.
    directory.fail(&Reply::status(500));
    let _ = poll(|standing| matches!(standing, Standing::Revoked { .. })).await;
    directory.recover();
    let _ = poll(|standing| matches!(standing, Standing::Good(_))).await;
}

#[tokio::test]
async fn sessions_of_one_principal_share_a_poll() {
    let (world, _directory) = world().await;
    let principal = world.accepts(&world.v2(json!({}))).await;
    for _ in 0..10 {
        assert!(matches!(world.identity.recheck(&principal).await, Standing::Good(_)));
    }
    assert_eq!(world.server.count("getMemberGroups"), 1);
    world.clock.advance(Duration::from_secs(5));
    for _ in 0..10 {
        assert!(matches!(world.identity.recheck(&principal).await, Standing::Good(_)));
    }
    assert_eq!(world.server.count("getMemberGroups"), 2);
}

#[tokio::test]
async fn a_directory_that_asks_for_a_pause_gets_it() {
    let (world, directory) = world().await;
    let token = world.sign(&world.v2(json!({})));
    assert!(world.authenticate(token.clone()).await.is_ok());
    directory.fail(&Reply::status(429).header("retry-after", "20"));
    world.clock.advance(Duration::from_secs(10));
    assert!(world.authenticate(token.clone()).await.is_ok(), "within the grace");
    directory.recover();
    let asked = world.server.asked().len();
    world.clock.advance(Duration::from_secs(19));
    let other = world.sign(&world.v2(json!({ "oid": PERSON, "sub": PERSON })));
    assert!(matches!(world.authenticate(other.clone()).await, Err(Error::DirectoryUnavailable { .. })));
    assert!(world.authenticate(token).await.is_ok());
    assert_eq!(world.server.asked().len(), asked, "nobody is asked about during the pause");
    world.clock.advance(Duration::from_secs(1));
    assert!(world.authenticate(other).await.is_ok());
}

#[tokio::test]
async fn a_refused_token_of_the_gateway_is_renewed_once() {
    let (world, directory) = world().await;
    directory.fail(&Reply::status(401));
    let refused = world.refuses(&world.v2(json!({}))).await;
    assert!(matches!(refused, Error::DirectoryUnavailable { .. }), "{refused:?}");
    assert_eq!(world.server.count("/token"), 2);
    directory.recover();
    directory.change(|facts| {
        facts.token = Reply {
            status: 401,
            ..Reply::json(&json!({ "error": "invalid_client", "error_description": "marker" }))
        };
    });
    world.clock.advance(Duration::from_secs(4000));
    let refused = world.refuses(&world.v2(json!({ "exp": crate::world::NOW + 9000 }))).await;
    assert!(
        matches!(&refused, Error::DirectoryUnavailable { detail, .. }
        if detail.contains("invalid_client") && !detail.contains("marker")),
        "{refused:?}"
    );
    assert!(!refused.client_message().contains("client"));
}

#[tokio::test]
async fn an_agent_that_acts_for_a_person_is_asked_about_as_well() {
    let (world, directory) = world().await;
    let mut config = crate::world::entra_config(&world.server.base);
    config.allow_users = true;
    config.liveness = Some(graph_liveness(&world.server.base));
    world.identity.configure(&[Arc::new(config)]).unwrap();
    let delegated = world.v2(json!({ "xms_par_app_azp": GATEWAY, "xms_act_fct": "11", "xms_sub_fct": "1", "idtyp": "user", "oid": PERSON,
        "sub": "pairwise", "scp": "x" }));
    let principal = world.accepts(&delegated).await;
    assert_eq!(world.server.count(&format!("/v1.0/users/{PERSON}?$select=id,displayName,accountEnabled")), 1);
    assert_eq!(world.server.count(&format!("/v1.0/users/{PERSON}/getMemberGroups")), 1);
    assert_eq!(world.server.count(&format!("/v1.0/servicePrincipals(appId='{CLIENT}')")), 1);
    world.clock.advance(Duration::from_secs(10));
    directory.change(|facts| facts.actor = account(false));
    assert!(matches!(world.identity.recheck(&principal).await, Standing::Revoked { .. }));
    assert_eq!(world.refuses(&delegated).await, Error::Disabled);
}

#[tokio::test]
async fn the_gateway_proves_itself_by_a_federated_token_or_the_environment() {
    let (world, _directory) = world().await;
    // Whatever is not configured is not tried: a missing secret is an answer of its own.
    for (credential, expected) in [
        (
            GraphCredential::Federated {
                client_id: GATEWAY.to_owned(),
                token_file: "/nonexistent/token".into(),
            },
            "file:/nonexistent/token",
        ),
        (GraphCredential::Environment, "env:AZURE_CLIENT_ID"),
        (
            GraphCredential::Secret {
                client_id: GATEWAY.to_owned(),
                client_secret: SecretRef::Env("NONE".to_owned()),
            },
            "env:NONE",
        ),
    ] {
        let mut config = crate::world::entra_config(&world.server.base);
        let mut liveness = graph_liveness(&world.server.base);
        liveness.credential = credential;
        config.liveness = Some(liveness);
        world.identity.configure(&[Arc::new(config)]).unwrap();
        let refused = world.refuses(&world.v2(json!({}))).await;
        assert!(
            matches!(&refused, Error::DirectoryUnavailable { detail, .. } if detail.contains(expected)),
            "{refused:?}"
        );
    }
    assert_eq!(world.server.count("/token"), 0);

    let mut config = crate::world::entra_config(&world.server.base);
    let mut liveness = graph_liveness(&world.server.base);
    liveness.credential =
        GraphCredential::Federated { client_id: GATEWAY.to_owned(), token_file: "/run/token".into() };
    config.liveness = Some(liveness);
    world.identity.configure(&[Arc::new(config)]).unwrap();
    assert_eq!(world.accepts(&world.v2(json!({}))).await.groups, named());
    let asked = world.server.asked();
    let token = asked.iter().find(|asked| asked.path.ends_with("/token")).unwrap();
    let assertion = "client_assertion=federated.token.text";
    let kind = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
    assert!(token.body.contains(assertion) && token.body.contains(kind), "{}", token.body);
    assert!(!token.body.contains("client_secret"));
}
