//! Buttons that people pressed in Slack.
//!
//! A call counts where Slack signed it with the channel's secret, the documents say by hand which identity the Slack user is, and the
//! directory says what that identity is now. Where no directory is asked, an answer from Slack is worth nothing: the link leads on.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use portcullis_access::requests::{Answer, Ballot};
use portcullis_core::{ConnectionName, Principal, PrincipalKind, Secret};
use portcullis_identity::Standing;
use portcullis_notify::slack::{Action, Interaction, NotFromSlack, Reply};
use portcullis_policy::{Channel, Claimed, Notification, ProviderKind, Subject};

use super::{blocking, requests::answered};
use crate::{Api, Problem, notices};

/// The longest call.
const MAX_CALL: usize = 256 * 1024;

/// `POST /api/v1/auth/slack`. Answered at once, as Slack wants; what came of it is said where Slack asks for it.
pub(super) async fn interaction(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let body = axum::body::to_bytes(request.into_body(), MAX_CALL).await;
    let body = body.map_err(|_| Problem::too_large(MAX_CALL))?;
    let channels = channels(&api, &headers, &body)?;
    let interaction = Interaction::parse(&body, api.slack_hosts).map_err(|error| {
        tracing::info!(%error, "a call of Slack cannot be used");
        Problem::malformed("the call is not one of our buttons")
    })?;
    if interaction.action != Action::Open {
        tokio::spawn(async move {
            let reply = reply(&api, &channels, &interaction).await;
            if let Err(error) = api.notifier.respond(&interaction.response_url, &reply).await {
                tracing::warn!(?error, "Slack could not be told what came of a button");
            }
        });
    }
    Ok(StatusCode::OK.into_response())
}

/// The channels whose secret signed the call. One answer for all that is wrong with it.
fn channels(api: &Api, headers: &HeaderMap, body: &Bytes) -> Result<Vec<Arc<Notification>>, Problem> {
    let now = api.clock.now();
    let policy = api.access.policy();
    let (mut why, mut fits) = (NotFromSlack::Signature, None::<Secret<String>>);
    let mut channels = Vec::new();
    for notification in policy.notifications() {
        let Channel::Slack { signing_secret: Some(reference), .. } = &notification.channel else { continue };
        let secret = match api.secrets.resolve(reference) {
            Ok(secret) => secret,
            Err(error) => {
                tracing::error!(channel = %notification.name, %error, "the signing secret cannot be had");
                continue;
            }
        };
        // A call is verified once: it is good once. Several channels may be of one app.
        if let Some(fits) = &fits {
            channels.extend(fits.matches(secret.expose().as_bytes()).then(|| Arc::clone(notification)));
            continue;
        }
        match api.slack.verify(headers, body, &secret, now) {
            Ok(()) => {
                fits = Some(secret);
                channels.push(Arc::clone(notification));
                continue;
            }
            Err(error) => why = error,
        }
        // Another secret may fit where this one does not; whatever else is wrong stays wrong.
        if why != NotFromSlack::Signature {
            break;
        }
    }
    if fits.is_some() {
        return Ok(channels);
    }
    tracing::warn!(error = %why, "a call that says it is from Slack was refused");
    Err(match why {
        NotFromSlack::TooMany => Problem::too_many(60),
        _ => Problem::forbidden("not-from-slack", "the call is not from Slack, or was made before"),
    })
}

async fn reply(api: &Arc<Api>, channels: &[Arc<Notification>], pressed: &Interaction) -> Reply {
    let id = pressed.request;
    let link = api.access.request_link(id).unwrap_or_default();
    let whisper = |why: &str| Reply::Whisper(format!("{why}. Answer in the console: {link}"));
    let by = match pressed_by(api, channels, pressed).await {
        Ok(by) => by,
        Err(why) => {
            tracing::info!(request = %id, why, "an answer from Slack does not count");
            return whisper(why);
        }
    };
    let (answer, note) = match pressed.action {
        Action::Approve => (Answer::Approve, String::new()),
        Action::Deny => (Answer::Deny, "denied from Slack".to_owned()),
        Action::Open => return whisper("there is nothing to answer"),
    };
    let ballot = Ballot { by, answer, note, lifetime_seconds: None, through: "slack" };
    match answered(api, id, ballot).await {
        Ok(request) => match notices::of(api, &request) {
            Some(notice) if request.settled().is_some() => Reply::Instead(Box::new(notice)),
            _ => Reply::Whisper("your answer counts; more people have to answer".to_owned()),
        },
        Err(refused) => whisper(&refused.to_string()),
    }
}

async fn pressed_by(
    api: &Arc<Api>,
    channels: &[Arc<Notification>],
    pressed: &Interaction,
) -> Result<Arc<Principal>, &'static str> {
    let (access, id) = (Arc::clone(&api.access), pressed.request);
    let found = blocking(move || access.find_request(id)).await;
    let Ok(Ok(Some(request))) = found else { return Err("there is no such request") };
    person(api, subject(channels, pressed, &request.asked().connection)?, &pressed.user).await
}

/// Whom the documents name for the Slack user: by the channels that tell of the connection, of the user's workspace. Where two of
/// them name different people, nobody is named.
fn subject<'a>(
    channels: &'a [Arc<Notification>],
    pressed: &Interaction,
    connection: &ConnectionName,
) -> Result<&'a Claimed, &'static str> {
    let telling = channels.iter().filter(|channel| channel.covers(connection));
    let mut named = telling.filter_map(|channel| match &channel.channel {
        Channel::Slack { users, team, .. } if team.as_deref().is_none_or(|team| pressed.is_of(team)) => {
            match users.get(&pressed.user) {
                Some(Subject::Id(id)) => Some(id),
                _ => None,
            }
        }
        _ => None,
    });
    let first = named.next().ok_or("the documents do not say who you are here")?;
    if named.all(|other| other == first) {
        Ok(first)
    } else {
        Err("the documents name several people for you")
    }
}

/// Who pressed it: the identity that the documents name for the Slack user, as its directory has it now.
async fn person(api: &Api, subject: &Claimed, user: &str) -> Result<Arc<Principal>, &'static str> {
    let policy = api.access.policy();
    let provider = policy.providers().iter().find(|provider| provider.name == subject.provider);
    // Without a directory nobody says what the person is now.
    let provider = provider.filter(|provider| provider.liveness.is_some());
    let Some((provider, ProviderKind::Entra(entra))) = provider.map(|provider| (provider, &provider.kind))
    else {
        return Err("no directory says who you are now");
    };
    let now = api.clock.now();
    let claimed = Principal {
        provider: provider.name.clone(),
        tenant: Some(entra.tenant.clone()),
        // As tokens are read: whoever is blocked is so however the documents write them.
        object_id: subject.value.to_ascii_lowercase(),
        // A button is a person's own hand: it is pressed in Slack, and no other application has a token for it.
        application_id: provider
            .sign_in
            .as_ref()
            .map(|sign_in| sign_in.client_id.clone())
            .or_else(|| api.access.own_clients().into_iter().next()),
        parent_application: None,
        kind: PrincipalKind::User,
        name: user.to_owned(),
        token_id: String::new(),
        groups: Vec::new(),
        roles: Vec::new(),
        actor: None,
        subject: None,
        // For this one answer.
        issued_at: now,
        expires_at: now,
    };
    let person = match api.identity.recheck(&claimed).await {
        Standing::Good(now) => now,
        Standing::Revoked { .. } => return Err("the directory does not confirm who you are"),
        Standing::Unknown { .. } => return Err("the directory does not answer now"),
    };
    match api.access.blocked(&person.key()) {
        Some(_) => Err("an administrator has blocked this identity"),
        None => Ok(person),
    }
}
