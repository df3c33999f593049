//! The blast radius of a held statement: what it would touch, as far as the upstream can tell without running it.
//!
//! **Promises.** INVARIANT(preview-never-commits): nothing here ever sends a `COMMIT`, and the statement itself is sent only inside a
//! transaction that the server has confirmed to be open and that is rolled back. A login of its own, opened under the session's permit;
//! the held session notices nothing and never fails because of it. What is shown of rows went through the session's own masks. Reasons
//! are words of ours: no text of the server, no value, no address.
//!
//! **Does not** decide whether a statement is held, or record anything: what it finds stands in the request alone.
//!
//! **How to read it**: `work_out`; `behind` (what may be asked at all, and why), `rows` (running it to be taken back), `plan`,
//! `sizes`, `login`.
//!
//! **References**: PostgreSQL documentation, "EXPLAIN", "SET TRANSACTION", 55.2.3 "Extended Query".

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use portcullis_access::{
    Permit,
    requests::{BlastRadius, BlastState, TableTouched},
};
use portcullis_core::{ResourceRef, StatementKind};
use portcullis_policy::{Preview, SessionRules};
use portcullis_proxy::gate::Gate;
use portcullis_sql::{
    Analysis, SearchPaths,
    preview::{self, NotPreviewed},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::{
    codec::bind::{Bind, Format},
    masking::Masks,
    session::names::Prepared,
    upstream::Logins,
};

mod behind;
#[doc(hidden)]
pub mod hook;
mod login;
mod names;
mod plan;
mod rows;
mod sizes;

use behind::Refusal;
use login::{Access, Around, Login, Trouble};
use names::Names;
use plan::Conditions;

/// All of it takes no longer than this.
const OVERALL: Duration = Duration::from_secs(10);
/// The most that are worked out at once in the whole process.
const MOST_AT_ONCE: usize = 4;
/// The most on one connection.
const MOST_ON_ONE: usize = 2;
/// The most tables that are told.
const MAX_TABLES: usize = 100;

/// What is asked about one held statement. Everything is owned: the session goes on without it.
#[derive(Debug)]
pub(crate) struct Question {
    /// The statement's own text: one statement.
    pub(crate) text: Arc<str>,
    /// The analysis of the text it stands in.
    pub(crate) prepared: Prepared,
    /// Which of its statements.
    pub(crate) statement: usize,
    /// What it runs, where it is an `EXECUTE` of one text.
    pub(crate) runs: Option<Arc<str>>,
    /// What it is bound with, where it came by the extended protocol.
    pub(crate) parameters: Option<Parameters>,
    /// The search path in force, as [`settled_path`] writes it. Absent where it is not certain, or where the role in force is perhaps
    /// not the one that logs in: then names could mean something else on another login, and the upstream is not asked.
    pub(crate) search_path: Option<String>,
    /// Every pair the statement was judged by.
    pub(crate) resources: Vec<ResourceRef>,
    /// Its kind, and the kinds of what is nested in it.
    pub(crate) kinds: Vec<StatementKind>,
    /// The session is read-only.
    pub(crate) read_only: bool,
    /// How far the guardrails want it worked out: the strongest of them.
    pub(crate) preview: Preview,
    /// The masks in force in the session.
    pub(crate) masks: Option<Arc<Masks>>,
    /// The statement is understood completely.
    pub(crate) classified: bool,
    /// The rules in force in the session: rows are shown of tables that it may read.
    pub(crate) rules: Arc<SessionRules>,
}

/// What a statement is bound with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters {
    /// The types declared by Parse; fewer than there are parameters where the server infers the rest.
    pub(crate) types: Vec<u32>,
    /// Format codes as in the Bind message: none, one for all, or one for each value.
    pub(crate) formats: Vec<Format>,
    /// The values; null where absent.
    pub(crate) values: Vec<Option<Bytes>>,
}

impl Parameters {
    /// From a Bind message, and the types that the Parse message declared.
    pub(crate) fn of(bind: &Bind<'_>, types: impl IntoIterator<Item = u32>) -> Self {
        Self {
            types: types.into_iter().collect(),
            formats: bind.formats.iter().collect(),
            values: bind.values.iter().map(|value| value.map(Bytes::copy_from_slice)).collect(),
        }
    }
}

/// The search path where it is certain, as a setting's value.
pub(crate) fn settled_path(paths: &SearchPaths) -> Option<String> {
    let [path] = paths.candidates() else { return None };
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let names: Vec<String> = path.listed().map(quoted).collect();
    (!paths.is_unknown()).then(|| names.join(", "))
}

/// Works it out, within [`OVERALL`]. Whatever fails is said in the answer; the tables and columns are always there.
///
/// Cancel safety: dropping it cancels what runs on the login and closes it, and the server rolls back what was open there.
pub(crate) async fn work_out(
    gate: Arc<Gate>,
    logins: Arc<Logins>,
    permit: Arc<Permit>,
    question: Question,
) -> BlastRadius {
    let mut found = BlastRadius { tables: tables(&question.resources), ..BlastRadius::default() };
    let around = Around { gate, logins, permit };
    let mut question = question;
    let asked = tokio::time::timeout(OVERALL, ask(&around, &mut question, &mut found)).await;
    let why = match asked {
        Ok(Ok(())) => None,
        Ok(Err(refusal)) => Some(refusal.words()),
        Err(_) => Some("it took longer than 10 seconds, and was given up".to_owned()),
    };
    if let Some(why) = &why
        && question.preview == Preview::Rows
        && found.exact_rows.is_none()
        && found.not_counted.is_empty()
    {
        found.not_counted.clone_from(why);
    }
    match why {
        Some(why) if found.plan.is_empty() => {
            found.state = BlastState::Unavailable;
            found.why = why;
        }
        // What is missing then is the count, which has words of its own.
        _ => found.state = BlastState::Ready,
    }
    found
}

async fn ask(around: &Around, question: &mut Question, found: &mut BlastRadius) -> Result<(), Refusal> {
    let why = |why: &str| Refusal::Why(why.to_owned());
    // What is not about tables alone, or means something only in its own session, is not asked about.
    let names = names::read(&question.resources).map_err(why)?;
    if !question.classified {
        return Err(why("the statement is not understood completely"));
    }
    if !stands_alone(&question.prepared, question.statement) {
        return Err(why("a statement before it in the same text may change what it means"));
    }
    let path = question.search_path.clone();
    let path = &*path.ok_or_else(|| why("the search path or the role of the session is not certain"))?;
    // Before anything is parsed or dialed: how many are held at once is no bound on threads and logins.
    let _turn = turn(&around.permit).await.ok_or_else(|| why("the gateway is shutting down"))?;
    follow(question).await?;
    let text = question.text.clone();
    let explained = off_reactor(move || preview::explain(&text)).await;
    if let (true, Err(no_plan)) = (names.named.is_empty(), &explained) {
        return Err(why(no_plan));
    }
    let mut login = Login::open(around).await?;
    login.begin(Access::ReadOnly).await?;
    match explained {
        Ok(explained) => plan(&mut login, question, &names, path, &explained, found).await?,
        Err(no_plan) => match sizes::ask(&mut login, &names, &question.kinds).await? {
            Some(sizes) => (found.estimated_rows, found.plan) = (sizes.rows, sizes.text),
            None => return Err(Refusal::Why(no_plan)),
        },
    }
    login.roll_back().await?;
    if question.preview == Preview::Rows {
        match rows::count(&mut login, question, &names, path, found.estimated_rows).await {
            Ok(counted) => {
                found.exact_rows = Some(counted.rows);
                (found.before, found.after) = (counted.before, counted.after);
            }
            Err(refusal) => found.not_counted = refusal.words(),
        }
    }
    login.leave().await;
    Ok(())
}

/// An `EXECUTE` whose arguments are constants is asked about as what it runs, bound with them: it was judged by that, too.
async fn follow(question: &mut Question) -> Result<(), Refusal> {
    let Some(runs) = question.runs.take() else { return Ok(()) };
    let text = question.text.clone();
    let work = move || Ok((preview::prepared(&runs)?, preview::arguments(&text)?));
    let (runs, values) = off_reactor(work).await.map_err(Refusal::Why)?;
    question.text = runs.into();
    let values = values.into_iter().map(|value| value.map(Bytes::from)).collect();
    question.parameters = Some(Parameters { values, ..Parameters::default() });
    question.kinds.retain(|kind| kind.as_str() != "execute");
    Ok(())
}

/// Whether what stands before the statement in its text leaves its meaning as it is: nothing of that has run on another login.
fn stands_alone(text: &Analysis, statement: usize) -> bool {
    let only_data = |kind: &StatementKind| {
        matches!(
            kind.as_str(),
            "select"
                | "values"
                | "insert"
                | "update"
                | "delete"
                | "merge"
                | "begin"
                | "transaction"
                | "savepoint"
        )
    };
    let mut before = text.statements().iter().take(statement);
    before.all(|statement| statement.settings().is_empty() && statement.kinds().iter().all(only_data))
}

/// The plan, inside a read-only transaction.
async fn plan(
    login: &mut Login,
    question: &Question,
    names: &Names,
    path: &str,
    explained: &str,
    found: &mut BlastRadius,
) -> Result<(), Refusal> {
    behind::may_be_planned(login, &names.named).await?;
    login.look_along(path).await?;
    let parameters = question.parameters.clone().unwrap_or_default();
    let answer = login.run(explained, &parameters, 0).await?.texts()?;
    let json = answer.first().and_then(|row| row.first()).ok_or(Trouble::Odd)?;
    let conditions = if question.masks.is_some() { Conditions::Hidden } else { Conditions::Shown };
    let plan =
        plan::read(json, conditions).ok_or_else(|| Refusal::Why("the plan was not understood".to_owned()))?;
    (found.estimated_rows, found.plan) = (Some(plan.rows), plan.text);
    Ok(())
}

/// A turn: few logins at once in the whole process, fewer on one connection. Others wait within their own time.
async fn turn(permit: &Permit) -> Option<(OwnedSemaphorePermit, SemaphorePermit<'static>)> {
    static ALL: Semaphore = Semaphore::const_new(MOST_AT_ONCE);
    static EACH: Mutex<BTreeMap<String, Weak<Semaphore>>> = Mutex::new(BTreeMap::new());
    let of_connection = {
        let mut each = EACH.lock().unwrap_or_else(PoisonError::into_inner);
        each.retain(|_, known| known.strong_count() > 0);
        let name = permit.connection().name.to_string();
        let known = each.get(&name).and_then(Weak::upgrade);
        let of_connection = known.unwrap_or_else(|| Arc::new(Semaphore::new(MOST_ON_ONE)));
        each.insert(name, Arc::downgrade(&of_connection));
        of_connection
    };
    // The connection's first: who waits for it takes no turn from others.
    let own = of_connection.acquire_owned().await.ok()?;
    Some((own, ALL.acquire().await.ok()?))
}

/// Parsing has a thread of its own; waiting for it must not hold up others.
async fn off_reactor<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NotPreviewed> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|why| why.to_string()),
        Err(_) => Err("the statement could not be looked at".to_owned()),
    }
}

/// Tables and columns, as the statement was judged by them.
fn tables(resources: &[ResourceRef]) -> Vec<TableTouched> {
    let is_table = |pair: &&ResourceRef| {
        let resource = pair.resource.as_str();
        !["server/", "session/", "channel/"].iter().any(|start| resource.starts_with(start))
    };
    let touched = |pair: &ResourceRef| TableTouched {
        table: pair.resource.to_string(),
        columns: pair.columns.clone(),
        verb: pair.verb,
    };
    resources.iter().filter(is_table).take(MAX_TABLES).map(touched).collect()
}

#[cfg(test)]
mod tests;
