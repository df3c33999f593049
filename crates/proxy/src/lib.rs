//! The data-path kernel: what every protocol stands on between a socket and its own messages.
//!
//! **Promises.** Memory per transport is bounded whatever a peer does, and an idle one holds no buffers. A session is
//! told its end on time, once. A panic ends one session. An upstream is dialed only under a `Permit`.
//!
//! **Does not** know a protocol, decide access (`access`) or record (`audit`).
//!
//! **How to read it**: [`listener`] (accept, limits, PROXY protocol), [`transport`] and [`tls`] (bytes), [`sessions`]
//! (who is live, and ending them), [`workers`] (the threads they run on), [`dial`] (upstream), [`health`] (how upstreams answered), [`buffer`] (what a relay is made of), [`cancel`], [`gate`]
//! (the pipeline protocols run through).
//!
//! **References**: the PROXY protocol specification (haproxy, doc/proxy-protocol.txt), RFC 8446, RFC 5929.

pub mod buffer;
pub mod cancel;
pub mod dial;
pub mod fingerprint;
pub mod gate;
pub mod health;
pub mod listener;
pub mod metrics;
pub mod sessions;
pub mod supervise;
pub mod tls;
pub mod transport;
pub mod workers;

pub use buffer::{Fill, ReadBuffer, WriteQueue};
pub use cancel::{CancelKey, CancelMap, CancelRegistration};
pub use dial::{Dial, DialError, DirectDial};
pub use health::{Failing, Health, Seen};
pub use listener::{
    Accepted, Admission, Deadline, ListenerConfig, ProxyNetworks, Shutdown, Slot, TooSlow, serve, serve_on,
};
pub use metrics::handshake_failed;
pub use sessions::{Activity, LiveSession, SessionControl, SessionHandle, Sessions, Traffic};
pub use tls::{
    CertificatePaths, DownstreamTls, Fingerprint, Reloaded, TlsError, UpstreamTlsConfigs, Verify, server_name,
};
pub use transport::{Transport, Wire};
pub use workers::Workers;

/// Fuzz entry points, always compiled so that they cannot rot.
#[doc(hidden)]
pub mod fuzz {
    pub use crate::listener::fuzz_proxy_header;
}
