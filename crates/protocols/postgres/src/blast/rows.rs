//! The rows a statement would change: counted by running it in a transaction that is rolled back, and a few of them shown.
//!
//! INVARIANT(preview-never-commits). What is shown is masked by the session's own masks, with the code that masks its results; where
//! they cannot be applied, or where the session might not read those rows by itself, nothing is shown.

use portcullis_access::requests::Sample;
use portcullis_core::{Operation, ResourceRef, StatementKind, Verb, operation::Classified};
use portcullis_sql::{
    Analysis, NoSessionState, SearchPath, SearchPaths,
    names::{Name, resource_name},
    preview::{self, RowsPreview, Samples},
};

use super::{
    Parameters, Question,
    behind::{self, Refusal},
    login::{Access, Answer, Login, Trouble},
    names::Names,
    off_reactor,
};
use crate::{
    codec::rows::{DataRow, RowDescription},
    masking::{Masks, layout::Layout, rows},
    session::expected::Plan,
};

/// The most rows that are shown.
const MAX_ROWS: u8 = 5;
/// The most columns.
const MAX_COLUMNS: usize = 20;
/// The most characters of a value.
const MAX_CELL: usize = 200;
/// Where the planner expects more rows than this, the rows as they would be are not asked for: the server keeps all of them aside
/// before it gives the first.
const MAX_RETURNED: u64 = 100_000;

/// The columns of a table that the role may read.
const COLUMNS: &str = "SELECT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
     JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped
        AND has_column_privilege(c.oid, a.attnum, 'SELECT') ORDER BY a.attnum";

/// What running it showed.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) rows: u64,
    pub(super) before: Option<Sample>,
    pub(super) after: Option<Sample>,
}

/// Counts.
pub(super) async fn count(
    login: &mut Login,
    question: &Question,
    names: &Names,
    path: &str,
    estimated: Option<u64>,
) -> Result<Counted, Refusal> {
    let preview = may_be_counted(question).await?;
    // Where the session is read-only nothing is ever run that is not.
    if question.read_only {
        return Err(Refusal::Why("the session is read-only".to_owned()));
    }
    login.begin(Access::ReadWrite).await?;
    let counted = run(login, question, names, path, &preview, estimated).await;
    login.roll_back().await?;
    let (mut counted, samples, types) = counted?;
    if let Some(before) = samples.and_then(|samples| samples.before) {
        login.begin(Access::ReadOnly).await?;
        // Without it the count is as good.
        counted.before = look(login, question, path, &before, types).await.unwrap_or_default();
        login.roll_back().await?;
    }
    Ok(counted)
}

/// That nothing in the statement itself speaks against running it.
async fn may_be_counted(question: &Question) -> Result<RowsPreview, Refusal> {
    const COUNTED: [&str; 5] = ["update", "delete", "merge", "select", "values"];
    if let Some(kind) = question.kinds.iter().find(|kind| !COUNTED.contains(&kind.as_str())) {
        let why =
            format!("only UPDATE, DELETE and MERGE are counted by running them, and this has `{kind}` in it");
        return Err(Refusal::Why(why));
    }
    if !question.classified {
        return Err(Refusal::Why("the statement is not understood completely".to_owned()));
    }
    let text = question.text.clone();
    off_reactor(move || preview::rows(&text)).await.map_err(Refusal::Why)
}

/// Inside the transaction: checks, runs, counts.
async fn run(
    login: &mut Login,
    question: &Question,
    names: &Names,
    path: &str,
    preview: &RowsPreview,
    estimated: Option<u64>,
) -> Result<(Counted, Option<Samples>, Vec<u32>), Refusal> {
    behind::calls_compute(login, &preview.calls).await?;
    lock(login, names).await?;
    behind::tables_take_it_back(login, &names.named).await?;
    let few = estimated.is_some_and(|rows| rows <= MAX_RETURNED);
    let samples = if preview.sampled && few { samples(login, question, names, preview).await? } else { None };
    login.look_along(path).await?;
    let parameters = question.parameters.clone().unwrap_or_default();
    let types = login.types_of(&question.text, &parameters).await?;
    let text = samples.as_ref().map_or(&*question.text, |samples| samples.after.text());
    let parameters = Parameters { types: types.clone(), ..parameters };
    let answer = login.run(text, &parameters, i32::from(MAX_ROWS)).await?;
    let rows = match answer.suspended {
        true => (answer.rows.len() as u64).saturating_add(login.pass_over().await?),
        false => answer.affected().ok_or(Trouble::Odd)?,
    };
    let after = samples.as_ref().and_then(|samples| shown(question, path, &samples.after, &answer));
    Ok((Counted { rows, before: None, after }, samples, types))
}

/// Takes the lock that the statement takes anyway, before its tables are looked at: from here on nobody gives them a trigger, a rule
/// or another shape.
async fn lock(login: &mut Login, names: &Names) -> Result<(), Refusal> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    for named in names.named.iter().filter(|named| named.verb != Verb::Read) {
        let (schema, name) = (quoted(&named.schema), quoted(&named.name));
        let locked = login.say(&format!("LOCK TABLE {schema}.{name} IN ROW EXCLUSIVE MODE")).await;
        locked.map_err(|trouble| match trouble {
            // Wrong object type, undefined table.
            Trouble::Refused(code) if matches!(&*code, "42809" | "42P01") => {
                Refusal::Why("what is changed is not an ordinary table".to_owned())
            }
            trouble => trouble.into(),
        })?;
    }
    Ok(())
}

/// The rows as they are.
async fn look(
    login: &mut Login,
    question: &Question,
    path: &str,
    before: &Analysis,
    types: Vec<u32>,
) -> Result<Option<Sample>, Trouble> {
    login.look_along(path).await?;
    let parameters = Parameters { types, ..question.parameters.clone().unwrap_or_default() };
    let answer = login.run(before.text(), &parameters, 0).await?;
    Ok(shown(question, path, before, &answer))
}

/// The texts that show rows, where the session might see those rows by itself.
async fn samples(
    login: &mut Login,
    question: &Question,
    names: &Names,
    preview: &RowsPreview,
) -> Result<Option<Samples>, Trouble> {
    let of_target = |name: &Name, schema: &str, table: &str| {
        *name.name == *table && name.schema.as_deref().is_none_or(|written| written == schema)
    };
    let mut targets = names
        .named
        .iter()
        .filter(|named| named.verb == Verb::Write)
        .filter(|named| of_target(&preview.target, &named.schema, &named.name));
    // A name that can mean several tables is shown of none.
    let (Some(target), None) = (targets.next(), targets.next()) else { return Ok(None) };
    let found = login.ask(COLUMNS, &[&target.schema, &target.name]).await?.texts()?;
    let columns: Vec<String> = found.into_iter().flatten().take(MAX_COLUMNS).collect();
    if columns.is_empty() || !may_read(question, &resource_name(&target.schema, &target.name), &columns) {
        return Ok(None);
    }
    let text = question.text.clone();
    Ok(off_reactor(move || preview::samples(&text, &columns, MAX_ROWS)).await.ok())
}

/// Whether the session might read the rows by itself: a scope that only writes gives nothing back, and a guardrail on reading counts.
fn may_read(question: &Question, target: &str, columns: &[String]) -> bool {
    let read = |pair: &&ResourceRef| pair.verb == Verb::Read;
    let mut resources: Vec<ResourceRef> = question.resources.iter().filter(read).cloned().collect();
    resources.push(ResourceRef {
        verb: Verb::Read,
        resource: target.to_owned().into(),
        columns: columns.to_vec(),
        through: None,
    });
    let operation = Operation {
        kinds: vec![StatementKind::word("select")],
        resources,
        text: question.text.clone(),
        lacks: Vec::new(),
        classified: Classified::Completely,
    };
    question.rules.decide(&operation).is_allow()
}

/// The rows of an answer as the session would see them; nothing where that is not certain.
fn shown(question: &Question, path: &str, analysis: &Analysis, answer: &Answer) -> Option<Sample> {
    let described = RowDescription::decode(answer.description.as_ref()?).ok()?;
    if answer.cut {
        return None;
    }
    let masked = match &question.masks {
        Some(masks) => Some((masks, layout(masks, analysis, path, &described)?)),
        None => None,
    };
    let columns = described.iter().take(MAX_COLUMNS);
    let columns = columns.map(|column| cell(column.name)).collect();
    let row = |body: &bytes::Bytes| match &masked {
        None => cells(body),
        Some((masks, layout)) => {
            let (mut scratch, mut out) = (Vec::new(), bytes::BytesMut::new());
            rows::rewrite(&masks.tools(), layout, body, &mut scratch, &mut out).ok()?;
            cells(out.get(crate::codec::Header::LEN..)?)
        }
    };
    let rows = answer.rows.iter().take(usize::from(MAX_ROWS)).map(row).collect::<Option<_>>()?;
    Some(Sample { columns, rows })
}

/// What becomes of the columns: what the statement's own results would go through.
fn layout(
    masks: &std::sync::Arc<Masks>,
    analysis: &Analysis,
    path: &str,
    described: &RowDescription<'_>,
) -> Option<Layout> {
    // `$user` was replaced when the path was written.
    let paths = SearchPaths::known(SearchPath::parse(path, "")?, "");
    let mut outputs = analysis.masked(&masks.map, &*masks.catalog, &paths, &NoSessionState).ok()?.into_iter();
    let (Some(output), None) = (outputs.next(), outputs.next()) else { return None };
    let plan = Plan::new(0, Some(std::sync::Arc::clone(masks)), output, None, true);
    Layout::of_rows(masks, &plan, described).ok()
}

fn cells(body: &[u8]) -> Option<Vec<Option<String>>> {
    let row = DataRow::decode(body).ok()?;
    Some(row.values().iter().take(MAX_COLUMNS).map(|value| value.map(cell)).collect())
}

/// A value as text, cut where it is long.
fn cell(value: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(value).into_owned();
    if let Some((end, _)) = text.char_indices().nth(MAX_CELL) {
        text.truncate(end);
        text.push('…');
    }
    text
}
