//! The policy: in force, on the disk, and as somebody would have it.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use portcullis_client::{
    DocumentFile, DocumentsView, PolicyChecked, PolicyView,
    types::{CheckBody, ExplainBody, ReplaceBody},
};
use portcullis_core::{ConnectionName, Principal};
use portcullis_policy::{
    People, Policy, Question, Report, SourceFile, Window, check as check_files, explain as answer,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{AskedLong, Json, blocking, connections};
use crate::{
    Api, Problem,
    caller::Caller,
    documents::{IfMatch, NotReplaced, acceptable, etag, not_too_long},
    server::Peer,
    status::{Standing, findings},
};

/// Documents of one check.
const MAX_FILES: usize = 200;
/// Findings of one answer: of many alike, the first ones say it.
const MAX_FINDINGS: usize = 500;
/// Checks at once, of everybody: somebody's documents must not take the processors from the sessions. The place is kept until the
/// work is done, whether or not anybody still waits for it.
static CHECKS: Semaphore = Semaphore::const_new(1);
/// How long a check waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// The longest statement explained.
const MAX_STATEMENT: usize = 64 * 1024;

/// `GET /api/v1/policy`.
pub(super) async fn policy(State(api): State<Arc<Api>>) -> Json<PolicyView> {
    let policy = api.access.policy();
    let Standing { loaded_at, warnings, rejected, .. } = api.policy.get();
    Json(PolicyView {
        version: policy.version().to_string(),
        loaded_at,
        connections: policy.connections().count() as u64,
        grants: policy.grants().len() as u64,
        warnings,
        rejected,
    })
}

/// `GET /api/v1/policy/documents`.
pub(super) async fn documents(State(api): State<Arc<Api>>) -> Response {
    as_they_are(&api)
}

fn as_they_are(api: &Api) -> Response {
    let Standing { version, diagnostics, files, rejected, .. } = api.policy.get();
    let etag = etag(&files);
    let files = files
        .iter()
        .map(|file| DocumentFile { name: file.path.display().to_string(), text: file.text.clone() });
    let view = DocumentsView {
        managed: if api.documents.is_some() { "api" } else { "files" }.to_owned(),
        version,
        etag: etag.clone(),
        files: files.collect(),
        diagnostics,
        rejected,
    };
    let mut response = Json(view).into_response();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// `PUT /api/v1/policy/documents`. Where the documents come from the gateway's disk, they are changed there.
pub(super) async fn replace(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    caller: Caller,
    headers: HeaderMap,
    AskedLong(body): AskedLong<ReplaceBody>,
) -> Result<Response, Problem> {
    let Some(managed) = api.documents.as_ref().map(Arc::clone) else {
        return Err(Problem::conflict(
            "file-managed",
            "the documents come from files on the gateway's disk and are changed there",
        )
        .next("change the files: a good change is in force within two seconds"));
    };
    let Some(seen) = IfMatch::of(&headers) else {
        return Err(Problem::unseen("`If-Match` is missing")
            .next("send the `etag` of `GET /api/v1/policy/documents`, or `*` for whatever there is"));
    };
    let files = sources(body.files);
    acceptable(&files)?;
    let (turn, by) = (turn().await?, caller.named(&peer));
    let replaced = blocking(move || {
        let _turn = turn;
        managed.replace(files, &seen, &by)
    })
    .await?;
    match replaced {
        Ok(()) => Ok(as_they_are(&api)),
        Err(NotReplaced::Changed) => {
            Err(Problem::changed("the documents in force are not those that `If-Match` names")
                .next("read them again, and make your change on what is in force"))
        }
        Err(NotReplaced::Unusable(report)) => {
            let found = findings(&report).into_iter().take(MAX_FINDINGS).collect();
            Err(Problem::unusable("documents", "the documents have errors: those in force stay")
                .diagnostics(found))
        }
        Err(NotReplaced::Failed(error)) => {
            tracing::error!(error, "the documents could not be replaced");
            Err(Problem::internal())
        }
    }
}

/// `POST /api/v1/policy/check`.
pub(super) async fn check(
    State(api): State<Arc<Api>>,
    AskedLong(body): AskedLong<CheckBody>,
) -> Result<Json<PolicyChecked>, Problem> {
    let (policy, report) = checked(&api, body.files).await?;
    Ok(Json(PolicyChecked {
        ok: policy.is_some(),
        version: policy.map(|policy| policy.version().to_string()),
        diagnostics: findings(&report).into_iter().take(MAX_FINDINGS).collect(),
    }))
}

/// What documents say that are not in force: within what they could name if they were.
async fn checked(api: &Api, files: Vec<DocumentFile>) -> Result<(Option<Arc<Policy>>, Report), Problem> {
    if files.is_empty() || files.len() > MAX_FILES {
        return Err(Problem::unusable(
            "documents",
            format!("between 1 and {MAX_FILES} documents are checked at once"),
        ));
    }
    let mut files = sources(files);
    not_too_long(&files)?;
    let managed = api.documents.as_ref().map(Arc::clone);
    if managed.is_some() {
        acceptable(&files)?;
        // In the order in which they would be kept: it is part of the version.
        files.sort_by(|one, other| one.path.cmp(&other.path));
    }
    let turn = turn().await?;
    blocking(move || {
        let _turn = turn;
        managed.map_or_else(|| check_files(&files), |managed| managed.check(&files))
    })
    .await
}

fn sources(files: Vec<DocumentFile>) -> Vec<SourceFile> {
    files.into_iter().map(|file| SourceFile { path: PathBuf::from(file.name), text: file.text }).collect()
}

async fn turn() -> Result<SemaphorePermit<'static>, Problem> {
    match tokio::time::timeout(TURN_WITHIN, CHECKS.acquire()).await {
        Ok(Ok(turn)) => Ok(turn),
        _ => Err(Problem::too_many(10)),
    }
}

/// `POST /api/v1/policy/explain`: as `portcullis explain --output json`.
pub(super) async fn explain(
    State(api): State<Arc<Api>>,
    AskedLong(asked): AskedLong<ExplainBody>,
) -> Result<Response, Problem> {
    let policy = match asked.files {
        None => api.access.policy(),
        Some(files) => checked(&api, files).await?.0.ok_or_else(|| {
            Problem::unusable("documents", "the documents have errors")
                .next("see `POST /api/v1/policy/check`")
        })?,
    };
    let no_connection = || Problem::not_found("there is no such connection");
    let name: ConnectionName = asked.connection.parse().map_err(|_| no_connection())?;
    let connection = Arc::clone(policy.connection(&name).ok_or_else(no_connection)?);
    let window = match asked.window.as_deref() {
        None | Some("none") => Window::None,
        Some("open") => Window::Open,
        Some(_) => return Err(Problem::malformed("`window` is `open` or `none`")),
    };
    let who = match &asked.identity {
        Some(key) => {
            let known = connections::known(&api).await?;
            let found = known.into_iter().map(|(who, _)| who).find(|who| who.key().to_string() == *key);
            found.ok_or_else(|| Problem::not_found("no identity with this key came to the gateway"))?
        }
        None => {
            let groups = asked.groups.iter().map(String::as_str);
            Arc::new(connections::somebody(&policy, asked.provider.as_deref(), groups)?)
        }
    };
    if asked.sql.as_ref().is_some_and(|sql| sql.len() > MAX_STATEMENT) {
        return Err(Problem::too_large(MAX_STATEMENT));
    }
    let people = if asked.approved { People::SaidYes } else { People::Unasked };
    let (sql, source) = (asked.sql, asked.source.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let explanation = blocking(move || {
        let operations = sql.map(|sql| api.statements.read(&connection, &sql)).unwrap_or_default();
        let who: &Principal = &who;
        let question = Question {
            principal: who,
            connection: &name,
            operations: &operations,
            now: api.clock.now(),
            source,
            client: "",
            window,
            people,
        };
        serde_json::to_value(answer(&policy, &question))
    });
    match explanation.await? {
        Ok(explanation) => Ok(Json(explanation).into_response()),
        Err(error) => {
            tracing::error!(%error, "an explanation cannot be encoded");
            Err(Problem::internal())
        }
    }
}
