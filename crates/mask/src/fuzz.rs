//! Fuzz entry: always compiled, its corpus is replayed by the tests.

use std::sync::LazyLock;

use crate::{Detector, HashKey, Hit, Outcome, Scanner, Transform, ValueKind, mask_value};

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| {
    let mut rules: Vec<(Vec<Detector>, Transform)> = Detector::NAMES
        .iter()
        .zip(Transform::NAMES.iter().cycle())
        .filter_map(|(detector, transform)| {
            Some((vec![Detector::named(detector)?], Transform::named(transform, None).ok()?))
        })
        .collect();
    rules.extend(
        [r"\bEMP-\d{6}\b", "^[0-9]{3}$"]
            .iter()
            .filter_map(|text| Some((vec![Detector::custom("own", text).ok()?], Transform::Redact))),
    );
    Scanner::new(&rules)
});

/// Looks for everything in the bytes, alone and within others, and masks them as every kind of value.
///
/// # Panics
/// When hits are not in order or not in the text, when the prefilter denies what the scan finds, or when an outcome is not
/// what was written: a defect was found.
#[doc(hidden)]
#[expect(clippy::panic, reason = "a fuzz entry reports what it found by panicking")]
pub fn fuzz_scan(data: &[u8]) {
    let scanner = &*SCANNER;
    let key = HashKey::derive(b"fuzz", "fuzz");
    let mut hits: Vec<Hit> = Vec::new();
    scanner.scan(data, &mut hits);
    let mut last = 0;
    for hit in &hits {
        if hit.range.start < last || hit.range.is_empty() || hit.range.end > data.len() {
            panic!("hits out of order or out of the text: {hits:?}");
        }
        last = hit.range.end;
    }
    let row: Vec<u8> = [b"\0\x01A7".as_slice(), data, b"9z\0"].concat();
    let may = scanner.may_hit(data) && scanner.may_hit(&row);
    if !hits.is_empty() && !may {
        panic!("the prefilter denies what the scan finds: {hits:?}");
    }
    let kinds = [
        ValueKind::Text,
        ValueKind::Json,
        ValueKind::Uuid,
        ValueKind::Number,
        ValueKind::Bytes,
        ValueKind::Other,
    ];
    let transforms = Transform::NAMES.iter().filter_map(|name| Transform::named(name, None).ok());
    let wholes: Vec<Option<Transform>> = transforms.map(Some).chain([None]).collect();
    for kind in kinds {
        for whole in &wholes {
            let mut out = b"before".to_vec();
            let outcome = mask_value(kind, whole.as_ref(), Some(scanner), &key, data, &mut out);
            if !out.starts_with(b"before") || (outcome != Outcome::Written && out.len() != 6) {
                panic!("{kind:?} with {whole:?}: {outcome:?}, and {} bytes", out.len());
            }
            if whole.is_none()
                && kind == ValueKind::Text
                && hits.is_empty() != (outcome == Outcome::Unchanged)
            {
                panic!("{outcome:?} with {} hits", hits.len());
            }
        }
    }
}
