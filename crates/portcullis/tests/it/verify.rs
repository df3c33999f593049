//! `audit verify` and what belongs to it, from the command line.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use portcullis_testkit::Scratch;
use serde_json::Value;

use crate::lab::{Answer, Lab, TRIAGE, run};

/// A gateway that did some work, and was stopped in order.
async fn stopped() -> Lab {
    let mut lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    let session = lab.open("shop-db", &token).await;
    for number in 0..5 {
        session.one(&format!("SELECT {number} AS signed_{number} FROM orders LIMIT 1")).await;
    }
    drop(session);
    assert!(lab.gateway.terminate().await.success());
    lab
}

fn segment(lab: &Lab) -> PathBuf {
    lab.data().join("journal/0000000001.seg")
}

/// Flips one bit of a byte in the text of a statement.
fn flip(lab: &Lab) -> Vec<u8> {
    let good = fs::read(segment(lab)).unwrap();
    let at = good.windows(8).position(|window| window == b"signed_3").unwrap();
    let mut bad = good.clone();
    bad[at] ^= 1;
    fs::write(segment(lab), bad).unwrap();
    good
}

async fn verify(lab: &Lab, more: &[&str]) -> Answer {
    lab.cli(&[&["audit", "verify"], more].concat()).await
}

#[tokio::test]
async fn a_running_gateway_verifies_and_so_does_what_it_leaves() {
    let mut lab = Lab::new().await;
    let token = lab.token(TRIAGE).await;
    let session = lab.open("shop-db", &token).await;
    for round in 0..5 {
        session.one(&format!("SELECT {round} FROM orders LIMIT 1")).await;
        let report = verify(&lab, &["--output", "json"]).await.json();
        assert_eq!(report["verified"], true, "{report:#}");
        let (covered, uncovered) =
            (report["covered"].as_u64().unwrap(), report["uncovered"].as_u64().unwrap());
        assert_eq!(report["events"].as_u64().unwrap(), covered + uncovered, "{report:#}");
    }
    drop(session);
    assert!(lab.gateway.terminate().await.success());
    let report = verify(&lab, &["--output", "json"]).await.json();
    assert_eq!((&report["verified"], &report["uncovered"]), (&Value::Bool(true), &0.into()), "{report:#}");
    let told = verify(&lab, &[]).await;
    assert!(told.ok().ends_with("VERIFIED\n"), "{told:?}");
}

#[tokio::test]
async fn one_flipped_byte_is_named_and_stops_the_start() {
    let lab = stopped().await;
    let good = flip(&lab);
    let answer = verify(&lab, &[]).await;
    assert_eq!(answer.code, 1, "{answer:?}");
    for part in
        ["altered event", "0000000001.seg, byte ", "session    ses_", "looks like an accident", "BROKEN"]
    {
        assert!(answer.stdout.contains(part), "{part}: {}", answer.stdout);
    }
    let report: Value = serde_json::from_str(&verify(&lab, &["--output", "json"]).await.stdout).unwrap();
    assert_eq!(
        (&report["verified"], &report["findings"][0]["what"]),
        (&Value::Bool(false), &"altered".into())
    );
    let config = lab.config().display().to_string();
    let start = lab.cli(&["gateway", "--config", &config]).await;
    assert_eq!((start.code, start.stderr.contains("0000000001.seg")), (5, true), "{start:?}");
    fs::write(segment(&lab), good).unwrap();
    assert_eq!(verify(&lab, &[]).await.code, 0);
}

#[tokio::test]
async fn a_copy_verifies_elsewhere_with_the_public_key_alone() {
    let lab = stopped().await;
    let vkey = fs::read_to_string(lab.data().join("keys/audit.pub")).unwrap();
    let kept = lab.cli(&["audit", "checkpoint"]).await.ok().to_owned();
    assert!(kept.starts_with("portcullis/") && kept.contains("\n\u{2014} portcullis/"), "{kept}");
    let proof = lab.cli(&["audit", "prove", "3"]).await.ok().to_owned();
    assert!(proof.starts_with("c2sp.org/tlog-proof@v1\nextra "), "{proof}");

    let elsewhere = Scratch::new();
    elsewhere.write("gateway.pub", &vkey);
    elsewhere.write("kept", &kept);
    elsewhere.write("event.tlog-proof", &proof);
    elsewhere.write("altered.tlog-proof", proof.replace("index 3", "index 4"));
    let journal = lab.data().join("journal").display().to_string();
    let here = |args: &'static [&'static str]| {
        let (journal, vkey) = (journal.clone(), vkey.trim().to_owned());
        let args: Vec<String> =
            args.iter().map(|arg| arg.replace("JOURNAL", &journal).replace("VKEY", &vkey)).collect();
        let dir = elsewhere.path().to_owned();
        async move { run(&args.iter().map(String::as_str).collect::<Vec<_>>(), &[], &dir).await }
    };
    here(&["audit", "verify", "--journal", "JOURNAL", "--key", "gateway.pub", "--checkpoint", "kept"])
        .await
        .ok();
    here(&["audit", "verify", "--journal", "JOURNAL", "--key", "VKEY"]).await.ok();
    here(&["audit", "verify", "--proof", "event.tlog-proof", "--key", "VKEY"]).await.ok();
    let altered = here(&["audit", "verify", "--proof", "altered.tlog-proof", "--key", "VKEY"]).await;
    assert_eq!(altered.code, 1, "{altered:?}");

    // What cannot be checked is not called broken, and not good.
    for args in [
        &["audit", "verify"][..],
        &["audit", "verify", "--journal", "JOURNAL"],
        &["audit", "verify", "--journal", "nowhere", "--key", "VKEY"],
        &["audit", "verify", "--journal", "JOURNAL", "--key", "kept"],
        &["audit", "verify", "--journal", "JOURNAL", "--key", "VKEY", "--checkpoint", "gateway.pub"],
        &["audit", "verify", "--journal", ".", "--key", "VKEY"],
        &["audit", "verify", "--proof", "kept", "--key", "VKEY"],
        &["audit", "prove", "999999", "--journal", "JOURNAL", "--key", "VKEY"],
    ] {
        let answer = here(args).await;
        assert_eq!(answer.code, 2, "{args:?}: {answer:?}");
    }
    // Another gateway's key is no reason to trust anything.
    let other = Lab::new().await;
    let vkey = fs::read_to_string(other.data().join("keys/audit.pub")).unwrap();
    let forged =
        run(&["audit", "verify", "--journal", &journal, "--key", vkey.trim()], &[], elsewhere.path()).await;
    assert_eq!((forged.code, forged.stdout.contains("forged")), (1, true), "{forged:?}");
}

#[tokio::test]
async fn a_state_taken_back_is_shown_by_a_kept_checkpoint() {
    let mut lab = stopped().await;
    let copy = Scratch::new();
    let copied = copy.join("journal");
    copy_folder(&lab.data().join("journal"), &copied);
    lab.restart().await;
    assert!(lab.gateway.terminate().await.success());
    let kept = lab.cli(&["audit", "checkpoint"]).await.ok().to_owned();
    let kept = copy.write("kept", kept).display().to_string();
    fs::remove_dir_all(lab.data().join("journal")).unwrap();
    copy_folder(&copied, &lab.data().join("journal"));
    assert_eq!(verify(&lab, &[]).await.code, 0, "the files alone do not show it");
    let answer = verify(&lab, &["--checkpoint", &kept]).await;
    assert_eq!((answer.code, answer.stdout.contains("rolled back")), (1, true), "{answer:?}");
}

#[tokio::test]
async fn a_recording_that_was_changed_or_taken_away_is_named() {
    let lab = stopped().await;
    let report = verify(&lab, &["--output", "json"]).await.json();
    assert!(report["recordings"].as_u64().unwrap() > 0, "{report:#}");
    let sealed = sealed(&lab.data().join("recordings")).expect("a sealed segment");
    let good = fs::read(&sealed).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(&sealed, bad).unwrap();
    let answer = verify(&lab, &[]).await;
    let name = sealed.file_name().unwrap().to_str().unwrap();
    assert_eq!((answer.code, answer.stdout.contains(name)), (1, true), "{answer:?}");
    assert!(answer.stdout.contains("altered") && answer.stdout.contains("session    ses_"), "{answer:?}");
    fs::remove_file(&sealed).unwrap();
    let answer = verify(&lab, &[]).await;
    assert_eq!((answer.code, answer.stdout.contains("missing")), (1, true), "{answer:?}");
    fs::write(&sealed, good).unwrap();
    verify(&lab, &[]).await.ok();
}

/// A sealed segment somewhere below.
fn sealed(folder: &std::path::Path) -> Option<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| match path.is_dir() {
        true => sealed(&path),
        false => path.extension().is_some_and(|ending| ending == "rec").then_some(path),
    })
}

#[tokio::test]
async fn the_signing_key_is_private_and_its_loss_stops_the_start() {
    let lab = stopped().await;
    let key = lab.data().join("keys/audit.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    fs::rename(&key, key.with_extension("lost")).unwrap();
    let config = lab.config().display().to_string();
    let start = lab.cli(&["gateway", "--config", &config]).await;
    assert_eq!((start.code, start.stderr.contains("restore the key")), (5, true), "{start:?}");
    assert!(!key.exists(), "no new key takes its place");
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}
