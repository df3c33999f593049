//! Every key the documents may have: the reader's tables. The JSON Schemas are tested to have the same.

/// The keys of one kind of map.
#[derive(Debug)]
pub(crate) struct Keys {
    /// What the map is, for messages: `a connection`.
    pub(crate) what: &'static str,
    pub(crate) keys: &'static [&'static str],
}

const fn keys(what: &'static str, keys: &'static [&'static str]) -> Keys {
    Keys { what, keys }
}

pub(crate) const GATEWAY: Keys = keys(
    "the process file",
    &[
        "console",
        "data",
        "insecure_plaintext",
        "journal",
        "limits",
        "listen",
        "log",
        "policy",
        "proxy_protocol",
        "public_url",
        "recordings",
        "secrets",
        "store",
        "tls",
    ],
);
pub(crate) const LISTEN: Keys = keys("`listen`", &["http", "kubernetes", "mysql", "postgres", "ssh", "web"]);
pub(crate) const LISTENER: Keys = keys("a listener", &["address", "authentication"]);
pub(crate) const TLS_FILES: Keys = keys("`tls`", &["certificate", "key"]);
pub(crate) const JOURNAL: Keys = keys("`journal`", &["sync"]);
pub(crate) const LIMITS: Keys = keys(
    "`limits`",
    &[
        "audit_text",
        "connections",
        "drain",
        "handshake",
        "masked_row",
        "pending_per_identity",
        "pending_requests",
        "recorded_bytes",
        "recorded_rows",
        "statement",
        "token",
    ],
);
pub(crate) const PROXY_PROTOCOL: Keys = keys("`proxy_protocol`", &["trusted"]);
pub(crate) const LOG: Keys = keys("`log`", &["format", "level"]);
pub(crate) const CONSOLE: Keys = keys("`console`", &["absolute", "idle"]);

pub(crate) const POLICY: Keys = keys(
    "a policy document",
    &[
        "connections",
        "grants",
        "guardrails",
        "identity",
        "masks",
        "notifications",
        "retention",
        "roles",
        "tests",
    ],
);
pub(crate) const PROVIDER_ENTRA: Keys = keys(
    "an `entra` identity provider",
    &[
        "algorithms",
        "audience",
        "authority",
        "cloud",
        "graph",
        "groups",
        "kind",
        "liveness",
        "name",
        "sign_in",
        "tenant",
        "types",
        "users",
    ],
);
pub(crate) const PROVIDER_OIDC: Keys = keys(
    "an `oidc` identity provider",
    &[
        "algorithms",
        "audience",
        "claims",
        "groups",
        "issuer",
        "jwks",
        "kind",
        "name",
        "sign_in",
        "types",
        "users",
    ],
);
pub(crate) const SIGN_IN: Keys = keys("`sign_in`", &["client_id", "client_secret", "scopes", "token"]);
pub(crate) const CLAIMS: Keys = keys("`claims`", &["groups", "name", "roles", "subject"]);
pub(crate) const LIVENESS: Keys = keys("`liveness`", &["credential", "grace", "interval", "source"]);
pub(crate) const LIVENESS_CREDENTIAL: Keys =
    keys("`credential`", &["client_id", "client_secret", "federated_token_file"]);
pub(crate) const CONNECTION: Keys = keys(
    "a connection",
    &[
        "address",
        "authentication",
        "credential",
        "database",
        "databases",
        "description",
        "labels",
        "protocol",
        "resources",
        "tls",
        "via",
    ],
);
pub(crate) const UPSTREAM_TLS: Keys = keys("`tls`", &["ca", "mode"]);
pub(crate) const CREDENTIAL: Keys = keys("`credential`", &["bearer", "password", "username"]);
pub(crate) const GRANT: Keys = keys(
    "a grant",
    &[
        "answer_within",
        "approvals",
        "approvers",
        "break_glass",
        "condition",
        "connection",
        "cooldown",
        "lifetime",
        "max_per_day",
        "name",
        "reason",
        "recorded",
        "request",
        "scope",
        "to",
        "when",
    ],
);
pub(crate) const GUARDRAIL: Keys = keys(
    "a guardrail",
    &[
        "action",
        "answer_within",
        "approvals",
        "approvers",
        "at",
        "commands",
        "connections",
        "except",
        "hold_limit",
        "message",
        "name",
        "on_timeout",
        "preview",
        "protocols",
        "resources",
        "rows_over",
        "statements",
        "tables",
        "ticket_lifetime",
        "without",
    ],
);
pub(crate) const MASK: Keys = keys(
    "a mask",
    &[
        "columns",
        "connections",
        "detect",
        "except",
        "filter",
        "name",
        "opaque",
        "pattern",
        "to",
        "trusted_functions",
        "with",
    ],
);
pub(crate) const DETECTOR: Keys = keys("a detector of one's own", &["name", "regex"]);
pub(crate) const ROLES: Keys = keys("`roles`", &["admin", "approver", "auditor", "viewer"]);
pub(crate) const NOTIFY_SLACK: Keys = keys(
    "a `slack` notifier",
    &["connections", "events", "kind", "name", "signing_secret", "team", "url", "users"],
);
pub(crate) const NOTIFY_TEAMS: Keys =
    keys("a `teams` notifier", &["connections", "events", "kind", "name", "url"]);
pub(crate) const NOTIFY_WEBHOOK: Keys =
    keys("a `webhook` notifier", &["connections", "events", "kind", "name", "secret", "url"]);
pub(crate) const NOTIFY_EMAIL: Keys =
    keys("an `email` notifier", &["connections", "events", "from", "kind", "name", "smtp", "to"]);
pub(crate) const SMTP: Keys = keys("`smtp`", &["host", "password", "port", "tls", "username"]);
pub(crate) const TEST: Keys = keys(
    "a test",
    &[
        "approved",
        "client",
        "connection",
        "expect",
        "identity",
        "masks",
        "name",
        "now",
        "operation",
        "rule",
        "source",
        "sql",
        "window",
    ],
);
pub(crate) const WHO: Keys =
    keys("`identity`", &["app", "groups", "id", "name", "provider", "roles", "user"]);
pub(crate) const RETENTION: Keys = keys("`retention`", &["audit", "recordings"]);
