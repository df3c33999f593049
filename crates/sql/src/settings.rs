//! Changes of server settings (GUCs) a statement makes, and which of them nobody may make outside pass-through.

/// A setting's new value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SettingValue {
    /// Written in the statement. Lists are joined with `, `, identifiers quoted where needed, as `SET` itself does.
    Known(Box<str>),
    /// Computed, or the default.
    Unknown,
}

/// How long a change lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SettingScope {
    /// `SET`, `SET SESSION`: to the end of the session, unless the transaction is rolled back.
    Session,
    /// `SET LOCAL`: to the end of the transaction.
    Local,
}

/// One change of one setting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SettingChange {
    /// The setting in lower case; `all` for `RESET ALL` and what `DISCARD ALL` resets.
    pub name: Box<str>,
    /// The new value.
    pub value: SettingValue,
    /// How long it lasts.
    pub scope: SettingScope,
    /// `RESET`, `SET … TO DEFAULT`: back to what the session started with.
    pub reset: bool,
}

impl SettingChange {
    /// Whether the change is about `name`; `RESET ALL` is about every setting.
    pub fn concerns(&self, name: &str) -> bool {
        &*self.name == name || (self.reset && &*self.name == "all")
    }
}

/// What may be said of one change without knowing who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SettingVerdict {
    /// Changes nothing but how the session's own answers look or how its statements are planned.
    Harmless,
    /// Needs `admin` on `server/setting/<name>`: the setting is not known to be harmless.
    Admin,
    /// `SET ROLE`, `SET SESSION AUTHORIZATION`: needs `admin` on `session/role` or `session/authorization`.
    Identity,
    /// Outside pass-through nobody may: afterwards texts could not be judged, or what was judged would not hold.
    Never(&'static str),
}

/// Settings anyone may change. Judging, identity, logging, triggers, libraries and files do not depend on them.
/// `row_security` is among them: off turns a query that a policy would filter into an error, it never shows more.
const HARMLESS: [&str; 86] = [
    "application_name",
    "array_nulls",
    "bytea_output",
    "check_function_bodies",
    "client_connection_check_interval",
    "client_min_messages",
    "constraint_exclusion",
    "cpu_index_tuple_cost",
    "cpu_operator_cost",
    "cpu_tuple_cost",
    "cursor_tuple_fraction",
    "datestyle",
    "debug_parallel_query",
    "default_statistics_target",
    "default_table_access_method",
    "default_tablespace",
    "default_text_search_config",
    "default_toast_compression",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "effective_cache_size",
    "enable_async_append",
    "enable_bitmapscan",
    "enable_gathermerge",
    "enable_group_by_reordering",
    "enable_hashagg",
    "enable_hashjoin",
    "enable_incremental_sort",
    "enable_indexonlyscan",
    "enable_indexscan",
    "enable_material",
    "enable_memoize",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_parallel_append",
    "enable_parallel_hash",
    "enable_partition_pruning",
    "enable_partitionwise_aggregate",
    "enable_partitionwise_join",
    "enable_presorted_aggregate",
    "enable_seqscan",
    "enable_sort",
    "enable_tidscan",
    "escape_string_warning",
    "extra_float_digits",
    "from_collapse_limit",
    "geqo",
    "geqo_effort",
    "geqo_threshold",
    "hash_mem_multiplier",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "jit_above_cost",
    "jit_inline_above_cost",
    "jit_optimize_above_cost",
    "join_collapse_limit",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "maintenance_work_mem",
    "max_parallel_workers_per_gather",
    "parallel_leader_participation",
    "parallel_setup_cost",
    "parallel_tuple_cost",
    "plan_cache_mode",
    "quote_all_identifiers",
    "random_page_cost",
    "row_security",
    "search_path",
    "seq_page_cost",
    "statement_timeout",
    "synchronize_seqscans",
    "synchronous_commit",
    "temp_tablespaces",
    "timezone",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
    "transaction_timeout",
    "work_mem",
    "xmlbinary",
    "xmloption",
];

/// Encodings under which the server reads the bytes of a valid UTF-8 text as the same characters the analysis reads.
const SAFE_ENCODINGS: [&str; 4] = ["utf8", "unicode", "sqlascii", "default"];

/// Whether texts can be judged under this `client_encoding`: UTF-8, or SQL_ASCII, which passes bytes as they are. Also what
/// a startup message's `client_encoding` is asked. `''` and `auto` are not: they leave the choice to others.
pub fn encoding_is_safe(encoding: &str) -> bool {
    // As clean_encoding_name (encnames.c): letters and digits only, lower case.
    let clean: String =
        encoding.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    SAFE_ENCODINGS.contains(&clean.as_str()) && clean != "default"
}

/// What may be said of one change without knowing who asks. Whether a read-only scope refuses it is another question:
/// see [`crate::Statement::leaves_read_only`].
pub fn judge(change: &SettingChange) -> SettingVerdict {
    let is = |expected: &[&str]| matches!(&change.value, SettingValue::Known(value) if expected.iter().any(|e| value.trim().eq_ignore_ascii_case(e)));
    match &*change.name {
        "role" | "session_authorization" => SettingVerdict::Identity,
        // The startup values were judged when the session began.
        "all" if change.reset => SettingVerdict::Harmless,
        "standard_conforming_strings" if is(&["on", "true", "yes", "1", "t", "y"]) => {
            SettingVerdict::Harmless
        }
        "standard_conforming_strings" => SettingVerdict::Never("it changes where strings end"),
        "backslash_quote" if is(&["safe_encoding", "off"]) => SettingVerdict::Harmless,
        "backslash_quote" => SettingVerdict::Never("it changes where strings end"),
        "client_encoding" => match &change.value {
            SettingValue::Known(encoding) if encoding_is_safe(encoding) => SettingVerdict::Harmless,
            _ => SettingVerdict::Never("statements are judged as UTF-8"),
        },
        "transform_null_equals" => SettingVerdict::Never("it changes what conditions mean"),
        "session_replication_role" => SettingVerdict::Never("it switches triggers and rules off"),
        "allow_system_table_mods" | "ignore_checksum_failure" | "zero_damaged_pages" => {
            SettingVerdict::Never("it opens what the server keeps shut")
        }
        "session_preload_libraries"
        | "local_preload_libraries"
        | "dynamic_library_path"
        | "jit_provider"
        | "extension_control_path" => SettingVerdict::Never("it loads code into the server"),
        name if name.starts_with("log_")
            || name.starts_with("pgaudit.")
            || name.starts_with("auto_explain.") =>
        {
            SettingVerdict::Never("it changes what the server's log says")
        }
        "track_activities" | "debug_print_plan" | "debug_print_parse" | "debug_print_rewritten" => {
            SettingVerdict::Never("it changes what the server's log says")
        }
        name if HARMLESS.contains(&name) => SettingVerdict::Harmless,
        _ => SettingVerdict::Admin,
    }
}

/// Whether a change may make a read-only session or transaction one that writes.
pub(crate) fn may_leave_read_only(change: &SettingChange) -> bool {
    let on = |value: &SettingValue| matches!(value, SettingValue::Known(v) if ["on", "true", "yes", "1"].iter().any(|on| v.trim().eq_ignore_ascii_case(on)));
    match &*change.name {
        // `RESET transaction_read_only` makes a transaction of a read-only session one that writes (before PostgreSQL 16).
        "transaction_read_only" => change.reset || !on(&change.value),
        // Where it leads back to is what the session began with, and `RESET ALL` leaves `transaction_read_only` alone
        // (GUC_NO_RESET_ALL in guc_tables.c).
        "default_transaction_read_only" => !change.reset && !on(&change.value),
        _ => false,
    }
}
