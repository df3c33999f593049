//! The notary beside a journal that is written: what it covers, what it takes up, what it does not read again.

use std::{fs, os::unix::fs::PermissionsExt as _};

use portcullis_audit::{Error, Journal, Notary, NotaryConfig, SigningKey, Sync, notary, verify::verify};

use crate::{
    signed::Signed,
    support::{TestClock, batch, config, decision, facts},
};

#[test]
fn a_running_gateways_files_verify_and_the_tail_is_counted() {
    let signed = Signed::empty();
    let running = signed.start();
    for number in 0..200 {
        running.write(&signed, &format!("statement {number}"));
        let report = verify(&signed.sources(), &signed.verifier, &mut |_| {}).unwrap();
        assert!(report.is_good(), "{report:#?}");
        assert_eq!((report.events, report.covered + report.uncovered), (number + 1, number + 1));
    }
    running.stop();
    let report = signed.assert_good();
    assert_eq!((report.events, report.uncovered), (200, 0));
}

#[tokio::test]
async fn an_event_is_covered_a_moment_after_it_was_written() {
    let signed = Signed::empty();
    let running = signed.start();
    let event = decision(signed.session, 1, "select 1");
    let position = running.journal.append(None, &batch(&[event])).unwrap();
    let checkpoint = running.notary.covered(position).await.unwrap();
    assert!(checkpoint.size() >= position.sequence);
    tokio::task::spawn_blocking(move || running.stop()).await.unwrap();
}

#[test]
fn a_journal_from_before_there_was_a_proof_is_covered_from_its_first_event() {
    let dir = tempfile::tempdir().unwrap();
    let settings = portcullis_audit::JournalConfig { segment_bytes: 2_000, ..config(dir.path(), Sync::Fast) };
    let (journal, _) = Journal::open(settings, TestClock::new()).unwrap();
    for number in 0..20 {
        journal.append(None, &batch(&[decision(facts(1).session, number, "x")])).unwrap();
    }
    let key = SigningKey::generate("portcullis/test").unwrap();
    notary::begin(journal.dir(), &key).unwrap();
    let verifier = key.verifier().clone();
    let notary = Notary::open(journal.clone(), key, NotaryConfig::default()).unwrap();
    assert_eq!(notary.status().checkpoint.size(), 20);
    notary.finish().unwrap();
    let sources = portcullis_audit::verify::Sources {
        journal: journal.dir().to_owned(),
        recordings: None,
        kept: Vec::new(),
    };
    let report = verify(&sources, &verifier, &mut |_| {}).unwrap();
    assert!(report.is_good() && report.covered == 20, "{report:#?}");
}

#[test]
fn the_proof_is_for_its_owner_only() {
    let signed = Signed::written(3);
    let mode = |path: &str| fs::metadata(signed.proof(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("."), mode("leaves")], [0o700; 2]);
    assert_eq!([mode("checkpoints"), mode("leaves/0000000000"), mode("spans"), mode("blocks")], [0o600; 4]);
}

#[test]
fn a_proof_whose_key_is_gone_is_not_begun_anew() {
    let signed = Signed::written(1);
    let other = SigningKey::generate("portcullis/other").unwrap();
    assert!(matches!(notary::begin(&signed.journal(), &other), Err(Error::Proof { .. })));
    let (journal, _) = Journal::open(signed.settings(), signed.clock.clone()).unwrap();
    let opened = Notary::open(journal, other, NotaryConfig::default());
    assert!(matches!(opened.err(), Some(Error::Proof { .. })));
    // A run that died between the first checkpoint and its key leaves nothing that matters.
    let fresh = tempfile::tempdir().unwrap();
    for name in ["portcullis/one", "portcullis/two"] {
        notary::begin(fresh.path(), &SigningKey::generate(name).unwrap()).unwrap();
    }
}

#[test]
fn torn_ends_of_its_own_files_are_cut_and_made_again() {
    let signed = Signed::written(3);
    for (file, torn) in [
        ("checkpoints", &b"portcullis/test\n12\n"[..]),
        ("checkpoints", "portcullis/test\n12\nx\n\n\u{2014} portcu".as_bytes()),
        ("leaves/0000000000", &[7; 31]),
        ("spans", &[7; 39]),
        ("blocks", &[7; 3]),
    ] {
        let path = signed.proof(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(torn);
        fs::write(&path, bytes).unwrap();
        let running = signed.start();
        running.write(&signed, "after");
        running.stop();
        signed.assert_good();
    }
    for file in ["spans", "blocks"] {
        fs::remove_file(signed.proof(file)).unwrap();
        signed.start().stop();
        signed.assert_good();
    }
    assert_ne!(fs::metadata(signed.proof("spans")).unwrap().len(), 0);
}

#[test]
fn closed_segments_under_the_proof_are_not_read_again_at_a_start() {
    let signed = Signed::written(7);
    let path = signed.segment(1);
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[200] ^= 1;
    fs::write(&path, &bad).unwrap();
    signed.start().stop();
    assert!(!signed.verify().is_good());
    // Header and length are looked at.
    for wrong in [&good[..good.len() - 1], &[&good[..], b"x"].concat(), &[&[0; 96], &good[96..]].concat()] {
        fs::write(&path, wrong).unwrap();
        assert!(matches!(signed.try_start().err(), Some(Error::Corrupt { .. })));
    }
    // Without the note of what was closed everything is read.
    fs::write(&path, &bad).unwrap();
    fs::remove_file(signed.proof("spans")).unwrap();
    assert!(matches!(signed.try_start().err(), Some(Error::Corrupt { .. })));
    fs::write(&path, &good).unwrap();
    signed.start().stop();
    signed.assert_good();
}
