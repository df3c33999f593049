//! Handing a mail to a server (RFC 5321): STARTTLS (RFC 3207) or TLS from the first byte (RFC 8314), AUTH PLAIN and LOGIN.
//!
//! Our own and not `lettre`, which is alive and would bring five crates and no second crypto provider: read at 0.11.23 it
//! gives a mail up for everybody at the first recipient that is refused, keeps what a server said ahead of TLS (the buffer
//! outlives the upgrade), and reads a line to its end before it looks at its length. One mail a connection, over the TLS
//! that is here already, is little code.
//!
//! Never in the clear but to loopback: a server that does not offer STARTTLS where it is asked for gets nothing, and what it
//! sent ahead of TLS is an error, not the beginning of the dialogue (CVE-2011-0411).

use std::{
    net::IpAddr,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use portcullis_core::Secret;
use portcullis_policy::{Smtp, SmtpTls};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::failed::{Again, Failed};

/// Longest answer, all its lines. Lines have 512 bytes at most (RFC 5321 section 4.5.3.1.5); greetings run to a few hundred.
const MAX_ANSWER: usize = 4 * 1024;
/// A whole dialogue takes at most so many times the time of one step.
const STEPS: u32 = 6;

/// A mail server and how to reach it.
pub(crate) struct Server<'a> {
    pub(crate) smtp: &'a Smtp,
    pub(crate) password: Option<&'a Secret<String>>,
    pub(crate) tls: &'a TlsConnector,
    /// Longest one step may take.
    pub(crate) step: Duration,
}

/// A mail, composed; its addresses are good.
pub(crate) struct Mail<'a> {
    pub(crate) from: &'a str,
    pub(crate) to: &'a [String],
    /// Header and body; lines end in CR LF.
    pub(crate) content: &'a str,
}

/// Hands the mail over. What comes back on success is said of recipients that were refused while others were not.
///
/// Not cancel safe in the sense of SMTP: dropped after the content was sent, the mail may or may not have been taken.
pub(crate) async fn send(server: &Server<'_>, mail: &Mail<'_>) -> Result<Option<String>, Failed> {
    let whole = server.step.saturating_mul(STEPS);
    timeout(whole, hand_over(server, mail))
        .await
        .unwrap_or_else(|_| Err(Failed::channel("no answer: timed out")))
}

async fn hand_over(server: &Server<'_>, mail: &Mail<'_>) -> Result<Option<String>, Failed> {
    let smtp = server.smtp;
    let connect = TcpStream::connect((smtp.host.as_str(), smtp.port));
    let stream = timeout(server.step, connect).await.map_err(|_| Failed::channel("no answer: timed out"))?;
    let stream = stream.map_err(|error| Failed::channel(format!("no answer: {}", error.kind())))?;
    let is_local = stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback());
    let name = match stream.local_addr().map(|local| local.ip()) {
        Ok(IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
        Ok(IpAddr::V4(ip)) => format!("[{ip}]"),
        Err(_) => "[127.0.0.1]".to_owned(),
    };
    match smtp.tls {
        SmtpTls::None if !is_local => Err(Failed::never("mail in the clear goes to loopback only")),
        SmtpTls::None => {
            let mut dialogue = Dialogue::new(stream, server.step);
            dialogue.answer("the greeting", 220).await?;
            let offers = dialogue.greet(&name).await?;
            dialogue.deliver(server, mail, &offers).await
        }
        SmtpTls::Starttls => {
            let mut dialogue = Dialogue::new(stream, server.step);
            dialogue.answer("the greeting", 220).await?;
            let offers = dialogue.greet(&name).await?;
            if !offers.has("STARTTLS") {
                return Err(Failed::channel("the mail server does not offer STARTTLS; nothing was sent"));
            }
            dialogue.command("STARTTLS", "STARTTLS", 220).await?;
            let stream = dialogue.into_stream()?;
            let mut dialogue = Dialogue::new(secure(server, stream).await?, server.step);
            let offers = dialogue.greet(&name).await?;
            dialogue.deliver(server, mail, &offers).await
        }
        SmtpTls::Implicit => {
            let mut dialogue = Dialogue::new(secure(server, stream).await?, server.step);
            dialogue.answer("the greeting", 220).await?;
            let offers = dialogue.greet(&name).await?;
            dialogue.deliver(server, mail, &offers).await
        }
    }
}

async fn secure(
    server: &Server<'_>,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failed> {
    let name = ServerName::try_from(server.smtp.host.clone())
        .map_err(|_| Failed::never("the mail server's name is no host name"))?;
    let handshake = timeout(server.step, server.tls.connect(name, stream)).await;
    let handshake = handshake.map_err(|_| Failed::channel("no TLS: timed out"))?;
    handshake.map_err(|error| {
        // What rustls says names no address; what the operating system says is a kind.
        let said = error.get_ref().map_or_else(|| error.kind().to_string(), ToString::to_string);
        Failed::channel(format!("no TLS: {said}"))
    })
}

/// One side of an SMTP dialogue.
struct Dialogue<S> {
    stream: S,
    /// What was read and not yet taken.
    read: Vec<u8>,
    step: Duration,
}

/// What a server said: a code and lines.
struct Answer {
    code: u16,
    lines: Vec<String>,
}

/// What a server offers in its answer to EHLO.
struct Offers(Vec<String>);

impl Offers {
    fn has(&self, keyword: &str) -> bool {
        self.0.iter().any(|line| line.eq_ignore_ascii_case(keyword))
    }

    /// Whether it offers this mechanism (RFC 4954 section 3).
    fn authenticates(&self, mechanism: &str) -> bool {
        self.0.iter().any(|line| {
            let mut words = line.split([' ', '=']);
            words.next().is_some_and(|word| word.eq_ignore_ascii_case("AUTH"))
                && words.any(|word| word.eq_ignore_ascii_case(mechanism))
        })
    }
}

impl Answer {
    /// The code, and the enhanced one where there is one (RFC 3463); never the server's words.
    fn codes(&self) -> String {
        let word = self.lines.first().and_then(|line| line.split(' ').next()).unwrap_or_default();
        let parts: Vec<&str> = word.split('.').collect();
        let is_digits =
            |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if parts.len() == 3 && parts.iter().all(is_digits) {
            format!("{} {word}", self.code)
        } else {
            self.code.to_string()
        }
    }

    fn failed(&self, to: &str) -> Failed {
        let reason = format!("the mail server answered {} to {to}", self.codes());
        match self.code {
            421 => Failed::channel(reason),
            400..=499 => Failed::message(reason),
            500..=599 => Failed::never(reason),
            _ => Failed::channel(reason),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialogue<S> {
    const fn new(stream: S, step: Duration) -> Self {
        Self { stream, read: Vec::new(), step }
    }

    /// The transport for TLS, where nothing came ahead of it.
    fn into_stream(self) -> Result<S, Failed> {
        if self.read.is_empty() {
            Ok(self.stream)
        } else {
            Err(Failed::channel("the mail server spoke ahead of TLS"))
        }
    }

    async fn greet(&mut self, name: &str) -> Result<Offers, Failed> {
        let answer = self.command(&format!("EHLO {name}"), "EHLO", 250).await?;
        Ok(Offers(answer.lines.into_iter().skip(1).collect()))
    }

    /// Logs in, names the parties, sends the content.
    async fn deliver(
        &mut self,
        server: &Server<'_>,
        mail: &Mail<'_>,
        offers: &Offers,
    ) -> Result<Option<String>, Failed> {
        self.log_in(server, offers).await?;
        self.command(&format!("MAIL FROM:<{}>", mail.from), "MAIL", 250).await?;
        let mut refused: Vec<Answer> = Vec::new();
        for recipient in mail.to {
            self.write(format!("RCPT TO:<{recipient}>\r\n").as_bytes()).await?;
            let answer = self.next_answer().await?;
            if !matches!(answer.code, 250..=252) {
                refused.push(answer);
            }
        }
        if refused.len() == mail.to.len() {
            // One that is only put off is reason to try again.
            let softest = refused.iter().min_by_key(|answer| answer.code);
            return Err(
                softest.map_or_else(|| Failed::never("no recipients"), |answer| answer.failed("RCPT"))
            );
        }
        self.command("DATA", "DATA", 354).await?;
        self.write(stuffed(mail.content).as_bytes()).await?;
        self.answer("the content", 250).await?;
        // It is taken. A server that does not hear this forgets us by itself.
        self.write(b"QUIT\r\n").await.ok();
        let note = refused.first().map(|answer| {
            format!("{} of {} recipients refused: {}", refused.len(), mail.to.len(), answer.codes())
        });
        Ok(note)
    }

    async fn log_in(&mut self, server: &Server<'_>, offers: &Offers) -> Result<(), Failed> {
        let (Some(username), Some(password)) = (&server.smtp.username, server.password) else {
            return if server.smtp.username.is_none() {
                Ok(())
            } else {
                Err(Failed::never("a username without a password"))
            };
        };
        if username.contains('\0') || password.expose().contains('\0') {
            return Err(Failed::never("a NUL in username or password"));
        }
        let encode = |text: &str| Secret::new(BASE64_STANDARD.encode(text));
        // Refused credentials can be put right while mail waits, so they are reason to try again.
        let refused =
            |answer: &Answer| Failed::channel(format!("the mail server answered {} to AUTH", answer.codes()));
        if offers.authenticates("PLAIN") {
            let both = Secret::new(format!("\0{username}\0{}", password.expose()));
            let line = Secret::new(format!("AUTH PLAIN {}\r\n", encode(both.expose()).expose()));
            self.write(line.expose().as_bytes()).await?;
        } else if offers.authenticates("LOGIN") {
            for line in ["AUTH LOGIN\r\n".to_owned(), format!("{}\r\n", encode(username).expose())] {
                self.write(line.as_bytes()).await?;
                let answer = self.next_answer().await?;
                if answer.code != 334 {
                    return Err(refused(&answer));
                }
            }
            let line = Secret::new(format!("{}\r\n", encode(password.expose()).expose()));
            self.write(line.expose().as_bytes()).await?;
        } else {
            return Err(Failed::channel("the mail server offers neither AUTH PLAIN nor LOGIN"));
        }
        let answer = self.next_answer().await?;
        if answer.code == 235 { Ok(()) } else { Err(refused(&answer)) }
    }

    async fn command(&mut self, line: &str, name: &str, expected: u16) -> Result<Answer, Failed> {
        self.write(format!("{line}\r\n").as_bytes()).await?;
        self.answer(name, expected).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        timeout(self.step, write)
            .await
            .map_err(|_| Failed::channel("the mail server does not read: timed out"))?
            .map_err(|error| Failed::channel(format!("the mail server is gone: {}", error.kind())))
    }

    async fn answer(&mut self, to: &str, expected: u16) -> Result<Answer, Failed> {
        let answer = self.next_answer().await?;
        if answer.code == expected { Ok(answer) } else { Err(answer.failed(to)) }
    }

    /// The next answer, all its lines (RFC 5321 section 4.2).
    async fn next_answer(&mut self) -> Result<Answer, Failed> {
        timeout(self.step, self.read_answer())
            .await
            .unwrap_or_else(|_| Err(Failed::channel("no answer: timed out")))
    }

    async fn read_answer(&mut self) -> Result<Answer, Failed> {
        let mut lines = Vec::new();
        let mut length = 0_usize;
        loop {
            let line = self.read_line(MAX_ANSWER.saturating_sub(length)).await?;
            length = length.saturating_add(line.len()).saturating_add(2);
            let malformed = || Failed::channel("what answers is no mail server");
            let code = line.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
            let code: u16 = code.and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
            let is_last = match line.as_bytes().get(3) {
                None | Some(b' ') => true,
                Some(b'-') => false,
                Some(_) => return Err(malformed()),
            };
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if is_last {
                return Ok(Answer { code, lines });
            }
        }
    }

    async fn read_line(&mut self, longest: usize) -> Result<String, Failed> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line);
                return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
            }
            if self.read.len() >= longest {
                return Err(Failed::new("the mail server's answer is too long", Again::Channel(None)));
            }
            let mut chunk = [0; 1024];
            let read = self.stream.read(&mut chunk).await;
            let read =
                read.map_err(|error| Failed::channel(format!("the mail server is gone: {}", error.kind())))?;
            if read == 0 {
                return Err(Failed::channel("the mail server hung up"));
            }
            self.read.extend_from_slice(chunk.get(..read).unwrap_or_default());
        }
    }
}

/// The content as it is sent: a line's first dot doubled, and the end (RFC 5321 section 4.5.2).
fn stuffed(content: &str) -> String {
    let mut sent = String::with_capacity(content.len().saturating_add(64));
    for line in content.split_inclusive("\r\n") {
        if line.starts_with('.') {
            sent.push('.');
        }
        sent.push_str(line);
    }
    if !sent.ends_with("\r\n") {
        sent.push_str("\r\n");
    }
    sent.push_str(".\r\n");
    sent
}

/// Reads the bytes as what a mail server says, to their end.
pub(crate) fn fuzz_answers(bytes: &[u8]) {
    let mut dialogue = Dialogue::new(tokio::io::join(bytes, tokio::io::sink()), Duration::ZERO);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let mut answer = pin!(dialogue.read_answer());
        // Bytes at hand are never waited for.
        let Poll::Ready(Ok(answer)) = answer.as_mut().poll(&mut context) else { return };
        let codes = answer.codes();
        debug_assert!(
            codes.len() <= 15
                && codes.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b' '))
        );
        answer.failed("a command");
        Offers(answer.lines).authenticates("PLAIN");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_doubled_and_the_end_is_alone() {
        assert_eq!(stuffed("a\r\n.\r\n..b\r\nc"), "a\r\n..\r\n...b\r\nc\r\n.\r\n");
    }

    #[test]
    fn of_an_answer_only_the_codes_are_told() {
        let codes = |text: &str| Answer { code: 550, lines: vec![text.to_owned()] }.codes();
        assert_eq!(codes("5.1.1 no such user: secret"), "550 5.1.1");
        assert_eq!(codes("hunter2 5.1.1"), "550");
        assert_eq!(codes("1.2.3.4 is blocked"), "550");
        assert_eq!(codes(""), "550");
    }

    #[test]
    fn mechanisms_are_read_in_both_spellings() {
        let offers = Offers(vec!["SIZE 1000".into(), "AUTH=LOGIN".into(), "auth CRAM-MD5 plain".into()]);
        assert!(offers.authenticates("LOGIN") && offers.authenticates("PLAIN"));
        assert!(!offers.authenticates("XOAUTH2") && !offers.authenticates("1000"));
        assert!(!offers.has("STARTTLS"));
    }
}
