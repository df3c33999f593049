//! `roles:` -> who may do what in API and console. Several documents' lists are joined.

use crate::{
    Role,
    documents::{draft::Draft, grants, keys, reader::Reader, tree::Node},
};

/// Reads the map of roles into the draft.
pub(crate) fn read(reader: &mut Reader<'_>, node: &Node, draft: &mut Draft) {
    let Some(fields) = reader.fields(node, &keys::ROLES) else { return };
    for role in Role::ALL {
        if let Some(node) = fields.get(role.as_str()) {
            let subjects = grants::subjects(reader, node, &format!("`{}`", role.as_str()));
            draft.roles.push((role, subjects));
        }
    }
}
