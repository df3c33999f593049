//! What views carry on of the columns they select.

use std::collections::{HashMap, HashSet};

use super::{
    follow::{Follow, Mode},
    ir::{Plan, Query},
    map::{MaskMap, MaskedColumn},
    relations::Relations,
    scope::Columns,
};
use crate::{
    CatalogSnapshot, NoSessionState, Relation, RelationKind, SearchPath, SearchPaths, catalog::WholeCatalog,
    parse, pool,
};

/// Adds the columns of every view over something masked, views over views last.
pub(super) fn derive(map: &mut MaskMap, catalog: &CatalogSnapshot) {
    let by_oid: HashMap<u32, &Relation> =
        catalog.all_relations().map(|relation| (relation.oid, relation)).collect();
    let order = concerned(map, &by_oid);
    let texts: Vec<String> = order.iter().map(|view| view.definition.to_string()).collect();
    let plans = parsed(texts);
    let paths = SearchPaths::known(SearchPath::new(Vec::<Box<str>>::new()), "");
    for (at, view) in order.iter().enumerate() {
        let query = plans.get(at).and_then(Option::as_ref);
        let found = query.and_then(|query| columns(map, catalog, &paths, view, query));
        match found {
            Some(masked) => {
                for (number, column) in masked {
                    map.insert(view, number, column);
                }
            }
            None => hide(map, &by_oid, view),
        }
    }
}

/// Views that name a masked relation, directly or through views, each after those it names.
fn concerned<'c>(map: &MaskMap, by_oid: &HashMap<u32, &'c Relation>) -> Vec<&'c Relation> {
    let is_view =
        |relation: &Relation| matches!(relation.kind, RelationKind::View | RelationKind::MaterializedView);
    let mut users: HashMap<u32, Vec<&'c Relation>> = HashMap::new();
    for view in by_oid.values().filter(|relation| is_view(relation)) {
        for named in view.names.iter().filter(|named| **named != view.oid) {
            users.entry(*named).or_default().push(view);
        }
    }
    let mut reached: HashSet<u32> = HashSet::new();
    let mut todo: Vec<u32> = by_oid.keys().copied().filter(|oid| map.is_masked(*oid)).collect();
    while let Some(oid) = todo.pop() {
        for view in users.get(&oid).into_iter().flatten() {
            if reached.insert(view.oid) {
                todo.push(view.oid);
            }
        }
    }
    // Each after those it names; what goes in circles comes last and finds its like not understood.
    let mut views: Vec<&Relation> = reached.iter().filter_map(|oid| by_oid.get(oid).copied()).collect();
    views.sort_by_key(|view| view.oid);
    let (mut order, mut placed) = (Vec::with_capacity(views.len()), HashSet::new());
    while !views.is_empty() {
        let ready = |view: &&Relation| {
            view.names
                .iter()
                .all(|named| *named == view.oid || !reached.contains(named) || placed.contains(named))
        };
        let (now, later): (Vec<&Relation>, Vec<&Relation>) = views.iter().copied().partition(ready);
        if now.is_empty() {
            order.extend(later);
            break;
        }
        placed.extend(now.iter().map(|view| view.oid));
        order.extend(now);
        views = later;
    }
    order
}

/// The queries of definitions, parsed on a thread with a big stack; nothing where one cannot be.
fn parsed(texts: Vec<String>) -> Vec<Option<Query>> {
    if texts.is_empty() {
        return Vec::new();
    }
    let parse = move || texts.iter().map(|text| query(text)).collect::<Vec<_>>();
    let thread = std::thread::Builder::new().name("sql-views".to_owned()).stack_size(pool::STACK_BYTES);
    thread.spawn(parse).ok().and_then(|thread| thread.join().ok()).unwrap_or_default()
}

fn query(definition: &str) -> Option<Query> {
    match parse::plan_of(definition)? {
        Plan::Query(query) => Some(query),
        _ => None,
    }
}

/// The masked columns of a view; nothing where its definition is not understood.
fn columns(
    map: &MaskMap,
    catalog: &CatalogSnapshot,
    paths: &SearchPaths,
    view: &Relation,
    query: &Query,
) -> Option<Vec<(i16, MaskedColumn)>> {
    let whole = WholeCatalog(catalog);
    let relations = Relations::new(map, &whole, paths, &NoSessionState);
    let Columns { columns, complete } = Follow::new(&relations, Mode::Derive).whole(query).ok()?;
    if !complete || columns.len() != view.columns.len() {
        return None;
    }
    let masked = |(column, given): (&crate::Column, &super::scope::Column<'_>)| {
        let tag = given.tag?;
        Some((
            column.number,
            MaskedColumn {
                rule: tag.rule,
                whole: tag.whole,
                schema: view.schema.clone(),
                table: view.name.clone(),
                column: column.name.clone(),
                comparable: tag.comparable && !tag.whole,
                strength: tag.column.strength,
            },
        ))
    };
    Some(view.columns.iter().zip(&columns).filter_map(masked).collect())
}

/// Hides every column of a view by the strongest rule of what it may show.
fn hide(map: &mut MaskMap, by_oid: &HashMap<u32, &Relation>, view: &Relation) {
    let (mut seen, mut todo) = (HashSet::from([view.oid]), vec![view.oid]);
    let mut strongest: Option<MaskedColumn> = None;
    while let Some(oid) = todo.pop() {
        for column in by_oid.get(&oid).into_iter().flat_map(|relation| &relation.columns) {
            if let Some(masked) = map.column(oid, column.number)
                && strongest.as_ref().is_none_or(|known| masked.strength > known.strength)
            {
                strongest = Some(masked.clone());
            }
        }
        let named = by_oid.get(&oid).into_iter().flat_map(|relation| relation.names.iter().copied());
        todo.extend(named.filter(|oid| seen.insert(*oid)));
    }
    let Some(strongest) = strongest else { return };
    for column in &view.columns {
        let hidden = MaskedColumn {
            whole: true,
            comparable: false,
            schema: view.schema.clone(),
            table: view.name.clone(),
            column: column.name.clone(),
            ..strongest.clone()
        };
        map.insert(view, column.number, hidden);
    }
}
