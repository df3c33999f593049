//! Inclusion proofs of single events.

use portcullis_audit::{
    Error, SigningKey,
    prove::{ProofFault, check, prove},
    verify::Sources,
};

use crate::signed::{Opened, Signed, rewrite};

#[test]
fn every_event_is_proven_by_itself_and_an_altered_proof_proves_nothing() {
    let signed = Signed::written(5);
    for sequence in 0..20 {
        let text = prove(&signed.journal(), sequence, &signed.verifier).unwrap();
        let proven = check(&text, &signed.verifier).unwrap();
        assert_eq!((proven.sequence, proven.checkpoint.size()), (sequence, 20));
        assert!(String::from_utf8(proven.json).unwrap().contains("\"statement"));
        let other = text.replace(&format!("index {sequence}\n"), &format!("index {}\n", (sequence + 1) % 20));
        assert_eq!(check(&other, &signed.verifier), Err(ProofFault::Root));
        let key = SigningKey::generate("portcullis/test").unwrap();
        assert!(matches!(check(&text, key.verifier()), Err(ProofFault::Checkpoint(_))));
    }
    for bad in ["", "c2sp.org/tlog-proof@v1\n\n", "c2sp.org/tlog-proof@v2\nextra \nindex 0\n\nx"] {
        assert_eq!(check(bad, &signed.verifier), Err(ProofFault::Form), "{bad:?}");
    }
    assert!(matches!(prove(&signed.journal(), 20, &signed.verifier), Err(Error::Proof { .. })));
}

#[test]
fn what_does_not_verify_is_not_handed_out_as_a_proof() {
    let signed = Signed::written(5);
    let mut segment = Opened::read(&signed.segment(1));
    rewrite(&mut segment.frames[1].1);
    segment.write();
    assert!(matches!(prove(&signed.journal(), 1, &signed.verifier), Err(Error::Proof { .. })));
    assert!(prove(&signed.journal(), 0, &signed.verifier).is_ok());
    let _nothing_else_is_looked_at = Sources { recordings: None, ..signed.sources() };
}
