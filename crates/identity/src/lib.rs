//! Tokens in, proven principals out: verification, groups and liveness of the identities that come to the gateway.
//!
//! **Promises.** [`Authenticated`] is made by [`Identity::authenticate`] and nowhere else. A token is believed only when its
//! issuer is configured byte for byte, its signature verifies with exactly the published key its `kid` names, under an
//! algorithm pinned for that issuer, and its audience, tenant, type and times hold; whatever is ambiguous is refused. Nothing a
//! token says makes the gateway fetch an address. No error for the peer, log line or metric repeats what a token contains.
//! Where liveness is configured, an identity that the directory says is disabled or deleted, or about which it has been silent for
//! longer than the grace, does not get in, and [`Identity::recheck`] says so for sessions already open.
//!
//! Somebody who signs in is whom [`Identity::identify`] finds in the token; a code is redeemed once, by the browser that began, at the
//! provider it came from.
//!
//! **Not here.** What a principal may open (`access`), what the documents say (`policy`), ending the sessions (`proxy`).
//!
//! **How to read it.** `identity.rs` (the path of one token), `jose.rs` (bytes to a token, nothing believed),
//! `verify.rs` with `entra.rs` and `oidc.rs` (claims to a principal), `keys/source.rs` (how published keys are kept fresh),
//! `liveness.rs` (what the directory says now), `sign_in.rs` (people in a browser), `terminal.rs` (people in a terminal).
//!
//! **References.** RFC 7515 (JWS), RFC 7517 (JWK), RFC 7519 (JWT), RFC 8725 (JWT best current practice), RFC 9068 (access tokens),
//! OpenID Connect Discovery 1.0, RFC 7628 (SASL OAUTHBEARER), Microsoft identity platform access tokens and Graph v1.0.

mod authenticated;
mod claims;
mod entra;
mod error;
mod fuzz;
mod graph;
mod http;
mod identity;
mod jose;
mod json;
mod keys;
mod liveness;
mod oidc;
mod provider;
mod sign_in;
pub mod terminal;
mod token_cache;
mod verify;

pub use authenticated::{Authenticated, GroupSource};
pub use error::{ConfigureError, Error};
#[doc(hidden)]
pub use fuzz::fuzz_token;
pub use identity::{Identity, OauthChallenge, Rejected, Standing};
pub use sign_in::{Begun, Callback, Flow, OauthCode, SignInError, SignInView, SignIns, SignedIn};
