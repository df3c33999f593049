//! Who is in which group. What an identity is in is transitive; what a group holds is direct.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    Call, Reply, Session,
    objects::{Collection, render},
};
use crate::{
    claims::set,
    world::{ObjectType, World},
};

/// Groups one `checkMemberGroups` may name.
const MAX_CHECKED: usize = 20;

impl Session<'_> {
    pub(super) fn member_groups(
        &self,
        call: &Call,
        collection: Collection,
        key: &str,
    ) -> Result<Reply, Reply> {
        call.allow_options(&[])?;
        let security_only = call.body.get("securityEnabledOnly").and_then(Value::as_bool);
        let security_only = security_only
            .ok_or_else(|| Reply::bad_request("The boolean 'securityEnabledOnly' is required."))?;
        let world = self.idp.world();
        let id = collection.find(&world, key)?;
        // Graph documents the filtered form for users only.
        if security_only && world.object_type(id) != Some(ObjectType::User) {
            return Err(Reply::bad_request("'securityEnabledOnly' is supported for users only."));
        }
        Ok(Reply::ok(self.id_list(&world.groups_of(id))))
    }

    pub(super) fn check_member_groups(
        &self,
        call: &Call,
        collection: Collection,
        key: &str,
    ) -> Result<Reply, Reply> {
        call.allow_options(&[])?;
        let asked = call.body.get("groupIds").and_then(Value::as_array);
        let asked = asked.ok_or_else(|| Reply::bad_request("The collection 'groupIds' is required."))?;
        if asked.len() > MAX_CHECKED {
            return Err(Reply::bad_request("Too many group ids: the most is 20."));
        }
        let ids: Option<Vec<Uuid>> = asked.iter().map(|id| id.as_str()?.parse().ok()).collect();
        let ids = ids.ok_or_else(|| Reply::bad_request("A group id is not a GUID."))?;
        let world = self.idp.world();
        let groups = world.groups_of(collection.find(&world, key)?);
        Ok(Reply::ok(self.id_list(ids.iter().filter(|id| groups.contains(id)))))
    }

    /// `transitiveMemberOf` and its cast to groups; only groups hold anything here.
    pub(super) fn member_of(&self, call: &Call, collection: Collection, key: &str) -> Result<Reply, Reply> {
        call.allow_options(&["select", "top", "skiptoken", "count"])?;
        let path = call.path();
        let world = self.idp.world();
        let id = collection.find(&world, key)?;
        let direct = path.contains(&"memberOf");
        let mut groups = world.groups_of(id);
        if direct {
            groups.retain(|group| world.groups.get(group).is_some_and(|group| group.members.contains(&id)));
        }
        self.page(call, &path.join("/"), rendered(&world, self.idp.tenant(), groups))
    }

    pub(super) fn members(&self, call: &Call, collection: Collection, key: &str) -> Result<Reply, Reply> {
        call.allow_options(&["select", "top", "skiptoken"])?;
        let world = self.idp.world();
        let id = group(&world, collection, key)?;
        let members = world.groups.get(&id).map(|group| group.members.clone()).unwrap_or_default();
        self.page(call, &call.path().join("/"), rendered(&world, self.idp.tenant(), members))
    }

    pub(super) fn add_member(&self, call: &Call, collection: Collection, key: &str) -> Result<Reply, Reply> {
        call.allow_options(&[])?;
        let reference = call.body.get("@odata.id").and_then(Value::as_str);
        let member = reference.and_then(|url| url.rsplit('/').next()).and_then(|id| id.parse().ok());
        let member: Uuid = member
            .ok_or_else(|| Reply::bad_request("Expected '@odata.id' with the address of an object."))?;
        let mut world = self.idp.world();
        let group = group(&world, collection, key)?;
        match world.set_member(group, member, true) {
            Ok(true) => Ok(Reply::no_content()),
            Ok(false) => Err(Reply::bad_request(
                "One or more added object references already exist for the following modified properties: 'members'.",
            )),
            Err(_) => Err(Reply::not_found(&member.to_string())),
        }
    }

    pub(super) fn remove_member(
        &self,
        collection: Collection,
        key: &str,
        member: &str,
    ) -> Result<Reply, Reply> {
        let mut world = self.idp.world();
        let group = group(&world, collection, key)?;
        let id: Uuid = member.parse().map_err(|_| Reply::not_found(member))?;
        match world.set_member(group, id, false) {
            Ok(true) => Ok(Reply::no_content()),
            Ok(false) | Err(_) => Err(Reply::not_found(member)),
        }
    }

    fn id_list<'a>(&self, ids: impl IntoIterator<Item = &'a Uuid>) -> Value {
        let ids: Vec<&Uuid> = ids.into_iter().collect();
        json!({ "@odata.context": self.url("$metadata#Collection(Edm.String)"), "value": ids })
    }
}

fn group(world: &World, collection: Collection, key: &str) -> Result<Uuid, Reply> {
    if collection == Collection::Groups { collection.find(world, key) } else { Err(Reply::unknown_segment()) }
}

/// Objects with the type that a mixed collection names.
fn rendered(
    world: &World,
    tenant: Uuid,
    ids: impl IntoIterator<Item = Uuid>,
) -> Vec<(Uuid, Map<String, Value>)> {
    let one = |id| {
        let mut object = render(world, tenant, id)?;
        set(&mut object, "@odata.type", json!(world.object_type(id)?.odata()));
        Some((id, object))
    };
    ids.into_iter().filter_map(one).collect()
}
