//! A gateway and a server with everything that a preview must not touch, and what is asked of them.

use std::sync::Arc;

use portcullis_access::requests::BlastRadius;
use portcullis_policy::Preview;
use portcullis_postgres::{
    blast::hook::{Around, Said, blast_radius},
    catalog::Catalogs,
    upstream::Logins,
};
use portcullis_sql::{Analyzer, AnalyzerConfig};

use crate::lab::{Lab, Setup};

/// Everything that a preview must leave as it is, or not touch at all.
const FIXTURE: &str = include_str!("../../../testdata/blast/fixture.sql");

pub struct Bench {
    pub lab: Lab,
    around: Around,
    token: String,
}

impl Bench {
    pub async fn start(scope: &str, more: &str, sql: &str) -> Self {
        Self::start_on(15, scope, more, sql).await
    }

    pub async fn start_on(version: u16, scope: &str, more: &str, sql: &str) -> Self {
        let sql = format!("{FIXTURE}\n{sql}");
        let lab = Lab::set_up(Setup { version, scope, more, sql: &sql, ..Setup::default() }).await;
        let around = Around {
            gate: Arc::clone(&lab.gate),
            logins: Arc::new(Logins::default()),
            catalogs: Catalogs::default(),
            analyzer: Arc::new(Analyzer::new(AnalyzerConfig::default()).unwrap()),
        };
        let token = lab.token();
        Self { lab, around, token }
    }

    pub async fn ask(&self, preview: Preview, text: &str, values: &[&str]) -> BlastRadius {
        let (token, path) = (&*self.token, "public");
        let said = Said { token, connection: "shop", text, values, path, preview };
        blast_radius(&self.around, said).await.unwrap_or_else(|| panic!("`{text}` was not judged"))
    }

    pub async fn counted(&self, text: &str) -> BlastRadius {
        self.ask(Preview::Rows, text, &[]).await
    }

    pub async fn planned(&self, text: &str) -> BlastRadius {
        self.ask(Preview::None, text, &[]).await
    }

    /// Everything that could be otherwise, as text.
    pub async fn state(&self) -> String {
        let client = self.lab.superuser().await;
        let question = "SELECT string_agg(t, E'\\n') FROM (
            SELECT 'plain ' || md5(string_agg(p::text, ',' ORDER BY id)) AS t FROM plain p
            UNION ALL SELECT 'numbered ' || md5(string_agg(p::text, ',' ORDER BY id)) FROM numbered p
            UNION ALL SELECT 'sequence ' || last_value || is_called FROM numbered_id_seq
            UNION ALL SELECT 'seen ' || count(*) FROM seen
            UNION ALL SELECT 'watched ' || sum(n) || ' ' || count(*) FROM watched
            UNION ALL SELECT 'family ' || (SELECT count(*) FROM parent) || (SELECT count(*) FROM child) || (SELECT count(*) FROM grandchild)
            UNION ALL SELECT 'kept ' || (SELECT count(*) FROM kept) || (SELECT count(*) FROM keeps)
            UNION ALL SELECT 'ruled ' || count(*) FROM ruled
            UNION ALL SELECT 'orders ' || md5(string_agg(p::text, ',' ORDER BY id)) FROM orders p
            UNION ALL SELECT 'locks ' || count(*) FROM pg_locks WHERE locktype = 'advisory'
            UNION ALL SELECT 'large objects ' || count(*) FROM pg_largeobject_metadata
            UNION ALL SELECT 'tables ' || count(*) FROM pg_class) x";
        client.query_one(question, &[]).await.unwrap().get(0)
    }
}
