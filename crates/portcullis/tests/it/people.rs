//! People who answer, and clients that wait for them.

use std::time::{Duration, Instant};

use portcullis_dev_idp::TokenSpec;
use portcullis_testkit::{Process, ProcessOptions};
use serde_json::Value;

use crate::lab::{Answer, Lab, PATIENCE};

/// Statements that mean every row.
pub const RAISE: &str = "UPDATE orders SET total = total + 1";

impl Lab {
    /// A person's token, as `portcullis login` gets one.
    pub fn person(&self, name: &str) -> String {
        self.idp.mint(&TokenSpec::new(name, "api://portcullis")).unwrap()
    }

    /// A psql that goes on by itself: its output, as it comes, is in its log.
    pub fn start_psql(&self, connection: &str, token: &str, statements: &[&str]) -> Process {
        let commands = statements.iter().flat_map(|sql| ["-c", sql]);
        let certificate = self.listeners["certificate"].as_str().unwrap();
        Process::start(
            ProcessOptions::new("psql")
                .args(["-X", "-w", "-q", "-A", "-t", "-v", "VERBOSITY=verbose"])
                .args(commands)
                .env("PGHOST", "127.0.0.1")
                .env("PGPORT", self.listener("postgres").port().to_string())
                .env("PGUSER", connection)
                .env("PGPASSWORD", token)
                .env("PGSSLMODE", "verify-full")
                .env("PGSSLROOTCERT", certificate)
                .env("PGSYSCONFDIR", "/nonexistent")
                .env("PGPASSFILE", "/nonexistent")
                .env("PSQL_HISTORY", "/dev/null")
                .env("LC_ALL", "C.UTF-8"),
        )
    }

    /// The pending requests that somebody is shown, the oldest first.
    pub async fn pending(&self, token: &str) -> Vec<Value> {
        let args = ["requests", "--limit", "1000", "--output", "json"];
        let mut rows = self.as_agent(token, &args).await.json()["rows"].as_array().unwrap().clone();
        rows.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
        rows
    }

    /// The only request that waits, once there is one and `complete` likes it.
    pub async fn waiting(&self, token: &str, complete: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pending = self.pending(token).await;
            assert!(pending.len() < 2, "one request at most: {pending:#?}");
            if let Some(request) = pending.into_iter().next()
                && complete(&request)
            {
                return request;
            }
            assert!(Instant::now() < deadline, "nothing came to wait");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One request, as somebody is shown it.
    pub async fn request(&self, token: &str, id: &str) -> Value {
        self.as_agent(token, &["requests", "show", id, "--output", "json"]).await.json()
    }

    /// One request, once it is in this state.
    pub async fn request_in(&self, token: &str, id: &str, state: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = self.request(token, id).await;
            if request["state"] == state {
                return request;
            }
            assert!(Instant::now() < deadline, "it was never {state}: {request:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `portcullis approve`.
    pub async fn approve(&self, token: &str, id: &str) -> Answer {
        self.as_agent(token, &["approve", id, "--note", "go ahead"]).await
    }

    /// `portcullis deny`.
    pub async fn deny(&self, token: &str, id: &str, note: &str) -> Answer {
        self.as_agent(token, &["deny", id, "--note", note]).await
    }

    /// What was journalled of a request, in order, once the last step is this one: (step, who, note).
    pub async fn steps(&self, id: &str, last: &str) -> Vec<(String, String, String)> {
        let is_ours = |row: &&Value| row["request"] == id;
        let rows = self.audit(&["--kind", "request"], |rows| {
            rows.iter().rfind(is_ours).is_some_and(|row| row["step"] == last)
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows = rows.await;
        let ours = rows.iter().filter(is_ours);
        ours.map(|row| (text(&row["step"]), text(&row["by_name"]), text(&row["note"]))).collect()
    }

    /// Those steps by name alone.
    pub async fn step_names(&self, id: &str, last: &str) -> Vec<String> {
        self.steps(id, last).await.into_iter().map(|(step, ..)| step).collect()
    }

    /// How often the server was given exactly this text to run.
    pub fn ran(&self, sql: &str) -> usize {
        let log = self.server.log();
        log.lines().filter(|line| line.ends_with(&format!(": {sql}")) && line.contains("LOG:")).count()
    }

    /// What is in the shop, past the gateway.
    pub async fn in_shop(&self, sql: &str) -> String {
        self.server.execute_in("shop", sql).await
    }

    /// The sum of all orders: 280 unless somebody changed them.
    pub async fn total(&self) -> String {
        self.in_shop("SELECT sum(total) FROM orders").await
    }
}

/// The id of a request.
#[track_caller]
pub fn id(request: &Value) -> &str {
    request["id"].as_str().unwrap()
}

/// The first request that a text names.
#[track_caller]
pub fn id_in(text: &str) -> String {
    let from = text.find("req_").unwrap_or_else(|| panic!("no request is named: {text}"));
    text[from..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// Ctrl-C.
pub fn interrupt(process: &Process) {
    let kill = format!("kill -s INT {}", process.id());
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}
