//! Which functions are free to call, and what the others need.
//!
//! A built-in that is immutable or stable is free unless [`LISTED`] says otherwise: those look, and what they look at is the
//! statement's own data or metadata. A built-in that is volatile is free only where [`LISTED`] says so; a volatile one of a
//! newer server that nobody has looked at needs `admin`. Decided over every volatile and every query-running function of
//! PostgreSQL 15 and 18 `pg_proc.dat`.

use std::collections::HashMap;
use std::sync::LazyLock;

use portcullis_core::Verb;

use crate::catalog::{Catalog, Function, FunctionKind, FunctionLanguage, Volatility};

/// What a call of a built-in function needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuiltIn {
    /// Nothing: what it looks at is harmless, or named elsewhere in the statement.
    Free,
    /// The verb on `pg_catalog.<function>`.
    Needs(Verb),
    /// It is `SET`, judged where the statement is walked.
    SetConfig,
    /// `write` on the sequence its first argument names.
    Sequence,
    /// `write` on the channel its first argument names.
    Notify,
}

use BuiltIn::{Free, Needs};

/// Built-in functions by name.
#[rustfmt::skip]
const LISTED: [(BuiltIn, &[&str]); 8] = [
    (BuiltIn::SetConfig, &["set_config"]),
    (BuiltIn::Sequence, &["nextval", "setval"]),
    (BuiltIn::Notify, &["pg_notify"]),
    // They run a query or read a table given as text or oid.
    (
        Needs(Verb::Execute),
        &[
            "query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "table_to_xml", "table_to_xmlschema",
            "table_to_xml_and_xmlschema", "schema_to_xml", "schema_to_xmlschema", "schema_to_xml_and_xmlschema",
            "database_to_xml", "database_to_xmlschema", "database_to_xml_and_xmlschema", "cursor_to_xml",
            "cursor_to_xmlschema", "ts_stat", "ts_rewrite", "currtid", "currtid2", "pg_get_multixact_members",
            // They hold the session, a snapshot or a lock.
            "pg_sleep", "pg_sleep_for", "pg_sleep_until", "pg_export_snapshot", "pg_isolation_test_session_is_blocked",
        ],
    ),
    // Advisory locks are shared with every other session; large objects are data.
    (
        Needs(Verb::Write),
        &[
            "pg_advisory_lock", "pg_advisory_lock_shared", "pg_advisory_xact_lock", "pg_advisory_xact_lock_shared", "pg_try_advisory_lock",
            "pg_try_advisory_lock_shared", "pg_try_advisory_xact_lock", "pg_try_advisory_xact_lock_shared", "lo_creat",
            "lo_create", "lo_from_bytea", "lo_put", "lo_truncate", "lo_truncate64", "lo_unlink", "lowrite",
        ],
    ),
    // Data of others: large objects, what other sessions run, memory of the server.
    (
        Needs(Verb::Read),
        &[
            "lo_get", "loread", "lo_open", "pg_stat_get_activity", "pg_stat_get_backend_activity", "pg_stat_get_wal_receiver",
            "pg_get_backend_memory_contexts", "pg_get_shmem_allocations", "pg_get_shmem_allocations_numa",
            "pg_stat_get_progress_info", "pg_current_logfile", "pg_mcv_list_items",
        ],
    ),
    // Volatile by declaration, harmless by what they do: clocks, random numbers, the session's own state, figures.
    (
        Free,
        &[
            "bernoulli", "system", "clock_timestamp", "timeofday", "random", "random_normal", "setseed", "gen_random_uuid",
            "uuidv4", "uuidv7", "currval", "lastval", "current_query", "txid_status", "pg_xact_status", "lo_close",
            "lo_lseek", "lo_lseek64", "lo_tell", "lo_tell64", "pg_blocking_pids", "pg_safe_snapshot_blocking_pids",
            "pg_collation_actual_version", "pg_database_collation_actual_version", "pg_control_checkpoint",
            "pg_control_init", "pg_control_recovery", "pg_control_system", "pg_current_wal_flush_lsn",
            "pg_current_wal_insert_lsn", "pg_current_wal_lsn", "pg_database_size", "pg_get_wal_replay_pause_state",
            "pg_get_wal_resource_managers", "pg_indexes_size", "pg_is_in_recovery", "pg_is_wal_replay_paused",
            "pg_jit_available", "pg_last_committed_xact", "pg_last_wal_receive_lsn", "pg_last_wal_replay_lsn",
            "pg_last_xact_replay_timestamp", "pg_lock_status", "pg_notification_queue_usage", "pg_partition_ancestors",
            "pg_partition_tree", "pg_relation_size", "pg_sequence_last_value", "pg_stat_clear_snapshot",
            "pg_stat_force_next_flush", "pg_stat_get_recovery_prefetch", "pg_stat_get_xact_blocks_fetched",
            "pg_stat_get_xact_blocks_hit", "pg_stat_get_xact_function_calls", "pg_stat_get_xact_function_self_time",
            "pg_stat_get_xact_function_total_time", "pg_stat_get_xact_numscans", "pg_stat_get_xact_tuples_deleted",
            "pg_stat_get_xact_tuples_fetched", "pg_stat_get_xact_tuples_hot_updated",
            "pg_stat_get_xact_tuples_newpage_updated", "pg_stat_get_xact_tuples_inserted",
            "pg_stat_get_xact_tuples_returned", "pg_stat_get_xact_tuples_updated", "pg_stat_have_stats", "pg_table_size",
            "pg_tablespace_size", "pg_total_relation_size", "pg_xact_commit_timestamp", "pg_xact_commit_timestamp_origin",
            "amvalidate", "pg_get_loaded_modules", "pg_stat_get_backend_io", "pg_get_sequence_data",
            "pg_replication_origin_session_is_setup",
            // Locks of this session alone; connection pools give them all back.
            "pg_advisory_unlock", "pg_advisory_unlock_all", "pg_advisory_unlock_shared",
        ],
    ),
    // Files and other servers, whatever a server declares them.
    (
        Needs(Verb::Admin),
        &[
            "pg_read_file", "pg_read_file_old", "pg_read_binary_file", "pg_stat_file", "lo_import", "lo_export",
            "pg_hba_file_rules", "pg_ident_file_mappings", "pg_show_all_file_settings", "pg_terminate_backend",
            "pg_cancel_backend", "pg_reload_conf", "pg_rotate_logfile", "pg_switch_wal", "pg_create_restore_point",
            "pg_promote", "pg_config", "pg_import_system_collations", "pg_execute_server_program",
        ],
    ),
];

/// Families of built-in functions that change the server, whatever their volatility.
#[rustfmt::skip]
const PREFIXES: [&str; 17] = [
    "pg_ls_", "pg_logical_", "pg_replication_origin_", "pg_replication_slot_", "pg_create_", "pg_drop_", "pg_copy_",
    "pg_backup_", "pg_start_backup", "pg_stop_", "pg_wal_replay_", "pg_stat_reset", "binary_upgrade_", "pg_sync_",
    "pg_restore_", "pg_clear_", "pg_log_",
];

static BY_NAME: LazyLock<HashMap<&'static str, BuiltIn>> = LazyLock::new(|| {
    LISTED.iter().flat_map(|(what, names)| names.iter().map(move |name| (*name, *what))).collect()
});

/// What is said of a built-in by its name alone.
pub(crate) fn listed(name: &str) -> Option<BuiltIn> {
    let exact = BY_NAME.get(name).copied();
    exact.or_else(|| {
        // Harmless look-ups that begin like a family.
        let looks = matches!(name, "pg_replication_origin_oid" | "pg_replication_origin_session_is_setup");
        (!looks && PREFIXES.iter().any(|prefix| name.starts_with(prefix))).then_some(Needs(Verb::Admin))
    })
}

/// Whether a built-in reads tables that are given as text or oid, files, the log of changes or statistics: no column of a
/// statement says what it gives back.
pub(crate) fn reads_hidden(name: &str) -> bool {
    #[rustfmt::skip]
    const READERS: [&str; 26] = [
        "query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "table_to_xml", "table_to_xmlschema",
        "table_to_xml_and_xmlschema", "schema_to_xml", "schema_to_xmlschema", "schema_to_xml_and_xmlschema",
        "database_to_xml", "database_to_xmlschema", "database_to_xml_and_xmlschema", "cursor_to_xml",
        "cursor_to_xmlschema", "ts_stat", "ts_rewrite", "currtid", "currtid2", "currtid_byreloid", "currtid_byrelname",
        "pg_mcv_list_items", "pg_read_file", "pg_read_file_old", "pg_read_binary_file", "lo_import", "pg_execute_server_program",
    ];
    READERS.contains(&name) || name.starts_with("pg_logical_slot_")
}

/// What a call of a built-in needs.
pub(crate) fn built_in(function: &Function) -> BuiltIn {
    match listed(&function.name) {
        Some(what) => what,
        None if function.volatility != Volatility::Volatile => Free,
        None => Needs(Verb::Admin),
    }
}

/// Types that can be written like a call with one argument and are no function for every source: `jsonb('{}')`.
pub(crate) fn is_builtin_type(name: &str) -> bool {
    #[rustfmt::skip]
    const TYPES: [&str; 44] = [
        "bool", "bytea", "char", "name", "int8", "int2", "int4", "regproc", "text", "oid", "json", "jsonb", "xml", "point",
        "lseg", "path", "box", "polygon", "line", "cidr", "float4", "float8", "circle", "macaddr", "inet", "bpchar",
        "varchar", "date", "time", "timestamp", "timestamptz", "interval", "timetz", "bit", "varbit", "numeric", "uuid",
        "pg_lsn", "tsvector", "tsquery", "regclass", "regtype", "regrole", "regnamespace",
    ];
    TYPES.contains(&name)
}

/// Whether an operator of that name was born with the server (PostgreSQL 15 and 18 `pg_operator.dat`).
pub(crate) fn is_builtin_operator(name: &str) -> bool {
    #[rustfmt::skip]
    const OPERATORS: [&str; 74] = [
        "!!", "!~", "!~*", "!~~", "!~~*", "#", "##", "#-", "#>", "#>>", "%", "&", "&&", "&<", "&<|", "&>",
        "*", "*<", "*<=", "*<>", "*=", "*>", "*>=", "+", "-", "->", "->>", "-|-", "/", "<", "<->", "<<",
        "<<=", "<<|", "<=", "<>", "<@", "<^", "=", ">", ">=", ">>", ">>=", ">^", "?", "?#", "?&", "?-",
        "?-|", "?|", "?||", "@", "@-@", "@>", "@?", "@@", "@@@", "^", "^@", "|", "|&>", "|/", "|>>", "||",
        "||/", "~", "~*", "~<=~", "~<~", "~=", "~>=~", "~>~", "~~", "~~*",
    ];
    OPERATORS.contains(&name)
}

/// What a call of any function but a built-in needs on it; nothing where it is free.
///
/// Free: immutable and written in C, which only a superuser can install and which computes (text search, geometry, citext).
/// Everything that is not known is `execute`.
pub(crate) fn of_users(function: &Function, catalog: &dyn Catalog) -> Option<Verb> {
    // Functions of extensions that run a query given as text and are declared stable.
    let runs_text = ["crosstab", "connectby", "xpath_table", "dblink"];
    if function.security_definer || runs_text.iter().any(|start| function.name.starts_with(start)) {
        return Some(Verb::Execute);
    }
    match function.kind {
        FunctionKind::Procedure => Some(Verb::Execute),
        // An aggregate's own volatility says nothing: what it runs decides.
        FunctionKind::Aggregate if function.calls.is_empty() => Some(Verb::Execute),
        FunctionKind::Aggregate => {
            strongest(function.calls.iter().map(|oid| match catalog.function_by_oid(*oid) {
                Some(inner) if inner.kind == FunctionKind::Aggregate => Some(Verb::Execute),
                Some(inner) if inner.is_built_in() => match built_in(inner) {
                    Free => None,
                    _ => Some(Verb::Execute),
                },
                Some(inner) => of_users(inner, catalog),
                None => Some(Verb::Execute),
            }))
        }
        FunctionKind::Function | FunctionKind::Window => match function.volatility {
            Volatility::Volatile => Some(Verb::Execute),
            Volatility::Immutable if function.language == FunctionLanguage::Native => None,
            Volatility::Immutable | Volatility::Stable => Some(Verb::Read),
        },
    }
}

fn strongest(verbs: impl Iterator<Item = Option<Verb>>) -> Option<Verb> {
    verbs.max().flatten()
}
