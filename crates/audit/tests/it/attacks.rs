//! One test for each thing that somebody with the disk and without the key can do.

use std::fs;

use portcullis_audit::{
    Error, SigningKey,
    tree::Hash,
    verify::{Cause, Sources, What, verify},
};

use crate::signed::{Opened, Signed, rewrite};

/// A journal with at least five segments.
fn signed() -> Signed {
    let signed = Signed::written(7);
    assert!(signed.numbers().len() >= 5, "{:?}", signed.numbers());
    signed.assert_good();
    signed
}

#[test]
fn a_journal_nobody_touched_is_good() {
    let signed = signed();
    let report = signed.assert_good();
    assert_eq!((report.events, report.covered, report.uncovered, report.deleted), (28, 28, 0, 0));
    assert_eq!(report.segments, signed.numbers().len() as u64);
    assert!(report.checkpoints >= 5 && report.notes.is_empty(), "{report:#?}");
}

#[test]
fn an_altered_event_is_named_though_its_checksum_was_fixed() {
    let signed = signed();
    let mut segment = Opened::read(&signed.segment(2));
    rewrite(&mut segment.frames[1].1);
    segment.write();
    let report = signed.assert_found(What::Altered, &signed.segment(2), segment.first() + 1);
    let first = &report.findings[0];
    assert_eq!((first.cause, first.offset), (Cause::Intent, Some(segment.offset(1))));
    assert_eq!(first.session, Some(signed.session.to_string()));
}

#[test]
fn a_flipped_bit_looks_like_an_accident() {
    let signed = signed();
    let segment = Opened::read(&signed.segment(2));
    let mut bytes = fs::read(signed.segment(2)).unwrap();
    bytes[usize::try_from(segment.offset(1)).unwrap() + 100] ^= 1;
    fs::write(signed.segment(2), bytes).unwrap();
    let report = signed.assert_found(What::Altered, &signed.segment(2), segment.first() + 1);
    assert_eq!(report.findings[0].cause, Cause::Accident);
}

#[test]
fn a_deleted_event_is_named_though_what_follows_was_renumbered() {
    let signed = signed();
    let mut segment = Opened::read(&signed.segment(2));
    let first = segment.first();
    segment.frames.remove(1);
    segment.write();
    signed.assert_found(What::Missing, &signed.segment(2), first + 1);
    segment.renumber(first);
    segment.write();
    let report = signed.assert_found(What::Missing, &signed.segment(2), first + 1);
    assert!(report.findings[0].text.contains(&format!("event {} is gone", first + 1)), "{report:#?}");
}

#[test]
fn swapped_events_are_reordered() {
    let signed = signed();
    for renumbered in [false, true] {
        let mut segment = Opened::read(&signed.segment(2));
        let first = segment.first();
        segment.frames.swap(0, 1);
        if renumbered {
            segment.renumber(first);
        }
        segment.write();
        signed.assert_found(What::Reordered, &signed.segment(2), first);
        segment.frames.swap(0, 1);
        segment.renumber(first);
        segment.write();
        signed.assert_good();
    }
}

#[test]
fn an_inserted_event_is_named() {
    let signed = signed();
    let mut segment = Opened::read(&signed.segment(2));
    let first = segment.first();
    let mut foreign = segment.frames[1].clone();
    rewrite(&mut foreign.1);
    segment.frames.insert(1, foreign);
    segment.renumber(first);
    segment.write();
    signed.assert_found(What::Inserted, &signed.segment(2), first + 1);
}

#[test]
fn a_repeated_event_is_named() {
    let signed = signed();
    for renumbered in [false, true] {
        let mut segment = Opened::read(&signed.segment(2));
        let first = segment.first();
        segment.frames.insert(1, segment.frames[0].clone());
        if renumbered {
            segment.renumber(first);
        }
        segment.write();
        signed.assert_found(What::Duplicated, &signed.segment(2), first + 1);
        segment.frames.remove(1);
        segment.renumber(first);
        segment.write();
    }
}

#[test]
fn a_cut_end_is_found_by_verify_and_stops_the_start() {
    let signed = signed();
    let last = *signed.numbers().last().unwrap();
    let segment = Opened::read(&signed.segment(last));
    let whole = segment.frames.len();
    for keep in (0..whole).rev() {
        let mut cut = Opened::read(&signed.segment(last));
        cut.frames.truncate(keep);
        cut.write();
        signed.assert_found(What::Truncated, &signed.segment(last), segment.first() + keep as u64);
        let refused = signed.try_start().err().unwrap();
        assert!(matches!(refused, Error::Truncated { covered: 28, .. }), "{refused}");
    }
    // In the middle of an event: what a crash leaves, but the event was signed.
    segment.write();
    let len = fs::metadata(signed.segment(last)).unwrap().len();
    fs::OpenOptions::new().write(true).open(signed.segment(last)).unwrap().set_len(len - 1).unwrap();
    signed.assert_found(What::Truncated, &signed.segment(last), 27);
}

#[test]
fn a_closed_segment_that_was_cut_is_found() {
    let signed = signed();
    let mut segment = Opened::read(&signed.segment(2));
    let (first, frames) = (segment.first(), segment.frames.len() as u64);
    segment.frames.pop();
    segment.write();
    signed.assert_found(What::Truncated, &signed.segment(2), first + frames - 1);
    assert!(matches!(signed.try_start().err(), Some(Error::Corrupt { .. })));
}

#[test]
fn a_removed_segment_is_found_wherever_it_was() {
    let signed = signed();
    let numbers = signed.numbers();
    let (first, last) = (numbers[0], *numbers.last().unwrap());
    for number in &numbers {
        let (bytes, sequence) =
            (fs::read(signed.segment(*number)).unwrap(), Opened::read(&signed.segment(*number)).first());
        fs::remove_file(signed.segment(*number)).unwrap();
        if *number == first {
            let report = signed.assert_found(What::Missing, &signed.segment(1), 0);
            assert!(report.findings[0].text.contains("no signed retention event"), "{report:#?}");
        } else if *number == last {
            signed.assert_found(What::Truncated, &signed.segment(last - 1), sequence);
            assert!(matches!(signed.try_start().err(), Some(Error::Truncated { .. })));
        } else {
            signed.assert_found(What::Missing, &signed.segment(*number), sequence);
            assert!(matches!(signed.try_start().err(), Some(Error::Missing { .. })));
        }
        fs::write(signed.segment(*number), bytes).unwrap();
        signed.assert_good();
    }
}

#[test]
fn a_segment_removed_from_the_middle_is_found_though_the_others_were_renamed() {
    let signed = signed();
    let numbers = signed.numbers();
    let gone = Opened::read(&signed.segment(2)).first();
    for number in numbers.iter().skip(2) {
        let mut segment = Opened::read(&signed.segment(*number));
        segment.set_header(16, number - 1);
        segment.set_header(24, number - 2);
        segment.write_to(&signed.segment(number - 1));
    }
    fs::remove_file(signed.segment(*numbers.last().unwrap())).unwrap();
    signed.assert_found(What::Missing, &signed.segment(1), gone);
}

#[test]
fn a_segment_that_is_there_twice_is_found() {
    let signed = signed();
    let numbers = signed.numbers();
    let end = 28;
    let next = numbers.last().unwrap() + 1;
    fs::copy(signed.segment(2), signed.segment(next)).unwrap();
    signed.assert_found(What::Duplicated, &signed.segment(next), end);
    let mut copy = Opened::read(&signed.segment(2));
    copy.set_header(16, next);
    copy.set_header(24, next - 1);
    copy.write_to(&signed.segment(next));
    signed.assert_found(What::Duplicated, &signed.segment(next), end);
    fs::remove_file(signed.segment(next)).unwrap();
    fs::copy(signed.segment(2), signed.segment(3)).unwrap();
    signed.assert_found(
        What::Duplicated,
        &signed.segment(3),
        Opened::read(&signed.segment(4)).first() - {
            let spans = fs::read(signed.proof("spans")).unwrap();
            let third = &spans[80..120];
            u64::from_le_bytes(third[16..24].try_into().unwrap())
                - u64::from_le_bytes(third[8..16].try_into().unwrap())
        },
    );
}

#[test]
fn an_altered_leaf_hash_is_told_from_an_altered_event() {
    let signed = signed();
    let path = signed.proof("leaves/0000000000");
    let mut leaves = fs::read(&path).unwrap();
    leaves[5 * 32] ^= 1;
    fs::write(&path, &leaves).unwrap();
    let report = signed.assert_found(What::Altered, &path, 5);
    assert_eq!(report.findings[0].offset, Some(5 * 32));
    let refused = signed.try_start().err().unwrap();
    assert!(matches!(refused, Error::Proof { .. }), "{refused}");
}

#[test]
fn an_event_rewritten_with_its_leaf_hash_is_caught_by_the_signature() {
    let signed = signed();
    let mut segment = Opened::read(&signed.segment(2));
    let sequence = segment.first() + 1;
    rewrite(&mut segment.frames[1].1);
    segment.write();
    let path = signed.proof("leaves/0000000000");
    let mut leaves = fs::read(&path).unwrap();
    let leaf = Hash::of_event(sequence, &segment.frames[1].1, &mut Vec::new());
    let at = usize::try_from(sequence).unwrap() * 32;
    leaves[at..at + 32].copy_from_slice(&leaf.0);
    fs::write(&path, &leaves).unwrap();
    let report = signed.verify();
    let first = &report.findings[0];
    assert_eq!((first.what, first.cause), (What::Altered, Cause::Intent), "{report:#?}");
    assert!(
        first.sequence.unwrap() <= sequence && first.text.contains("together with its leaf hash"),
        "{report:#?}"
    );
    assert!(signed.try_start().is_err());
}

#[test]
fn lost_leaf_hashes_are_found_and_made_again_at_the_next_start() {
    let signed = signed();
    let path = signed.proof("leaves/0000000000");
    let leaves = fs::read(&path).unwrap();
    fs::write(&path, &leaves[..9 * 32 + 7]).unwrap();
    signed.assert_found(What::Truncated, &path, 9);
    signed.start().stop();
    signed.assert_good();
    assert_eq!(fs::read(&path).unwrap(), leaves);
}

fn write_checkpoints(signed: &Signed, notes: &[String]) {
    fs::write(signed.proof("checkpoints"), notes.concat()).unwrap();
}

#[test]
fn altered_removed_and_reordered_checkpoints_are_found() {
    let signed = signed();
    let notes = signed.checkpoints();
    let path = signed.proof("checkpoints");
    let found = |changed: &[String], what: What| {
        write_checkpoints(&signed, changed);
        let report = signed.verify();
        assert_eq!(
            report.findings.first().map(|first| (first.what, first.file.as_path())),
            Some((what, path.as_path())),
            "{report:#?}"
        );
    };
    let mut altered = notes.clone();
    altered[2] = altered[2].replacen("portcullis/test\n", "portcullis/text\n", 1);
    found(&altered, What::Altered);
    for gone in 0..notes.len() - 1 {
        let mut fewer = notes.clone();
        fewer.remove(gone);
        found(&fewer, What::Missing);
    }
    let mut swapped = notes.clone();
    swapped.swap(1, 2);
    found(&swapped, What::Missing);
    let mut twice = notes.clone();
    twice.insert(2, twice[1].clone());
    found(&twice, What::Duplicated);
    fs::remove_file(&path).unwrap();
    assert_eq!(signed.verify().findings[0].what, What::Missing);
    assert!(matches!(signed.try_start().err(), Some(Error::Proof { .. })));
}

#[test]
fn without_the_last_checkpoints_the_events_are_told_to_be_unsigned_and_a_kept_one_shows_it() {
    let signed = signed();
    let kept = signed.latest();
    let mut notes = signed.checkpoints();
    notes.pop();
    write_checkpoints(&signed, &notes);
    let report = signed.assert_good();
    assert!(report.uncovered > 0 && report.covered + report.uncovered == 28, "{report:#?}");
    // Nothing is lost by that alone: the events are as the kept one says.
    let sources = Sources { kept: vec![kept.clone()], ..signed.sources() };
    assert!(verify(&sources, &signed.verifier, &mut |_| {}).unwrap().is_good());
}

#[test]
fn a_state_taken_back_is_only_caught_by_a_checkpoint_kept_elsewhere() {
    let signed = Signed::empty();
    let running = signed.start();
    running.write(&signed, "before");
    running.stop();
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&signed.journal(), &copy.path().join("journal"));
    let running = signed.start();
    running.write(&signed, "what must not be known");
    running.stop();
    let kept = signed.latest();
    fs::remove_dir_all(signed.journal()).unwrap();
    copy_folder(&copy.path().join("journal"), &signed.journal());
    signed.assert_good();
    let sources = Sources { kept: vec![kept.clone()], ..signed.sources() };
    let report = verify(&sources, &signed.verifier, &mut |_| {}).unwrap();
    assert_eq!(report.findings[0].what, What::RolledBack, "{report:#?}");
    // A different history of the same length, signed with the key.
    let running = signed.start();
    running.write(&signed, "what should be believed");
    running.stop();
    signed.assert_good();
    let report = verify(&sources, &signed.verifier, &mut |_| {}).unwrap();
    assert_eq!(report.findings[0].what, What::RolledBack, "{report:#?}");
}

#[test]
fn a_copy_whose_proof_is_younger_than_its_events_may_be_one_of_files_in_use() {
    let signed = Signed::empty();
    let running = signed.start();
    running.write(&signed, "before the segments are copied");
    running.stop();
    let copy = signed.dir.path().join("copy");
    copy_folder(&signed.journal(), &copy);
    let running = signed.start();
    running.write(&signed, "between");
    running.stop();
    let check =
        || verify(&Sources { journal: copy.clone(), ..signed.sources() }, &signed.verifier, &mut |_| {});
    // The proof first: the copy verifies, whatever came later.
    let good = check().unwrap();
    fs::copy(signed.segment(1), copy.join("0000000001.seg")).unwrap();
    let more = check().unwrap();
    assert!(good.is_good() && more.is_good() && more.uncovered == 1, "{good:#?} {more:#?}");
    // The other way round: checkpoints cover leaf hashes that came later, or events that did.
    let expect = |text: &str| {
        let report = check().unwrap();
        let first = &report.findings[0];
        assert_eq!((first.what, first.cause, first.sequence), (What::Truncated, Cause::Unclear, Some(1)));
        assert!(
            first.text.contains("a copy taken while the gateway ran") && first.text.contains(text),
            "{first:?}"
        );
    };
    fs::copy(signed.proof("checkpoints"), copy.join("proof/checkpoints")).unwrap();
    expect("the leaf hash of event 1 is gone");
    fs::remove_dir_all(copy.join("proof")).unwrap();
    copy_folder(&signed.journal().join("proof"), &copy.join("proof"));
    assert!(check().unwrap().is_good());
    let mut segment = Opened::read(&copy.join("0000000001.seg"));
    segment.frames.truncate(1);
    segment.write();
    expect("the journal was cut: it has 1 events, and a checkpoint covers 2");
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

#[test]
fn another_key_and_forged_signatures_are_found() {
    let signed = signed();
    for name in ["portcullis/test", "portcullis/other"] {
        let other = SigningKey::generate(name).unwrap();
        let report = verify(&signed.sources(), other.verifier(), &mut |_| {}).unwrap();
        assert_eq!((report.findings[0].what, report.checkpoints), (What::Forged, 0), "{report:#?}");
    }
    // Written anew with a key of the same name: the form is right, the key is not.
    let other = SigningKey::generate("portcullis/test").unwrap();
    let mut notes = signed.checkpoints();
    let text = notes[3].split_once("\n\n").unwrap().0.to_owned() + "\n";
    notes[3] = other.sign(&text);
    write_checkpoints(&signed, &notes);
    assert_eq!(signed.verify().findings[0].what, What::Forged);
    // The signature of another checkpoint.
    let mut notes = signed.checkpoints();
    let line = notes[2].rsplit_once("\n\n").unwrap().1.to_owned();
    notes[3] = format!("{text}\n{line}");
    write_checkpoints(&signed, &notes);
    assert_eq!(signed.verify().findings[0].what, What::Altered);
}

#[test]
fn a_tampered_last_segment_stops_the_start_and_names_the_event() {
    let signed = signed();
    let last = *signed.numbers().last().unwrap();
    let mut segment = Opened::read(&signed.segment(last));
    rewrite(&mut segment.frames[0].1);
    segment.write();
    match signed.try_start().err() {
        Some(Error::Altered { path, offset, sequence, session }) => {
            assert_eq!((path, offset, sequence), (signed.segment(last), 96, segment.first()));
            assert_eq!(session, Some(signed.session.to_string()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flipped_bit_is_caught_at_every_position_of_every_file() {
    let signed = Signed::empty();
    for run in 0..3 {
        let running = signed.start();
        for number in 0..3 {
            running.write(&signed, &format!("statement {run}.{number}"));
        }
        running.stop();
    }
    signed.assert_good();
    let mut files: Vec<_> = signed.numbers().into_iter().map(|number| signed.segment(number)).collect();
    files.extend(["checkpoints", "leaves/0000000000", "spans"].map(|file| signed.proof(file)));
    assert!(files.len() >= 5, "{files:?}");
    let mut tried = 0;
    for file in files {
        let good = fs::read(&file).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&file, &bad).unwrap();
            let report = verify(&signed.sources(), &signed.verifier, &mut |_| {}).unwrap();
            assert!(!report.is_good(), "byte {at} of {}", file.display());
            tried += 1;
        }
        fs::write(&file, &good).unwrap();
    }
    assert!(tried > 4_000, "{tried}");
    signed.assert_good();
}

#[test]
fn what_was_added_while_no_gateway_ran_is_pointed_at() {
    let signed = Signed::empty();
    let at = portcullis_core::Timestamp::from_seconds(1_790_000_000);
    let start =
        portcullis_core::AuditEvent::GatewayStarted { at, version: "1".to_owned(), recovered_bytes: 0 };
    let stop = portcullis_core::AuditEvent::GatewayStopped { at };
    for _ in 0..2 {
        let running = signed.start();
        running.event(&start);
        running.event(&stop);
        running.stop();
    }
    assert_eq!(signed.assert_good().notes, Vec::<String>::new());
    let last = *signed.numbers().last().unwrap();
    let mut segment = Opened::read(&signed.segment(last));
    let first = segment.first();
    segment.frames.push((0, segment.frames[1].1.clone()));
    segment.renumber(first);
    segment.write();
    let report = signed.assert_good();
    assert_eq!((report.uncovered, report.notes.len()), (1, 1), "{report:#?}");
}
