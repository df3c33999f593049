//! Service principals, users and groups as objects: one, many, changed, deleted.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Call, Reply, Session, project};
use crate::{
    claims::set,
    directory::{Application, ApplicationKind, User},
    world::{GroupState, ObjectType, World},
};

/// A filter names at most so many objects, as delta queries in Graph do.
const MAX_FILTER: usize = 50;

/// Where an address points.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Collection {
    ServicePrincipals,
    Users,
    Groups,
    /// Any object, by object id.
    DirectoryObjects,
}

impl Collection {
    /// The collection, and the segments after it; `servicePrincipals(appId='…')` gives that parenthesis as a segment.
    pub(super) fn parse<'a>(path: &[&'a str]) -> Result<(Self, Vec<&'a str>), Reply> {
        let (first, rest) = path.split_first().ok_or_else(Reply::unknown_segment)?;
        let (name, key) = match first.find('(') {
            Some(at) => (first.get(..at).unwrap_or_default(), first.get(at..)),
            None => (*first, None),
        };
        let collection = match name {
            "servicePrincipals" => Self::ServicePrincipals,
            "users" => Self::Users,
            "groups" => Self::Groups,
            "directoryObjects" => Self::DirectoryObjects,
            _ => return Err(Reply::unknown_segment()),
        };
        Ok((collection, key.into_iter().chain(rest.iter().copied()).collect()))
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ServicePrincipals => "servicePrincipals",
            Self::Users => "users",
            Self::Groups => "groups",
            Self::DirectoryObjects => "directoryObjects",
        }
    }

    const fn holds(self, kind: ObjectType) -> bool {
        matches!(
            (self, kind),
            (Self::DirectoryObjects, _)
                | (Self::ServicePrincipals, ObjectType::ServicePrincipal)
                | (Self::Users, ObjectType::User)
                | (Self::Groups, ObjectType::Group)
        )
    }

    /// The object that a key names: an object id, `(appId='…')`, or a person's principal name.
    pub(super) fn find(self, world: &World, key: &str) -> Result<Uuid, Reply> {
        let by_app_id = key.strip_prefix("(appId='").and_then(|rest| rest.strip_suffix("')"));
        let id = match (self, by_app_id) {
            (Self::ServicePrincipals, Some(app_id)) => {
                app_id.parse().ok().and_then(|id| world.application(id)).map(|app| app.object_id)
            }
            (Self::Users, None) => world.user(key).map(|user| user.object_id),
            (_, None) => key.parse().ok(),
            (_, Some(_)) => None,
        };
        id.filter(|id| world.object_type(*id).is_some_and(|kind| self.holds(kind)))
            .ok_or_else(|| Reply::not_found(key))
    }

    /// The object ids of the collection, in order.
    pub(super) fn ids(self, world: &World) -> Vec<Uuid> {
        match self {
            Self::ServicePrincipals => world.principals.keys().copied().collect(),
            Self::Users => world.users.keys().copied().collect(),
            Self::Groups => world.groups.keys().copied().collect(),
            Self::DirectoryObjects => Vec::new(),
        }
    }
}

/// All properties of an object, if it exists.
pub(super) fn render(world: &World, tenant: Uuid, id: Uuid) -> Option<Map<String, Value>> {
    if let Some(app) = world.principals.get(&id) {
        return Some(principal(app, tenant));
    }
    if let Some(user) = world.users.get(&id) {
        return Some(person(user));
    }
    world.groups.get(&id).map(|state| group(id, state))
}

fn principal(app: &Application, tenant: Uuid) -> Map<String, Value> {
    let mut object = Map::new();
    set(&mut object, "id", json!(app.object_id));
    set(&mut object, "appId", json!(app.client_id));
    set(&mut object, "displayName", json!(app.display_name));
    set(&mut object, "appDisplayName", json!(app.display_name));
    set(&mut object, "accountEnabled", json!(app.enabled));
    set(&mut object, "appOwnerOrganizationId", json!(tenant));
    set(&mut object, "disabledByMicrosoftStatus", Value::Null);
    set(&mut object, "servicePrincipalNames", json!([app.client_id]));
    let kind = match app.kind {
        ApplicationKind::Application => "Application",
        ApplicationKind::Agent => "ServiceIdentity",
        ApplicationKind::ManagedIdentity => "ManagedIdentity",
    };
    set(&mut object, "servicePrincipalType", json!(kind));
    object
}

fn person(user: &User) -> Map<String, Value> {
    let mut object = Map::new();
    set(&mut object, "id", json!(user.object_id));
    set(&mut object, "displayName", json!(user.name));
    set(&mut object, "userPrincipalName", json!(user.name));
    set(&mut object, "accountEnabled", json!(user.enabled));
    object
}

fn group(id: Uuid, state: &GroupState) -> Map<String, Value> {
    let mut object = Map::new();
    set(&mut object, "id", json!(id));
    set(&mut object, "displayName", json!(state.display_name));
    set(&mut object, "securityEnabled", json!(true));
    set(&mut object, "mailEnabled", json!(false));
    set(&mut object, "groupTypes", json!([]));
    object
}

impl Session<'_> {
    pub(super) fn object(&self, call: &Call, collection: Collection, key: &str) -> Result<Reply, Reply> {
        call.allow_options(&["select"])?;
        let world = self.idp.world();
        let id = collection.find(&world, key)?;
        let object = render(&world, self.idp.tenant(), id).ok_or_else(|| Reply::not_found(key))?;
        let mut object = project(object, &call.select())?;
        let context = self.url(&format!("$metadata#{}/$entity", collection.name()));
        set(&mut object, "@odata.context", json!(context));
        Ok(Reply::ok(Value::Object(object)))
    }

    pub(super) fn list(&self, call: &Call, collection: Collection) -> Result<Reply, Reply> {
        call.allow_options(&["select", "filter", "top", "skiptoken"])?;
        if collection == Collection::DirectoryObjects {
            return Err(Reply::unknown_segment());
        }
        let filter = call.option("filter").map(Filter::parse).transpose()?;
        let world = self.idp.world();
        let ids = collection.ids(&world);
        let objects = ids.into_iter().filter_map(|id| Some((id, render(&world, self.idp.tenant(), id)?)));
        let wanted =
            objects.filter(|(_, object)| filter.as_ref().is_none_or(|filter| filter.matches(object)));
        self.page(call, collection.name(), wanted.collect())
    }

    /// One page of objects that stand in the order of their ids.
    pub(super) fn page(
        &self,
        call: &Call,
        path: &str,
        objects: Vec<(Uuid, Map<String, Value>)>,
    ) -> Result<Reply, Reply> {
        let (size, after, select) = (call.page_size()?, call.page_token()?, call.select());
        let mut left = objects.into_iter().filter(|(id, _)| after.is_none_or(|after| *id > after)).peekable();
        let (mut value, mut last) = (Vec::new(), None);
        while value.len() < size
            && let Some((id, object)) = left.next()
        {
            value.push(Value::Object(project(object, &select)?));
            last = Some(id);
        }
        let mut body = Map::new();
        set(&mut body, "@odata.context", json!(self.url(&format!("$metadata#{path}"))));
        if let (Some(last), Some(_)) = (last, left.peek()) {
            let mut next = self.url(&format!("{path}?$skiptoken={last}&$top={size}"));
            for name in ["select", "filter"] {
                if let Some(given) = call.option(name) {
                    let encoded =
                        percent_encoding::utf8_percent_encode(given, percent_encoding::NON_ALPHANUMERIC);
                    next.push_str(&format!("&${name}={encoded}"));
                }
            }
            set(&mut body, "@odata.nextLink", json!(next));
        }
        set(&mut body, "value", json!(value));
        Ok(Reply::ok(Value::Object(body)))
    }

    /// `accountEnabled` is the one property that can be changed.
    pub(super) fn update(&self, call: &Call, collection: Collection, key: &str) -> Result<Reply, Reply> {
        call.allow_options(&[])?;
        let body = call.body.as_object().ok_or_else(|| Reply::bad_request("Expected a JSON object."))?;
        let enabled = match (body.len(), body.get("accountEnabled")) {
            (1, Some(Value::Bool(enabled))) => *enabled,
            _ => {
                return Err(Reply::bad_request(
                    "Only the boolean property 'accountEnabled' can be changed here.",
                ));
            }
        };
        let mut world = self.idp.world();
        let id = collection.find(&world, key)?;
        world
            .set_enabled(id, enabled)
            .map_err(|_| Reply::bad_request("The object has no 'accountEnabled'."))?;
        Ok(Reply::no_content())
    }

    pub(super) fn remove(&self, collection: Collection, key: &str) -> Result<Reply, Reply> {
        let mut world = self.idp.world();
        let id = collection.find(&world, key)?;
        world.delete(id).map_err(|_| Reply::not_found(key))?;
        Ok(Reply::no_content())
    }
}

/// `property eq 'value'`, joined by `or`: the part of OData filters that we need.
pub(super) struct Filter(Vec<(String, String)>);

impl Filter {
    pub(super) fn parse(text: &str) -> Result<Self, Reply> {
        let mut terms = Vec::new();
        for term in text.split(" or ") {
            let (name, value) = term.trim().split_once(" eq ").ok_or_else(|| Self::unsupported(text))?;
            let value = value.trim().strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
            let value = value.filter(|value| !value.replace("''", "").contains('\''));
            let value = value.ok_or_else(|| Self::unsupported(text))?.replace("''", "'");
            if !matches!(name, "id" | "appId" | "displayName" | "userPrincipalName") {
                return Err(Self::unsupported(text));
            }
            terms.push((name.to_owned(), value));
        }
        if terms.len() > MAX_FILTER { Err(Self::unsupported("more than 50 terms")) } else { Ok(Self(terms)) }
    }

    /// The object ids it names, when it names nothing else.
    pub(super) fn object_ids(&self) -> Result<Vec<Uuid>, Reply> {
        let id = |(name, value): &(String, String)| if name == "id" { value.parse().ok() } else { None };
        let ids: Option<Vec<Uuid>> = self.0.iter().map(id).collect();
        ids.ok_or_else(|| Self::unsupported("a delta query filters by object id only"))
    }

    fn matches(&self, object: &Map<String, Value>) -> bool {
        self.0.iter().any(|(name, value)| {
            object.get(name).and_then(Value::as_str).is_some_and(|found| found.eq_ignore_ascii_case(value))
        })
    }

    fn unsupported(text: &str) -> Reply {
        let message = format!("Unsupported or invalid query filter clause: {text}");
        Reply::fault(axum::http::StatusCode::BAD_REQUEST, "Request_UnsupportedQuery", &message)
    }
}
