//! SIGTERM: nobody new, idle sessions leave, busy ones may finish, then the end is recorded.

use crate::lab::{Lab, TRIAGE};

#[tokio::test]
async fn sigterm_drains_and_exits_0() {
    let mut lab = Lab::with("limits: { drain: 30s }\n").await;
    let token = lab.token(TRIAGE).await;
    let idle = lab.open("shop-db", &token).await;
    let busy = lab.open("shop-db", &token).await;
    busy.client.simple_query("BEGIN; UPDATE orders SET total = 1 WHERE id = 1").await.unwrap();

    let pid = lab.gateway.id().to_string();
    std::process::Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &pid]).status().unwrap();
    let (code, message) = idle.ended().await;
    assert_eq!(code, "57P01", "{message}");
    assert_eq!(busy.one("SELECT total FROM orders WHERE id = 1").await, "1", "a transaction may finish");
    let ready = lab.http().get(format!("{}/readyz", lab.url())).send().await.unwrap();
    assert_eq!(ready.status(), 503, "a load balancer is told");
    let _ = busy.client.simple_query("COMMIT").await.unwrap();
    assert_eq!(busy.ended().await.0, "57P01");

    assert!(lab.gateway.wait().await.success());
    assert!(!lab.data().join("listeners.json").exists(), "nobody is sent to a gateway that is gone");
    assert_eq!(lab.server.execute_in("shop", "SELECT total FROM orders WHERE id = 1").await, "1");
    let stopped = lab.cli(&["audit", "search", "--kind", "gateway_stopped", "--output", "json"]).await.json();
    assert_eq!(stopped["rows"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_second_sigterm_ends_what_is_left() {
    let mut lab = Lab::with("limits: { drain: 600s }\n").await;
    let busy = lab.open("shop-db", &lab.token(TRIAGE).await).await;
    busy.client.simple_query("BEGIN").await.unwrap();
    let pid = lab.gateway.id().to_string();
    let term =
        || std::process::Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &pid]).status().unwrap();
    term();
    lab.gateway.wait_for_line("sessions may finish").await;
    term();
    assert!(lab.gateway.wait().await.success());
}
