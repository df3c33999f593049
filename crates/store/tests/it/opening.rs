//! Making, reopening and refusing database files.

use std::{fs, os::unix::fs::PermissionsExt};

use portcullis_store::{AuditQuery, Error, Store};

use crate::support::{Gateway, at, open_store};

#[test]
fn the_files_are_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("portcullis.db");
    drop(Store::open(&path, at(0)).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let _store = Store::open(&path, at(0)).unwrap();
    let mut names = Vec::new();
    for file in fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort_unstable();
    assert_eq!(names, ["portcullis.db", "portcullis.db-shm", "portcullis.db-wal"]);
}

#[test]
fn a_file_that_is_no_database_is_refused_by_name_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("portcullis.db");
    for content in [
        &b""[..],
        b"not a database at all, but long enough to have a header of one hundred bytes, or more than that",
    ] {
        fs::write(&path, content).unwrap();
        match Store::open(&path, at(0)) {
            Err(error @ Error::Corrupt { .. }) => {
                assert!(error.to_string().contains("portcullis.db"), "{error}")
            }
            other => panic!("{:?}", other.err()),
        }
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_database_of_another_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("portcullis.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(other);
    assert!(matches!(Store::open(&path, at(0)), Err(Error::Corrupt { .. })));
}

#[test]
fn damage_inside_is_told_with_the_files_name() {
    let gateway = Gateway::new();
    let session = crate::support::session("a", "logs");
    for number in 0..200 {
        let event = crate::support::decision(
            &session,
            number,
            portcullis_core::Verdict::Allow,
            &format!("select {number}"),
        );
        gateway.append(Some(&session), &[portcullis_core::AuditEvent::Decision(event)]);
    }
    gateway.ship();
    let Gateway { dir, journal, store } = gateway;
    drop((journal, store));
    let path = dir.path().join("portcullis.db");
    let mut bytes = fs::read(&path).unwrap();
    // All but the first pages: opening works, using does not.
    let end = bytes.len();
    bytes[4096 * 4..end].fill(0xAA);
    fs::write(&path, bytes).unwrap();
    let error = match Store::open(&path, at(0)) {
        Ok(store) => store.audit(&AuditQuery::default()).unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(&error, Error::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("portcullis.db"));
}

#[test]
fn what_an_interrupted_making_left_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["portcullis.new", "portcullis.new-wal"] {
        fs::write(dir.path().join(name), b"half").unwrap();
    }
    open_store(dir.path());
    assert!(!dir.path().join("portcullis.new").exists());
}
