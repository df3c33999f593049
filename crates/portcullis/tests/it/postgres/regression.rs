//! PostgreSQL's own regression suite: through a pass-through grant it gives the answers it gives without a gateway, and goes on
//! giving them where a mask is on a table that it does not touch.

use std::path::Path;

use portcullis_testkit::{
    Gateway, GatewayOptions, PgAuth, PgOptions, PgServer, Scratch,
    drivers::DriverTarget,
    gateway::AGENT,
    postgres::SUPERUSER,
    regression::{self, Part},
};

use super::left_out;

/// Makes the suite's database, which is a copy of this one, start with a table of its own.
const VAULT: &str = "
ALTER DATABASE template0 ALLOW_CONNECTIONS true;
\\connect template0
CREATE SCHEMA vault;
CREATE TABLE vault.cards (id int PRIMARY KEY, number text);
INSERT INTO vault.cards VALUES (1, '4539577482337259'), (2, '5425232388353828');
\\connect postgres
ALTER DATABASE template0 ALLOW_CONNECTIONS false;
";

/// `opaque: allow`: the suite is full of DO, functions and procedures, which nobody sees into.
const MASKS: &str =
    "masks:\n  - { name: vault, columns: [vault.cards.number], with: last4, opaque: allow }\n";
const EACH_CARD: &str = "SELECT number FROM vault.cards ORDER BY id";
const CARDS: &str = "4539577482337259\n5425232388353828";
const MASKED_CARDS: &str = "************7259\n************3828";

async fn server() -> PgServer {
    let settings = regression::server_settings();
    let setup_sql = VAULT.to_owned();
    PgServer::start(PgOptions { auth: PgAuth::Trust, settings, setup_sql, ..PgOptions::default() }).await
}

async fn directly(part: Part, out: &Path) {
    let server = server().await;
    let target = DriverTarget {
        port: server.port(),
        user: SUPERUSER.to_owned(),
        password: String::from("none is asked for"),
        database: "postgres".to_owned(),
        ca: None,
    };
    regression::run_suite(&target, part, out).await;
}

/// Runs the suite through a gateway; what the table shows there afterwards.
async fn through_a_gateway(masks: &str, part: Part, out: &Path) -> String {
    let server = server().await;
    // The connection is called what the role is called, so that the suite's own name is the same.
    let policy = format!(
        "connections:\n  postgres:\n    protocol: postgres\n    address: {}\n    tls: {{ mode: disable }}\n    database: postgres\n    \
         databases: [regression, isolation_regression, regression_fdw]\n    credential: {{ username: {SUPERUSER}, password: env:UPSTREAM_PASSWORD }}\n\
         grants:\n  - {{ connection: postgres, to: \"group:agents\", when: always, recorded: yes, scope: '*:*' }}\n{masks}",
        server.address()
    );
    let options = GatewayOptions::new(env!("CARGO_BIN_EXE_portcullis"), policy)
        .env("UPSTREAM_PASSWORD", "none is asked for");
    let gateway = Gateway::start(options).await;
    let token = gateway.token(AGENT).await;
    regression::run_suite(&gateway.target("postgres", &token, "postgres"), part, out).await;
    assert!(!gateway.log().contains("reason=the server's answer"), "{}", gateway.log());
    assert_eq!(server.execute_in("regression", EACH_CARD).await, CARDS, "the table is as it was");
    let psql = gateway.psql("postgres", &token).database("regression");
    psql.query(EACH_CARD).await.ok().to_owned()
}

#[tokio::test]
async fn regression_suite_through_the_gateway_is_as_direct() {
    if left_out("the suite", regression::available()) {
        return;
    }
    let out = Scratch::new();
    out.let_others_enter();
    let (direct, through) = (out.join("direct"), out.join("through"));
    directly(Part::Whole, &direct).await;
    assert_eq!(through_a_gateway("", Part::Whole, &through).await, CARDS);
    regression::compare(&direct, &through, None).await;
}

#[tokio::test]
async fn regression_suite_beside_a_mask_is_as_direct() {
    if left_out("the suite", regression::available()) {
        return;
    }
    let whole = std::env::var_os("REGRESSION_WHOLE").is_some();
    let (part, list) =
        if whole { (Part::Whole, Some("masked-differences")) } else { (Part::FewChanges, None) };
    let out = Scratch::new();
    out.let_others_enter();
    let (direct, masked) = (out.join("direct"), out.join("masked"));
    directly(part, &direct).await;
    assert_eq!(through_a_gateway(MASKS, part, &masked).await, MASKED_CARDS);
    regression::compare(&direct, &masked, list).await;
}
