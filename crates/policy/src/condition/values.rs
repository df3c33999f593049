//! What expressions see: the variables, the types `ip` and `cidr`, the functions. One parent context is kept, because
//! making one registers the whole standard library (35 µs); a child with five variables is made per evaluation.

use std::{
    any::Any,
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, ExecutionError,
    common::{
        traits::Container,
        types::{CelInt, CelList, CelMap, CelMapKey, CelString, CelTimestamp, Type},
        value::{StaticVal, Val},
    },
};
use chrono::{DateTime, Datelike, FixedOffset, Timelike, Utc};
use ipnet::IpNet;
use portcullis_core::PrincipalKind;

use crate::Facts;

/// The functions and macros an expression may call.
pub(super) const FUNCTIONS: [&str; 33] = [
    "all",
    "cidr",
    "contains",
    "day",
    "duration",
    "endsWith",
    "exists",
    "exists_one",
    "filter",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "has",
    "hour",
    "int",
    "ip",
    "map",
    "matches",
    "minute",
    "month",
    "not_strictly_false",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "weekday",
    "year",
];

static IP: Type = Type::new_unspecified_type("ip");
static CIDR: Type = Type::new_unspecified_type("cidr");

/// An IP address. Equal to a string that spells it. A v4-mapped address is its v4 address.
#[derive(Clone, Debug)]
struct Ip(IpAddr);

/// A network: `ip in cidr("10.0.0.0/8")`.
#[derive(Clone, Debug)]
struct Cidr(IpNet);

fn as_ip(value: &dyn Val) -> Option<IpAddr> {
    match value.downcast_ref::<Ip>() {
        Some(ip) => Some(ip.0),
        None => value.downcast_ref::<CelString>()?.inner().parse::<IpAddr>().ok().map(|ip| ip.to_canonical()),
    }
}

impl Val for Ip {
    fn get_type(&self) -> &Type {
        &IP
    }
    fn cel_type() -> &'static Type {
        &IP
    }
    fn equals(&self, other: &dyn Val) -> bool {
        as_ip(other) == Some(self.0)
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}
impl StaticVal for Ip {}

impl Val for Cidr {
    fn get_type(&self) -> &Type {
        &CIDR
    }
    fn cel_type() -> &'static Type {
        &CIDR
    }
    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }
    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| other.0 == self.0)
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}
impl StaticVal for Cidr {}

impl Container for Cidr {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        match as_ip(value) {
            Some(ip) => Ok(self.0.contains(&ip)),
            None => Err(failed("cidr", "only an address is inside a network")),
        }
    }
}

fn failed(function: &str, message: &str) -> ExecutionError {
    ExecutionError::FunctionError { function: function.to_owned(), message: message.to_owned() }
}

fn cidr(text: &CelString<'_>) -> Result<Cidr, ExecutionError> {
    parse_cidr(text.inner())
        .map(Cidr)
        .ok_or_else(|| failed("cidr", &format!("`{}` is no network: expected `10.0.0.0/8`", text.inner())))
}

fn parse_cidr(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().filter(|net| net.addr() == net.network())
}

fn ip(text: &CelString<'_>) -> Result<Ip, ExecutionError> {
    let parsed: Result<IpAddr, _> = text.inner().parse();
    parsed
        .map(|ip| Ip(ip.to_canonical()))
        .map_err(|_| failed("ip", &format!("`{}` is no IP address", text.inner())))
}

fn hour(at: &CelTimestamp) -> CelInt {
    CelInt::from(i64::from(at.inner().hour()))
}
fn minute(at: &CelTimestamp) -> CelInt {
    CelInt::from(i64::from(at.inner().minute()))
}
fn day(at: &CelTimestamp) -> CelInt {
    CelInt::from(i64::from(at.inner().day()))
}
fn month(at: &CelTimestamp) -> CelInt {
    CelInt::from(i64::from(at.inner().month()))
}
fn year(at: &CelTimestamp) -> CelInt {
    CelInt::from(i64::from(at.inner().year()))
}
fn weekday(at: &CelTimestamp) -> CelInt {
    CelInt::from(i64::from(at.inner().weekday().number_from_monday()))
}

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    // a failed registration leaves the function unknown, so that expressions using it are refused: see tests
    let _registered = [
        env.add_type(IP.to_owned()).is_ok(),
        env.add_type(CIDR.to_owned()).is_ok(),
        cel::add_overload!(env, fn cidr: (CelString) -> Result<Cidr>).is_ok(),
        cel::add_overload!(env, fn ip: (CelString) -> Result<Ip>).is_ok(),
        cel::add_member_overload!(env, fn hour: (CelTimestamp) -> CelInt).is_ok(),
        cel::add_member_overload!(env, fn minute: (CelTimestamp) -> CelInt).is_ok(),
        cel::add_member_overload!(env, fn day: (CelTimestamp) -> CelInt).is_ok(),
        cel::add_member_overload!(env, fn month: (CelTimestamp) -> CelInt).is_ok(),
        cel::add_member_overload!(env, fn year: (CelTimestamp) -> CelInt).is_ok(),
        cel::add_member_overload!(env, fn weekday: (CelTimestamp) -> CelInt).is_ok(),
    ];
    Arc::new(env)
});

static PARENT: LazyLock<Context<'static, 'static>> =
    LazyLock::new(|| Context::with_env(Arc::clone(&ENVIRONMENT)));

/// The environment expressions are compiled for.
pub(super) fn environment() -> &'static Env {
    &ENVIRONMENT
}

/// A context with the facts, under the kept parent.
pub(super) fn context(facts: &Facts<'_>) -> Context<'static, 'static> {
    let mut context = PARENT.new_inner_scope();
    context.add_variable_as_val("now", Box::new(timestamp(facts.now)));
    context.add_variable_as_val("source", map([("ip", boxed(Ip(facts.source.to_canonical())))]));
    context.add_variable_as_val("client", text(facts.client));
    context.add_variable_as_val("connection", text(facts.connection.as_str()));
    let principal = facts.principal;
    let mut known = vec![
        ("name", text(&principal.name)),
        ("id", text(&principal.object_id)),
        ("provider", text(&principal.provider)),
        ("kind", text(kind(principal.kind))),
        ("groups", list(principal.groups.iter().map(|group| group.name.as_ref().unwrap_or(&group.id)))),
        ("roles", list(principal.roles.iter())),
    ];
    known.push(("app", text(principal.application_id.as_deref().unwrap_or_default())));
    known.push(("tenant", text(principal.tenant.as_deref().unwrap_or_default())));
    context.add_variable_as_val("principal", map(known));
    context
}

fn boxed(value: impl Val + 'static) -> Box<dyn Val> {
    Box::new(value)
}

fn text(value: &str) -> Box<dyn Val> {
    boxed(CelString::from(value.to_owned()))
}

fn list<'a>(values: impl Iterator<Item = &'a String>) -> Box<dyn Val> {
    boxed(CelList::from(values.map(|value| text(value)).collect::<Vec<_>>()))
}

fn map(entries: impl IntoIterator<Item = (&'static str, Box<dyn Val>)>) -> Box<dyn Val> {
    let entries: HashMap<CelMapKey<'static>, Box<dyn Val>> =
        entries.into_iter().map(|(key, value)| (CelMapKey::from(key), value)).collect();
    boxed(CelMap::from(entries))
}

fn timestamp(at: portcullis_core::Timestamp) -> CelTimestamp {
    let utc: DateTime<Utc> = DateTime::from_timestamp_micros(at.as_micros()).unwrap_or_default();
    let fixed: DateTime<FixedOffset> = utc.fixed_offset();
    CelTimestamp::from(fixed)
}

const fn kind(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::Application => "application",
        PrincipalKind::Agent => "agent",
        PrincipalKind::User => "user",
    }
}

/// Calls `f` with facts in which nothing is absent.
pub(super) fn with_sample_facts<T>(f: impl FnOnce(&Facts<'_>) -> T) -> Option<T> {
    let connection = "sample".parse().ok()?;
    let word = || "sample".to_owned();
    let principal = portcullis_core::Principal {
        provider: word(),
        tenant: Some(word()),
        object_id: word(),
        application_id: Some(word()),
        parent_application: None,
        kind: PrincipalKind::Application,
        name: word(),
        token_id: word(),
        groups: vec![portcullis_core::GroupRef { id: word(), name: Some(word()) }],
        roles: vec![word()],
        actor: None,
        subject: None,
        issued_at: portcullis_core::Timestamp::default(),
        expires_at: portcullis_core::Timestamp::MAX,
    };
    let source = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    Some(f(&Facts {
        now: portcullis_core::Timestamp::default(),
        source,
        client: "sample",
        principal: &principal,
        connection: &connection,
    }))
}
