//! Asking for the token: as a password, or by SASL OAUTHBEARER.

use std::sync::Arc;

use bytes::BytesMut;
use portcullis_core::Secret;
use portcullis_proxy::Transport;
use tokio::io::AsyncReadExt;

use super::{
    Asked, Credentials, Failed, Method, Negotiated, Reported, Waiting, fail, lost,
    oauthbearer::{self, Response},
    read_or_end, send, tell,
};
use crate::{
    codec::{
        self, Direction, Header, Report, StartupMessage,
        backend::{Authentication, Mechanisms, NegotiateProtocolVersion},
        frontend::{SaslInitialResponse, tag},
    },
    error::Error,
};

/// What stands around a token in a SASLInitialResponse: names, separators, and room for the `host` and `port` of RFC 7628.
const SASL_OVERHEAD: usize = 1024;
/// What stands around a token in a PasswordMessage.
const TERMINATOR: usize = 1;

pub(super) async fn credentials(asked: Negotiated, method: &Method, limit: usize) -> Result<Asked, Failed> {
    let Negotiated { mut transport, startup } = asked;
    let mut out = BytesMut::new();
    if startup.needs_negotiation() {
        let extensions = startup.extensions.iter().map(String::as_str);
        NegotiateProtocolVersion::encode(&mut out, startup.version.negotiated(), extensions);
    }
    match method {
        Method::Password => Authentication::CleartextPassword.encode(&mut out),
        Method::OauthBearer { .. } => Authentication::Sasl(Mechanisms::OAUTHBEARER).encode(&mut out),
    }
    send(&mut transport, &out).await.map_err(lost)?;
    match method {
        Method::Password => by_password(transport, startup, limit).await,
        Method::OauthBearer { challenge } => by_sasl(transport, startup, limit, challenge).await,
    }
}

async fn by_password(
    mut transport: Transport,
    startup: StartupMessage,
    limit: usize,
) -> Result<Asked, Failed> {
    let body = match answer(&mut transport, "a password", limit, TERMINATOR).await {
        Ok(Some(body)) => body,
        Ok(None) => return Ok(Asked::Left(Reported::UNDELIVERABLE)),
        Err(error) => return failed(transport, error).await,
    };
    let token = match codec::frontend::password(body.expose()) {
        Ok([]) => Err(Error::NoToken),
        Ok(password) => text(password),
        Err(error) => Err(error.into()),
    };
    match token {
        Ok(token) => Ok(presented(transport, startup, token, None)),
        Err(error) => fail(transport, error).await,
    }
}

async fn by_sasl(
    mut transport: Transport,
    startup: StartupMessage,
    limit: usize,
    challenge: &Arc<str>,
) -> Result<Asked, Failed> {
    let message = match initial_response(&mut transport, limit).await {
        Ok(Some(message)) => message,
        Ok(None) => return Ok(Asked::Left(Reported::UNDELIVERABLE)),
        Err(error) => return failed(transport, error).await,
    };
    match oauthbearer::parse(message.expose()) {
        Ok(Response::Token(token)) if token.len() > limit => {
            let length = token.len();
            fail(transport, Error::TokenTooLong { length, limit }).await
        }
        Ok(Response::Token(token)) => match text(token) {
            Ok(token) => Ok(presented(transport, startup, token, Some(Arc::clone(challenge)))),
            Err(error) => fail(transport, error).await,
        },
        // The client wants to know where tokens come from. It will be back with one.
        Ok(Response::Discovery) => {
            let error = Error::NoToken;
            Ok(Asked::Left(refuse_token(transport, challenge, &error.to_wire()).await))
        }
        Ok(Response::Unusable) => {
            let error = Error::MalformedToken;
            let reported = refuse_token(transport, challenge, &error.to_wire()).await;
            Err(Failed { error, reported })
        }
        Err(problem) => fail(transport, Error::Sasl(problem)).await,
    }
}

/// The client's first message of the mechanism, whether it comes with the choice of it or after an empty challenge.
async fn initial_response(transport: &mut Transport, limit: usize) -> Result<Option<Secret<Vec<u8>>>, Error> {
    let Some(body) = answer(transport, "a SASL response", limit, SASL_OVERHEAD).await? else {
        return Ok(None);
    };
    let initial = SaslInitialResponse::decode(body.expose())?;
    if initial.mechanism != oauthbearer::MECHANISM {
        return Err(Error::Sasl("the client selected a mechanism that was not offered"));
    }
    if let Some(response) = initial.response {
        return Ok(Some(Secret::new(response.to_vec())));
    }
    let mut out = BytesMut::new();
    Authentication::SaslContinue(b"").encode(&mut out);
    send(transport, &out).await.map_err(Error::Downstream)?;
    answer(transport, "a SASL response", limit, SASL_OVERHEAD).await
}

/// RFC 7628 section 3.2.3: the error as a challenge, the client's acknowledgement, then the end.
pub(super) async fn refuse_token(mut transport: Transport, challenge: &str, report: &Report<'_>) -> Reported {
    let mut out = BytesMut::new();
    Authentication::SaslContinue(challenge.as_bytes()).encode(&mut out);
    if send(&mut transport, &out).await.is_err() {
        return Reported::UNDELIVERABLE;
    }
    // What the acknowledgement holds does not matter, and a client that closes instead knows enough.
    match answer(&mut transport, "a SASL response", 0, SASL_OVERHEAD).await {
        Ok(Some(_)) => tell(transport, report).await,
        _ => Reported::DELIVERED,
    }
}

fn presented(
    transport: Transport,
    startup: StartupMessage,
    token: Secret<String>,
    challenge: Option<Arc<str>>,
) -> Asked {
    let version = startup.version.negotiated();
    let StartupMessage { user, database, parameters, .. } = startup;
    let credentials = Credentials { connection_name: user, database, parameters, version, token };
    Asked::Presented(credentials, Waiting { transport, version, challenge, parked: false })
}

/// A token is ASCII whatever its kind; that it is UTF-8 is all that is asked of it here.
fn text(token: &[u8]) -> Result<Secret<String>, Error> {
    match std::str::from_utf8(token) {
        Ok(token) => Ok(Secret::new(token.to_owned())),
        Err(_) => Err(Error::MalformedToken),
    }
}

/// The body of the message that answers a request for credentials; `None` when the client left instead. `limit` bounds the
/// token, `overhead` what stands around it; both are checked before a byte of it is read.
async fn answer(
    transport: &mut Transport,
    expected: &'static str,
    limit: usize,
    overhead: usize,
) -> Result<Option<Secret<Vec<u8>>>, Error> {
    let mut head = [0; Header::LEN];
    if !read_or_end(transport, &mut head).await.map_err(Error::Downstream)? {
        return Ok(None);
    }
    let [tag, ..] = head;
    if tag == tag::TERMINATE {
        return Ok(None);
    }
    if tag != tag::PASSWORD {
        return Err(Error::Unexpected { tag, expected });
    }
    let header = Header::peek(Direction::Frontend, &head)?.ok_or(codec::Error::StartupLength)?;
    if header.body > limit.saturating_add(overhead) {
        return Err(Error::TokenTooLong { length: header.body, limit });
    }
    // Its whole capacity at once: growing would leave copies of the token behind.
    let mut body = vec![0; header.body];
    let read = transport.read_exact(&mut body).await;
    let body = Secret::new(body);
    read.map_err(Error::Downstream)?;
    Ok(Some(body))
}

async fn failed(transport: Transport, error: Error) -> Result<Asked, Failed> {
    match error {
        error @ Error::Downstream(_) => Err(Failed { error, reported: Reported::UNDELIVERABLE }),
        Error::TokenTooLong { length, limit } => drain_and_fail(transport, length, limit).await,
        error => fail(transport, error).await,
    }
}

/// Reads what the client has already sent of an overlong token, up to a bound, before the answer: closing over unread
/// bytes resets the transport, and the client would never see why.
async fn drain_and_fail(mut transport: Transport, length: usize, limit: usize) -> Result<Asked, Failed> {
    const MOST: usize = 1024 * 1024;
    let mut left = length.min(MOST);
    let mut buffer = [0; 4096];
    while left > 0 {
        let room = left.min(buffer.len());
        match transport.read(buffer.get_mut(..room).unwrap_or_default()).await {
            Ok(0) | Err(_) => break,
            Ok(read) => left -= read,
        }
    }
    fail(transport, Error::TokenTooLong { length, limit }).await
}
