//! Delta queries: everything first, then what changed since, page by page.
//!
//! A link's token holds the whole state of the walk, so the server keeps none. As in Graph, an object that changes
//! while a walk goes on may be reported twice, and a token is good for seven days; a stale one is answered with 410 and
//! the address to start again.

use std::{collections::BTreeMap, time::Duration};

use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_core::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    Call, Reply, Session,
    objects::{Collection, Filter, render},
    project,
};
use crate::{
    claims::set,
    world::{Change, ObjectType, World},
};

/// How long a delta link is good for.
const TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where a walk stands. Serialised into links.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Walk {
    collection: String,
    /// Report what changed after this; everything when absent.
    since: Option<u64>,
    /// Report what changed up to this.
    upto: u64,
    /// The last object on the page before.
    after: Option<Uuid>,
    ids: Option<Vec<Uuid>>,
    select: Vec<String>,
    page: usize,
    epoch: u64,
    issued: i64,
}

/// What happened to one object.
#[derive(Default)]
struct Happened {
    updated: bool,
    deleted: bool,
    members: BTreeMap<Uuid, (ObjectType, bool)>,
}

impl Session<'_> {
    pub(super) fn delta(&self, call: &Call, collection: Collection) -> Result<Reply, Reply> {
        call.allow_options(&["select", "filter", "deltatoken", "skiptoken"])?;
        let kind = match collection {
            Collection::ServicePrincipals => ObjectType::ServicePrincipal,
            Collection::Users => ObjectType::User,
            Collection::Groups => ObjectType::Group,
            Collection::DirectoryObjects => return Err(Reply::unknown_segment()),
        };
        let world = self.idp.world();
        let walk = self.walk(call, collection, &world)?;
        let objects = match walk.since {
            None => walk.everything(collection, kind, &world),
            Some(_) => walk.changes(kind, &world).ok_or_else(|| self.gone(collection))?,
        };
        let wanted = |id: &Uuid| walk.ids.as_ref().is_none_or(|ids| ids.contains(id));
        let mut left = objects
            .into_iter()
            .filter(|(id, _)| wanted(id) && walk.after.is_none_or(|after| *id > after))
            .peekable();
        let (mut value, mut last) = (Vec::new(), None);
        while value.len() < walk.page
            && let Some((id, happened)) = left.next()
        {
            value.push(Value::Object(walk.entry(kind, &world, self.idp.tenant(), id, &happened)?));
            last = Some(id);
        }
        let mut body = Map::new();
        set(&mut body, "@odata.context", json!(self.url(&format!("$metadata#{}", collection.name()))));
        set(&mut body, "value", json!(value));
        if left.peek().is_some() {
            let next = Walk { after: last, ..walk };
            set(&mut body, "@odata.nextLink", json!(self.link(collection, "$skiptoken", &next)));
        } else {
            let done = Walk { since: Some(walk.upto), after: None, issued: self.now().as_seconds(), ..walk };
            set(&mut body, "@odata.deltaLink", json!(self.link(collection, "$deltatoken", &done)));
        }
        Ok(Reply::ok(Value::Object(body)))
    }

    fn walk(&self, call: &Call, collection: Collection, world: &World) -> Result<Walk, Reply> {
        let upto = world.changes.last();
        let (skip, delta) =
            (call.option("skiptoken"), call.option("deltatoken").filter(|token| !token.is_empty()));
        let token = match (skip, delta) {
            (Some(_), Some(_)) => {
                return Err(Reply::bad_request("Both $skiptoken and $deltatoken were given."));
            }
            (None, None) => return self.first(call, collection, None, upto),
            (None, Some("latest")) => return self.first(call, collection, Some(upto), upto),
            (Some(token), None) | (None, Some(token)) => token,
        };
        let walk =
            URL_SAFE_NO_PAD.decode(token).ok().and_then(|text| serde_json::from_slice::<Walk>(&text).ok());
        let walk = walk
            .filter(|walk| walk.collection == collection.name() && walk.after.is_some() == skip.is_some());
        let walk = walk.filter(|walk| (1..=super::MAX_PAGE).contains(&walk.page));
        let walk = walk.ok_or_else(|| Reply::bad_request("The delta token is malformed."))?;
        let age = self.now().since(Timestamp::from_seconds(walk.issued));
        if walk.epoch != self.idp.faults.delta_epoch() || age > TOKEN_LIFETIME {
            return Err(self.gone(collection));
        }
        Ok(if skip.is_some() { walk } else { Walk { upto, ..walk } })
    }

    fn first(
        &self,
        call: &Call,
        collection: Collection,
        since: Option<u64>,
        upto: u64,
    ) -> Result<Walk, Reply> {
        let ids = call.option("filter").map(|text| Filter::parse(text)?.object_ids()).transpose()?;
        Ok(Walk {
            collection: collection.name().to_owned(),
            since,
            upto,
            after: None,
            ids,
            select: call.select(),
            page: call.page_size()?,
            epoch: self.idp.faults.delta_epoch(),
            issued: self.now().as_seconds(),
        })
    }

    fn gone(&self, collection: Collection) -> Reply {
        Reply::fault(StatusCode::GONE, "resyncRequired", "The delta token is too old: start again.")
            .with("location", self.url(&format!("{}/delta?$deltatoken=", collection.name())))
    }

    fn link(&self, collection: Collection, option: &str, walk: &Walk) -> String {
        let token = URL_SAFE_NO_PAD.encode(json!(walk).to_string());
        self.url(&format!("{}/delta?{option}={token}", collection.name()))
    }

    fn now(&self) -> Timestamp {
        self.idp.clock().now()
    }
}

impl Walk {
    fn everything(
        &self,
        collection: Collection,
        kind: ObjectType,
        world: &World,
    ) -> BTreeMap<Uuid, Happened> {
        let members = |id: &Uuid| {
            let group = world.groups.get(id).filter(|_| kind == ObjectType::Group);
            let members = group.into_iter().flat_map(|group| &group.members);
            members.filter_map(|member| Some((*member, (world.object_type(*member)?, true)))).collect()
        };
        let happened = |id| (id, Happened { updated: true, deleted: false, members: members(&id) });
        collection.ids(world).into_iter().map(happened).collect()
    }

    /// What happened since, in sum; `None` when that is not remembered.
    fn changes(&self, kind: ObjectType, world: &World) -> Option<BTreeMap<Uuid, Happened>> {
        let mut objects: BTreeMap<Uuid, Happened> = BTreeMap::new();
        for change in world.changes.between(self.since?, self.upto)? {
            match change {
                Change::Updated { id, kind: of } if of == kind => {
                    objects.entry(id).or_default().updated = true
                }
                Change::Deleted { id, kind: of } if of == kind => {
                    objects.entry(id).or_default().deleted = true
                }
                Change::Member { group, member, kind: of, present }
                    if kind == ObjectType::Group && self.selects_members() =>
                {
                    objects.entry(group).or_default().members.insert(member, (of, present));
                }
                Change::Updated { .. } | Change::Deleted { .. } | Change::Member { .. } => {}
            }
        }
        Some(objects)
    }

    fn selects_members(&self) -> bool {
        self.select.is_empty() || self.select.iter().any(|name| name == "members")
    }

    fn entry(
        &self,
        kind: ObjectType,
        world: &World,
        tenant: Uuid,
        id: Uuid,
        happened: &Happened,
    ) -> Result<Map<String, Value>, Reply> {
        let object = if happened.deleted { None } else { render(world, tenant, id) };
        let Some(object) = object else {
            // Applications and people can be restored for 30 days: a soft delete. Security groups cannot.
            let reason = if kind == ObjectType::Group { "deleted" } else { "changed" };
            let removed = json!({ "id": id, "@removed": { "reason": reason } });
            return Ok(removed.as_object().cloned().unwrap_or_default());
        };
        let select: Vec<String> = self
            .select
            .iter()
            .filter(|name| kind != ObjectType::Group || *name != "members")
            .cloned()
            .collect();
        let mut entry = if select.is_empty() && (!self.select.is_empty() || !happened.updated) {
            Map::new()
        } else {
            project(object, &select)?
        };
        set(&mut entry, "id", json!(id));
        if !happened.members.is_empty() && self.selects_members() {
            let members = happened.members.iter().map(|(member, (kind, present))| {
                let mut member = json!({ "@odata.type": kind.odata(), "id": member });
                if let (false, Some(member)) = (*present, member.as_object_mut()) {
                    set(member, "@removed", json!({ "reason": "deleted" }));
                }
                member
            });
            set(&mut entry, "members@delta", json!(members.collect::<Vec<Value>>()));
        }
        Ok(entry)
    }
}
