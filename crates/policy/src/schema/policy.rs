//! Mirrors of the policy documents' maps.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::people::{AskReason, HoldAt, Notifier, OnTimeout, Preview, Roles, SignIn};

/// One value, or a list of them.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// A whole number and s, m, h or d: `10s`, `15m`, `8h`, `90d`.
#[derive(JsonSchema)]
pub(super) struct Duration(#[schemars(regex(pattern = r"^[0-9]{1,9}[smhd]$"))] String);

/// `yes` or `no`.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum YesNo {
    Bool(bool),
    Word(YesNoWord),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum YesNoWord {
    Yes,
    No,
}

/// `env:NAME` or `file:PATH`; never the secret itself.
#[derive(JsonSchema)]
pub(super) struct SecretRef(#[schemars(regex(pattern = r"^(env|file):.+$"))] String);

/// `group:NAME`, `role:NAME`, `app:ID` or `id:ID`.
#[derive(JsonSchema)]
pub(super) struct Subject(#[schemars(regex(pattern = r"^(group|role|app|id):\S+$"))] String);

/// `verb:resource`: `read:*`, `write:public.orders`, `*:*`.
#[derive(JsonSchema)]
pub(super) struct Scope(#[schemars(regex(pattern = r"^(read|write|admin|execute|connect|\*):\S+$"))] String);

/// A policy document. Several are merged: lists joined, names unique over all.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct PolicyDocument {
    /// Identity providers.
    identity: Option<Vec<Provider>>,
    /// What can be reached, by the name clients use.
    connections: Option<BTreeMap<String, Connection>>,
    /// Who may open what, when, with what scope. No grant, no connection.
    grants: Option<Vec<Grant>>,
    /// Rules that block, hold or warn whatever the grants allow.
    guardrails: Option<Vec<Guardrail>>,
    /// Rules that change values in responses before anyone, the recorder included, sees them.
    masks: Option<Vec<Mask>>,
    /// Who may do what in the API and the console.
    roles: Option<Roles>,
    /// Who is told of requests, and how.
    notifications: Option<Vec<Notifier>>,
    /// What `portcullis test` runs.
    tests: Option<Vec<Test>>,
    /// How long evidence is kept.
    retention: Option<Retention>,
}

/// An identity provider.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Provider {
    Entra(EntraProvider),
    Oidc(OidcProvider),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum EntraKind {
    Entra,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum OidcKind {
    Oidc,
}

/// Microsoft Entra ID, one tenant.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct EntraProvider {
    /// The provider's name; part of every identity's key.
    name: String,
    kind: EntraKind,
    /// The tenant's id, a GUID.
    tenant: String,
    /// The audiences tokens may be for.
    audience: OneOrMany<String>,
    /// Friendly names for groups' object ids.
    groups: Option<BTreeMap<String, String>>,
    /// Signature algorithms accepted. Default `[RS256]`.
    algorithms: Option<OneOrMany<Algorithm>>,
    /// Header `typ` values accepted. Default `[jwt, at+jwt]`.
    types: Option<OneOrMany<String>>,
    /// Whether people's tokens are accepted. Default `deny`.
    users: Option<Users>,
    /// People sign in to the console and the CLI with this provider.
    sign_in: Option<SignIn>,
    /// The Microsoft cloud. Default `global`.
    cloud: Option<Cloud>,
    /// Replaces the login host; loopback only, for `portcullis dev-idp`.
    authority: Option<String>,
    /// Replaces the Graph host; loopback only, for `portcullis dev-idp`.
    graph: Option<String>,
    /// Asks the directory whether identities are still enabled and which groups they are in.
    liveness: Option<Liveness>,
}

/// Any OpenID Connect issuer.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct OidcProvider {
    /// The provider's name; part of every identity's key.
    name: String,
    kind: OidcKind,
    /// The issuer, exactly as tokens say it; https, or http on loopback.
    issuer: String,
    /// The audiences tokens may be for.
    audience: OneOrMany<String>,
    /// A file or URL with the keys, where there is no discovery.
    jwks: Option<String>,
    /// Where in the token the facts are.
    claims: Option<Claims>,
    /// Friendly names for the issuer's groups.
    groups: Option<BTreeMap<String, String>>,
    /// Signature algorithms accepted. Default `[RS256]`.
    algorithms: Option<OneOrMany<Algorithm>>,
    /// Header `typ` values accepted. Default `[jwt, at+jwt]`.
    types: Option<OneOrMany<String>>,
    /// Whether people's tokens are accepted. Default `allow`: such tokens do not say whose they are.
    users: Option<Users>,
    /// People sign in to the console and the CLI with this provider.
    sign_in: Option<SignIn>,
}

#[derive(JsonSchema)]
pub(super) enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum Users {
    Allow,
    Deny,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum Cloud {
    Global,
    UsGov,
    China,
}

/// JSON pointers into the token's claims; arrays, or space-separated text.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Claims {
    /// Default `/sub`.
    subject: Option<String>,
    /// Absent: no groups.
    groups: Option<String>,
    /// Absent: no roles.
    roles: Option<String>,
    /// A name for people.
    name: Option<String>,
}

/// Asking the directory.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Liveness {
    source: LivenessSource,
    /// How often live sessions are checked. Default `10s`.
    interval: Option<Duration>,
    /// How long the directory may be unreachable before sessions end. Default `60s`.
    grace: Option<Duration>,
    /// What the gateway presents. Absent: `AZURE_CLIENT_ID` with `AZURE_CLIENT_SECRET` or `AZURE_FEDERATED_TOKEN_FILE`.
    credential: Option<LivenessCredential>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum LivenessSource {
    Graph,
}

/// The gateway's own identity: one of secret and token file.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct LivenessCredential {
    client_id: String,
    client_secret: Option<SecretRef>,
    federated_token_file: Option<String>,
}

/// Something that can be reached.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Connection {
    /// `postgres`; the others are refused by `check` until they are spoken.
    protocol: ProtocolWord,
    /// `host:port`; IPv6 in brackets. The port may be left away: 5432.
    address: String,
    /// TLS to it.
    tls: Option<UpstreamTls>,
    /// The database opened when the client names none, or the connection itself.
    database: Option<String>,
    /// More databases allowed.
    databases: Option<OneOrMany<String>>,
    /// What the gateway logs in with.
    credential: Option<Credential>,
    /// How clients present their token; default: as the listener says.
    authentication: Option<Authentication>,
    /// For people.
    description: Option<String>,
    /// For people.
    labels: Option<BTreeMap<String, String>>,
    /// Not yet enforced: refused by `check`.
    via: Option<String>,
    /// For http, which is not yet spoken: refused by `check`.
    resources: Option<BTreeMap<String, String>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum ProtocolWord {
    Postgres,
    Mysql,
    Ssh,
    Kubernetes,
    Http,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum Authentication {
    Password,
    Oauthbearer,
}

/// libpq's words.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct UpstreamTls {
    /// Default `verify-full`.
    mode: Option<TlsMode>,
    /// PEM file with the authorities to trust. Absent: the machine's own.
    ca: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum TlsMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// The upstream credential. The agent never sees it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Credential {
    username: Option<String>,
    password: Option<SecretRef>,
    /// For http, which is not yet spoken: refused by `check`.
    bearer: Option<SecretRef>,
}

/// Who may open which connection.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Grant {
    /// A stable name. Default: made from connection, `to`, `when` and `scope`.
    name: Option<String>,
    connection: String,
    /// To whom: any of these.
    to: OneOrMany<Subject>,
    /// `always`; or `requested` for a window; or `approved` for a window a person says yes to.
    when: When,
    /// How long a window lasts; required with `requested` and `approved`.
    lifetime: Option<Duration>,
    /// How long after a window's end the next may be opened.
    cooldown: Option<Duration>,
    /// How many windows an identity may open in 24 hours.
    max_per_day: Option<u32>,
    /// Default `yes`.
    recorded: Option<YesNo>,
    /// What may be done.
    scope: OneOrMany<Scope>,
    /// A CEL expression over source, now, principal, client and connection.
    condition: Option<String>,
    /// How a window is asked for: by an act of its own, or by connecting too. Default `explicit`.
    request: Option<Request>,
    /// Whether asking needs a reason. Default `required`, with `request: on_connect` `optional`.
    reason: Option<AskReason>,
    /// Who may say yes: any of these; required with `approved`. Who asks never counts.
    approvers: Option<OneOrMany<Subject>>,
    /// How many distinct people must say yes, 1 to 10. Default 1.
    approvals: Option<u32>,
    /// How long a request waits for answers; `10s` to `7d`. Default `1h`.
    answer_within: Option<Duration>,
    /// Who may open it at once with a reason, reviewed by the approvers afterwards; only with `approved`.
    break_glass: Option<OneOrMany<Subject>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum When {
    Always,
    Requested,
    Approved,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum Request {
    Explicit,
    OnConnect,
}

/// A rule that blocks, holds or warns. Every criterion given must match.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Guardrail {
    name: String,
    /// Default: all.
    protocols: Option<OneOrMany<ProtocolWord>>,
    /// Patterns over connections' names. Default: all.
    connections: Option<OneOrMany<String>>,
    /// Statement kinds, nested ones included: `drop`, `truncate`.
    statements: Option<OneOrMany<String>>,
    /// A clause the statement lacks.
    without: Option<Without>,
    /// Patterns over `schema.table`, also through views.
    tables: Option<OneOrMany<String>>,
    /// As `tables`.
    resources: Option<OneOrMany<String>>,
    /// For ssh, which is not yet spoken: refused by `check`.
    commands: Option<OneOrMany<String>>,
    /// Who is not bound.
    except: Option<OneOrMany<Subject>>,
    /// `block`; or `approve` to hold until a person says yes; or `warn`.
    action: Action,
    /// What the principal is told.
    message: Option<String>,
    /// Who may say yes: any of these; required with `action: approve`, which all keys below need.
    approvers: Option<OneOrMany<Subject>>,
    /// How many distinct people must say yes, 1 to 10. Default 1.
    approvals: Option<u32>,
    /// What is held. Default `operation`.
    at: Option<HoldAt>,
    /// Only with `at: commit`: at most so many affected rows pass without asking. Default 0.
    rows_over: Option<u64>,
    /// How long a live hold or commit waits; `1s` to `1h`. Default `5m`.
    hold_limit: Option<Duration>,
    /// Only with `at: operation`: whether the client waits and is refused when time is over, or is answered at once and retries.
    /// Default `deny`.
    on_timeout: Option<OnTimeout>,
    /// Only with `on_timeout: ticket`: how long its request waits for answers; `10s` to `7d`. Default `1h`.
    answer_within: Option<Duration>,
    /// Only with `on_timeout: ticket`: how long an approved ticket may be used; `10s` to `1d`. Default `15m`.
    ticket_lifetime: Option<Duration>,
    /// What is tried out for whoever answers. Default `none`.
    preview: Option<Preview>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum Without {
    Where,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum Action {
    Block,
    Warn,
    Approve,
}

/// A rule that changes values in responses. It has `columns`, or `detect`, or both.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Mask {
    /// Named in refusals.
    name: String,
    /// `schema.table.column`, or `table.column` for any schema; `*` and `?` match inside a part. Their values are changed
    /// as a whole.
    columns: Option<OneOrMany<String>>,
    /// What is looked for in every other text value.
    detect: Option<OneOrMany<Detector>>,
    /// What is shown in place of a value.
    with: With,
    /// Only with `with: pattern`: `#` keeps the character that stands there, others are written as they are.
    pattern: Option<String>,
    /// Patterns over connections' names. Default: all.
    connections: Option<OneOrMany<String>>,
    /// Who is bound. Default: everybody.
    to: Option<OneOrMany<Subject>>,
    /// Who is not bound.
    except: Option<OneOrMany<Subject>>,
    /// Only with `columns`: whether statements may compare with them. Default `deny`.
    filter: Option<Filter>,
    /// Only with `columns`: what happens to code nobody sees into. Default `refuse`.
    opaque: Option<Opaque>,
    /// Only with `columns`: functions known not to give such values away, `schema.function`; `*` and `?` match.
    trusted_functions: Option<OneOrMany<String>>,
}

/// A detector by name, or one's own.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Detector {
    Known(KnownDetector),
    Own(OwnDetector),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum KnownDetector {
    CreditCard,
    Email,
    UsSsn,
    Iban,
    Phone,
    ApiKey,
    Jwt,
    PrivateKey,
}

/// A detector of one's own.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct OwnDetector {
    /// What findings are called.
    name: String,
    /// A regular expression: `EMP-\\d{6}`.
    regex: String,
}

/// A transform; `null` may be written bare.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum With {
    Word(Transform),
    Null(()),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum Transform {
    Redact,
    Last4,
    Hash,
    Email,
    Null,
    Pattern,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum Filter {
    Allow,
    Deny,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum Opaque {
    Refuse,
    Allow,
}

/// One expectation about the policy.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Test {
    name: String,
    /// Who asks.
    identity: Who,
    connection: String,
    /// The statement. Absent: only whether the connection opens.
    sql: Option<String>,
    /// As `sql`.
    operation: Option<String>,
    /// What should come out.
    expect: Expect,
    /// The grant, guardrail or mask that should decide, or `no-grant`, `scope`, `unclassified`, `window`.
    rule: Option<String>,
    /// The names of the masks that should be in force, all of them; `[]`: none.
    masks: Option<OneOrMany<String>>,
    /// RFC 3339. Default: 2026-01-05T12:00:00Z, a Monday at noon.
    now: Option<String>,
    /// The client's address. Default `127.0.0.1`.
    source: Option<String>,
    /// What the client calls itself.
    client: Option<String>,
    /// Whether windows of requested and approved grants are open. Default `none`.
    window: Option<Window>,
    /// Whether people said yes to whatever needs one. Default `no`.
    approved: Option<YesNo>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) enum Expect {
    Allow,
    Deny,
    Hold,
    NeedsRequest,
    NeedsApproval,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Window {
    Word(WindowWord),
    Is(YesNo),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum WindowWord {
    Open,
    None,
}

/// Someone to ask about.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Who {
    /// The provider. Default: the one that maps the groups, else the first.
    provider: Option<String>,
    /// The object id or subject.
    id: Option<String>,
    /// The application id.
    app: Option<String>,
    name: Option<String>,
    groups: Option<OneOrMany<String>>,
    roles: Option<OneOrMany<String>>,
    /// Whether it is a person. Default `no`.
    user: Option<YesNo>,
}

/// How long evidence is kept.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Retention {
    /// `1h` to `3650d`. Default `90d`.
    recordings: Option<Duration>,
    /// `1d` to `3650d`. Default `400d`.
    audit: Option<Duration>,
}
