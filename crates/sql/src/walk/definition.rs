//! Statements that define, change, drop or maintain: verb admin over what they name.
//!
//! Objects in schemas are `schema.name`; everything else is `server/<kind>/<name>`. A definition's own names are searched as
//! well: the query of a view needs its reads, a default's functions count as called.

use pg_query::protobuf::ObjectType;
use portcullis_core::Verb;

use super::{Walker, utility::last_name};
use crate::{
    analysis::Lookup,
    names::{Name, server_name},
    tree::{Node, Value},
};

/// (node, kind word, server kind, field with the name) of statements about one object outside of every schema.
#[rustfmt::skip]
const SERVER_OBJECTS: [(&str, &str, &str, &str); 45] = [
    ("CreatedbStmt", "create", "database", "dbname"),
    ("DropdbStmt", "drop", "database", "dbname"),
    ("AlterDatabaseStmt", "alter", "database", "dbname"),
    ("AlterDatabaseSetStmt", "alter", "database", "dbname"),
    ("AlterDatabaseRefreshCollStmt", "alter", "database", "dbname"),
    ("CreateTableSpaceStmt", "create", "tablespace", "tablespacename"),
    ("DropTableSpaceStmt", "drop", "tablespace", "tablespacename"),
    ("AlterTableSpaceOptionsStmt", "alter", "tablespace", "tablespacename"),
    ("AlterTableMoveAllStmt", "alter", "tablespace", "orig_tablespacename"),
    ("CreateExtensionStmt", "create", "extension", "extname"),
    ("AlterExtensionStmt", "alter", "extension", "extname"),
    ("AlterExtensionContentsStmt", "alter", "extension", "extname"),
    ("CreateFdwStmt", "create", "foreign-data-wrapper", "fdwname"),
    ("AlterFdwStmt", "alter", "foreign-data-wrapper", "fdwname"),
    ("CreateForeignServerStmt", "create", "foreign-server", "servername"),
    ("AlterForeignServerStmt", "alter", "foreign-server", "servername"),
    ("CreateUserMappingStmt", "create", "user-mapping", "servername"),
    ("AlterUserMappingStmt", "alter", "user-mapping", "servername"),
    ("DropUserMappingStmt", "drop", "user-mapping", "servername"),
    ("ImportForeignSchemaStmt", "import", "foreign-server", "server_name"),
    ("CreateAmStmt", "create", "access-method", "amname"),
    ("CreateEventTrigStmt", "create", "event-trigger", "trigname"),
    ("AlterEventTrigStmt", "alter", "event-trigger", "trigname"),
    ("CreatePLangStmt", "create", "language", "plname"),
    ("CreateRoleStmt", "create", "role", "role"),
    ("AlterRoleStmt", "alter", "role", "role"),
    ("AlterRoleSetStmt", "alter", "role", "role"),
    ("DropRoleStmt", "drop", "role", "roles"),
    ("DropOwnedStmt", "drop", "role", "roles"),
    ("ReassignOwnedStmt", "reassign", "role", "roles"),
    ("CreatePublicationStmt", "create", "publication", "pubname"),
    ("AlterPublicationStmt", "alter", "publication", "pubname"),
    ("CreateSubscriptionStmt", "create", "subscription", "subname"),
    ("AlterSubscriptionStmt", "alter", "subscription", "subname"),
    ("DropSubscriptionStmt", "drop", "subscription", "subname"),
    ("LoadStmt", "load", "library", "filename"),
    ("CheckPointStmt", "checkpoint", "checkpoint", ""),
    ("AlterSystemStmt", "alter", "system", "setstmt"),
    ("CreateCastStmt", "create", "cast", ""),
    ("CreateTransformStmt", "create", "transform", "lang"),
    ("AlterDefaultPrivilegesStmt", "alter", "default-privileges", ""),
    ("GrantRoleStmt", "grant", "role", "granted_roles"),
    ("CreateSchemaStmt", "create", "schema", "schemaname"),
    ("AlterOpFamilyStmt", "alter", "operator-family", "opfamilyname"),
    ("CreateOpFamilyStmt", "create", "operator-family", "opfamilyname"),
];

/// (node, kind word, field with the name, whether it is made) of statements about one object in a schema.
const SCHEMA_OBJECTS: [(&str, &str, &str, Lookup); 20] = [
    ("CreateFunctionStmt", "create", "funcname", Lookup::Created),
    ("AlterFunctionStmt", "alter", "func", Lookup::Existing),
    ("DefineStmt", "create", "defnames", Lookup::Created),
    ("CreateDomainStmt", "create", "domainname", Lookup::Created),
    ("AlterDomainStmt", "alter", "type_name", Lookup::Existing),
    ("CreateEnumStmt", "create", "type_name", Lookup::Created),
    ("CreateRangeStmt", "create", "type_name", Lookup::Created),
    ("AlterEnumStmt", "alter", "type_name", Lookup::Existing),
    ("AlterTypeStmt", "alter", "type_name", Lookup::Existing),
    ("CreateOpClassStmt", "create", "opclassname", Lookup::Created),
    ("CreateConversionStmt", "create", "conversion_name", Lookup::Created),
    ("CreateStatsStmt", "create", "defnames", Lookup::Created),
    ("AlterStatsStmt", "alter", "defnames", Lookup::Existing),
    ("AlterOperatorStmt", "alter", "opername", Lookup::Existing),
    ("AlterCollationStmt", "alter", "collname", Lookup::Existing),
    ("AlterTsDictionaryStmt", "alter", "dictname", Lookup::Existing),
    ("AlterTsConfigurationStmt", "alter", "cfgname", Lookup::Existing),
    ("CompositeTypeStmt", "create", "", Lookup::Created),
    ("CreateTrigStmt", "create", "", Lookup::Existing),
    ("RuleStmt", "create", "", Lookup::Existing),
];

/// (node, kind word, field with the relation that is made, if any) of statements about relations.
const RELATIONS: [(&str, &str, &str); 14] = [
    ("CreateStmt", "create", "relation"),
    ("CreateSeqStmt", "create", "sequence"),
    ("ViewStmt", "create", "view"),
    ("IndexStmt", "create", ""),
    ("AlterTableStmt", "alter", ""),
    ("AlterSeqStmt", "alter", ""),
    ("CreatePolicyStmt", "create", ""),
    ("AlterPolicyStmt", "alter", ""),
    ("TruncateStmt", "truncate", ""),
    ("RefreshMatViewStmt", "refresh", ""),
    ("ReplicaIdentityStmt", "alter", ""),
    ("CreateForeignTableStmt", "create", ""),
    ("AlterTableCmd", "alter", ""),
    ("ReturnStmt", "select", ""),
];

impl Walker<'_> {
    /// Whether `node` is one of these; then it is walked.
    pub(super) fn definition(&mut self, node: &Node) -> bool {
        if let Some((_, word, created)) = RELATIONS.iter().find(|(kind, ..)| *kind == node.kind) {
            self.kind(word);
            self.relation_definition(node, created);
            return true;
        }
        if let Some((_, word, field, lookup)) = SCHEMA_OBJECTS.iter().find(|(kind, ..)| *kind == node.kind) {
            self.kind(word);
            if matches!(node.kind, "CreateFunctionStmt" | "AlterFunctionStmt" | "CreateTrigStmt") {
                // Nobody sees what the body does, whatever the function later says of itself.
                self.fixed(Verb::Admin, "server/code".to_owned());
            }
            self.schema_object(node, field, *lookup);
            return true;
        }
        if let Some((_, word, kind, field)) = SERVER_OBJECTS.iter().find(|(kind, ..)| *kind == node.kind) {
            let revokes = node.kind == "GrantRoleStmt" && !node.flag("is_grant");
            self.kind(if revokes { "revoke" } else { word });
            self.server_object(node, kind, field);
            return true;
        }
        match node.kind {
            "CreateTableAsStmt" => self.create_table_as(node),
            "DropStmt" => self.about(node, "drop", "remove_type", "objects"),
            "CommentStmt" => self.about(node, "comment", "objtype", "object"),
            "SecLabelStmt" => self.about(node, "label", "objtype", "object"),
            "RenameStmt" => self.about(node, "alter", "rename_type", "object"),
            "AlterObjectSchemaStmt" => self.alter_schema(node),
            "AlterOwnerStmt" => self.about(node, "alter", "object_type", "object"),
            "AlterObjectDependsStmt" => self.about(node, "alter", "object_type", "object"),
            "GrantStmt" => self.grant(node),
            "VacuumStmt" => {
                self.maintain(node, if node.flag("is_vacuumcmd") { "vacuum" } else { "analyze" }, "rels")
            }
            "ClusterStmt" => self.maintain(node, "cluster", "relation"),
            "ReindexStmt" => self.maintain(node, "reindex", "relation"),
            _ => return false,
        }
        true
    }

    /// RangeVars are admin, but what `LIKE` copies is read.
    fn relation_definition(&mut self, node: &Node, created: &str) {
        if let Some(target) = node.child(created) {
            self.target(target, Verb::Admin, Lookup::Created);
        }
        self.with_verb(Verb::Admin, |walker| walker.fields(node, &[created]));
        if node.kind == "CreateForeignTableStmt" {
            self.fixed(Verb::Admin, server_name("foreign-server", node.text("servername")));
        }
    }

    fn schema_object(&mut self, node: &Node, field: &str, lookup: Lookup) {
        match node.get(field) {
            Some(Value::Node(object)) if object.kind == "ObjectWithArgs" => {
                self.object_named(object.list("objname"), lookup)
            }
            Some(Value::List(parts)) => self.object_named(parts, lookup),
            _ if field.is_empty() => {}
            // CREATE STATISTICS may leave the name to the server.
            _ if node.kind == "CreateStatsStmt" => {}
            _ => self.refuse("an object's name was not understood"),
        }
        if let Some(composite) = node.child("typevar") {
            self.target(composite, Verb::Admin, Lookup::Created);
        }
        if node.kind == "CreateTrigStmt" {
            self.object_named(node.list("funcname"), Lookup::Existing);
        }
        self.with_verb(Verb::Admin, |walker| walker.fields(node, &["typevar", field]));
    }

    fn server_object(&mut self, node: &Node, kind: &str, field: &str) {
        let names: Vec<Box<str>> = match node.get(field) {
            Some(Value::Text(name)) => vec![name.clone()],
            Some(Value::Node(inner)) if inner.kind == "VariableSetStmt" => match inner.text("name") {
                "" => Vec::new(),
                name => vec![name.into()],
            },
            Some(Value::Node(role)) if role.kind == "RoleSpec" => vec![role_name(role)],
            Some(Value::List(parts)) if kind == "operator-family" => last_name(parts).into_iter().collect(),
            Some(Value::List(parts)) => parts.iter().filter_map(Value::node).map(role_name).collect(),
            _ => Vec::new(),
        };
        if names.is_empty() {
            self.fixed(Verb::Admin, format!("server/{kind}"));
        }
        for name in names {
            self.fixed(Verb::Admin, server_name(kind, &name));
        }
        // The elements' names are looked up in the new schema first, which is in no catalog yet.
        if !node.list("schema_elts").is_empty() {
            self.refuse("CREATE SCHEMA with elements cannot be judged: create the schema first");
        }
        if node.kind == "CreateForeignTableStmt" {
            self.refuse("a foreign table stands where none is expected");
        }
        self.with_verb(Verb::Admin, |walker| walker.fields(node, &["setstmt", "action"]));
    }

    fn create_table_as(&mut self, node: &Node) {
        self.kind("create");
        if let Some(into) = node.child("into") {
            self.made_by_query(into);
        }
        self.fields(node, &["into"]);
    }

    /// Statements about any sort of object: the sort says how its name is written.
    fn about(&mut self, node: &Node, word: &'static str, sort: &str, field: &str) {
        self.kind(word);
        let sort = object_type(node.int(sort));
        // RENAME of a part of a relation names the relation in `relation` and the part in `subname`.
        self.with_verb(Verb::Admin, |walker| walker.fields(node, &[field]));
        match node.get(field) {
            Some(Value::List(objects)) => objects.iter().for_each(|object| self.named_object(sort, object)),
            Some(object) => self.named_object(sort, object),
            None if node.child("relation").is_some() => {}
            None => match (node.text("subname"), sort) {
                ("", _) | (_, None) => self.refuse("an object's name was not understood"),
                (name, Some(sort)) => self.fixed(Verb::Admin, server_name(server_kind(sort), name)),
            },
        }
    }

    fn alter_schema(&mut self, node: &Node) {
        self.about(node, "alter", "object_type", "object");
        self.fixed(Verb::Admin, server_name("schema", node.text("newschema")));
    }

    fn named_object(&mut self, sort: Option<ObjectType>, object: &Value) {
        use ObjectType as T;
        let Some(sort) = sort else { return self.refuse("an object of an unknown sort") };
        if let Value::Node(node) = object {
            match node.kind {
                "ObjectWithArgs" => return self.object_named(node.list("objname"), Lookup::Existing),
                "TypeName" => return self.object_named(node.list("names"), Lookup::Existing),
                "RoleSpec" => return self.fixed(Verb::Admin, server_name("role", &role_name(node))),
                "String" if is_in_schema(sort) => {
                    return self.object(Name::bare(node.text("sval")), Lookup::Existing);
                }
                "String" => {
                    return self.fixed(Verb::Admin, server_name(server_kind(sort), node.text("sval")));
                }
                "List" => {}
                _ => return self.fixed(Verb::Admin, format!("server/{}", server_kind(sort))),
            }
        }
        let parts = object.items();
        match sort {
            // The last part is the column, trigger, rule, policy or constraint; the rest is the relation's name.
            T::ObjectColumn | T::ObjectTrigger | T::ObjectRule | T::ObjectPolicy | T::ObjectTabconstraint => {
                let relation = parts.split_last().map_or(parts, |(_, relation)| relation);
                self.object_named(relation, Lookup::Existing);
            }
            T::ObjectDomconstraint => match parts.first().and_then(Value::node) {
                Some(domain) => self.object_named(domain.list("names"), Lookup::Existing),
                None => self.refuse("an object's name was not understood"),
            },
            T::ObjectCast | T::ObjectTransform | T::ObjectAmop | T::ObjectAmproc => {
                self.fixed(Verb::Admin, format!("server/{}", server_kind(sort)));
            }
            // The access method comes first.
            T::ObjectOpclass | T::ObjectOpfamily => {
                let name = parts.split_first().map_or(parts, |(_, name)| name);
                self.object_named(name, Lookup::Existing);
            }
            sort if is_in_schema(sort) => self.object_named(parts, Lookup::Existing),
            sort => match last_name(parts) {
                Some(name) => self.fixed(Verb::Admin, server_name(server_kind(sort), &name)),
                None => self.fixed(Verb::Admin, format!("server/{}", server_kind(sort))),
            },
        }
    }

    fn grant(&mut self, node: &Node) {
        self.kind(if node.flag("is_grant") { "grant" } else { "revoke" });
        let sort = object_type(node.int("objtype"));
        // ACL_TARGET_OBJECT; the others are ALL TABLES IN SCHEMA … and default privileges.
        const OBJECTS: i64 = pg_query::protobuf::GrantTargetType::AclTargetObject as i64;
        let objects = node.list("objects");
        if node.int("targtype") == OBJECTS {
            for object in objects {
                match object.node() {
                    Some(relation) if relation.kind == "RangeVar" => {
                        self.target(relation, Verb::Admin, Lookup::Existing);
                    }
                    _ => self.named_object(sort, object),
                }
            }
        } else {
            for schema in objects.iter().filter_map(Value::string) {
                self.fixed(Verb::Admin, server_name("schema", schema));
            }
        }
        if objects.is_empty() {
            self.fixed(Verb::Admin, "server/default-privileges".to_owned());
        }
        self.fields(node, &["objects"]);
    }

    /// VACUUM, ANALYZE, CLUSTER, REINDEX: of relations, or of everything (`server/maintenance`).
    fn maintain(&mut self, node: &Node, word: &'static str, field: &str) {
        self.kind(word);
        if node.get(field).is_none() {
            match node.text("name") {
                "" => self.fixed(Verb::Admin, "server/maintenance".to_owned()),
                name => self.fixed(Verb::Admin, server_name("maintenance", name)),
            }
        }
        self.with_verb(Verb::Admin, |walker| walker.fields(node, &[]));
    }
}

fn object_type(number: i64) -> Option<ObjectType> {
    i32::try_from(number).ok().and_then(|number| ObjectType::try_from(number).ok())
}

fn role_name(node: &Node) -> Box<str> {
    match node.kind {
        "RoleSpec" if !node.text("rolename").is_empty() => node.text("rolename").into(),
        "AccessPriv" => node.text("priv_name").into(),
        _ => "current".into(),
    }
}

fn is_in_schema(sort: ObjectType) -> bool {
    use ObjectType as T;
    matches!(
        sort,
        T::ObjectTable
            | T::ObjectIndex
            | T::ObjectSequence
            | T::ObjectView
            | T::ObjectMatview
            | T::ObjectForeignTable
            | T::ObjectFunction
            | T::ObjectProcedure
            | T::ObjectRoutine
            | T::ObjectAggregate
            | T::ObjectOperator
            | T::ObjectType
            | T::ObjectDomain
            | T::ObjectAttribute
            | T::ObjectCollation
            | T::ObjectConversion
            | T::ObjectStatisticExt
            | T::ObjectTsconfiguration
            | T::ObjectTsdictionary
            | T::ObjectTsparser
            | T::ObjectTstemplate
    )
}

fn server_kind(sort: ObjectType) -> &'static str {
    use ObjectType as T;
    match sort {
        T::ObjectAccessMethod => "access-method",
        T::ObjectCast => "cast",
        T::ObjectDatabase => "database",
        T::ObjectDefacl => "default-privileges",
        T::ObjectEventTrigger => "event-trigger",
        T::ObjectExtension => "extension",
        T::ObjectFdw => "foreign-data-wrapper",
        T::ObjectForeignServer => "foreign-server",
        T::ObjectLanguage => "language",
        T::ObjectLargeobject => "large-object",
        T::ObjectParameterAcl => "setting",
        T::ObjectPublication => "publication",
        T::ObjectRole => "role",
        T::ObjectSchema => "schema",
        T::ObjectSubscription => "subscription",
        T::ObjectTablespace => "tablespace",
        T::ObjectTransform => "transform",
        T::ObjectUserMapping => "user-mapping",
        _ => "object",
    }
}
