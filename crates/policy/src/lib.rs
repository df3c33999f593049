//! Policy: documents in, a checked policy out, and from it every decision.
//!
//! **Promises.** Pure: no sockets, no clock, no files. Default deny. Nothing in a document is silently inert: what is not
//! enforced is refused. Nobody is asked about what may not be done anyway. `check` reports every error at once, with place and text.
//!
//! **Does not** verify tokens (`identity`), open windows or make permits (`access`), or parse SQL (`sql`).
//!
//! **How to read it**: [`Policy`], then [`Grant`], [`Guardrail`], [`Approval`] and [`Mask`], then [`SessionRules::decide`].
//!
//! **References**: CEL, <https://cel.dev>; YAML 1.2.2.

mod approval;
pub mod capability;
mod case;
mod condition;
mod connection;
mod documents;
pub mod explain;
mod facts;
mod glob;
mod grant;
mod guardrail;
mod mask;
mod notification;
mod policy;
pub mod process;
mod provider;
mod reach;
mod report;
mod role;
mod rules;
mod run;
pub mod schema;
mod secret_ref;

pub use approval::{Approval, AskWay, HoldAt, HoldTerms, HoldingRule, OnTimeout, Preview};
pub use case::{Expectation, TestCase, Who};
pub use condition::{Condition, ConditionError};
pub use connection::{
    Address, Connection, Credential, InvalidAddress, PgAuthentication, Protocol, TlsMode, UpstreamTls,
};
pub use documents::{check, check_confined, check_process, fuzz_documents};
pub use explain::{Explanation, MaskAnswer, NeedAnswer, Needed, People, Question, Window, explain};
pub use facts::Facts;
pub use grant::{Claimed, Grant, GroupSubject, InvalidScope, ScopeRule, Subject, When};
pub use guardrail::{Guardrail, GuardrailAction};
pub use mask::{
    ColumnPattern, ColumnRules, Filter, FunctionPattern, InvalidName, Mask, Opaque, SessionMasks,
};
pub use notification::{Channel, NoticeKind, Notification, Smtp, SmtpTls};
pub use policy::{Policy, Retention};
pub use process::{
    Confinement, ConsoleSettings, JournalSettings, Limits, Listen, Listener, LogFormat, LogSettings,
    Plaintext, PolicySource, Process, Recordings, Store, Sync, TlsFiles,
};
pub use provider::{
    Algorithm, ClaimPointers, Cloud, Entra, GraphCredential, GraphLiveness, JwksSource, Oidc, ProviderConfig,
    ProviderKind, SignIn, SignInToken,
};
pub use reach::{Way, reach, reach_connection};
pub use report::{Diagnostic, Report, Severity, SourceFile};
pub use role::{Role, RoleSet};
pub use rules::SessionRules;
pub use run::{ReadStatement, TestOutcome, run_test, run_tests};
pub use secret_ref::{InvalidSecretRef, ResolveSecret, SecretError, SecretRef};
pub use url::Url;
