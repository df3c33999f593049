//! Windows and blocks across restarts.

use portcullis_access::{Block, Window, WindowStore};
use portcullis_core::{GrantId, PrincipalKey, WindowId};

use crate::support::{at, open_store};

fn key(tenant: Option<&str>) -> PrincipalKey {
    PrincipalKey {
        provider: "entra".to_owned(),
        tenant: tenant.map(str::to_owned),
        object_id: "oid".to_owned(),
    }
}

fn window(opened: i64, ends: i64) -> Window {
    Window {
        id: WindowId::generate(at(opened)),
        principal: key(Some("t1")),
        name: "triage agent".to_owned(),
        grant: GrantId("prod-logs#0".to_owned()),
        connection: "prod-logs".parse().unwrap(),
        reason: "incident 7; '); DROP TABLE windows --".to_owned(),
        opened_at: at(opened),
        ends_at: at(ends),
    }
}

#[test]
fn windows_are_there_after_reopening_and_only_those_not_over() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (window(0, 10), window(5, 20));
    let store = open_store(dir.path());
    store.insert_window(&new).unwrap();
    store.insert_window(&old).unwrap();
    drop(store);
    let store = open_store(dir.path());
    assert_eq!(store.windows_since(at(9)).unwrap(), [old, new.clone()]);
    assert_eq!(store.windows_since(at(10)).unwrap(), [new]);
    assert_eq!(store.windows_since(at(20)).unwrap(), []);
}

#[test]
fn a_window_is_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(dir.path());
    store.insert_window(&window(0, 10)).unwrap();
    let twice = window(0, 10);
    store.insert_window(&twice).unwrap();
    assert!(store.insert_window(&twice).is_err());
}

#[test]
fn the_end_of_a_window_moves_earlier_and_never_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(dir.path());
    let window = window(0, 100);
    store.insert_window(&window).unwrap();
    for (asked, is) in [(200, 100), (50, 50), (80, 50)] {
        store.end_window(window.id, at(asked)).unwrap();
        assert_eq!(store.windows_since(at(0)).unwrap()[0].ends_at, at(is));
    }
    assert!(store.end_window(WindowId::generate(at(1)), at(1)).is_err());
}

#[test]
fn blocks_are_replaced_per_principal_and_connection_and_lifted_together() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(dir.path());
    let block = |tenant, connection: Option<&str>, until| Block {
        principal: key(tenant),
        connection: connection.map(|name| name.parse().unwrap()),
        until: at(until),
        by: "admin".to_owned(),
        reason: "odd behaviour".to_owned(),
    };
    store.put_block(&block(Some("t1"), None, 10)).unwrap();
    store.put_block(&block(Some("t1"), None, 20)).unwrap();
    store.put_block(&block(Some("t1"), Some("logs"), 30)).unwrap();
    store.put_block(&block(None, None, 40)).unwrap();
    drop(store);
    let store = open_store(dir.path());
    let mut blocks = store.blocks_since(at(15)).unwrap();
    blocks.sort_by_key(|block| block.until);
    let all = [block(Some("t1"), None, 20), block(Some("t1"), Some("logs"), 30), block(None, None, 40)];
    assert_eq!(blocks, all);
    assert_eq!(store.blocks_since(at(30)).unwrap(), all[2..]);
    assert_eq!(store.lift_blocks(&key(Some("t1"))).unwrap(), 2);
    assert_eq!(store.blocks_since(at(0)).unwrap(), all[2..]);
}
