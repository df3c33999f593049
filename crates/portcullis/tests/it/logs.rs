//! Nothing that opens a door is ever written down.

use std::{fs, path::Path};

use crate::lab::{GRAPH_SECRET, Lab, SHOP_PASSWORD, TRIAGE};

#[tokio::test]
async fn no_token_and_no_credential_is_in_the_log_or_on_the_disk_at_trace_level() {
    for format in ["text", "json"] {
        let mut lab = Lab::with(&format!(
            "log: {{ level: 'trace,hyper=trace,h2=trace,rustls=trace', format: {format} }}\n"
        ))
        .await;
        let token = lab.token(TRIAGE).await;
        lab.psql("shop-db", &token, "SELECT count(*) FROM orders").await.ok();
        lab.psql("shop-db", &token, "DROP TABLE orders").await.err();
        let forged = format!("{}x", token);
        lab.psql("shop-db", &forged, "SELECT 1").await.err();
        lab.as_agent(&token, &["request", "shop-on-request", "--reason", "x"]).await.ok();
        assert_eq!(lab.as_agent(&forged, &["whoami"]).await.code, 4);
        lab.cli(&["sessions"]).await.ok();
        let admin = lab.admin_token();
        assert!(lab.gateway.terminate().await.success());
        let log = lab.gateway.log();
        assert!(
            log.contains("session opened") || log.contains("TRACE") || log.contains("DEBUG"),
            "something was logged"
        );

        let payload = token.split('.').nth(1).unwrap();
        let signature = token.rsplit('.').next().unwrap();
        for secret in [&token, payload, signature, SHOP_PASSWORD, GRAPH_SECRET, &admin] {
            assert!(!log.contains(secret), "the log holds a secret ({format})");
            for file in files(&lab.data()) {
                if file.ends_with("admin.token") {
                    continue;
                }
                let bytes = fs::read(&file).unwrap();
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{} holds a secret", file.display());
            }
        }
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
