//! What an approval binds to.

use std::{fmt, fmt::Write as _};

use aws_lc_rs::digest::{Context, SHA256};
use portcullis_core::{ConnectionName, PrincipalKey, SessionId, Timestamp};

use super::what::Mode;

/// SHA-256 over one protocol unit as it would go upstream, values included, and over whatever it refers to by name (the text
/// of a prepared statement). Made by the protocol, which knows what that is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Over parts, each with its length, so that no two lists of parts give the same bytes.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            update(&mut context, part);
        }
        Self(finish(context))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// One operation with everything that an approval of it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The operation itself.
    pub digest: Digest,
    /// Who.
    pub principal: PrincipalKey,
    /// In which session. A ticket is for the operation in any session of its principal.
    pub session: SessionId,
    /// On which connection.
    pub connection: ConnectionName,
    /// In which database.
    pub database: Option<String>,
    /// Under which version of the policy.
    pub policy: String,
}

/// Separates these hashes from every other.
const DOMAIN: &[u8] = b"portcullis approval v1";

impl Binding {
    /// The hash an approval binds to, hex: over all of it, the expiry, and the session but for a ticket.
    pub fn hash(&self, mode: Mode, expiry: Timestamp) -> String {
        let mut context = Context::new(&SHA256);
        update(&mut context, DOMAIN);
        update(
            &mut context,
            match mode {
                Mode::Live => b"live",
                Mode::Ticket => b"ticket",
                Mode::Commit => b"commit",
            },
        );
        update(&mut context, &self.digest.0);
        update(&mut context, self.principal.provider.as_bytes());
        optional(&mut context, self.principal.tenant.as_deref());
        update(&mut context, self.principal.object_id.as_bytes());
        let session = (mode != Mode::Ticket).then(|| self.session.to_string());
        optional(&mut context, session.as_deref());
        update(&mut context, self.connection.as_str().as_bytes());
        optional(&mut context, self.database.as_deref());
        update(&mut context, self.policy.as_bytes());
        update(&mut context, &expiry.as_micros().to_be_bytes());
        hex(&finish(context))
    }

    /// Whether it gives `hash`. Hashes are no secrets: they are compared as they are.
    pub(crate) fn gives(&self, hash: &str, mode: Mode, expiry: Timestamp) -> bool {
        self.hash(mode, expiry) == hash
    }
}

fn update(context: &mut Context, part: &[u8]) {
    context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
    context.update(part);
}

fn optional(context: &mut Context, part: Option<&str>) {
    match part {
        None => context.update(&[0]),
        Some(part) => {
            context.update(&[1]);
            update(context, part.as_bytes());
        }
    }
}

fn finish(context: Context) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
