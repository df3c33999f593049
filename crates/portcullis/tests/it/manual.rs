//! Documents that must stay true: `docs/manual/cli.md` is what the program says of itself (`make bless` writes it anew), the
//! architecture names every invariant, links lead somewhere.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const INTRODUCTION: &str = "# The command line

What `portcullis` says of itself: this page is written by `make bless` and checked by a test. Every command answers `--help`; `-h` is shorter.

| to | use |
|---|---|
| run it | `gateway`, `demo`, `dev-idp` |
| look at documents | `check`, `test`, `explain`, `reach` |
| put documents in force, where the API manages them | `apply` |
| be an agent | `token`, `whoami`, `connections`, `request`, `withdraw` |
| sign in as a person | `login`, `logout` |
| answer what is asked | `requests`, `requests show`, `approve`, `deny`, `review` |
| see and end what goes on | `sessions`, `watch`, `kill`, `audit search` |
| see what a session did | `sessions show`, `replay`, `export` |
| set up a terminal | `completions`, `man` |

**Which gateway.** On its own machine `--config gateway.yaml` (or `PORTCULLIS_CONFIG`) is enough: address, certificate and admin token are
found in its data directory. From elsewhere: `--gateway URL` and `--ca FILE` (`PORTCULLIS_GATEWAY`, `PORTCULLIS_CA`). Without any of
these it is the one gateway you are signed in to. `--admin-token-file` is for what only administrators may ask; you may be one, by your sign-in.

**Who asks.** An agent's token comes from `--token-file`, from `PORTCULLIS_TOKEN`, or from standard input. Without one it is you, by
`portcullis login`: the kept token is found and renewed by itself.
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
    let list =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = list.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

fn section(page: &mut String, path: &[&str]) {
    let text = help(path);
    let inner = commands(&text);
    // A command that does something without a subcommand has a line of usage of its own.
    if path.is_empty() || inner.is_empty() || text.contains("[OPTIONS]\n") {
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

fn repository() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap()
}

/// Files with this ending under a folder, what builds and packages leave aside.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let wanted = entries.filter(|entry| {
        let name = entry.file_name();
        !["target", "node_modules"].iter().any(|skipped| name == *skipped)
            && !name.to_string_lossy().starts_with('.')
    });
    wanted
        .flat_map(|entry| match entry.file_type().unwrap() {
            kind if kind.is_dir() => files(&entry.path(), ending),
            _ if entry.path().extension().is_some_and(|found| found == ending) => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn the_architecture_lists_every_invariant_and_its_tests_are_there() {
    let code: String = files(&repository().join("crates"), "rs")
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let marker = concat!("INVARIANT", "(");
    let kept: BTreeSet<&str> =
        code.split(marker).skip(1).filter_map(|rest| rest.split_once(')')).map(|(name, _)| name).collect();
    let page = fs::read_to_string(repository().join("docs/ARCHITECTURE.md")).unwrap();
    let table = page.split("## Invariants").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let listed: BTreeSet<&str> = rows.iter().map(|row| row[1].trim_matches('`')).collect();
    assert_eq!(listed, kept, "docs/ARCHITECTURE.md, table of invariants");
    for row in &rows {
        for test in row[4].split('`').skip(1).step_by(2).filter(|name| name.contains('_')) {
            assert!(
                code.contains(&format!("fn {test}(")),
                "no test is called `{test}`, which is to prove {}",
                row[1]
            );
        }
    }
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    headings
        .map(|text| {
            text.to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let root = repository();
    let mut broken = Vec::new();
    for path in files(&root, "md") {
        let text = fs::read_to_string(&path).unwrap();
        for target in
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
        {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let found = there.exists()
                && (anchor.is_empty() || anchors(&fs::read_to_string(&there).unwrap()).contains(anchor));
            if !found {
                broken.push(format!("{}: {target}", path.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

/// What fragments in the manual leave to the reader.
const BASE_CONNECTIONS: &str = "connections:
  prod-logs: { protocol: postgres, address: logs.internal, database: logs }
  staging-db: { protocol: postgres, address: staging.internal, database: staging }
  orders-db: { protocol: postgres, address: orders.internal, database: orders }
";
const BASE_IDENTITY: &str = "identity:
  - name: entra
    kind: entra
    tenant: 4c5a0d3e-0000-4000-8000-000000000001
    audience: [api://portcullis]
    users: allow
    groups:
      incident-triage-agents: 3fa80000-0000-4000-8000-000000000001
      deploy-agents: 9c020000-0000-4000-8000-000000000003
      oncall: 7e1d0000-0000-4000-8000-000000000005
      leads: 7e1d0000-0000-4000-8000-000000000006
      sre: 7e1d0000-0000-4000-8000-000000000007
      platform: 7e1d0000-0000-4000-8000-000000000008
";

#[test]
fn the_documents_in_the_manual_have_no_errors() {
    let root = repository();
    let pages = files(&root.join("docs/manual"), "md").into_iter().chain([root.join("README.md")]);
    let scratch = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            let has = |section: &str| block.lines().any(|line| line.starts_with(section));
            let mut text = block
                .replace("<TENANT>", "4c5a0d3e-0000-4000-8000-000000000001")
                .replace("<APP>", "6b1f0f0e-0000-4000-8000-000000000002")
                .replace("<GROUP>", "3fa80000-0000-4000-8000-000000000001");
            let arguments: &[&str] = if has("listen:") {
                text = text
                    .lines()
                    .map(|l| match l {
                        l if l == "policy: managed" || !l.starts_with("policy:") => l,
                        _ => "policy: [empty.yaml]",
                    })
                    .collect::<Vec<_>>()
                    .join("\n");
                fs::write(scratch.path().join("empty.yaml"), "grants: []\n").unwrap();
                &["check", "--config", "document.yaml"]
            } else if ["identity:", "grants:", "connections:", "guardrails:", "notifications:"]
                .into_iter()
                .any(has)
            {
                for (section, base) in [("connections:", BASE_CONNECTIONS), ("identity:", BASE_IDENTITY)] {
                    if !has(section) {
                        text.push_str(base);
                    }
                }
                &["check", "document.yaml"]
            } else {
                continue;
            };
            fs::write(scratch.path().join("document.yaml"), &text).unwrap();
            let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
                .args(arguments)
                .current_dir(scratch.path())
                .env_clear()
                .output()
                .unwrap();
            let said = [output.stdout, output.stderr].concat();
            assert!(output.status.success(), "{}:\n{}", page.display(), String::from_utf8_lossy(&said));
            checked += 1;
        }
    }
    assert!(checked > 8, "the manual's documents were not found: {checked}");
}
