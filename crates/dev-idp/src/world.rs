//! What is true now: the directory as handles and Graph calls have changed it, and the log of those changes that delta
//! queries read.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use uuid::Uuid;

use crate::{
    authorize::Codes,
    device::Devices,
    directory::{Api, Application, Directory, Names, User},
    error::Error,
    refresh::Families,
};

/// Changes remembered for delta queries; an older token must start again.
const MAX_CHANGES: usize = 10_000;

/// The mutable part of the issuer; one lock guards it, and nothing is awaited under that lock.
pub(crate) struct World {
    pub(crate) apis: Vec<Arc<Api>>,
    pub(crate) principals: BTreeMap<Uuid, Application>,
    pub(crate) users: BTreeMap<Uuid, User>,
    pub(crate) groups: BTreeMap<Uuid, GroupState>,
    pub(crate) changes: Changes,
    pub(crate) codes: Codes,
    pub(crate) families: Families,
    pub(crate) devices: Devices,
}

/// A group and its direct members.
pub(crate) struct GroupState {
    pub(crate) display_name: String,
    pub(crate) members: BTreeSet<Uuid>,
}

/// What an object id stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ObjectType {
    ServicePrincipal,
    User,
    Group,
}

impl ObjectType {
    /// The `@odata.type` of the object.
    pub(crate) const fn odata(self) -> &'static str {
        match self {
            Self::ServicePrincipal => "#microsoft.graph.servicePrincipal",
            Self::User => "#microsoft.graph.user",
            Self::Group => "#microsoft.graph.group",
        }
    }
}

/// One change that a delta query may report.
#[derive(Clone, Copy)]
pub(crate) enum Change {
    Updated { id: Uuid, kind: ObjectType },
    Deleted { id: Uuid, kind: ObjectType },
    Member { group: Uuid, member: Uuid, kind: ObjectType, present: bool },
}

/// The changes, oldest first, numbered from 1 without gaps.
#[derive(Default)]
pub(crate) struct Changes {
    log: VecDeque<(u64, Change)>,
    last: u64,
}

impl Changes {
    fn push(&mut self, change: Change) {
        self.last += 1;
        self.log.push_back((self.last, change));
        if self.log.len() > MAX_CHANGES {
            self.log.pop_front();
        }
    }

    /// The number of the newest change.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// The changes after `since` up to and with `upto`; `None` when some of them are forgotten.
    pub(crate) fn between(&self, since: u64, upto: u64) -> Option<impl Iterator<Item = Change> + '_> {
        let first = self.log.front().map_or(self.last + 1, |(number, _)| *number);
        if since + 1 < first || since > self.last {
            return None;
        }
        let wanted = self.log.iter().filter(move |(number, _)| *number > since && *number <= upto);
        Some(wanted.map(|(_, change)| *change))
    }
}

impl World {
    /// The world as a checked directory describes it.
    pub(crate) fn new(directory: Directory) -> Self {
        let names = directory.names();
        let groups = directory.groups.iter().map(|group| {
            let members = group.members.iter().filter_map(|member| names.resolve(member).ok()).collect();
            (group.object_id, GroupState { display_name: group.display_name.clone(), members })
        });
        Self {
            groups: groups.collect(),
            apis: directory.apis.into_iter().map(Arc::new).collect(),
            principals: directory.applications.into_iter().map(|app| (app.object_id, app)).collect(),
            users: directory.users.into_iter().map(|user| (user.object_id, user)).collect(),
            changes: Changes::default(),
            codes: Codes::default(),
            families: Families::default(),
            devices: Devices::default(),
        }
    }

    /// The application with that client id.
    pub(crate) fn application(&self, client_id: Uuid) -> Option<&Application> {
        self.principals.values().find(|app| app.client_id == client_id)
    }

    /// The user with that object id or name.
    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        match name.parse::<Uuid>() {
            Ok(id) => self.users.get(&id),
            Err(_) => self.users.values().find(|user| user.name.eq_ignore_ascii_case(name)),
        }
    }

    /// What an object id stands for.
    pub(crate) fn object_type(&self, id: Uuid) -> Option<ObjectType> {
        if self.principals.contains_key(&id) {
            Some(ObjectType::ServicePrincipal)
        } else if self.users.contains_key(&id) {
            Some(ObjectType::User)
        } else {
            self.groups.contains_key(&id).then_some(ObjectType::Group)
        }
    }

    /// The object that a name, client id or object id stands for.
    pub(crate) fn resolve(&self, text: &str) -> Result<Uuid, Error> {
        if let Some(app) = text.parse().ok().and_then(|id| self.application(id)) {
            return Ok(app.object_id);
        }
        let mut names = Names::default();
        self.principals.iter().for_each(|(id, app)| names.add(&app.display_name, *id));
        self.users.iter().for_each(|(id, user)| names.add(&user.name, *id));
        self.groups.iter().for_each(|(id, group)| names.add(&group.display_name, *id));
        names.resolve(text).map_err(|_| Error::Unknown(text.to_owned()))
    }

    /// Every group an object is in, through any depth of nesting. Circles end.
    pub(crate) fn groups_of(&self, object: Uuid) -> BTreeSet<Uuid> {
        let mut found = BTreeSet::new();
        let mut open = vec![object];
        while let Some(member) = open.pop() {
            for (id, group) in &self.groups {
                if group.members.contains(&member) && found.insert(*id) {
                    open.push(*id);
                }
            }
        }
        found.remove(&object);
        found
    }

    /// Enables or disables a service principal or a user. Saying what is already so changes nothing.
    pub(crate) fn set_enabled(&mut self, id: Uuid, enabled: bool) -> Result<(), Error> {
        let kind = self.object_type(id).ok_or_else(|| Error::Unknown(id.to_string()))?;
        let principal = self.principals.get_mut(&id).map(|app| &mut app.enabled);
        let flag = principal.or_else(|| self.users.get_mut(&id).map(|user| &mut user.enabled));
        let flag = flag.ok_or_else(|| Error::Unknown(id.to_string()))?;
        if *flag != enabled {
            *flag = enabled;
            self.changes.push(Change::Updated { id, kind });
        }
        Ok(())
    }

    /// Puts an object into a group or takes it out. `Ok(false)` when it was so already.
    pub(crate) fn set_member(&mut self, group: Uuid, member: Uuid, present: bool) -> Result<bool, Error> {
        let kind = self.object_type(member).ok_or_else(|| Error::Unknown(member.to_string()))?;
        let state = self.groups.get_mut(&group).ok_or_else(|| Error::Unknown(group.to_string()))?;
        let changed = if present { state.members.insert(member) } else { state.members.remove(&member) };
        if changed {
            self.changes.push(Change::Member { group, member, kind, present });
        }
        Ok(changed)
    }

    /// Deletes a service principal, a user or a group, and its memberships.
    pub(crate) fn delete(&mut self, id: Uuid) -> Result<(), Error> {
        let kind = self.object_type(id).ok_or_else(|| Error::Unknown(id.to_string()))?;
        let member_of: Vec<Uuid> = self
            .groups
            .iter()
            .filter(|(_, group)| group.members.contains(&id))
            .map(|(group, _)| *group)
            .collect();
        for group in member_of {
            self.set_member(group, id, false)?;
        }
        match kind {
            ObjectType::ServicePrincipal => drop(self.principals.remove(&id)),
            ObjectType::User => drop(self.users.remove(&id)),
            ObjectType::Group => drop(self.groups.remove(&id)),
        }
        self.changes.push(Change::Deleted { id, kind });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        let text = "
tenant: 4c5a0d3e-0000-4000-8000-000000000001
users: [{ object_id: 55aa0000-0000-4000-8000-000000000001, name: sam }]
groups:
  - { object_id: 33aa0000-0000-4000-8000-000000000001, display_name: inner, members: [sam, outer] }
  - { object_id: 33aa0000-0000-4000-8000-000000000002, display_name: outer, members: [inner] }
  - { object_id: 33aa0000-0000-4000-8000-000000000003, display_name: other }
";
        World::new(Directory::parse(text, "test").unwrap())
    }

    #[test]
    fn groups_are_transitive_and_circles_end() {
        let world = world();
        assert_eq!(world.groups_of(world.resolve("sam").unwrap()).len(), 2);
        assert_eq!(world.groups_of(world.resolve("inner").unwrap()).len(), 1);
    }

    #[test]
    fn forgotten_changes_are_said_to_be_forgotten() {
        let mut world = world();
        let (sam, other) = (world.resolve("sam").unwrap(), world.resolve("other").unwrap());
        assert_eq!(world.changes.between(0, 0).unwrap().count(), 0);
        for turn in 0..=MAX_CHANGES {
            assert!(world.set_member(other, sam, turn % 2 == 0).unwrap());
        }
        assert!(world.changes.between(0, world.changes.last()).is_none());
        assert_eq!(world.changes.between(1, world.changes.last()).unwrap().count(), MAX_CHANGES);
        assert!(
            world.changes.between(world.changes.last() + 1, u64::MAX).is_none(),
            "a token from the future"
        );
    }

    #[test]
    fn saying_what_is_so_is_no_change() {
        let mut world = world();
        let sam = world.resolve("sam").unwrap();
        world.set_enabled(sam, true).unwrap();
        assert_eq!(world.changes.last(), 0);
    }
}
