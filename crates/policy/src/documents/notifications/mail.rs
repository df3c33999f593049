//! A notifier's mail server and addresses.

use std::net::IpAddr;

use crate::{
    Smtp, SmtpTls,
    documents::{
        draft::ChannelDraft,
        keys,
        reader::{Fields, Reader, shown},
        tree::Node,
    },
};

/// Reads `smtp`, `from` and `to`.
pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<ChannelDraft> {
    let smtp = reader.required(fields, "smtp").and_then(|node| smtp(reader, node));
    let from = reader.required(fields, "from").and_then(|node| address(reader, node));
    let to = reader.required(fields, "to").map(|node| reader.many(node, "`to`", address));
    Some(ChannelDraft::Email { smtp: smtp?, from: from?, to: to? })
}

fn smtp(reader: &mut Reader<'_>, node: &Node) -> Option<Smtp> {
    let fields = reader.fields(node, &keys::SMTP)?;
    let host = reader.required(&fields, "host").and_then(|node| host(reader, node));
    let tls = fields.get("tls").and_then(|node| {
        let words = [SmtpTls::Starttls, SmtpTls::Implicit, SmtpTls::None].map(|tls| (tls.as_str(), tls));
        Some((reader.word(node, "`tls`", &words)?, node))
    });
    let (tls, tls_node) = tls.map_or((SmtpTls::default(), None), |(tls, node)| (tls, Some(node)));
    let port = fields.get("port").and_then(|node| reader.integer(node, "`port`", 1, 65_535));
    let username = fields.get("username").and_then(|node| reader.text(node, "`username`").map(str::to_owned));
    let password = fields.get("password").map(|node| reader.secret(node, "`password`"));
    match (fields.entry("username"), fields.entry("password")) {
        (Some(entry), None) if !fields.is_misspelt("password") => {
            reader.error_help(&entry.key_span, "`username` has no `password`", "add `password: env:NAME`");
        }
        (None, Some(entry)) if !fields.is_misspelt("username") => {
            reader.error_help(
                &entry.key_span,
                "`password` has no `username`",
                "add `username`, or remove it",
            );
        }
        _ => {}
    }
    if let (SmtpTls::None, Some(node), Some(host)) = (tls, tls_node, &host)
        && !is_loopback(host)
    {
        reader.error_help(
            &node.span,
            format!("mail to `{}` would go over the network unprotected", shown(host)),
            "use `tls: starttls` or `tls: implicit`; `none` is for loopback only",
        );
    }
    // RFC 6409, RFC 8314
    let default = match tls {
        SmtpTls::Starttls => 587,
        SmtpTls::Implicit => 465,
        SmtpTls::None => 25,
    };
    let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(default);
    if matches!(password, Some(None)) {
        return None;
    }
    Some(Smtp { host: host?, port, tls, username, password: password.flatten() })
}

fn host(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "`host`")?;
    let is_name = text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        });
    if !is_name && text.parse::<IpAddr>().is_err() {
        let message = format!("`{}` is no host", shown(text));
        reader.error_help(
            &node.span,
            message,
            "write a name or an address; the port has a key of its own, `port`",
        );
        return None;
    }
    Some(text.to_owned())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `local@domain`, plain: what could end a header or name a second address is refused.
fn address(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "an address")?;
    let plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b))
    };
    let good = text.len() <= 254
        && text.split_once('@').is_some_and(|(local, domain)| {
            local.len() <= 64
                && plain(local)
                && domain.split('.').all(|label| {
                    !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                })
        });
    if !good {
        let message = format!("`{}` is no mail address", shown(text));
        reader.error_help(&node.span, message, "write it as `oncall@example.com`, without a name");
    }
    good.then(|| text.to_owned())
}
