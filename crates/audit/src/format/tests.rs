use portcullis_core::Timestamp;

use super::*;

fn header() -> SegmentHeader {
    SegmentHeader {
        number: 7,
        previous: 6,
        first_sequence: 1_000,
        created: Timestamp::from_seconds(1_790_000_000),
    }
}

fn open_frames(payloads: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for payload in payloads {
        push_open_frame(&mut out, |out| {
            out.extend_from_slice(payload.as_bytes());
            Ok(())
        })
        .unwrap();
    }
    out
}

#[test]
fn a_header_reads_back() {
    let bytes = header().encode();
    assert_eq!(bytes.len(), HEADER_LEN);
    assert_eq!(SegmentHeader::decode(&bytes).unwrap(), header());
}

#[test]
fn a_header_with_any_bit_flipped_or_any_byte_missing_is_refused() {
    let good = header().encode();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
    }
    for len in 0..good.len() {
        assert!(SegmentHeader::decode(&good[..len]).is_err(), "length {len}");
    }
}

#[test]
fn a_header_of_a_later_format_says_so() {
    let mut bytes = header().encode();
    bytes[8] = 2;
    assert_eq!(SegmentHeader::decode(&bytes).unwrap_err(), "format version 2; this program reads 1");
}

#[test]
fn the_layout_of_a_frame_is_fixed() {
    let mut frames = open_frames(&["{}"]);
    assert_eq!(seal_frames(&mut frames, 5), 6);
    let crc = crc32fast::hash(b"{}\x05\0\0\0\0\0\0\0");
    let mut expected = vec![2, 0, 0, 0];
    expected.extend_from_slice(&crc.to_le_bytes());
    expected.extend_from_slice(&[5, 0, 0, 0, 0, 0, 0, 0, b'{', b'}']);
    assert_eq!(frames, expected);
}

#[test]
fn frames_read_back_with_their_sequences_and_no_others() {
    let mut frames = open_frames(&["{\"a\":1}", "[]", "\"x\""]);
    assert_eq!(seal_frames(&mut frames, 41), 44);
    let mut rest = frames.as_slice();
    for (sequence, payload) in [(41, "{\"a\":1}"), (42, "[]"), (43, "\"x\"")] {
        assert_eq!(decode_frame(rest, sequence).unwrap(), payload.as_bytes());
        assert_eq!(decode_frame(rest, sequence + 1), Err(FrameFault::Sequence));
        rest = &rest[FRAME_HEADER_LEN + payload.len()..];
    }
    assert!(rest.is_empty());
}

#[test]
fn a_frame_cut_anywhere_or_with_any_bit_flipped_is_refused() {
    let mut frame = open_frames(&["{\"event\":\"x\"}"]);
    seal_frames(&mut frame, 3);
    for len in 0..frame.len() {
        assert!(decode_frame(&frame[..len], 3).is_err(), "length {len}");
    }
    for bit in 0..frame.len() * 8 {
        let mut bad = frame.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_frame(&bad, 3).is_err(), "bit {bit}");
    }
}

#[test]
fn zeros_are_no_frame_at_any_sequence() {
    for sequence in [0, 1, 9] {
        assert_eq!(decode_frame(&[0; 64], sequence), Err(FrameFault::Length));
    }
}

#[test]
fn a_later_frame_is_found_behind_damage_and_not_where_there_is_none() {
    let mut frames = open_frames(&["{\"n\":1}", "{\"n\":2}"]);
    seal_frames(&mut frames, 10);
    frames[FRAME_HEADER_LEN] ^= 1;
    assert!(holds_later_frame(&frames, 10));
    assert!(!holds_later_frame(&frames[..frames.len() - 1], 10));
    assert!(!holds_later_frame(&[0; 4096], 10));
}

#[test]
fn an_event_over_the_limit_is_refused_and_leaves_the_buffer_as_it_was() {
    let mut out = open_frames(&["{}"]);
    let before = out.clone();
    let error = push_open_frame(&mut out, |out| {
        out.resize(out.len() + MAX_PAYLOAD + 1, b' ');
        Ok(())
    });
    assert!(matches!(error, Err(Error::TooLarge { .. })));
    assert_eq!(out, before);
}

#[test]
fn the_fuzz_entry_takes_whole_cut_and_empty_segments() {
    let mut segment = header().encode();
    let mut frames = open_frames(&["{}", "{\"a\":[1,2]}"]);
    seal_frames(&mut frames, 1_000);
    segment.extend_from_slice(&frames);
    for len in 0..=segment.len() {
        fuzz_segment(&segment[..len]);
    }
}
