//! People's sessions and deliveries across restarts.

use std::time::Duration;

use portcullis_core::{ConnectionName, Principal, PrincipalKind, RequestId, Timestamp};
use portcullis_notify::{Delivery, DeliveryLog as _, DeliveryState, Notice, NoticeId};
use portcullis_policy::NoticeKind;
use portcullis_store::{Person, Store};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn person(object_id: &str, token: u8) -> Person {
    let principal = Principal {
        provider: "entra".to_owned(),
        tenant: Some("t".to_owned()),
        object_id: object_id.to_owned(),
        application_id: None,
        parent_application: None,
        kind: PrincipalKind::User,
        name: object_id.to_owned(),
        token_id: String::new(),
        groups: Vec::new(),
        roles: Vec::new(),
        actor: None,
        subject: None,
        issued_at: NOW,
        expires_at: NOW,
    };
    let ends_at = NOW.plus(Duration::from_secs(3_600));
    Person { token_hash: [token; 32], principal, made_at: NOW, seen_at: NOW, ends_at }
}

#[test]
fn a_persons_session_is_kept_used_and_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let (sam, again, kim) = (person("sam", 1), person("sam", 2), person("kim", 3));
    {
        let store = Store::open(&path, NOW).unwrap();
        for person in [&sam, &again, &kim] {
            store.put_person(person).unwrap();
        }
        assert!(store.put_person(&sam).is_err(), "no cookie is two people's");
    }
    let store = Store::open(&path, NOW).unwrap();
    assert_eq!(store.person(&[1; 32]).unwrap(), Some(sam.clone()));
    assert_eq!(store.person(&[9; 32]).unwrap(), None);
    let later = NOW.plus(Duration::from_secs(60));
    store.saw_person(&[1; 32], later).unwrap();
    store.saw_person(&[1; 32], NOW).unwrap();
    assert_eq!(store.person(&[1; 32]).unwrap().unwrap().seen_at, later, "never earlier");
    assert_eq!(store.end_people_of(&sam.principal.key()).unwrap(), 2);
    assert_eq!(store.person(&[2; 32]).unwrap(), None);
    assert!(store.end_person(&[3; 32]).unwrap() && !store.end_person(&[3; 32]).unwrap());
}

#[test]
fn sessions_that_are_over_or_idle_are_given_back_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store.db"), NOW).unwrap();
    let mut old = person("old", 1);
    old.ends_at = NOW;
    let mut idle = person("idle", 2);
    idle.seen_at = NOW.minus(Duration::from_secs(1_800));
    let good = person("good", 3);
    for person in [&old, &idle, &good] {
        store.put_person(person).unwrap();
    }
    let idle_since = NOW.minus(Duration::from_secs(1_800));
    let mut names: Vec<String> = store
        .forget_people(NOW, idle_since)
        .unwrap()
        .into_iter()
        .map(|person| person.principal.name)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["idle", "old"]);
    assert!(store.forget_people(NOW, idle_since).unwrap().is_empty());
    assert_eq!(store.person(&[3; 32]).unwrap(), Some(good));
}

fn notice() -> Notice {
    Notice {
        id: NoticeId::generate(NOW),
        kind: NoticeKind::Requested,
        request: RequestId::generate(NOW),
        at: NOW,
        connection: "orders-db".parse::<ConnectionName>().unwrap(),
        requester: "agent".to_owned(),
        requester_key: "entra/t/agent".to_owned(),
        rule: None,
        reason: "an incident".to_owned(),
        summary: String::new(),
        link: "https://gateway.example/requests/req_1".parse().unwrap(),
        needs: "1 of group:oncall".to_owned(),
        answer_by: Some(NOW),
        answered: None,
    }
}

fn delivery(notice: &Notice, channel: &str, state: DeliveryState, at: Timestamp) -> Delivery {
    Delivery {
        id: format!("{}/{channel}", notice.id),
        notice: notice.id,
        request: notice.request,
        channel: channel.to_owned(),
        kind: notice.kind,
        state,
        attempts: 1,
        last_error: None,
        next_at: None,
        at,
    }
}

#[test]
fn what_was_not_delivered_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let notice = notice();
    let later = NOW.plus(Duration::from_secs(1));
    {
        let store = Store::open(&path, NOW).unwrap();
        store.record(&delivery(&notice, "chat", DeliveryState::Queued, NOW), &notice).unwrap();
        store.record(&delivery(&notice, "mail", DeliveryState::Queued, NOW), &notice).unwrap();
        store.record(&delivery(&notice, "hook", DeliveryState::Failed, later), &notice).unwrap();
        store.record(&delivery(&notice, "mail", DeliveryState::Delivered, later), &notice).unwrap();
    }
    let store = Store::open(&path, NOW).unwrap();
    let unfinished = store.unfinished().unwrap();
    assert_eq!(unfinished.len(), 1);
    assert_eq!((unfinished[0].0.channel.as_str(), &unfinished[0].1), ("chat", &notice));
    let names = |found: Vec<Delivery>| found.into_iter().map(|delivery| delivery.channel).collect::<Vec<_>>();
    assert_eq!(names(store.undelivered(10).unwrap()), ["hook", "chat"], "the newest first");
    assert_eq!(store.recent(10).unwrap().len(), 3);
    assert_eq!(store.recent(1).unwrap().len(), 1);
    // What is still to be sent is never forgotten.
    assert_eq!(store.forget_deliveries(NOW.plus(Duration::from_secs(60))).unwrap(), 2);
    assert_eq!(names(store.undelivered(10).unwrap()), ["chat"]);
}
