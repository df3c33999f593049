//! What shells and `man` are told of the command line.

use portcullis_testkit::Scratch;

use crate::lab::run;

#[tokio::test]
async fn completions_know_every_command() {
    let dir = Scratch::new();
    for shell in ["bash", "zsh", "fish"] {
        let answer = run(&["completions", shell], &[], dir.path()).await;
        for word in ["requests", "approve", "deny", "login", "break-glass"] {
            assert!(answer.ok().contains(word), "{shell} does not know `{word}`");
        }
    }
    let bash = run(&["completions", "bash"], &[], dir.path()).await;
    let script = dir.write("completions", bash.ok());
    let checked = tokio::process::Command::new("bash").arg("-n").arg(&script).status().await.unwrap();
    assert!(checked.success(), "bash reads it");
}

#[tokio::test]
async fn there_is_a_man_page_for_every_command() {
    let dir = Scratch::new();
    let folder = dir.join("man/man1");
    run(&["man", folder.to_str().unwrap()], &[], dir.path()).await.ok();
    for page in [
        "portcullis",
        "portcullis-request",
        "portcullis-requests",
        "portcullis-requests-show",
        "portcullis-approve",
    ] {
        let text = std::fs::read_to_string(folder.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}");
    }
    let nowhere = run(&["man", "/dev/null/man"], &[], dir.path()).await;
    assert!(nowhere.code == 5 && nowhere.stderr.contains("cannot write man pages"), "{nowhere:?}");
}
