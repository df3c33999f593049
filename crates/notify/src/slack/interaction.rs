//! What a verified call of Slack says: who pressed which button of which request.
//!
//! <https://docs.slack.dev/reference/interaction-payloads/block_actions-payload>: a form whose field `payload` is JSON.

use std::{fmt, net::IpAddr};

use portcullis_core::{ErrorKind, RequestId};
use portcullis_policy::Url;
use serde::Deserialize;
use url::form_urlencoded;

use super::{APPROVE, DENY, OPEN};

/// Longest body read. A payload repeats the message, ours has 10 KB at most, and a form makes three bytes of many.
const MAX_BODY: usize = 256 * 1024;
/// Longest id of Slack's; those known have 9 to 11 characters.
const MAX_ID: usize = 64;

/// Somebody pressed a button. Read from a body that [`super::Verifier`] let through, it says what Slack says; who that is
/// here, the documents say (`users:` of the channel).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interaction {
    /// Slack's id of the user.
    pub user: String,
    /// Slack's id of the workspace, or of the organisation where it says no workspace.
    pub team: String,
    /// Slack's id of the workspace the user is of, where it says so: with Slack Connect people of others are in a channel.
    pub user_team: Option<String>,
    /// Which button.
    pub action: Action,
    /// The request the button is for.
    pub request: RequestId,
    /// Where to answer; good for 30 minutes and five answers.
    pub response_url: ResponseUrl,
}

/// The buttons of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A yes.
    Approve,
    /// A no.
    Deny,
    /// The link was followed: nothing to do but to acknowledge.
    Open,
}

/// Where Slack takes what is said to who pressed a button. Made by [`Interaction::parse`] alone, which has looked at the host.
/// It is a secret: who has it may write into the channel.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseUrl(Url);

/// Which hosts a [`ResponseUrl`] may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseHosts {
    /// `https://hooks.slack.com` alone.
    Slack,
    /// Loopback as well, for tests.
    SlackOrLoopback,
}

/// The body is no press of one of our buttons. Its text is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInteraction {
    /// Longer than 256 KiB.
    #[error("the call is too long")]
    TooLong,
    /// Not a form with one `payload` of JSON that has the fields.
    #[error("the call has no payload of the form Slack documents")]
    Form,
    /// Not `block_actions`, or not one of our actions.
    #[error("the call is about no button of ours")]
    Action,
    /// The button's value is no request.
    #[error("the button names no request")]
    Request,
    /// Not at Slack.
    #[error("the call asks for its answer elsewhere than at Slack")]
    ResponseUrl,
}

impl InvalidInteraction {
    /// Always the caller's.
    pub const fn kind(self) -> ErrorKind {
        ErrorKind::Client
    }
}

#[derive(Deserialize)]
struct Payload {
    r#type: String,
    user: User,
    team: Option<Id>,
    enterprise: Option<Id>,
    actions: Vec<Pressed>,
    response_url: String,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct User {
    id: String,
    team_id: Option<String>,
}

#[derive(Deserialize)]
struct Pressed {
    action_id: String,
    value: Option<String>,
}

impl Interaction {
    /// Whether it was pressed in this workspace by somebody of it.
    pub fn is_of(&self, team: &str) -> bool {
        self.team == team && self.user_team.as_deref().is_none_or(|own| own == team)
    }

    /// Reads the body of a call, which must have been verified before.
    pub fn parse(body: &[u8], hosts: ResponseHosts) -> Result<Self, InvalidInteraction> {
        if body.len() > MAX_BODY {
            return Err(InvalidInteraction::TooLong);
        }
        let mut fields = form_urlencoded::parse(body).filter(|(name, _)| name == "payload");
        let (Some((_, json)), None) = (fields.next(), fields.next()) else {
            return Err(InvalidInteraction::Form);
        };
        let payload: Payload = serde_json::from_str(&json).map_err(|_| InvalidInteraction::Form)?;
        let [pressed] = payload.actions.as_slice() else { return Err(InvalidInteraction::Action) };
        let action = match (payload.r#type.as_str(), pressed.action_id.as_str()) {
            ("block_actions", APPROVE) => Action::Approve,
            ("block_actions", DENY) => Action::Deny,
            ("block_actions", OPEN) => Action::Open,
            _ => return Err(InvalidInteraction::Action),
        };
        let value = pressed.value.as_deref().ok_or(InvalidInteraction::Request)?;
        Ok(Self {
            user: id(Some(Id { id: payload.user.id }))?,
            user_team: payload.user.team_id.map(|team| id(Some(Id { id: team }))).transpose()?,
            team: id(payload.team.or(payload.enterprise))?,
            action,
            request: value.parse().map_err(|_| InvalidInteraction::Request)?,
            response_url: ResponseUrl::parse(&payload.response_url, hosts)?,
        })
    }
}

fn id(id: Option<Id>) -> Result<String, InvalidInteraction> {
    let id = id.ok_or(InvalidInteraction::Form)?.id;
    let is_good = !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_good { Ok(id) } else { Err(InvalidInteraction::Form) }
}

impl ResponseUrl {
    fn parse(text: &str, hosts: ResponseHosts) -> Result<Self, InvalidInteraction> {
        let url: Url = text.parse().map_err(|_| InvalidInteraction::ResponseUrl)?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        let at_slack =
            url.scheme() == "https" && url.host_str() == Some("hooks.slack.com") && url.port().is_none();
        let at_home = hosts == ResponseHosts::SlackOrLoopback
            && url.host_str().is_some_and(|host| host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()));
        if is_plain && (at_slack || at_home) { Ok(Self(url)) } else { Err(InvalidInteraction::ResponseUrl) }
    }

    pub(crate) const fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for ResponseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseUrl(…)")
    }
}
