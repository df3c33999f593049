//! Composing a mail: RFC 5322 header, plain text and HTML of the same, all of it ASCII on the wire.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use portcullis_core::Timestamp;

use crate::{
    Notice,
    failed::Failed,
    message::{Message, headline},
};

#[cfg(test)]
mod tests;

/// Longest address (RFC 5321 section 4.5.3.1.3, less the brackets).
const MAX_ADDRESS: usize = 254;
/// Longest line of base64 (RFC 2045 section 6.8).
const MAX_LINE: usize = 76;
/// Bytes in one encoded word: 52 characters of base64, 12 around them and `Subject: ` are under the 76 that RFC 2047
/// section 2 allows a line.
const WORD: usize = 39;

/// The mail, lines ending in CR LF. Sent twice it is the same mail with the same `Message-ID`.
pub(crate) fn compose(notice: &Notice, from: &str, to: &[String]) -> Result<String, Failed> {
    let domain = domain(from)?;
    for recipient in to {
        self::domain(recipient)?;
    }
    let message = Message::of(notice);
    let boundary = format!("=_{}", notice.id);
    Ok([
        format!("Date: {}", date(notice.at)),
        format!("From: Portcullis <{from}>"),
        format!("To: {}", to.join(",\r\n ")),
        format!("Subject: {}", header_text(&headline(notice))),
        format!("Message-ID: <{}@{domain}>", notice.id),
        // Nobody's mail, but what is about one request is one thread.
        format!("References: <{}@{domain}>", notice.request),
        // RFC 3834: no vacation notes, please.
        "Auto-Submitted: auto-generated".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        format!("Content-Type: multipart/alternative;\r\n boundary=\"{boundary}\""),
        String::new(),
        part(&boundary, "text/plain", &text(notice, &message)),
        part(&boundary, "text/html", &html(notice, &message)),
        format!("--{boundary}--"),
        String::new(),
    ]
    .join("\r\n"))
}

/// The part of an address behind its `@`; an error where the address is not plain: `name@host` in ASCII, without quotes,
/// comments or anything that could end a header or a command.
fn domain(address: &str) -> Result<&str, Failed> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"<>()[]\\,;:\"@".contains(&byte);
    match address.split_once('@') {
        Some((name, host))
            if address.len() <= MAX_ADDRESS
                && !name.is_empty()
                && !host.is_empty()
                && name.bytes().chain(host.bytes()).all(is_plain) =>
        {
            Ok(host)
        }
        _ => Err(Failed::never("a mail address is not of the form `name@host`")),
    }
}

/// RFC 5322 section 3.3.
fn date(at: Timestamp) -> String {
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    let at = jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or_default();
    printer.timestamp_to_string(&at).unwrap_or_else(|_| "Thu, 1 Jan 1970 00:00:00 -0000".to_owned())
}

/// A header's text: itself where it is plain ASCII and fits its line, else encoded words (RFC 2047), folded. No line end can
/// be in it, because everything else than printable ASCII is encoded.
fn header_text(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if is_plain && text.len() <= 66 && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for character in text.chars() {
        if word.len().saturating_add(character.len_utf8()) > WORD {
            words.push(std::mem::take(&mut word));
        }
        word.push(character);
    }
    words.push(word);
    let encoded = words.iter().map(|word| format!("=?utf-8?B?{}?=", BASE64_STANDARD.encode(word)));
    encoded.collect::<Vec<_>>().join("\r\n ")
}

fn part(boundary: &str, kind: &str, content: &str) -> String {
    let encoded = BASE64_STANDARD.encode(content);
    let mut lines = String::with_capacity(encoded.len().saturating_add(encoded.len() / 32));
    for (at, character) in encoded.chars().enumerate() {
        if at > 0 && at % MAX_LINE == 0 {
            lines.push_str("\r\n");
        }
        lines.push(character);
    }
    format!(
        "--{boundary}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{lines}\r\n"
    )
}

/// One line a value, so that no value can pass for another line.
fn text(notice: &Notice, message: &Message<'_>) -> String {
    let mut text = format!("{}\r\n\r\n", message.title);
    for line in &message.lines {
        text.push_str(&format!("{}: {}\r\n", line.label, line.value.text()));
    }
    text.push_str(&format!("\r\n{}\r\n", notice.link));
    text
}

fn html(notice: &Notice, message: &Message<'_>) -> String {
    let mut rows = String::new();
    for line in &message.lines {
        rows.push_str(&format!(
            "<tr><th align=\"left\" valign=\"top\" style=\"padding:2px 12px 2px 0;font-weight:600\">{}</th>\
             <td style=\"padding:2px 0;overflow-wrap:anywhere\">{}</td></tr>\r\n",
            escape(line.label),
            escape(&line.value.text()),
        ));
    }
    format!(
        "<!doctype html>\r\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\r\n\
         <body style=\"font-family:system-ui,sans-serif;font-size:15px;line-height:1.4\">\r\n\
         <h1 style=\"font-size:18px\">{title}</h1>\r\n<table style=\"border-collapse:collapse\">\r\n{rows}</table>\r\n\
         <p><a href=\"{link}\">Open in Portcullis</a></p>\r\n</body></html>\r\n",
        title = escape(message.title),
        link = escape(notice.link.as_str()),
    )
}

/// For text and for attributes in double quotes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}
