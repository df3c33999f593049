//! `docs/manual/cli.md` is what the program says of itself. `make bless` writes it anew.

use std::{fmt::Write as _, fs, path::Path, process::Command};

const INTRODUCTION: &str = "# The command line

What `portcullis` says of itself: this page is written by `make bless` and checked by a test. Every command answers `--help`; `-h` is shorter.

| to | use |
|---|---|
| run it | `gateway`, `demo`, `dev-idp` |
| look at documents | `check`, `test`, `explain`, `reach` |
| be an agent | `token`, `whoami`, `connections`, `request` |
| see and end what goes on | `sessions`, `kill`, `audit search` |

**Which gateway.** On its own machine `--config gateway.yaml` (or `PORTCULLIS_CONFIG`) is enough: address, certificate and admin token are
found in its data directory. From elsewhere: `--gateway URL` and `--ca FILE` (`PORTCULLIS_GATEWAY`, `PORTCULLIS_CA`), and
`--admin-token-file` for what only administrators may ask.

**An agent's token** comes from `--token-file`, from `PORTCULLIS_TOKEN`, or from standard input.
";

fn help(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(args)
        .arg("--help")
        .env_clear()
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// The subcommands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = list.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

fn section(page: &mut String, path: &[&str]) {
    let text = help(path);
    let inner = commands(&text);
    if path.is_empty() || inner.is_empty() {
        write!(page, "\n## portcullis {}", path.join(" ")).unwrap();
        while page.ends_with(' ') {
            page.pop();
        }
        write!(page, "\n\n```text\n{text}\n```\n").unwrap();
    }
    for name in inner {
        section(page, &[path, &[name.as_str()]].concat());
    }
}

#[test]
fn the_manual_s_page_of_the_command_line_is_what_the_program_says() {
    let mut page = INTRODUCTION.to_owned();
    section(&mut page, &[]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/cli.md");
    if std::env::var_os("PORTCULLIS_BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page, "docs/manual/cli.md is not current: `make bless` writes it");
}
