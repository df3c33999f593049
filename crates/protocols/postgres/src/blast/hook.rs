//! The blast radius of a statement that nobody holds, as if it were: for tests that look at what it does to a real server.

use std::sync::Arc;

use bytes::Bytes;
use portcullis_access::{Ask, requests::BlastRadius};
use portcullis_core::{ClientSoftware, SessionId, Source};
use portcullis_policy::Preview;
use portcullis_proxy::gate::{Admitted, Gate};
use portcullis_sql::{Analyzer, NoSessionState, SearchPath, SearchPaths};

use super::{Parameters, Question, settled_path, work_out};
use crate::{catalog::Catalogs, codec::bind::Format, upstream::Logins};

/// What a gateway has that statements come to.
#[expect(missing_debug_implementations, reason = "a gate has none")]
pub struct Around {
    /// The gate.
    pub gate: Arc<Gate>,
    /// What logins share.
    pub logins: Arc<Logins>,
    /// What is known of databases.
    pub catalogs: Catalogs,
    /// What texts mean.
    pub analyzer: Arc<Analyzer>,
}

/// One statement, and who says it.
#[derive(Debug)]
pub struct Said<'a> {
    /// The token of who says it.
    pub token: &'a str,
    /// To which connection.
    pub connection: &'a str,
    /// The statement.
    pub text: &'a str,
    /// What it is bound with, as text.
    pub values: &'a [&'a str],
    /// The search path in force.
    pub path: &'a str,
    /// Whether its rows are to be counted.
    pub preview: Preview,
}

/// Works it out; nothing where who says it is not let in, or the text cannot be read.
pub async fn blast_radius(around: &Around, said: Said<'_>) -> Option<BlastRadius> {
    let Around { gate, logins, catalogs, analyzer } = around;
    let now = gate.clock.now();
    let ask = Ask {
        session: SessionId::generate(now),
        started_at: now,
        protocol: "postgres",
        source: Source { address: std::net::SocketAddr::from(([127, 0, 0, 1], 1)), via: None },
        client: ClientSoftware(String::new()),
        connection: said.connection.to_owned(),
        database: None,
        reason: String::new(),
    };
    let Ok(Admitted::In(permit)) = gate.admit(&ask, &said.token.to_owned().into()).await else { return None };
    let permit = Arc::new(*permit);
    let rules = Arc::clone(permit.rules());
    let database = catalogs.of(&permit);
    let catalog = database.refresh(gate, logins, &permit).await.ok()?;
    let masks = database.work_out_masks(gate, &permit.connection().name, &rules, &catalog).await.ok()?;
    let user = permit.connection().credential.as_ref().map_or("", |credential| credential.username.as_str());
    let paths = SearchPaths::known(SearchPath::parse(said.path, user)?, user);
    let prepared = analyzer.analyze(said.text).ok()?;
    let operation = prepared.resolve(&*catalog, &paths, &NoSessionState).into_iter().next()?;
    let values = said.values.iter().map(|value| Some(Bytes::copy_from_slice(value.as_bytes()))).collect();
    let question = Question {
        text: prepared.text().clone(),
        statement: 0,
        runs: None,
        prepared,
        parameters: Some(Parameters { types: Vec::new(), formats: vec![Format::Text], values }),
        search_path: settled_path(&paths),
        classified: operation.classified == portcullis_core::operation::Classified::Completely,
        resources: operation.resources,
        kinds: operation.kinds,
        read_only: rules.is_read_only(),
        preview: said.preview,
        masks,
        rules,
    };
    Some(work_out(Arc::clone(gate), Arc::clone(logins), permit, question).await)
}
