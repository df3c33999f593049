//! `notifications:` -> drafts of notifiers; names are resolved in `references`.

mod mail;

use crate::{
    NoticeKind,
    documents::{
        draft::{ChannelDraft, Draft, NotificationDraft, SubjectDraft},
        grants, guardrails, identity,
        keys::{self, Keys},
        reader::{Fields, Placed, Reader, shown},
        suggest,
        tree::{Node, Value},
    },
};

#[derive(Clone, Copy)]
enum Kind {
    Slack,
    Teams,
    Webhook,
    Email,
}

impl Kind {
    const WORDS: [(&'static str, Self); 4] =
        [("slack", Self::Slack), ("teams", Self::Teams), ("webhook", Self::Webhook), ("email", Self::Email)];

    const fn keys(self) -> &'static Keys {
        match self {
            Self::Slack => &keys::NOTIFY_SLACK,
            Self::Teams => &keys::NOTIFY_TEAMS,
            Self::Webhook => &keys::NOTIFY_WEBHOOK,
            Self::Email => &keys::NOTIFY_EMAIL,
        }
    }
}

/// Reads the list of notifiers into the draft.
pub(crate) fn read(reader: &mut Reader<'_>, node: &Node, draft: &mut Draft) {
    for item in reader.list(node, "`notifications`") {
        if let Some(notification) = notification(reader, item) {
            draft.notifications.push(notification);
        }
    }
}

fn notification(reader: &mut Reader<'_>, node: &Node) -> Option<NotificationDraft> {
    let kind = kind(reader, node)?;
    let fields = reader.fields(node, kind.keys())?;
    let name = reader.required(&fields, "name").and_then(|node| {
        let name = identity::name(reader, node, "a notifier's name")?;
        Some(reader.placed(node, name))
    });
    let events = fields.get("events").map(|node| {
        let words = NoticeKind::ALL.map(|kind| (kind.as_str(), kind));
        let mut events = reader.many(node, "`events`", |reader, item| reader.word(item, "`events`", &words));
        events.sort_unstable();
        events.dedup();
        events
    });
    let connections = fields
        .get("connections")
        .map(|node| reader.many(node, "`connections`", guardrails::placed_pattern))
        .unwrap_or_default();
    let channel = match kind {
        Kind::Slack => slack(reader, &fields),
        Kind::Teams => secret(reader, &fields, "url").map(|url| ChannelDraft::Teams { url }),
        Kind::Webhook => {
            let (url, secret) = (secret(reader, &fields, "url"), secret(reader, &fields, "secret"));
            url.zip(secret).map(|(url, secret)| ChannelDraft::Webhook { url, secret })
        }
        Kind::Email => mail::read(reader, &fields),
    };
    Some(NotificationDraft {
        name: name?,
        channel: channel?,
        events: events.unwrap_or_else(|| NoticeKind::DEFAULT.to_vec()),
        connections,
    })
}

/// `kind` is read before the other keys, because it says which keys there are.
fn kind(reader: &mut Reader<'_>, node: &Node) -> Option<Kind> {
    let Value::Map(entries) = &node.value else {
        reader.error(&node.span, format!("a notifier is a map of keys, this is {}", node.what()));
        return None;
    };
    let Some(entry) = entries.iter().find(|entry| entry.key == "kind") else {
        let misspelt =
            entries.iter().find(|entry| suggest::nearest(&entry.key, ["kind"].into_iter()).is_some());
        let span = misspelt.or(entries.first()).map_or(node.span.clone(), |entry| entry.key_span.clone());
        reader.error_help(
            &span,
            "`kind` is missing in a notifier",
            "write `kind: slack`, `kind: teams`, `kind: webhook` or `kind: email`",
        );
        return None;
    };
    reader.word(&entry.value, "`kind`", &Kind::WORDS)
}

fn secret(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str) -> Option<crate::SecretRef> {
    let node = reader.required(fields, key)?;
    reader.secret(node, &format!("`{key}`"))
}

fn slack(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<ChannelDraft> {
    let url = secret(reader, fields, "url");
    let signing_secret = fields.get("signing_secret").map(|node| reader.secret(node, "`signing_secret`"));
    let users = fields.get("users").map(|node| users(reader, node)).unwrap_or_default();
    let team = fields.get("team").map(|node| team(reader, node));
    if let (Some(_), Some(users), None) =
        (fields.entry("signing_secret"), fields.entry("users"), fields.entry("team"))
        && !fields.is_misspelt("team")
    {
        reader.warn(
            &users.key_span,
            "a member id is somebody in any workspace that the app is in: it names a person only within one",
            "add `team: T0123ABC`, the id of the workspace",
        );
    }
    if let (None, Some(team)) = (fields.entry("signing_secret"), fields.entry("team"))
        && !fields.is_misspelt("signing_secret")
    {
        reader.error_help(
            &team.key_span,
            "`team` means nothing without `signing_secret`: it is compared with what Slack's calls say",
            "add `signing_secret: env:NAME` and `users`, or remove it",
        );
    }
    match (fields.entry("signing_secret"), fields.entry("users")) {
        (None, Some(users)) if !fields.is_misspelt("signing_secret") => reader.error_help(
            &users.key_span,
            "`users` means nothing without `signing_secret`: messages have buttons only where Slack's calls can be verified",
            "add `signing_secret: env:NAME`, or remove it",
        ),
        (Some(signing), None) if !fields.is_misspelt("users") => reader.warn(
            &signing.key_span,
            "nobody may answer from Slack: no user is mapped to an identity",
            "add `users: { U0123ABC: id:OBJECT-ID }`, verified by hand, or remove `signing_secret`: the link leads to the console",
        ),
        _ => {}
    }
    let signing_secret = match signing_secret {
        Some(None) => return None,
        Some(Some(secret)) => Some(secret),
        None => None,
    };
    let team = match team {
        // What cannot be read is told, and is not "any".
        Some(None) => return None,
        Some(team) => team,
        None => None,
    };
    Some(ChannelDraft::Slack { url: url?, signing_secret, users, team })
}

/// Slack's id of a workspace.
fn team(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let id = reader.text(node, "`team`")?;
    let good = id.starts_with('T')
        && (3..=32).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if good {
        return Some(id.to_owned());
    }
    let message = format!("`{}` is no Slack workspace id", shown(id));
    reader.error_help(
        &node.span,
        message,
        "write the id, such as `T0123ABC`: it stands in the address of Slack in a browser, `app.slack.com/client/T0123ABC/…`",
    );
    None
}

/// Slack's ids of users to identities: one identity each, because an answer is one person's.
fn users(reader: &mut Reader<'_>, node: &Node) -> Vec<(String, Placed<SubjectDraft>)> {
    let mut users = Vec::new();
    for entry in reader.named(node, "`users`") {
        let id = entry.key.as_str();
        let good = id.starts_with(['U', 'W'])
            && (3..=32).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        if !good {
            reader.error_help(
                &entry.key_span,
                format!("`{}` is no Slack user id", shown(id)),
                "write the member id, such as `U0123ABC`, from the user's profile: names can be changed by their owners",
            );
        }
        if matches!(entry.value.value, Value::List(_)) {
            reader.error(&entry.value.span, "a Slack user is one identity");
            continue;
        }
        users.extend(
            grants::subjects(reader, &entry.value, "`users`")
                .into_iter()
                .filter(|_| good)
                .map(|subject| (entry.key.clone(), subject)),
        );
    }
    users
}
