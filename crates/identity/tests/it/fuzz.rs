//! The fuzzer's corpus, and what proptest thinks of.

use portcullis_identity::fuzz_token;
use proptest::prelude::*;

#[test]
fn the_corpus_does_not_break_the_verifier() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/corpus/token");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        // Every prefix of it, too: truncation at each byte.
        for end in 0..=bytes.len() {
            fuzz_token(&bytes[..end]);
        }
        count += 1;
    }
    assert!(count >= 10, "the corpus is there");
}

proptest! {
    #[test]
    fn no_bytes_break_the_verifier(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        fuzz_token(&bytes);
    }

    #[test]
    fn no_text_of_a_tokens_alphabet_breaks_the_verifier(text in "[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}") {
        fuzz_token(text.as_bytes());
    }

    #[test]
    fn no_claims_break_the_verifier(name in "aud|exp|nbf|iat|tid|oid|sub|azp|ver|iss|groups|roles|scp|idtyp|cnf|act", value in "[0-9]{1,20}|-1|1e9|null|true|\\[\\]|\\{\\}|\"[ -~&&[^\"\\\\]]{0,40}\"") {
        fuzz_token(format!("{{\"{name}\":{value}}}").as_bytes());
    }
}
