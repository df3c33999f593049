//! `tests:` and `retention:`.

use std::{net::IpAddr, time::Duration};

use portcullis_core::{ConnectionName, Timestamp};

use crate::{
    Expectation, Retention, Who,
    documents::{
        draft::{Draft, TestDraft},
        guardrails, identity, keys, masks,
        reader::{Placed, Reader},
        tree::Node,
    },
};

/// When tests without `now` happen: 2026-01-05T12:00:00Z, a Monday at noon.
pub(crate) const DEFAULT_NOW: Timestamp = Timestamp::from_seconds(1_767_614_400);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Reads the list of tests into the draft.
pub(crate) fn read(reader: &mut Reader<'_>, node: &Node, draft: &mut Draft) {
    for item in reader.list(node, "`tests`") {
        if let Some(test) = test(reader, item) {
            draft.tests.push(test);
        }
    }
}

fn test(reader: &mut Reader<'_>, node: &Node) -> Option<TestDraft> {
    let fields = reader.fields(node, &keys::TEST)?;
    let name =
        reader.required(&fields, "name").and_then(|node| guardrails::title(reader, node, "a test's name"));
    let who = reader.required(&fields, "identity").and_then(|node| who(reader, node));
    let connection = reader.required(&fields, "connection").and_then(|node| {
        let name: ConnectionName = reader.parse(node, "`connection`")?;
        Some(reader.placed(node, name))
    });
    let sql = fields.get("sql").and_then(|node| reader.text(node, "`sql`").map(str::to_owned));
    let operation =
        fields.get("operation").and_then(|node| reader.text(node, "`operation`").map(str::to_owned));
    if let (Some(_), Some(entry)) = (&sql, fields.entry("operation")) {
        reader.error_help(
            &entry.key_span,
            "both `sql` and `operation` are given",
            "keep one: they mean the same",
        );
    }
    let expect = reader.required(&fields, "expect").and_then(|node| {
        reader.word(node, "`expect`", &Expectation::ALL.map(|expect| (expect.as_str(), expect)))
    });
    let rule = fields.get("rule").and_then(|node| guardrails::title(reader, node, "`rule`"));
    let masks = fields.get("masks").map(|node| masks::names(reader, node));
    let now =
        fields.get("now").and_then(|node| reader.parse::<Timestamp>(node, "`now`")).unwrap_or(DEFAULT_NOW);
    let source = fields.get("source").and_then(|node| reader.parse::<IpAddr>(node, "`source`"));
    let client = fields
        .get("client")
        .and_then(|node| reader.text(node, "`client`").map(str::to_owned))
        .unwrap_or_default();
    let window = fields
        .get("window")
        .and_then(|node| {
            reader.word(node, "`window`", &[("open", true), ("none", false), ("yes", true), ("no", false)])
        })
        .unwrap_or(false);
    let approved =
        fields.get("approved").and_then(|node| reader.boolean(node, "`approved`")).unwrap_or(false);
    let (who, groups) = who?;
    Some(TestDraft {
        name: name?,
        who,
        groups,
        connection: connection?,
        statement: sql.or(operation),
        now,
        source: source.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
        client,
        window,
        approved,
        expect: expect?,
        rule,
        masks,
    })
}

fn who(reader: &mut Reader<'_>, node: &Node) -> Option<(Placed<Who>, Vec<Placed<String>>)> {
    let fields = reader.fields(node, &keys::WHO)?;
    let mut text = |key: &str| {
        fields.get(key).and_then(|node| reader.text(node, &format!("`{key}`")).map(str::to_owned))
    };
    let (provider, id, app, name) = (text("provider"), text("id"), text("app"), text("name"));
    let groups = fields.get("groups").map(|node| {
        reader.many(node, "`groups`", |reader, item| {
            let name = identity::name(reader, item, "a group's name")?;
            Some(reader.placed(item, name))
        })
    });
    let roles = fields
        .get("roles")
        .map(|node| reader.many(node, "`roles`", |r, item| r.text(item, "a role").map(str::to_owned)));
    let user = fields.get("user").and_then(|node| reader.boolean(node, "`user`")).unwrap_or(false);
    let groups = groups.unwrap_or_default();
    let names = groups.iter().map(|group| group.value.clone()).collect();
    let who = Who { provider, id, app, name, groups: names, roles: roles.unwrap_or_default(), user };
    Some((Placed { value: who, place: reader.place(&fields.head()) }, groups))
}

/// Reads `retention:` into the draft.
pub(crate) fn retention(reader: &mut Reader<'_>, node: &Node, draft: &mut Draft) {
    let Some(fields) = reader.fields(node, &keys::RETENTION) else { return };
    let defaults = Retention::default();
    let mut kept = |key: &str, least: Duration, default: Duration| {
        fields
            .get(key)
            .and_then(|node| reader.duration(node, &format!("`{key}`"), least..DAY * 3_650))
            .unwrap_or(default)
    };
    let retention = Retention {
        recordings: kept("recordings", HOUR, defaults.recordings),
        audit: kept("audit", DAY, defaults.audit),
    };
    if let Some(earlier) = &draft.retention {
        let location = earlier.place.location();
        reader.error_help(
            &fields.head(),
            "`retention` is given twice",
            format!("it stands at {location} too"),
        );
        return;
    }
    let place = reader.place(&fields.head());
    draft.retention = Some(Placed { value: retention, place });
}
