//! ErrorResponse (B) and NoticeResponse (B): writing our own, reading the upstream's.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::{
    Error, backend,
    read::{Body, message, put_string},
};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed, the session goes on.
    Error,
    /// The session ends.
    Fatal,
    /// Nothing failed; a person may want to know.
    Notice,
    /// Nothing failed; something is likely wrong.
    Warning,
}

impl Severity {
    /// As it stands in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
        }
    }
}

/// What we tell a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// How bad it is.
    pub severity: Severity,
    /// The SQLSTATE: five characters.
    pub code: Cow<'a, str>,
    /// One line.
    pub message: Cow<'a, str>,
    /// More, when there is more.
    pub detail: Option<Cow<'a, str>>,
    /// What to do next.
    pub hint: Option<Cow<'a, str>>,
}

impl<'a> Report<'a> {
    /// A report without detail and hint.
    pub fn new(severity: Severity, code: impl Into<Cow<'a, str>>, message: impl Into<Cow<'a, str>>) -> Self {
        Self { severity, code: code.into(), message: message.into(), detail: None, hint: None }
    }

    /// With a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'a, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'a, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Writes it: as ErrorResponse when it is an error, as NoticeResponse otherwise.
    pub fn encode(&self, out: &mut BytesMut) {
        let tag = match self.severity {
            Severity::Error | Severity::Fatal => backend::tag::ERROR_RESPONSE,
            Severity::Notice | Severity::Warning => backend::tag::NOTICE_RESPONSE,
        };
        message(out, tag, |out| {
            let fields = [
                (b'S', Some(self.severity.as_str())),
                (b'V', Some(self.severity.as_str())),
                (b'C', Some(self.code.as_ref())),
                (b'M', Some(self.message.as_ref())),
                (b'D', self.detail.as_deref()),
                (b'H', self.hint.as_deref()),
            ];
            for (field, text) in fields {
                if let Some(text) = text {
                    out.put_u8(field);
                    put_string(out, text.as_bytes());
                }
            }
            out.put_u8(0);
        });
    }
}

/// The fields of an ErrorResponse or NoticeResponse, already checked to be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorFields<'a> {
    body: &'a [u8],
}

impl<'a> ErrorFields<'a> {
    const NAME: &'static str = "ErrorResponse";

    /// Reads a whole body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut walk = Body::new(Self::NAME, body);
        while walk.u8()? != 0 {
            walk.string()?;
        }
        walk.finish()?;
        Ok(Self { body })
    }

    /// The fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut walk = Body::new(Self::NAME, self.body);
        std::iter::from_fn(move || match walk.u8().ok()? {
            0 => None,
            field => Some((field, walk.string().ok()?)),
        })
    }

    /// The first field of that type.
    pub fn field(&self, field: u8) -> Option<&'a [u8]> {
        self.iter().find(|(known, _)| *known == field).map(|(_, text)| text)
    }

    /// The SQLSTATE; empty when there is none or it is not text.
    pub fn code(&self) -> &'a str {
        self.field(b'C').and_then(|code| std::str::from_utf8(code).ok()).unwrap_or_default()
    }

    /// The one-line message; bytes that are not UTF-8 are replaced.
    pub fn message(&self) -> String {
        String::from_utf8_lossy(self.field(b'M').unwrap_or_default()).into_owned()
    }

    /// Whether the session is over. By the field that is never translated, where the server is new enough to have it.
    pub fn is_fatal(&self) -> bool {
        matches!(self.field(b'V').or_else(|| self.field(b'S')), Some(b"FATAL" | b"PANIC"))
    }
}
