//! PostgreSQL's own regression suite: through a pass-through grant it gives the answers it gives without a gateway.

use portcullis_testkit::{
    Gateway, GatewayOptions, PgAuth, PgOptions, PgServer, Scratch, drivers::DriverTarget, gateway::AGENT,
    postgres::SUPERUSER, regression,
};

use super::left_out;

async fn server() -> PgServer {
    let settings = regression::server_settings();
    PgServer::start(PgOptions { auth: PgAuth::Trust, settings, ..PgOptions::default() }).await
}

#[tokio::test]
async fn regression_suite_through_the_gateway_is_as_direct() {
    if left_out("the suite", regression::available()) {
        return;
    }
    let out = Scratch::new();
    out.let_others_enter();
    let (direct, through) = (out.join("direct"), out.join("through"));
    {
        let server = server().await;
        let target = DriverTarget {
            port: server.port(),
            user: SUPERUSER.to_owned(),
            password: String::from("none is asked for"),
            database: "postgres".to_owned(),
            ca: None,
        };
        regression::run_suite(&target, &direct).await;
    }
    let server = server().await;
    // The connection is called what the role is called, so that the suite's own name is the same.
    let policy = format!(
        "connections:\n  postgres:\n    protocol: postgres\n    address: {}\n    tls: {{ mode: disable }}\n    database: postgres\n    \
         databases: [regression, isolation_regression, regression_fdw]\n    credential: {{ username: {SUPERUSER}, password: env:UPSTREAM_PASSWORD }}\n\
         grants:\n  - {{ connection: postgres, to: \"group:agents\", when: always, recorded: yes, scope: '*:*' }}\n",
        server.address()
    );
    let options = GatewayOptions::new(env!("CARGO_BIN_EXE_portcullis"), policy)
        .env("UPSTREAM_PASSWORD", "none is asked for");
    let gateway = Gateway::start(options).await;
    let token = gateway.token(AGENT).await;
    regression::run_suite(&gateway.target("postgres", &token, "postgres"), &through).await;
    regression::compare(&direct, &through).await;
}
