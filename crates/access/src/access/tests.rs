//! The decision at connect, where a window is needed.

use std::sync::Arc;

use portcullis_core::{ClientSoftware, Principal, SessionId};
use portcullis_identity::GroupSource;

use super::*;
use crate::{
    Granted, RequestRefused, WindowRequest,
    request::Way,
    requests::{State, tests::lab::*},
};

fn connecting(connection: &str) -> Ask {
    Ask {
        session: SessionId::generate(start()),
        started_at: start(),
        protocol: "postgres",
        source: source(),
        client: ClientSoftware("psql".into()),
        connection: connection.into(),
        database: None,
        reason: String::new(),
    }
}

fn authorize(lab: &Lab, who: &Arc<Principal>, connection: &str) -> Result<Permit, Answer> {
    lab.access
        .authorize_known(Arc::clone(who), GroupSource::Token, &connecting(connection))
        .map_err(|refusal| refusal.answer)
}

fn on_connect(lab: &Lab, who: &Arc<Principal>, connection: &str) -> Result<Granted, RequestRefused> {
    let request = WindowRequest { connection: connection.into(), reason: String::new(), ..asking() };
    lab.access.request_by(who, &request, Way::OnConnect, &source(), &ClientSoftware("psql".into()))
}

#[test]
fn connecting_asks_for_the_grants_that_say_so_and_for_no_other() {
    let lab = Lab::new();
    let Err(Answer::WindowNeeded { people, on_connect: asks, .. }) = authorize(&lab, &agent(), "logs") else {
        panic!()
    };
    assert!(people && asks, "of two that sleep, the one that connecting asks for is told");
    let Granted::Waits(filed) = on_connect(&lab, &agent(), "logs").unwrap() else {
        panic!("the explicit grant was opened by connecting")
    };
    assert_eq!(filed.request.asked().needs[0].rule.name, "connecting");
    lab.answer(filed.request.id(), yes(&oncall("sam"))).unwrap();
    let permit = authorize(&lab, &agent(), "logs").unwrap();
    assert_eq!(permit.ends_at(), Some(start().plus(5 * MINUTE)));
    let Err(Answer::WindowNeeded { on_connect: asks, link, .. }) = authorize(&lab, &agent(), "orders") else {
        panic!()
    };
    assert!(!asks);
    assert_eq!(link.as_deref(), Some("https://gateway.example.com/connections/orders"));
    assert!(on_connect(&lab, &agent(), "orders").is_err(), "an explicit grant wants an explicit asking");
}

#[test]
fn connecting_opens_a_requested_grant_at_once_where_it_says_so() {
    let lab = Lab::under(&[(
        "when: requested, lifetime: 10m",
        "when: requested, request: on_connect, lifetime: 10m",
    )]);
    let Err(Answer::WindowNeeded { on_connect: true, .. }) = authorize(&lab, &agent(), "logs") else {
        panic!()
    };
    let Granted::Window(window) = on_connect(&lab, &agent(), "logs").unwrap() else { panic!() };
    assert_eq!(window.grant.0, "explicit");
    assert_eq!(authorize(&lab, &agent(), "logs").unwrap().facts().window, Some(window.id));
}

#[test]
fn conditions_are_judged_by_where_the_client_comes_from() {
    let condition = |net: &str| format!("lifetime: 5m, condition: 'source.ip in cidr(\"{net}\")'");
    let lab = Lab::under(&[("lifetime: 5m", &condition("192.0.2.0/24"))]);
    let Err(Answer::WindowNeeded { on_connect: false, .. }) = authorize(&lab, &agent(), "logs") else {
        panic!()
    };
    assert!(on_connect(&lab, &agent(), "logs").is_err());
    let lab = Lab::under(&[("lifetime: 5m", &condition("10.0.0.0/8"))]);
    let Err(Answer::WindowNeeded { on_connect: true, .. }) = authorize(&lab, &agent(), "logs") else {
        panic!()
    };
    assert!(matches!(on_connect(&lab, &agent(), "logs"), Ok(Granted::Waits(_))));
}

#[test]
fn what_people_open_is_for_its_requester_alone_and_ends() {
    let lab = Lab::new();
    let id = lab.file();
    assert!(authorize(&lab, &agent(), "orders").is_err(), "not before");
    assert_eq!(lab.answer(id, yes(&oncall("sam"))).unwrap().state(), State::Approved);
    assert!(authorize(&lab, &agent(), "orders").is_ok());
    assert!(authorize(&lab, &person("other", &["agents"]), "orders").is_err());
    let left = with(&agent(), |agent| agent.groups.clear());
    assert_eq!(
        authorize(&lab, &left, "orders").unwrap_err(),
        Answer::NoAccess,
        "who left the group has nothing"
    );
    lab.clock.advance(30 * MINUTE);
    assert!(authorize(&lab, &agent(), "orders").is_err());
}

#[test]
fn who_breaks_glass_gets_in_without_being_in_to() {
    let lab = Lab::new();
    let sre = person("sre", &["sre"]);
    assert!(matches!(authorize(&lab, &sre, "orders"), Err(Answer::WindowNeeded { .. })));
    lab.break_glass(&sre).unwrap();
    let permit = authorize(&lab, &sre, "orders").unwrap();
    assert!(lab.access.reauthorize(permit.live(), &sre).is_ok());
    let left = with(&sre, |sre| sre.groups.clear());
    assert!(lab.access.reauthorize(permit.live(), &left).is_err());
}
