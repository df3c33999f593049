//! Statements -> plans.

use pg_query::protobuf::ObjectType;

use super::{Builder, Built, NotUnderstood};
use crate::{
    lineage::ir::{CopyTo, Plan},
    tree::{Node, Value},
    walk::relation_name,
};

/// Statements that may name a masked relation: nothing of its values goes anywhere, and it stays what it is.
const HARMLESS: [&str; 12] = [
    "TruncateStmt",
    "VacuumStmt",
    "LockStmt",
    "ReindexStmt",
    "RefreshMatViewStmt",
    "GrantStmt",
    "CommentStmt",
    "SecLabelStmt",
    "DeallocateStmt",
    "ClosePortalStmt",
    "TransactionStmt",
    "VariableSetStmt",
];

/// What can be dropped with everything in it; dropping a part of a relation changes it.
const DROPPED: [ObjectType; 7] = [
    ObjectType::ObjectTable,
    ObjectType::ObjectView,
    ObjectType::ObjectMatview,
    ObjectType::ObjectForeignTable,
    ObjectType::ObjectIndex,
    ObjectType::ObjectSequence,
    ObjectType::ObjectTrigger,
];

/// Statements that make or run what can look at values unseen.
const OPAQUE: [(&str, &str); 24] = [
    ("DoStmt", "the code of a DO block"),
    ("CreateFunctionStmt", "the body of a function"),
    ("AlterFunctionStmt", "the body of a function"),
    ("CreateTrigStmt", "a trigger"),
    ("CreateEventTrigStmt", "an event trigger"),
    ("CreatePLangStmt", "a language"),
    ("CreateTransformStmt", "a transform"),
    ("LoadStmt", "a library"),
    ("AlterSystemStmt", "a setting of the server"),
    ("CreateExtensionStmt", "an extension"),
    ("AlterExtensionStmt", "an extension"),
    ("AlterExtensionContentsStmt", "an extension"),
    ("CreateFdwStmt", "a foreign-data wrapper"),
    ("AlterFdwStmt", "a foreign-data wrapper"),
    ("CreateForeignServerStmt", "a foreign server"),
    ("AlterForeignServerStmt", "a foreign server"),
    ("CreateUserMappingStmt", "a user mapping"),
    ("AlterUserMappingStmt", "a user mapping"),
    ("CreateForeignTableStmt", "a foreign table"),
    ("ImportForeignSchemaStmt", "a foreign schema"),
    ("CreatePublicationStmt", "a publication"),
    ("AlterPublicationStmt", "a publication"),
    ("CreateSubscriptionStmt", "a subscription"),
    ("AlterSubscriptionStmt", "a subscription"),
];

impl Builder {
    pub(super) fn statement(&mut self, node: &Node) -> Built<Plan> {
        if let Some((_, what)) = OPAQUE.iter().find(|(kind, _)| *kind == node.kind) {
            return Ok(Plan::Opaque(what));
        }
        if HARMLESS.contains(&node.kind) {
            return Ok(Plan::Harmless);
        }
        match node.kind {
            "SelectStmt" | "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" => {
                Ok(Plan::Query(self.whole_query(node)?))
            }
            "ExplainStmt" | "PrepareStmt" | "DeclareCursorStmt" => self.discarded(node),
            "CreateTableAsStmt" | "ViewStmt" => {
                let query = node.child("query").ok_or(NotUnderstood("a query was not understood"))?;
                Ok(Plan::Stored(Box::new(self.statement(query)?)))
            }
            "ExecuteStmt" | "FetchStmt" => Ok(Plan::Remembered),
            "CopyStmt" => self.copy(node),
            "DropStmt" => {
                let whole = DROPPED.iter().any(|sort| node.int("remove_type") == i64::from(*sort as i32));
                Ok(if whole { Plan::Harmless } else { Plan::Other })
            }
            "ClusterStmt" => Ok(Plan::Clusters { all: node.child("relation").is_none() }),
            // ADD CONSTRAINT, VALIDATE CONSTRAINT, SET NOT NULL: as `AlterDomainStmt` in parsenodes.h says.
            "AlterDomainStmt" if matches!(node.text("subtype"), "C" | "V" | "O") => Ok(Plan::ChecksType),
            // What sends and receives a type is another function from then on.
            "AlterTypeStmt" => Ok(Plan::ChecksType),
            "AlterObjectSchemaStmt"
                if node.int("object_type") == i64::from(ObjectType::ObjectExtension as i32) =>
            {
                Ok(Plan::Opaque("an extension that is moved"))
            }
            "RenameStmt" if node.int("rename_type") == i64::from(ObjectType::ObjectSchema as i32) => {
                Ok(Plan::RenamesSchema(node.text("subname").into()))
            }
            _ => Ok(Plan::Other),
        }
    }

    fn discarded(&mut self, node: &Node) -> Built<Plan> {
        let query = node.child("query").ok_or(NotUnderstood("a query was not understood"))?;
        Ok(Plan::Discarded(Box::new(self.statement(query)?)))
    }

    fn copy(&mut self, node: &Node) -> Built<Plan> {
        if node.flag("is_program") {
            return Ok(Plan::Opaque("a program of the server"));
        }
        if node.flag("is_from") && !node.text("filename").is_empty() {
            return Ok(Plan::Opaque("a file of the server"));
        }
        if node.flag("is_from") {
            // What its WHERE looks at is what the client sends.
            return Ok(Plan::Harmless);
        }
        let to = if node.text("filename").is_empty() { CopyTo::Client } else { CopyTo::Server };
        match (node.child("relation"), node.child("query")) {
            (Some(relation), None) => {
                let columns = node.list("attlist").iter().filter_map(Value::string).map(Into::into).collect();
                Ok(Plan::CopyTable { relation: relation_name(relation), columns, to })
            }
            (None, Some(query)) => Ok(Plan::CopyQuery { query: self.whole_query(query)?, to }),
            _ => Err(NotUnderstood("what COPY copies was not understood")),
        }
    }
}
