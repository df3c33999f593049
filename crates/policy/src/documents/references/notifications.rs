//! Notifiers: the names they use.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::Resolver;
use crate::{
    Channel, Notification, Subject,
    documents::{
        draft::{ChannelDraft, NotificationDraft, SubjectDraft, SubjectKind},
        reader::Placed,
    },
    glob,
};

impl Resolver<'_> {
    pub(super) fn notifications(&mut self, drafts: Vec<NotificationDraft>) -> Vec<Arc<Notification>> {
        let mut seen: HashMap<String, String> = HashMap::new();
        let mut notifications = Vec::new();
        for draft in drafts {
            let location = draft.name.place.location();
            if let Some(earlier) = seen.insert(draft.name.value.clone(), location.clone()) {
                let message = format!("two notifiers are named `{}`", draft.name.value);
                self.error(&draft.name.place, message, format!("the other stands at {earlier}"));
            }
            self.check_patterns(&draft);
            notifications.push(Arc::new(Notification {
                name: draft.name.value,
                channel: self.channel(draft.channel),
                events: draft.events,
                connections: draft.connections.into_iter().map(|pattern| pattern.value).collect(),
                location,
            }));
        }
        notifications
    }

    /// A pattern that matches no connection tells nobody anything.
    fn check_patterns(&mut self, draft: &NotificationDraft) {
        for pattern in &draft.connections {
            let matches = |name: &str| glob::matches(&pattern.value, name);
            let found = self.connections.keys().any(|name| matches(name.as_str()))
                || self.refused_connections.iter().any(|name| matches(name));
            if !found {
                self.error(
                    &pattern.place,
                    format!("no connection is named `{}`", pattern.value.as_str()),
                    "remove it, or correct the name: this part of the notifier tells of nothing",
                );
            }
        }
    }

    fn channel(&mut self, draft: ChannelDraft) -> Channel {
        match draft {
            ChannelDraft::Slack { url, signing_secret, users, team } => {
                Channel::Slack { url, signing_secret, users: self.chat_users(users), team }
            }
            ChannelDraft::Teams { url } => Channel::Teams { url },
            ChannelDraft::Webhook { url, secret } => Channel::Webhook { url, secret },
            ChannelDraft::Email { smtp, from, to } => Channel::Email { smtp, from, to },
        }
    }

    /// A user of a chat is one identity: whoever answers there answers as that one.
    fn chat_users(&mut self, users: Vec<(String, Placed<SubjectDraft>)>) -> BTreeMap<String, Subject> {
        let mut resolved: BTreeMap<String, Subject> = BTreeMap::new();
        for (user, subject) in users {
            if subject.value.kind != SubjectKind::Id {
                let message =
                    format!("`{user}` is one person, and `{}:` may be many", subject.value.kind.as_str());
                self.error(&subject.place, message, "write `id:OBJECT-ID`");
                continue;
            }
            let Some(identity) = self.subject(&subject) else { continue };
            if let Some((other, _)) = resolved.iter().find(|(_, known)| **known == identity) {
                let message = format!("`{user}` and `{other}` are the same identity");
                self.error(
                    &subject.place,
                    message,
                    "keep one: whoever answers as somebody must be that person",
                );
                continue;
            }
            resolved.insert(user, identity);
        }
        resolved
    }
}
