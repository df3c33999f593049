//! The login exchange: startup packet, authentication, settings, `ReadyForQuery`.

use bytes::BytesMut;
use portcullis_core::Secret;
use portcullis_proxy::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Error, MAX_LOGIN_BYTES, MAX_LOGIN_MESSAGE, Upstream, UpstreamKey, UpstreamLogin, VERSION,
    scram::{self, Binding, SaltedPasswords, Scram},
};
use crate::codec::{
    self, CancelRequest, Direction, ErrorFields, Header, StartupMessage,
    backend::{Authentication, BackendKeyData, Mechanisms, ParameterStatus, TransactionStatus, tag},
    frontend::{self, SaslInitialResponse},
};

const AUTHENTICATION: &str = "authentication";
const STARTUP: &str = "session start-up";

/// A server that has not said it is ready.
struct Exchange<'a> {
    transport: Transport,
    login: &'a UpstreamLogin<'a>,
    notices: Vec<u8>,
    read: usize,
}

/// A whole message.
struct Message {
    tag: u8,
    bytes: Vec<u8>,
}

impl Message {
    fn body(&self) -> &[u8] {
        self.bytes.get(Header::LEN..).unwrap_or_default()
    }
}

pub(super) async fn run(
    transport: Transport,
    login: &UpstreamLogin<'_>,
    salted: &SaltedPasswords,
) -> Result<Upstream, Error> {
    let mut exchange = Exchange { transport, login, notices: Vec::new(), read: 0 };
    let startup = StartupMessage {
        version: VERSION,
        user: login.user.to_owned(),
        database: Some(login.database.to_owned()),
        parameters: login.parameters.to_vec(),
        extensions: Vec::new(),
    };
    let mut out = BytesMut::new();
    startup.encode(&mut out);
    exchange.send(&out).await?;
    exchange.authenticate(salted).await?;
    exchange.until_ready().await
}

pub(super) async fn cancel(mut transport: Transport, request: &CancelRequest) -> Result<(), Error> {
    let lost = |source| Error::Lost { step: "a cancel request", source };
    let mut out = BytesMut::new();
    request.encode(&mut out);
    transport.write_all(&out).await.map_err(lost)?;
    transport.flush().await.map_err(lost)?;
    // The server answers by closing, once the signal is sent; how it closes says nothing.
    let mut byte = [0; 1];
    let _ = transport.read(&mut byte).await;
    Ok(())
}

impl Exchange<'_> {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let lost = |source| Error::Lost { step: AUTHENTICATION, source };
        self.transport.write_all(bytes).await.map_err(lost)?;
        self.transport.flush().await.map_err(lost)
    }

    /// The next message that is not a notice; notices are kept, an error ends the login.
    async fn next(&mut self, step: &'static str) -> Result<Message, Error> {
        loop {
            let message = self.read(step).await?;
            match message.tag {
                tag::NOTICE_RESPONSE => {
                    ErrorFields::decode(message.body())?;
                    self.notices.extend_from_slice(&message.bytes);
                }
                tag::ERROR_RESPONSE => {
                    let fields = ErrorFields::decode(message.body())?;
                    return Err(Error::refused(&fields, self.login.user, self.login.database));
                }
                _ => return Ok(message),
            }
        }
    }

    async fn read(&mut self, step: &'static str) -> Result<Message, Error> {
        let lost = |source| Error::Lost { step, source };
        let mut head = [0; Header::LEN];
        self.transport.read_exact(&mut head).await.map_err(lost)?;
        let [tag, ..] = head;
        let Some(header) = Header::peek(Direction::Backend, &head)? else {
            return Err(Error::Unexpected { tag, step });
        };
        self.read = self.read.saturating_add(header.message());
        for (size, limit) in [(header.message(), MAX_LOGIN_MESSAGE), (self.read, MAX_LOGIN_BYTES)] {
            if size > limit {
                return Err(Error::TooMuch { limit });
            }
        }
        let mut bytes = vec![0; header.message()];
        let (start, body) = bytes.split_first_chunk_mut().ok_or(Error::Unexpected { tag, step })?;
        *start = head;
        self.transport.read_exact(body).await.map_err(lost)?;
        Ok(Message { tag, bytes })
    }

    /// The next message, which must be an `Authentication…`.
    async fn next_request(&mut self) -> Result<Message, Error> {
        let message = self.next(AUTHENTICATION).await?;
        if message.tag == tag::AUTHENTICATION {
            Ok(message)
        } else {
            Err(Error::Unexpected { tag: message.tag, step: AUTHENTICATION })
        }
    }

    fn password(&self) -> Result<&Secret<String>, Error> {
        self.login.password.as_ref().ok_or(Error::NoPassword)
    }

    async fn authenticate(&mut self, salted: &SaltedPasswords) -> Result<(), Error> {
        let message = self.next_request().await?;
        match Authentication::decode(message.body())? {
            // `trust`, `peer`, `cert`: nothing is asked.
            Authentication::Ok => return Ok(()),
            Authentication::CleartextPassword => self.clear_text().await?,
            Authentication::Md5Password { salt } => self.md5(salt).await?,
            Authentication::Sasl(mechanisms) => self.scram(mechanisms, salted).await?,
            Authentication::Other(number) => return Err(Error::Method(method(number))),
            Authentication::SaslContinue(_) | Authentication::SaslFinal(_) => {
                return Err(Error::Unexpected { tag: tag::AUTHENTICATION, step: AUTHENTICATION });
            }
        }
        let message = self.next_request().await?;
        match Authentication::decode(message.body())? {
            Authentication::Ok => Ok(()),
            _ => Err(Error::Unexpected { tag: tag::AUTHENTICATION, step: AUTHENTICATION }),
        }
    }

    async fn clear_text(&mut self) -> Result<(), Error> {
        if !self.transport.is_encrypted() && !self.transport.peer_is_loopback() {
            return Err(Error::Cleartext);
        }
        let password = self.password()?;
        let mut out = BytesMut::new();
        frontend::password_message(&mut out, password.expose().as_bytes());
        let out = Secret::new(Vec::from(out));
        self.send(out.expose()).await
    }

    async fn md5(&mut self, salt: [u8; 4]) -> Result<(), Error> {
        let password = self.password()?.expose().as_bytes();
        let hash = postgres_protocol::authentication::md5_hash(self.login.user.as_bytes(), password, salt);
        let mut out = BytesMut::new();
        frontend::password_message(&mut out, hash.as_bytes());
        self.send(&out).await
    }

    /// SCRAM-SHA-256-PLUS where the server offers it and the transport has something to bind to, SCRAM-SHA-256 otherwise.
    async fn scram(&mut self, offered: Mechanisms<'_>, salted: &SaltedPasswords) -> Result<(), Error> {
        let offers = |mechanism: &str| offered.iter().any(|name| name == mechanism.as_bytes());
        let end_point = self.transport.tls_server_end_point();
        let (mechanism, binding) = match end_point {
            Some(hash) if offers(scram::SCRAM_SHA_256_PLUS) => {
                (scram::SCRAM_SHA_256_PLUS, Binding::ServerEndPoint(hash))
            }
            // We could have bound. A server that could as well sees from this that somebody took its offer away.
            Some(_) => (scram::SCRAM_SHA_256, Binding::NotOffered),
            None => (scram::SCRAM_SHA_256, Binding::Impossible),
        };
        if !offers(mechanism) {
            let names: Vec<_> = offered.iter().map(|name| name.escape_ascii().to_string()).collect();
            return Err(Error::Method(format!("SASL {}", names.join(", "))));
        }
        let (scram, first) = Scram::begin(binding)?;
        let mut out = BytesMut::new();
        SaslInitialResponse { mechanism: mechanism.as_bytes(), response: Some(first.as_bytes()) }
            .encode(&mut out);
        self.send(&out).await?;

        let message = self.next_request().await?;
        let Authentication::SaslContinue(challenge) = Authentication::decode(message.body())? else {
            return Err(Error::Unexpected { tag: tag::AUTHENTICATION, step: AUTHENTICATION });
        };
        let challenge = scram.challenge(challenge)?;
        let keys = salted.keys(self.password()?, challenge.salt(), challenge.iterations()).await?;
        let (proof, verify) = challenge.answer(&keys);
        out.clear();
        frontend::sasl_response(&mut out, proof.as_bytes());
        self.send(&out).await?;

        // Only now does the server prove that it knows the password too; `AuthenticationOk` without this is refused.
        let message = self.next_request().await?;
        let Authentication::SaslFinal(last) = Authentication::decode(message.body())? else {
            return Err(Error::Unexpected { tag: tag::AUTHENTICATION, step: AUTHENTICATION });
        };
        Ok(verify.finish(last)?)
    }

    async fn until_ready(mut self) -> Result<Upstream, Error> {
        let mut parameters = Vec::new();
        let mut cancel = None;
        loop {
            let message = self.next(STARTUP).await?;
            match message.tag {
                tag::PARAMETER_STATUS => {
                    let status = ParameterStatus::decode(message.body())?;
                    parameters.push((status.name.to_vec(), status.value.to_vec()));
                }
                tag::BACKEND_KEY_DATA => {
                    let BackendKeyData { process, key } = BackendKeyData::decode(message.body())?;
                    cancel = Some(UpstreamKey(CancelRequest { process, key: key.to_vec() }));
                }
                tag::READY_FOR_QUERY => {
                    let status = TransactionStatus::decode(message.body())?;
                    if status != TransactionStatus::Idle {
                        return Err(codec::Error::Invalid {
                            message: "ReadyForQuery",
                            field: "first status",
                        }
                        .into());
                    }
                    let Self { transport, notices, .. } = self;
                    return Ok(Upstream { transport, parameters, cancel, notices, status });
                }
                tag => return Err(Error::Unexpected { tag, step: STARTUP }),
            }
        }
    }
}

/// The names of PostgreSQL documentation, 55.7.
fn method(number: u32) -> String {
    match number {
        2 => "KerberosV5".to_owned(),
        4 => "crypt".to_owned(),
        6 => "SCM credential".to_owned(),
        7 | 8 => "GSSAPI".to_owned(),
        9 => "SSPI".to_owned(),
        other => format!("{other}"),
    }
}
