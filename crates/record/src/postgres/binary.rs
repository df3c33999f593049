//! Binary forms to text. `None`: the bytes are not what the type's are.

use std::fmt::Write as _;

use super::{hex, is_array};

/// How deep arrays are looked into: elements of an array are no arrays, so one level is all there is.
const DEPTH: u32 = 1;
/// Days from 1970-01-01 to PostgreSQL's 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;
const DAY: i64 = 86_400_000_000;

pub(super) fn text(oid: u32, value: &[u8], depth: u32) -> Option<String> {
    Some(match oid {
        16 => if array::<1>(value)? == [0] { "f" } else { "t" }.to_owned(),
        17 => hex(value),
        20 => i64::from_be_bytes(array(value)?).to_string(),
        21 => i16::from_be_bytes(array(value)?).to_string(),
        23 => i32::from_be_bytes(array(value)?).to_string(),
        26 | 28 => u32::from_be_bytes(array(value)?).to_string(),
        700 => {
            let value = f32::from_be_bytes(array(value)?);
            float(f64::from(value), 1e6, value.to_string(), format!("{value:e}"))
        }
        701 => {
            let value = f64::from_be_bytes(array(value)?);
            float(value, 1e15, value.to_string(), format!("{value:e}"))
        }
        18 | 19 | 25 | 114 | 142 | 705 | 1042 | 1043 => std::str::from_utf8(value).ok()?.to_owned(),
        1082 => date(i64::from(i32::from_be_bytes(array(value)?))),
        1083 => time(i64::from_be_bytes(array(value)?))?,
        1114 => timestamp(i64::from_be_bytes(array(value)?), ""),
        1184 => timestamp(i64::from_be_bytes(array(value)?), "+00"),
        1186 => interval(value)?,
        1266 => timetz(value)?,
        1700 => numeric(value)?,
        2278 => String::new(),
        2950 => uuid(value)?,
        650 | 869 => network(value)?,
        3802 => match value.split_first()? {
            (1, json) => std::str::from_utf8(json).ok()?.to_owned(),
            _ => return None,
        },
        oid if is_array(oid) && depth < DEPTH => elements(value)?,
        _ => return None,
    })
}

fn array<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    value.try_into().ok()
}

/// As the server writes it: plain between a ten-thousandth and `most`, with an exponent of two digits outside.
fn float(value: f64, most: f64, plain: String, scientific: String) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else if value == 0.0 || (1e-4..most).contains(&value.abs()) {
        plain
    } else {
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        format!("{digits}e{sign}{exponent:0>2}")
    }
}

/// Days since 2000-01-01.
fn date(days: i64) -> String {
    match days {
        2_147_483_647 => "infinity".to_owned(),
        -2_147_483_648 => "-infinity".to_owned(),
        days => {
            let (date, suffix) = civil(days + EPOCH_DAYS);
            format!("{date}{suffix}")
        }
    }
}

/// Days since 1970-01-01 as a date, and ` BC` where it is one. The proleptic Gregorian calendar, by eras of 400 years.
fn civil(days: i64) -> (String, &'static str) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if year > 0 {
        (format!("{year:04}-{month:02}-{day:02}"), "")
    } else {
        (format!("{:04}-{month:02}-{day:02}", 1 - year), " BC")
    }
}

/// Microseconds of a day.
fn time(micros: i64) -> Option<String> {
    if !(0..=DAY).contains(&micros) {
        return None;
    }
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    push_fraction(&mut text, fraction);
    Some(text)
}

fn push_fraction(text: &mut String, micros: i64) {
    if micros != 0 {
        let _ = write!(text, ".{micros:06}");
        text.truncate(text.trim_end_matches('0').len());
    }
}

fn timestamp(micros: i64, zone: &str) -> String {
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        micros => {
            let (date, suffix) = civil(micros.div_euclid(DAY) + EPOCH_DAYS);
            let time = time(micros.rem_euclid(DAY)).unwrap_or_default();
            format!("{date} {time}{zone}{suffix}")
        }
    }
}

fn timetz(value: &[u8]) -> Option<String> {
    let (micros, zone) = value.split_first_chunk::<8>()?;
    // Seconds west of Greenwich.
    let west = i32::from_be_bytes(array(zone)?);
    let sign = if west > 0 { '-' } else { '+' };
    let west = west.unsigned_abs();
    let mut text = time(i64::from_be_bytes(*micros))?;
    let _ = write!(text, "{sign}{:02}", west / 3_600);
    if west % 3_600 != 0 {
        let _ = write!(text, ":{:02}", west / 60 % 60);
    }
    Some(text)
}

fn interval(value: &[u8]) -> Option<String> {
    let (micros, rest) = value.split_first_chunk::<8>()?;
    let (days, months) = rest.split_first_chunk::<4>()?;
    let micros = i64::from_be_bytes(*micros);
    let days = i32::from_be_bytes(*days);
    let months = i32::from_be_bytes(array(months)?);
    let mut parts = Vec::new();
    let mut part = |number: i32, one: &str, many: &str| {
        if number != 0 {
            parts.push(format!("{number} {}", if number == 1 { one } else { many }));
        }
    };
    part(months / 12, "year", "years");
    part(months % 12, "mon", "mons");
    part(days, "day", "days");
    if micros != 0 || parts.is_empty() {
        let all = micros.unsigned_abs();
        let seconds = all / 1_000_000;
        let sign = if micros < 0 { "-" } else { "" };
        let mut text = format!("{sign}{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
        push_fraction(&mut text, i64::try_from(all % 1_000_000).ok()?);
        parts.push(text);
    }
    Some(parts.join(" "))
}

/// Base-10,000 digits.
fn numeric(value: &[u8]) -> Option<String> {
    let mut words = value.chunks_exact(2).map(|word| {
        i16::from_be_bytes([word.first().copied().unwrap_or(0), word.last().copied().unwrap_or(0)])
    });
    if !value.len().is_multiple_of(2) {
        return None;
    }
    let (count, weight, sign, scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let digits: Vec<i16> = words.collect();
    let scale = usize::try_from(scale).ok().filter(|scale| *scale <= 16_383)?;
    if digits.len() != usize::try_from(count).ok()? || digits.iter().any(|digit| !(0..10_000).contains(digit))
    {
        return None;
    }
    let mut text = String::new();
    match u16::from_be_bytes(sign.to_be_bytes()) {
        0 => {}
        0x4000 => text.push('-'),
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => return None,
    }
    let digit =
        |place: i32| usize::try_from(place).ok().and_then(|place| digits.get(place)).copied().unwrap_or(0);
    let weight = i32::from(weight);
    if weight < 0 {
        text.push('0');
    }
    for place in 0..=weight {
        let _ = if place == 0 { write!(text, "{}", digit(0)) } else { write!(text, "{:04}", digit(place)) };
    }
    if scale > 0 {
        text.push('.');
        let point = text.len();
        let mut place = weight + 1;
        while text.len() < point + scale {
            let _ = write!(text, "{:04}", digit(place));
            place += 1;
        }
        text.truncate(point + scale);
    }
    Some(text)
}

fn uuid(value: &[u8]) -> Option<String> {
    let all = u128::from_be_bytes(array(value)?);
    let text = format!("{all:032x}");
    let parts = [text.get(..8)?, text.get(8..12)?, text.get(12..16)?, text.get(16..20)?, text.get(20..)?];
    Some(parts.join("-"))
}

/// Family (2: IPv4, 3: IPv6), bits of the mask, whether it is a `cidr`, length, address.
fn network(value: &[u8]) -> Option<String> {
    let ([family, bits, is_cidr, _], address) = value.split_first_chunk::<4>()?;
    let (address, all) = match family {
        2 => (std::net::IpAddr::from(array::<4>(address)?), 32),
        3 => (std::net::IpAddr::from(array::<16>(address)?), 128),
        _ => return None,
    };
    Some(if *bits == all && *is_cidr == 0 { address.to_string() } else { format!("{address}/{bits}") })
}

/// Dimensions, a flag for NULLs, the element's type; for each dimension its length and lower bound; the elements.
fn elements(value: &[u8]) -> Option<String> {
    let mut rest = value;
    let mut word = || {
        let (word, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        Some(i32::from_be_bytes(*word))
    };
    let (dimensions, _nulls, oid) = (word()?, word()?, word()?);
    let oid = u32::from_be_bytes(oid.to_be_bytes());
    let mut lengths = Vec::new();
    for _ in 0..usize::try_from(dimensions).ok().filter(|dimensions| *dimensions <= 6)? {
        lengths.push(usize::try_from(word()?).ok()?);
        let _lower_bound = word()?;
    }
    if lengths.is_empty() {
        return rest.is_empty().then(|| "{}".to_owned());
    }
    // Each element is four bytes at least: what claims more is no array.
    let all = lengths.iter().try_fold(1_usize, |all, length| all.checked_mul(*length))?;
    if all == 0 || all > rest.len() / 4 {
        return None;
    }
    let mut text = String::new();
    nested(&lengths, oid, &mut rest, &mut text)?;
    rest.is_empty().then_some(text)
}

fn nested(lengths: &[usize], oid: u32, rest: &mut &[u8], text: &mut String) -> Option<()> {
    let (length, inner) = lengths.split_first()?;
    text.push('{');
    for place in 0..*length {
        if place > 0 {
            text.push(',');
        }
        if inner.is_empty() {
            element(oid, rest, text)?;
        } else {
            nested(inner, oid, rest, text)?;
        }
    }
    text.push('}');
    Some(())
}

fn element(oid: u32, rest: &mut &[u8], out: &mut String) -> Option<()> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = i32::from_be_bytes(*length);
    if length == -1 {
        *rest = after;
        out.push_str("NULL");
        return Some(());
    }
    let (value, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    let value = text(oid, value, DEPTH).unwrap_or_else(|| hex(value));
    let plain = !value.is_empty()
        && !value.eq_ignore_ascii_case("null")
        && !value.contains(|c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_whitespace());
    if plain {
        out.push_str(&value);
    } else {
        out.push('"');
        for c in value.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
    }
    Some(())
}
