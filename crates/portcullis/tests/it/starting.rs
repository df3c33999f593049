//! A gateway that cannot start says why, what to do, and exits with a code that means it.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

use portcullis_testkit::Scratch;

use crate::lab::{Answer, Lab, run};

const POLICY: &str = "connections: { db: { protocol: postgres, address: 'db:5432', database: db } }\n";

fn process(web: &str) -> String {
    format!("listen: {{ web: '{web}', postgres: '127.0.0.1:0' }}\ndata: data\npolicy: [policy.yaml]\n")
}

async fn start(dir: &Scratch) -> Answer {
    run(&["gateway", "--config", "gateway.yaml"], &[], dir.path()).await
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = Scratch::new();
    dir.write("policy.yaml", POLICY);
    dir.write("gateway.yaml", process(&taken.local_addr().unwrap().to_string()));
    let answer = start(&dir).await;
    assert_eq!(answer.code, 5, "{answer:?}");
    assert!(
        answer.stderr.contains("cannot listen on 127.0.0.1") && answer.stderr.contains("next:"),
        "{answer:?}"
    );
    assert!(!dir.join("data/listeners.json").exists());
}

#[tokio::test]
async fn two_gateways_never_share_a_data_directory() {
    let lab = Lab::new().await;
    let config = lab.config().display().to_string();
    let answer = lab.cli(&["gateway", "--config", &config]).await;
    assert_eq!(answer.code, 5, "{answer:?}");
    assert!(answer.stderr.contains("another gateway runs on the data directory"), "{answer:?}");
    assert!(lab.data().join("listeners.json").exists(), "the first one is left alone");
}

#[tokio::test]
async fn documents_with_errors_stop_the_start_with_all_of_them() {
    let dir = Scratch::new();
    dir.write("gateway.yaml", process("127.0.0.1:0"));
    dir.write(
        "policy.yaml",
        "connectons: {}\ngrants: [{ connection: nowhere, to: group:ghosts, when: sometimes, scope: read }]\n",
    );
    let answer = start(&dir).await;
    assert_eq!(answer.code, 1, "{answer:?}");
    for part in ["connectons", "sometimes", "policy.yaml:1", "policy.yaml:2"] {
        assert!(answer.stderr.contains(part), "{part}: {}", answer.stderr);
    }
    assert!(!dir.join("data").exists(), "nothing was made");
}

#[tokio::test]
async fn a_damaged_data_directory_stops_the_start() {
    let dir = Scratch::new();
    dir.write("policy.yaml", POLICY);
    dir.write("gateway.yaml", process("127.0.0.1:0"));
    let private = |path: &str, text: &str| {
        let path = dir.write(path, text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    private("data/keys/fingerprint.key", "too short");
    let answer = start(&dir).await;
    assert_eq!((answer.code, answer.stderr.contains("exactly 32 bytes")), (5, true), "{answer:?}");
    fs::remove_file(dir.join("data/keys/fingerprint.key")).unwrap();

    private("data/portcullis.sqlite", "this is no database, it only stands where one should");
    let answer = start(&dir).await;
    assert_eq!((answer.code, answer.stderr.contains("is damaged")), (5, true), "{answer:?}");
    fs::remove_file(dir.join("data/portcullis.sqlite")).unwrap();

    private("data/journal/0000000001.journal", "this is no segment");
    fs::read_dir(dir.join("data/journal")).unwrap().for_each(|entry| println!("{:?}", entry.unwrap().path()));
    assert_eq!(start_briefly_or_refuse(&dir).await.code, 5);
}

/// Overwrites the first segment there is, whatever it is called, and starts.
async fn start_briefly_or_refuse(dir: &Scratch) -> Answer {
    for entry in fs::read_dir(dir.join("data/journal")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !path.ends_with("lock") {
            fs::write(path, [0x5a; 4096]).unwrap();
        }
    }
    start(dir).await
}
