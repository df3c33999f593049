//! System catalogs that anyone with a connection may read: they hold metadata only, and psql's `\d` and every driver's look-up
//! of types need them. Reading one is no (verb, resource) pair.
//!
//! Left out: what holds values of tables (`pg_statistic`, `pg_stats`, `pg_largeobject`), what others run
//! (`pg_stat_activity`: the sessions of other principals share the upstream role), credentials (`pg_authid`, `pg_user_mapping`,
//! `pg_subscription`, options of foreign servers) and files (`pg_hba_file_rules`, `pg_file_settings`).

/// Relations of `pg_catalog`.
#[rustfmt::skip]
pub const HARMLESS_CATALOGS: [&str; 90] = [
    "pg_aggregate", "pg_am", "pg_amop", "pg_amproc", "pg_attrdef", "pg_attribute", "pg_auth_members",
    "pg_available_extension_versions", "pg_available_extensions", "pg_cast", "pg_class", "pg_collation", "pg_constraint",
    "pg_conversion", "pg_cursors", "pg_database", "pg_default_acl", "pg_depend", "pg_description", "pg_enum",
    "pg_event_trigger", "pg_extension", "pg_foreign_data_wrapper", "pg_foreign_table", "pg_group", "pg_index", "pg_indexes",
    "pg_inherits", "pg_init_privs", "pg_language", "pg_largeobject_metadata", "pg_locks", "pg_matviews", "pg_namespace",
    "pg_opclass", "pg_operator", "pg_opfamily", "pg_partitioned_table", "pg_policies", "pg_policy",
    "pg_prepared_statements", "pg_proc", "pg_publication", "pg_publication_namespace", "pg_publication_rel",
    "pg_publication_tables", "pg_range", "pg_rewrite", "pg_roles", "pg_rules", "pg_seclabel", "pg_seclabels",
    "pg_sequence", "pg_sequences", "pg_settings", "pg_shdepend", "pg_shdescription", "pg_shseclabel",
    "pg_stat_all_indexes", "pg_stat_all_tables", "pg_stat_database", "pg_stat_sys_indexes", "pg_stat_sys_tables",
    "pg_stat_user_functions", "pg_stat_user_indexes", "pg_stat_user_tables", "pg_statio_all_indexes",
    "pg_statio_all_sequences", "pg_statio_all_tables", "pg_statio_user_indexes", "pg_statio_user_sequences",
    "pg_statio_user_tables", "pg_statio_sys_indexes", "pg_statio_sys_tables", "pg_statistic_ext", "pg_tables",
    "pg_tablespace", "pg_timezone_abbrevs", "pg_timezone_names", "pg_transform", "pg_trigger", "pg_ts_config",
    "pg_ts_config_map", "pg_ts_dict", "pg_ts_parser", "pg_ts_template", "pg_type", "pg_user", "pg_views",
    "pg_parameter_acl",
];

/// Relations of `information_schema` that show options, which can be credentials. The rest of the schema is harmless.
#[rustfmt::skip]
pub const GUARDED_INFORMATION: [&str; 9] = [
    "user_mapping_options", "user_mappings", "_pg_user_mappings", "foreign_server_options", "_pg_foreign_servers",
    "foreign_data_wrapper_options", "_pg_foreign_data_wrappers", "foreign_table_options", "_pg_foreign_tables",
];

/// Whether reading the relation needs nothing.
pub(crate) fn is_harmless(schema: &str, name: &str) -> bool {
    match schema {
        "pg_catalog" => HARMLESS_CATALOGS.contains(&name),
        "information_schema" => !GUARDED_INFORMATION.contains(&name),
        _ => false,
    }
}
