use portcullis_mask::{Detector, HashKey, Scanner, Transform};

use super::*;
use crate::{
    codec::{Header, bind::Format},
    masking::{layout::ColumnPlan, values::Shape},
};

fn options(format: CopyFormat) -> CopyOut {
    let csv = format == CopyFormat::Csv;
    CopyOut {
        format,
        delimiter: if csv { b',' } else { b'\t' },
        null: if csv { b"".as_slice().into() } else { b"\\N".as_slice().into() },
        quote: b'"',
        escape: b'"',
        header: false,
        force_quote: Vec::new(),
        encoding: None,
        odd: None,
    }
}

fn layout(whole: &[Option<Transform>], format: Format) -> Layout {
    Layout {
        columns: whole
            .iter()
            .map(|whole| ColumnPlan { shape: Shape::Text, format, whole: whole.clone() })
            .collect(),
        rewrites: true,
        scans: true,
        scans_all: false,
    }
}

fn scanner() -> Scanner {
    Scanner::new(&[(vec![Detector::Email], Transform::Redact)])
}

fn shown(options: CopyOut, whole: &[Option<Transform>], data: &[u8]) -> Result<Vec<u8>, NotMasked> {
    let (scanner, key) = (scanner(), HashKey::new([7; 32].into()));
    let tools = Tools { scanner: Some(&scanner), key: &key, found: &key };
    let format = if options.format == CopyFormat::Binary { Format::Binary } else { Format::Text };
    let mut out = BytesMut::new();
    CopyRows::new(options).rewrite(&tools, &layout(whole, format), data, &mut Vec::new(), &mut out)?;
    Ok(out.get(Header::LEN..).unwrap().to_vec())
}

#[test]
fn the_columns_of_text_are_masked_and_the_others_are_as_they_were() {
    let row = b"1\t4111 1111 1111 1111\tback\\\\slash\\tand tab\t\\N\n";
    let whole = [None, Some(Transform::Last4), None, Some(Transform::Redact)];
    let seen = shown(options(CopyFormat::Text), &whole, row).unwrap();
    assert_eq!(seen, b"1\t**** **** **** 1111\tback\\\\slash\\tand tab\t\\N\n");
}

#[test]
fn what_is_found_in_text_is_hidden_whatever_the_delimiter_escapes() {
    let odd = CopyOut { delimiter: b'@', ..options(CopyFormat::Text) };
    let seen = shown(odd, &[None, None], b"x\\@y\\.example and ann\\@example.com@2\n").unwrap();
    assert!(!String::from_utf8(seen.clone()).unwrap().contains("example.com"), "{seen:?}");
    assert!(seen.ends_with(b"@2\n"));
}

#[test]
fn csv_fields_are_masked_quoted_or_not_and_null_stays_null() {
    let row = b"a,\"4111,\"\"x\"\"\",,\"\"\n";
    let whole = [Some(Transform::Redact), Some(Transform::Redact), Some(Transform::Redact), None];
    let seen = shown(options(CopyFormat::Csv), &whole, row).unwrap();
    assert_eq!(seen, b"\"****\",\"****\",,\"\"\n");
}

#[test]
fn a_quote_that_is_also_the_delimiter_s_neighbour_does_not_shift_columns() {
    let odd = CopyOut { quote: b'\'', escape: b'\\', delimiter: b';', ..options(CopyFormat::Csv) };
    let seen = shown(odd, &[None, Some(Transform::Null)], b"'a\\';b';'secret'\n").unwrap();
    assert_eq!(seen, b"'a\\';b';\n");
}

#[test]
fn rows_of_another_shape_are_refused() {
    for row in [b"1\n".as_slice(), b"1\t2\t3\n"] {
        assert!(shown(options(CopyFormat::Text), &[None, Some(Transform::Redact)], row).is_err());
    }
    for row in [b"1\n".as_slice(), b"1,2,3\n", b"\"1\"x,2\n"] {
        assert!(shown(options(CopyFormat::Csv), &[None, Some(Transform::Redact)], row).is_err());
    }
}

#[test]
fn the_header_line_is_passed_as_it_is() {
    let (scanner, key) = (scanner(), HashKey::new([7; 32].into()));
    let tools = Tools { scanner: Some(&scanner), key: &key, found: &key };
    let layout = layout(&[Some(Transform::Redact)], Format::Text);
    let mut rows = CopyRows::new(CopyOut { header: true, ..options(CopyFormat::Csv) });
    let mut out = BytesMut::new();
    rows.rewrite(&tools, &layout, b"card_number\n", &mut Vec::new(), &mut out).unwrap();
    rows.rewrite(&tools, &layout, b"4111\n", &mut Vec::new(), &mut out).unwrap();
    let mut expected = BytesMut::new();
    crate::codec::frontend::copy_data(&mut expected, b"card_number\n");
    crate::codec::frontend::copy_data(&mut expected, b"\"****\"\n");
    assert_eq!(out, expected);
}

#[test]
fn binary_copies_are_masked_with_header_and_trailer() {
    let mut data = SIGNATURE.to_vec();
    data.extend_from_slice(&[0; 8]);
    let mut row = |values: &[Option<&[u8]>]| {
        data.extend_from_slice(&i16::try_from(values.len()).unwrap().to_be_bytes());
        for value in values {
            let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
            data.extend_from_slice(&length.to_be_bytes());
            data.extend_from_slice(value.unwrap_or_default());
        }
    };
    row(&[Some(b"4111111111111111"), None, Some(b"mail ann@example.com now")]);
    data.extend_from_slice(&(-1_i16).to_be_bytes());
    let whole = [Some(Transform::Last4), Some(Transform::Redact), None];
    let seen = shown(options(CopyFormat::Binary), &whole, &data).unwrap();
    let text = String::from_utf8_lossy(&seen);
    assert!(text.contains("************1111") && text.contains("mail **** now"), "{text}");
    assert!(seen.starts_with(SIGNATURE) && seen.ends_with(&[0xff, 0xff]));
    data.push(0);
    assert!(shown(options(CopyFormat::Binary), &whole, &data).is_err());
    assert!(shown(options(CopyFormat::Binary), &whole, b"not a header").is_err());
}
