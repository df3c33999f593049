//! Mirrors of the maps about people: sign-in, roles, the terms of approvals, notifiers.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::policy::{OneOrMany, SecretRef, Subject};

/// The application people sign in to, registered with the provider.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct SignIn {
    /// The application's (client) id.
    client_id: String,
    /// Its secret. Absent: a public client, protected by PKCE alone.
    client_secret: Option<SecretRef>,
    /// What is asked for. Default for entra: `FIRST-AUDIENCE/.default openid profile offline_access` (with `token: id` without the
    /// first), for oidc: `openid profile`.
    scopes: Option<OneOrMany<String>>,
    /// Which token says who it is. Default `access`; with `id`, `client_id` is in the provider's `audience`.
    token: Option<SignInToken>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum SignInToken {
    Access,
    Id,
}

/// Who may do what in the API and the console.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Roles {
    /// Everything: kill, lift, change the policy.
    admin: Option<OneOrMany<Subject>>,
    /// The inbox. Whether a request may be answered is decided by that request's approvers alone.
    approver: Option<OneOrMany<Subject>>,
    /// Recordings and the audit log.
    auditor: Option<OneOrMany<Subject>>,
    /// Requests, sessions, connections, reach and policy.
    viewer: Option<OneOrMany<Subject>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum AskReason {
    Required,
    Optional,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum HoldAt {
    Operation,
    Commit,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum OnTimeout {
    Deny,
    Ticket,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum Preview {
    None,
    Rows,
}

/// A notifier.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Notifier {
    Slack(SlackNotifier),
    Teams(TeamsNotifier),
    Webhook(WebhookNotifier),
    Email(EmailNotifier),
}

/// What is told.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum Notice {
    Requested,
    Held,
    BreakGlass,
    Answered,
    Expired,
    Review,
}

/// A Slack incoming webhook.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct SlackNotifier {
    name: String,
    kind: SlackKind,
    /// The webhook's URL, which is a secret.
    url: SecretRef,
    /// What Slack signs its calls with; with it messages have buttons.
    signing_secret: Option<SecretRef>,
    /// Slack's member id: the identity it is, `id:OBJECT-ID`, verified by hand. Only with `signing_secret`.
    users: Option<BTreeMap<String, Subject>>,
    /// The id of the workspace its users are of, such as `T0123ABC`. Only with `signing_secret`.
    team: Option<String>,
    /// Default `[requested, held, break-glass]`.
    events: Option<OneOrMany<Notice>>,
    /// Patterns over connections' names. Default: all.
    connections: Option<OneOrMany<String>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum SlackKind {
    Slack,
}

/// A Microsoft Teams workflow's webhook.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct TeamsNotifier {
    name: String,
    kind: TeamsKind,
    /// The workflow's URL, which is a secret.
    url: SecretRef,
    /// Default `[requested, held, break-glass]`.
    events: Option<OneOrMany<Notice>>,
    /// Patterns over connections' names. Default: all.
    connections: Option<OneOrMany<String>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum TeamsKind {
    Teams,
}

/// Any HTTP endpoint.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct WebhookNotifier {
    name: String,
    kind: WebhookKind,
    /// Its URL; https, or http on loopback.
    url: SecretRef,
    /// The key of the HMAC every call carries.
    secret: SecretRef,
    /// Default `[requested, held, break-glass]`.
    events: Option<OneOrMany<Notice>>,
    /// Patterns over connections' names. Default: all.
    connections: Option<OneOrMany<String>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum WebhookKind {
    Webhook,
}

/// Mail.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct EmailNotifier {
    name: String,
    kind: EmailKind,
    /// The server that takes it.
    smtp: Smtp,
    /// The sender's address.
    from: String,
    /// The recipients' addresses.
    to: OneOrMany<String>,
    /// Default `[requested, held, break-glass]`.
    events: Option<OneOrMany<Notice>>,
    /// Patterns over connections' names. Default: all.
    connections: Option<OneOrMany<String>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum EmailKind {
    Email,
}

/// A mail server that takes mail for others.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Smtp {
    /// Its name or address.
    host: String,
    /// Default 587, with `tls: implicit` 465, with `tls: none` 25.
    port: Option<u16>,
    /// Default `starttls`; `none` on loopback only.
    tls: Option<SmtpTls>,
    /// With `password`.
    username: Option<String>,
    /// With `username`.
    password: Option<SecretRef>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum SmtpTls {
    Starttls,
    Implicit,
    None,
}
