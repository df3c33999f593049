//! An identity provider for demos and tests, shaped like Microsoft Entra ID, with the Microsoft Graph calls that tell
//! whether an identity is still enabled and which groups it is in.
//!
//! **Promises.** It listens on loopback only, answers loopback peers only, and answers only requests addressed to a
//! loopback name (so that no web page can reach it by rebinding a name). Tokens, errors and Graph answers have the
//! shapes that Entra and Graph give them. Everything it knows comes from a [`Directory`] and from the handles of
//! [`DevIdp`]; it forgets all changes when it ends.
//!
//! **Does not** protect anything: client secrets stand in a file, signing keys live in memory, and nobody is asked for
//! a second factor. It is never an identity provider for real use. Consent, browser sessions and subscriptions are not
//! emulated.
//!
//! **How to read it**: [`directory`] (what is known), `claims` and `keys` (what a token is), `token_endpoint` and
//! `authorize`, `device` and `refresh` (how one is got), `graph` (what can be asked and changed), `server` (how it is reached).
//!
//! **References**: RFC 6749, RFC 7636 (PKCE), RFC 7523 (client assertions), RFC 8628 (device flow), RFC 9700 (rotation),
//! OpenID Connect Core, Discovery and RP-Initiated Logout 1.0,
//! <https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference>,
//! <https://learn.microsoft.com/graph/delta-query-overview>.

mod authorize;
mod claims;
mod device;
pub mod directory;
mod discovery;
mod error;
mod graph;
mod idp;
mod keys;
mod logout;
mod mint;
mod oauth_error;
mod refresh;
mod server;
mod token_endpoint;
mod world;

pub use directory::{
    Api, Application, ApplicationKind, Directory, DirectoryError, Group, Lifetime, OptionalClaim,
    TokenVersion, User,
};
pub use error::Error;
pub use idp::{DevIdp, Requests};
pub use mint::{GroupsClaim, Signer, TokenSpec};
pub use server::Running;
