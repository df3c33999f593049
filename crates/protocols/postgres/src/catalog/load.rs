//! The queries that read a catalog, and the snapshot made of their answers. Two round trips, each several statements in one
//! simple query: what the server tells without waiting, then the definitions of views, which take a share lock on all they
//! name. Where somebody holds one of those relations for longer than [`DEFINITIONS`] waits, no definition is known: then
//! every column of a view over a masked column is hidden.
//!
//! What a view's rule reaches stands in its stored tree (`pg_rewrite.ev_action`) as object ids, built-in functions included,
//! which `pg_depend` leaves out. Schemas that the connection's role may not use are left out: the server skips them when it looks
//! along the search path; views reach their relations all the same, so those are kept apart.
//!
//! **References**: PostgreSQL documentation, chapter 53 "System Catalogs"; `src/backend/nodes/outfuncs.c`.

use std::collections::{HashMap, HashSet};

use bytes::BytesMut;
use portcullis_core::Verb;
use portcullis_proxy::Transport;
use portcullis_sql::{
    CatalogSnapshot, Column, Function, FunctionKind, FunctionLanguage, Operator, Reached, Relation,
    RelationKind, Type, Volatility,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::LoadError;
use crate::codec::{Direction, ErrorFields, Frames, Next, backend::tag, frontend, rows::DataRow};

/// The most bytes a catalog may be: a database with 100,000 relations stays below.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// Each statement is one result, in this order.
const STATEMENTS: [&str; 11] = [
    "SELECT nspname::text FROM pg_namespace WHERE has_schema_privilege(oid, 'USAGE')",
    "SELECT c.oid::text, n.nspname::text, c.relname::text, c.relkind::text,
        CASE WHEN c.oid >= 16384 THEN array_to_string(ARRAY(SELECT concat_ws(' ', a.attnum::text, a.atttypid::text,
                (a.attgenerated <> '')::text, replace(replace(a.attname::text, E'\\x02', E'\\x02b'), E'\\x01', E'\\x02a'))
            FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
            E'\\x01') ELSE '' END,
        has_schema_privilege(n.oid, 'USAGE')::text
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind NOT IN ('i', 'I', 't')
        AND NOT (c.relpersistence = 't')",
    "SELECT DISTINCT r.ev_class::oid::text, m[1], CASE WHEN r.ev_type = '1' THEN 'r' ELSE 'w' END
     FROM pg_rewrite r, regexp_matches(r.ev_action::text, ':relid ([0-9]+)', 'g') m WHERE r.ev_class >= 16384",
    "SELECT DISTINCT r.ev_class::oid::text, m[1]
     FROM pg_rewrite r,
        regexp_matches(r.ev_action::text || ' ' || r.ev_qual::text, ':(?:funcid|opfuncid|aggfnoid|winfnoid) ([0-9]+)', 'g') m
     WHERE r.ev_class >= 16384",
    "SELECT p.oid::text, n.nspname::text, p.proname::text, p.pronargs::text, p.pronargdefaults::text,
        (p.provariadic <> 0)::text, p.provolatile::text, p.prosecdef::text, p.prokind::text, l.lanname::text
     FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
     WHERE has_schema_privilege(n.oid, 'USAGE')",
    "SELECT a.aggfnoid::oid::text, f::text
     FROM pg_aggregate a, unnest(ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
        a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::oid[]) f WHERE a.aggfnoid::oid >= 16384 AND f <> 0",
    "SELECT n.nspname::text, o.oprname::text, f::text
     FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace,
        unnest(ARRAY[o.oprcode, o.oprrest, o.oprjoin]::oid[]) f WHERE o.oid >= 16384 AND f <> 0",
    // What runs for a type runs for domains over it and arrays of it.
    "WITH RECURSIVE x (typ, f, written) AS (
        SELECT k.contypid, m[1]::oid, false FROM pg_constraint k,
            regexp_matches(k.conbin::text, ':(?:funcid|opfuncid) ([0-9]+)', 'g') m WHERE k.contypid <> 0
        UNION SELECT c.casttarget, c.castfunc, c.castcontext = 'e' FROM pg_cast c WHERE c.oid >= 16384 AND c.castfunc <> 0
        UNION SELECT t.oid, f, false FROM pg_type t,
            unnest(ARRAY[t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin]::oid[]) f
            WHERE t.oid >= 16384 AND f >= 16384
     ), made (typ, of) AS (
        SELECT typ, typ FROM x
        UNION SELECT p.oid, made.of FROM made JOIN (
            SELECT oid, typbasetype AS part FROM pg_type WHERE typbasetype <> 0
            UNION ALL SELECT oid, typelem FROM pg_type WHERE typelem <> 0) p ON p.part = made.typ
     )
     SELECT DISTINCT n.nspname::text, t.typname::text, x.f::text, x.written::text FROM x JOIN made ON made.of = x.typ
        JOIN pg_type t ON t.oid = made.typ JOIN pg_namespace n ON n.oid = t.typnamespace",
    "SELECT i.inhrelid::text, i.inhparent::text FROM pg_inherits i
     UNION ALL SELECT c.oid::text, t.typrelid::text FROM pg_class c JOIN pg_type t ON t.oid = c.reloftype",
    "SELECT t.oid::text FROM pg_type t JOIN pg_proc p ON p.oid = t.typsend WHERE t.oid >= 16384
        AND p.proname IN ('textsend', 'varcharsend', 'bpcharsend', 'namesend', 'citextsend')",
    "SELECT f.adrelid::text, f.adnum::text, d.refobjsubid::text FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
        WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = f.adrelid
        AND d.refobjsubid <> 0 AND d.refobjsubid <> f.adnum AND f.adrelid >= 16384",
];

/// What the views select. The last result counts.
const DEFINITIONS: [&str; 2] = [
    "SET lock_timeout = '200ms'",
    "SELECT c.oid::text, pg_get_viewdef(c.oid) FROM pg_class c
     WHERE c.relkind IN ('v', 'm') AND c.oid >= 16384 AND c.relpersistence <> 't'",
];

type Row = Vec<String>;

/// Reads the catalog over a session that is ready for its first query, and ends that session.
pub(super) async fn read(mut transport: Transport) -> Result<CatalogSnapshot, LoadError> {
    let mut out = BytesMut::new();
    frontend::query(&mut out, STATEMENTS.join(";\n").as_bytes());
    let results = exchange(&mut transport, &out, STATEMENTS.len()).await?;
    out.clear();
    frontend::query(&mut out, DEFINITIONS.join(";\n").as_bytes());
    // Without an answer nothing is known of any view, which hides more, never less.
    let definitions = exchange(&mut transport, &out, DEFINITIONS.len()).await.unwrap_or_default().pop();
    out.clear();
    frontend::empty(&mut out, frontend::tag::TERMINATE);
    // The answer is complete; a server that is slow to hear the goodbye does not matter.
    let _ = transport.write_all(&out).await;
    let _ = transport.shutdown().await;
    // Off the reactor: a large catalog takes longer than other sessions should wait.
    let made = tokio::task::spawn_blocking(move || snapshot(results, &definitions.unwrap_or_default()));
    made.await.map_err(|error| LoadError(error.to_string()))?
}

/// One simple query whose answers are rows of text, as many results as expected.
pub(crate) async fn exchange(
    transport: &mut Transport,
    message: &[u8],
    expected: usize,
) -> Result<Vec<Vec<Row>>, LoadError> {
    let lost = |error: std::io::Error| LoadError(format!("the transport failed: {error}"));
    transport.write_all(message).await.map_err(lost)?;
    transport.flush().await.map_err(lost)?;
    let (mut buffer, mut total) = (BytesMut::with_capacity(64 * 1024), 0);
    let (mut results, mut rows) = (Vec::with_capacity(expected), Vec::new());
    loop {
        let mut frames = Frames::new(Direction::Backend, &buffer);
        loop {
            let broken = |error: crate::codec::Error| LoadError(error.to_string());
            let Next::Frame(frame) = frames.next().map_err(broken)? else { break };
            match frame.tag {
                tag::DATA_ROW => {
                    let row = DataRow::decode(frame.body).map_err(broken)?;
                    let text = |value: Option<&[u8]>| {
                        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
                    };
                    rows.push(row.values().iter().map(text).collect());
                }
                tag::COMMAND_COMPLETE => results.push(std::mem::take(&mut rows)),
                tag::ERROR_RESPONSE => {
                    let fields = ErrorFields::decode(frame.body).map_err(broken)?;
                    return Err(LoadError(fields.message()));
                }
                tag::READY_FOR_QUERY if results.len() == expected => return Ok(results),
                tag::READY_FOR_QUERY => return Err(LoadError("an answer is missing".to_owned())),
                _ => {}
            }
        }
        let walked = frames.offset();
        drop(buffer.split_to(walked));
        let read = transport.read_buf(&mut buffer).await.map_err(lost)?;
        total += read;
        if read == 0 {
            return Err(LoadError("the upstream closed the session".to_owned()));
        }
        if total > MAX_BYTES {
            return Err(LoadError(format!("it is larger than {MAX_BYTES} bytes")));
        }
    }
}

fn snapshot(results: Vec<Vec<Row>>, definitions: &[Row]) -> Result<CatalogSnapshot, LoadError> {
    let odd = || LoadError("a row has an unexpected shape".to_owned());
    let mut results = results.into_iter();
    let mut next = || results.next().unwrap_or_default();
    let (schemas, relations, rule_relations, rule_functions) = (next(), next(), next(), next());
    let (functions, aggregates, operators, types, parents) = (next(), next(), next(), next(), next());
    let (text_types, generated) = (next(), next());
    let mut snapshot = CatalogSnapshot::new();
    for row in schemas {
        snapshot.add_schema(cell(&row, 0).ok_or_else(odd)?);
    }
    let rows = Relations {
        relations: &relations,
        rule_relations: &rule_relations,
        rule_functions: &rule_functions,
        parents: &parents,
        definitions,
        generated: &generated,
    };
    add_relations(&mut snapshot, &rows).ok_or_else(odd)?;
    for row in &text_types {
        snapshot.add_text_type(number(row, 0).ok_or_else(odd)?);
    }
    let aggregates = grouped(&aggregates).ok_or_else(odd)?;
    for row in &functions {
        snapshot.add_function(function(row, &aggregates).ok_or_else(odd)?);
    }
    for row in &operators {
        snapshot.add_operator(Operator {
            schema: cell(row, 0).ok_or_else(odd)?.into(),
            name: cell(row, 1).ok_or_else(odd)?.into(),
            calls: vec![number(row, 2).ok_or_else(odd)?],
        });
    }
    for row in &types {
        let function = vec![number(row, 2).ok_or_else(odd)?];
        let written = cell(row, 3).ok_or_else(odd)? == "true";
        let (calls, casts) = if written { (Vec::new(), function) } else { (function, Vec::new()) };
        snapshot.add_type(Type {
            schema: cell(row, 0).ok_or_else(odd)?.into(),
            name: cell(row, 1).ok_or_else(odd)?.into(),
            calls,
            casts,
        });
    }
    Ok(snapshot)
}

fn cell(row: &Row, at: usize) -> Option<&str> {
    row.get(at).map(String::as_str)
}

fn number(row: &Row, at: usize) -> Option<u32> {
    cell(row, at)?.parse().ok()
}

/// Rows of two object ids as a map from the first to all seconds.
fn grouped(rows: &[Row]) -> Option<HashMap<u32, Vec<u32>>> {
    let mut map: HashMap<u32, Vec<u32>> = HashMap::new();
    for row in rows {
        map.entry(number(row, 0)?).or_default().push(number(row, 1)?);
    }
    Some(map)
}

/// The results that say what relations there are.
struct Relations<'a> {
    relations: &'a [Row],
    rule_relations: &'a [Row],
    rule_functions: &'a [Row],
    parents: &'a [Row],
    definitions: &'a [Row],
    /// Relation, generated column, a column it is computed from.
    generated: &'a [Row],
}

fn add_relations(snapshot: &mut CatalogSnapshot, rows: &Relations<'_>) -> Option<()> {
    let calls = grouped(rows.rule_functions)?;
    let parents = grouped(rows.parents)?;
    let mut reaches: HashMap<u32, Vec<(u32, Verb)>> = HashMap::new();
    for row in rows.rule_relations {
        let verb = if cell(row, 2)? == "r" { Verb::Read } else { Verb::Write };
        reaches.entry(number(row, 0)?).or_default().push((number(row, 1)?, verb));
    }
    let mut generated: HashMap<u32, Vec<(i16, i16)>> = HashMap::new();
    for row in rows.generated {
        let pair = (cell(row, 1)?.parse().ok()?, cell(row, 2)?.parse().ok()?);
        generated.entry(number(row, 0)?).or_default().push(pair);
    }
    let mut definitions: HashMap<u32, &str> = HashMap::new();
    for row in rows.definitions {
        definitions.insert(number(row, 0)?, cell(row, 1)?);
    }
    let mut names: HashMap<u32, (&str, &str)> = HashMap::new();
    for row in rows.relations.iter().filter(|row| is_usable(row)) {
        names.insert(number(row, 0)?, (cell(row, 1)?, cell(row, 2)?));
    }
    for row in rows.relations {
        let oid = number(row, 0)?;
        let (all_reached, all_calls) = closure(oid, &reaches, &calls);
        let named = |(oid, verb): &(u32, Verb)| {
            let (schema, name) = names.get(oid)?;
            Some(Reached { verb: *verb, schema: (*schema).into(), name: (*name).into() })
        };
        let relation = Relation {
            oid,
            schema: cell(row, 1)?.into(),
            name: cell(row, 2)?.into(),
            kind: RelationKind::from_relkind(cell(row, 3)?.bytes().next().unwrap_or(b'?')),
            columns: columns(cell(row, 4)?, generated.get(&oid).map_or(&[], Vec::as_slice))?,
            parents: parents.get(&oid).cloned().unwrap_or_default(),
            definition: definitions.get(&oid).copied().unwrap_or_default().into(),
            names: reaches.get(&oid).into_iter().flatten().map(|(oid, _)| *oid).collect(),
            reaches: all_reached.iter().filter_map(named).collect(),
            calls: all_calls,
        };
        if is_usable(row) {
            snapshot.add_relation(relation);
        } else {
            snapshot.add_hidden_relation(relation);
        }
    }
    Some(())
}

/// Whether the role may use the relation's schema.
fn is_usable(row: &Row) -> bool {
    cell(row, 5) == Some("true")
}

/// `number type generated name`, separated by `\x01`, which a name itself has as `\x02a`.
fn columns(text: &str, generated: &[(i16, i16)]) -> Option<Vec<Column>> {
    let one = |column: &str| {
        let mut parts = column.splitn(4, ' ');
        let number = parts.next()?.parse().ok()?;
        Some(Column {
            number,
            generated_from: generated
                .iter()
                .filter(|(made, _)| *made == number)
                .map(|(_, from)| *from)
                .collect(),
            type_oid: parts.next()?.parse().ok()?,
            generated: parts.next()? == "true",
            name: parts.next()?.replace("\u{2}a", "\u{1}").replace("\u{2}b", "\u{2}").into(),
        })
    };
    text.split('\u{1}').filter(|column| !column.is_empty()).map(one).collect()
}

/// Everything the rules of `start` reach, through other views too.
fn closure(
    start: u32,
    reaches: &HashMap<u32, Vec<(u32, Verb)>>,
    calls: &HashMap<u32, Vec<u32>>,
) -> (Vec<(u32, Verb)>, Vec<u32>) {
    let (mut reached, mut called) = (Vec::new(), Vec::new());
    let (mut seen, mut todo) = (HashSet::from([start]), vec![start]);
    while let Some(oid) = todo.pop() {
        called.extend(calls.get(&oid).into_iter().flatten().copied());
        for (next, verb) in reaches.get(&oid).into_iter().flatten() {
            // A rule's tree names its own relation too (OLD and NEW).
            if *next != start && !reached.contains(&(*next, *verb)) {
                reached.push((*next, *verb));
            }
            if seen.insert(*next) {
                todo.push(*next);
            }
        }
    }
    called.sort_unstable();
    called.dedup();
    (reached, called)
}

fn function(row: &Row, aggregates: &HashMap<u32, Vec<u32>>) -> Option<Function> {
    let oid = number(row, 0)?;
    let (arguments, defaults): (u16, u16) = (cell(row, 3)?.parse().ok()?, cell(row, 4)?.parse().ok()?);
    let variadic = cell(row, 5)? == "true";
    let first = |at: usize| cell(row, at).and_then(|text| text.bytes().next()).unwrap_or(b'?');
    Some(Function {
        oid,
        schema: cell(row, 1)?.into(),
        name: cell(row, 2)?.into(),
        min_args: arguments.saturating_sub(defaults).saturating_sub(u16::from(variadic)),
        max_args: (!variadic).then_some(arguments),
        volatility: Volatility::from_provolatile(first(6)),
        security_definer: cell(row, 7)? == "true",
        kind: FunctionKind::from_prokind(first(8)),
        language: FunctionLanguage::from_name(cell(row, 9)?),
        calls: aggregates.get(&oid).cloned().unwrap_or_default(),
    })
}
