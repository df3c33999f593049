//! At the most talkative level, over every way a secret takes: none is in the log, the data directory or an answer.

use std::path::{Path, PathBuf};

use portcullis_testkit::{
    drivers::DriverTarget,
    gateway::{GATEWAY_APPLICATION, OUTSIDER},
};

use super::{Setup, Stage, UPSTREAM_PASSWORD, client};

const BIND_VALUE: &str = "bind-value-3c9vLq";
/// What is meant to hold a secret.
const KEYS: [&str; 3] = ["admin.token", "keys/fingerprint.key", "tls/self-signed.key"];

#[tokio::test]
async fn no_secret_is_written_anywhere() {
    let provider = format!(
        "    graph: {{issuer}}\n    liveness: {{ source: graph, interval: 1s, grace: 30s, \
         credential: {{ client_id: {}, client_secret: \"env:GRAPH_SECRET\" }} }}",
        GATEWAY_APPLICATION.client_id
    );
    let connections: &[(&str, &str)] =
        &[("open", "'*:*'"), ("judged", "['read:public.*', 'write:public.*']")];
    let mut stage = Stage::start(Setup {
        connections,
        provider: &provider,
        process: "log: { level: 'trace,hyper=trace,rustls=trace,reqwest=trace', format: json }",
        sql: "CREATE TABLE written (value text);",
        env: &[("GRAPH_SECRET", GATEWAY_APPLICATION.secret)],
        ..Setup::default()
    })
    .await;
    let (token, outsider) = (stage.token().await, stage.token_of(OUTSIDER).await);
    for connection in ["open", "judged"] {
        let client = client::connect(&stage.target(connection, &token)).await.unwrap();
        client.execute("INSERT INTO written VALUES ($1)", &[&BIND_VALUE]).await.unwrap();
        client.cancel_token().cancel_query(client::tls(&stage.target(connection, &token))).await.unwrap();
        assert!(client.execute("DELETE FROM written WHERE value = $1 / 0", &[&BIND_VALUE]).await.is_err());
    }
    // Refused in each way there is: forged, without a grant, to nothing, the token in place of a name.
    let forged = format!("{}{}", token, if token.ends_with('A') { "QQAA" } else { "AAAA" });
    for (connection, token) in
        [("open", &forged), ("open", &outsider), ("nothing", &token), (&*token, &token)]
    {
        assert!(client::connect(&stage.target(connection, token)).await.is_err());
    }
    assert!(
        client::connect(&DriverTarget { database: token.clone(), ..stage.target("open", &token) })
            .await
            .is_err()
    );
    let mut answers = String::new();
    for path in ["healthz", "readyz", "metrics"] {
        let answer = stage.http().get(format!("{}/{path}", stage.gateway.web())).send().await.unwrap();
        answers.push_str(&answer.text().await.unwrap());
    }
    for command in
        [["sessions", "--all"].as_slice(), &["audit", "search", "--limit", "1000", "--output", "json"]]
    {
        let output = stage.gateway.cli(command).await;
        answers.push_str(output.ok());
        answers.push_str(&output.stderr);
    }
    assert!(stage.gateway.process().terminate().await.success());
    let log = stage.gateway.log();
    // Libraries are not heard below `info`, whatever is asked for: they write headers and handshakes.
    assert!(log.contains("session opened") && log.contains("authentication failed"), "{log}");

    let parts = |token: &str| token.split('.').skip(1).map(str::to_owned).collect::<Vec<_>>();
    let mut secrets =
        vec![UPSTREAM_PASSWORD.to_owned(), GATEWAY_APPLICATION.secret.to_owned(), BIND_VALUE.to_owned()];
    secrets.extend(parts(&token));
    secrets.extend(parts(&outsider));
    let files = files(&stage.gateway.data());
    assert!(files.len() >= 6, "journal, store and keys: {files:?}");
    for secret in &secrets {
        assert!(!log.contains(secret), "the log holds `{secret}`");
        assert!(!answers.contains(secret), "an answer holds `{secret}`");
        for file in files.iter().filter(|file| !KEYS.iter().any(|key| file.ends_with(key))) {
            let bytes = std::fs::read(file).unwrap();
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds `{secret}`", file.display());
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
