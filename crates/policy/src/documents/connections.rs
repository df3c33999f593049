//! `connections:` -> [`Connection`]s.

use portcullis_core::ConnectionName;

use crate::{
    Connection, Credential, Protocol, TlsMode, UpstreamTls,
    capability::{self, Control, ProtocolWord, Support},
    connection::Address,
    documents::{
        draft::Draft,
        keys, process,
        reader::{Fields, Reader, shown},
        tree::{Entry, Node, Value},
    },
};

/// Reads the map of connections into the draft.
pub(crate) fn read(reader: &mut Reader<'_>, node: &Node, draft: &mut Draft) {
    for entry in reader.named(node, "`connections`") {
        match connection(reader, entry) {
            Some(connection) => {
                let place = reader.place(&entry.key_span);
                draft.connections.push(crate::documents::reader::Placed { value: connection, place });
            }
            None => draft.refused_connections.push(entry.key.clone()),
        }
    }
}

fn connection(reader: &mut Reader<'_>, entry: &Entry) -> Option<Connection> {
    let name: Option<ConnectionName> = entry.key.parse().ok();
    if name.is_none() {
        let message = format!(
            "`{}` cannot be a connection's name: clients give it as their user name",
            shown(&entry.key)
        );
        reader.error_help(
            &entry.key_span,
            message,
            "use 1 to 63 of a-z, 0-9, `-`, `_`, `.`, starting with a letter or a digit",
        );
    }
    let Value::Map(_) = &entry.value.value else {
        reader.error(
            &entry.value.span,
            format!("a connection is a map of keys, this is {}", entry.value.what()),
        );
        return None;
    };
    let fields = reader.fields(&entry.value, &keys::CONNECTION)?;
    let protocol = protocol(reader, &fields)?;
    refuse(reader, &fields, "via", protocol, Control::Via);
    refuse(reader, &fields, "resources", protocol, Control::NamedResources);
    let address = reader.required(&fields, "address").and_then(|node| address(reader, node, protocol));
    let tls = match fields.get("tls") {
        Some(node) => tls(reader, node),
        None => Some(UpstreamTls::default()),
    };
    let database = fields.get("database").and_then(|node| database(reader, node));
    let databases = fields
        .get("databases")
        .map(|node| reader.many(node, "`databases`", database_name))
        .unwrap_or_default();
    if database.is_none()
        && databases.is_empty()
        && fields.get("database").is_none()
        && fields.get("databases").is_none()
    {
        reader.error_help(
            &entry.key_span,
            format!("`{}` allows no database", entry.key),
            "add `database: NAME`, or `databases: [NAME, …]`",
        );
    }
    let credential = fields.get("credential").and_then(|node| credential(reader, node, protocol));
    let authentication = fields.get("authentication").and_then(|node| process::authentication(reader, node));
    let description =
        fields.get("description").and_then(|node| reader.text(node, "`description`").map(str::to_owned));
    if let Some(labels) = fields.get("labels") {
        for label in reader.named(labels, "`labels`") {
            let _ = reader.text(&label.value, "a label");
        }
    }
    let tls = tls?;
    if tls.mode < TlsMode::VerifyCa && address.as_ref().is_some_and(|address| !is_local(&address.host)) {
        let span = fields.get("tls").map_or(entry.key_span.clone(), |node| node.span.clone());
        let message = format!(
            "`tls: {{ mode: {} }}` sends the credential to whoever answers at this address",
            tls.mode.as_str()
        );
        reader.warn(&span, message, "use `verify-full`, with `ca:` where the server's authority is your own");
    }
    Some(Connection {
        name: name?,
        description,
        protocol,
        address: address?,
        tls,
        database,
        databases,
        credential,
        authentication,
        location: reader.place(&entry.key_span).location(),
    })
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The protocol, where the gateway speaks it.
fn protocol(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Protocol> {
    let node = reader.required(fields, "protocol")?;
    let word = protocol_word(reader, node)?;
    if word.spoken().is_none() {
        let what = format!("the {} protocol is not spoken yet, so connections of it are", word.as_str());
        reader.not_yet(&node.span, what, "remove the connection; `postgres` is what there is");
    }
    word.spoken()
}

pub(crate) fn protocol_word(reader: &mut Reader<'_>, node: &Node) -> Option<ProtocolWord> {
    reader.word(node, "`protocol`", &ProtocolWord::ALL.map(|word| (word.as_str(), word)))
}

/// Refuses a key whose control the protocol does not enforce.
fn refuse(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str, protocol: Protocol, control: Control) {
    let Some(entry) = fields.entry(key) else { return };
    match capability::support(protocol, control) {
        Support::Enforced => {}
        Support::NotYet => {
            reader.not_yet(&entry.key_span, format!("`{key}` on a {protocol} connection is"), "remove it")
        }
        Support::None => {
            reader.error_help(&entry.key_span, format!("a {protocol} connection has no `{key}`"), "remove it")
        }
    }
}

fn address(reader: &mut Reader<'_>, node: &Node, protocol: Protocol) -> Option<Address> {
    let text = reader.text(node, "`address`")?;
    match Address::parse(text, Some(protocol.default_port())) {
        Ok(address) => Some(address),
        Err(error) => {
            let message = format!("`{}` is no address: {error}", shown(text));
            reader.error_help(
                &node.span,
                message,
                "write `host:port`; IPv6 addresses in brackets: `[2001:db8::1]:5432`",
            );
            None
        }
    }
}

fn tls(reader: &mut Reader<'_>, node: &Node) -> Option<UpstreamTls> {
    let fields = reader.fields(node, &keys::UPSTREAM_TLS)?;
    let mode = fields.get("mode").map(|node| {
        if let Some("allow") = reader.text(node, "`mode`") {
            reader.error_help(
                &node.span,
                "`allow` begins in plaintext and is not offered",
                "use `prefer`, or better `verify-full`",
            );
            return None;
        }
        reader.word(node, "`mode`", &TlsMode::ALL.map(|mode| (mode.as_str(), mode)))
    });
    let ca = fields.get("ca").map(|node| reader.path(node, "`ca`"));
    let mode = match mode {
        Some(mode) => mode?,
        None => TlsMode::default(),
    };
    if let (Some(entry), TlsMode::Disable | TlsMode::Prefer) = (fields.entry("ca"), mode) {
        reader.error_help(
            &entry.key_span,
            format!("`ca` is not looked at with `mode: {}`", mode.as_str()),
            "use `verify-full`, or remove `ca`",
        );
    }
    Some(UpstreamTls { mode, ca: ca.flatten() })
}

fn database(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    database_name(reader, node)
}

/// PostgreSQL's names end at 63 bytes; a longer one would be cut by the server and name another database.
fn database_name(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "a database")?;
    if text.len() > 63 {
        reader.error(&node.span, "a database's name is at most 63 bytes");
        return None;
    }
    Some(text.to_owned())
}

fn credential(reader: &mut Reader<'_>, node: &Node, protocol: Protocol) -> Option<Credential> {
    let fields = reader.fields(node, &keys::CREDENTIAL)?;
    refuse(reader, &fields, "bearer", protocol, Control::BearerCredential);
    if fields.get("bearer").is_some() {
        return None;
    }
    let username = reader
        .required(&fields, "username")
        .and_then(|node| reader.text(node, "`username`").map(str::to_owned));
    let password = reader.required(&fields, "password").and_then(|node| reader.secret(node, "`password`"));
    Some(Credential { username: username?, password: password? })
}
