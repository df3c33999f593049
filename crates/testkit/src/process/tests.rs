use super::*;

#[tokio::test]
async fn a_process_is_read_and_killed() {
    let mut process = Process::start(
        ProcessOptions::new("sh")
            .args(["-c", "echo ready on 1; echo $NAME >&2; sleep 600"])
            .env("NAME", "x-y"),
    );
    assert_eq!(process.wait_for_line("ready").await, "ready on 1\n");
    process.wait_for_line("x-y").await;
    assert!(process.is_running());
    process.kill_hard();
    assert!(!process.is_running());
}

#[tokio::test]
async fn terminate_lets_the_program_say_goodbye() {
    let script = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done";
    let mut process = Process::start(ProcessOptions::new("bash").args(["-c", script]));
    process.wait_for_line("ready").await;
    assert_eq!(process.terminate().await.code(), Some(7));
    assert!(process.log().contains("bye"));
}

#[tokio::test]
#[should_panic(expected = "before a line with `ready`; it printed:\nbroken")]
async fn a_program_that_ends_too_early_shows_what_it_printed() {
    Process::start(ProcessOptions::new("sh").args(["-c", "echo broken; exit 3"]))
        .wait_for_line("ready")
        .await;
}

#[tokio::test]
async fn json_is_awaited_until_it_is_whole() {
    let dir = Scratch::new();
    let file = dir.join("listeners.json");
    let script =
        format!("printf '{{\"a\":' > {0}; sleep 0.1; printf '1}}' >> {0}; sleep 600", file.display());
    let mut process = Process::start(ProcessOptions::new("sh").args(["-c", &script]));
    assert_eq!(process.wait_for_json(&file).await, serde_json::json!({"a": 1}));
}
