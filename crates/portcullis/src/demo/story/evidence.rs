//! What is left of it all: recordings, and a record that proves itself.

use std::time::{Duration, Instant};

use super::{
    LATE,
    masks::{REFUSED, hides_cards},
    show,
};
use crate::demo::{narrator::Narrator, shell::Output, stage::Stage};

/// Sessions of the agent that tried to get around the mask.
const SESSIONS: &str = "portcullis sessions --all --identity refund-agent --search substr";
const SESSIONS_AS_JSON: &str = "portcullis sessions --all --identity refund-agent --output json";

const VERIFY: &str = "portcullis audit verify --data $DATA";
const VERIFY_COPY: &str = "portcullis audit verify --data $DATA-copy";
const COPY: &str = "cp -r $DATA $DATA-copy";
/// The event that is changed, on the line after the heading.
const REQUEST: &str = "portcullis audit search --kind window_request";
/// One byte of the window's reason.
const FLIP: &str = "sed -i '0,/INC-1432/s//INC-1433/' $DATA-copy/journal/0000000001.seg";
const FLIP_BACK: &str = "sed -i '0,/INC-1433/s//INC-1432/' $DATA-copy/journal/0000000001.seg";
const COMPARE: &str = "cmp -l $DATA/journal/0000000001.seg $DATA-copy/journal/0000000001.seg";

/// Shows a session again.
pub(super) async fn replayed(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.step(
        "What the agent saw is replayed",
        "The grants say `recorded: yes`. A recording has every statement, decision and row, masked as the agent saw it. Without\n\
         `--instant` it runs as fast as it happened.",
    );
    let one = |output: &Output| output.succeeded && output.text.matches("ses_").count() == 1;
    narrator.command(SESSIONS);
    let output = until(stage, SESSIONS, one).await?;
    narrator.output(&output.text);
    narrator.check(one(&output), "the session is found by a word of its statements", &output.text);
    let Some(session) = sessions(&output.text).first().cloned() else { return Ok(()) };
    let line = format!("portcullis replay {session} --instant");
    let whole = |output: &Output| output.succeeded && output.has("session ended");
    narrator.command(&line);
    let output = until(stage, &line, whole).await?;
    narrator.output_whole(&output.text);
    let shown = output.has("************4444")
        && output.text.matches("DENIED by mask `card numbers`").count() == REFUSED;
    narrator.check(
        whole(&output) && shown && hides_cards(&output.text),
        "rows as they were seen, and what was refused",
        &output.text,
    );
    let recorded = sessions(&stage.shell.run(SESSIONS_AS_JSON).await?.text);
    let mut unfit = Vec::new();
    for session in &recorded {
        let export = stage.shell.run(&format!("portcullis export {session}")).await?;
        if !export.succeeded || !export.has("************4444") || !hides_cards(&export.text) {
            unfit.push(session.as_str());
        }
    }
    let what =
        format!("no whole card number in any of its {} recordings (`portcullis export`)", recorded.len());
    narrator.check(recorded.len() == 5 && unfit.is_empty(), &what, &unfit.join("\n"));
    Ok(())
}

/// Verifies the journal, changes a byte of a copy, verifies again.
pub(super) async fn verified(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.step(
        "The record proves itself",
        "Every event is a leaf of a Merkle tree; once a second the gateway signs its root. Checking needs the files and the public key,\n\
         no gateway. The byte is changed in a copy: the gateway's own files stay as they are.",
    );
    let data = stage.data().display().to_string();
    narrator.command(&format!("export DATA={data}"));
    stage.shell.set("DATA", data);
    let verified = |output: &Output| output.succeeded && output.has("VERIFIED");
    // All of it, so that the copy is of a moment at which nothing was waiting to be signed.
    let signed = |output: &Output| verified(output) && output.has("no event");
    narrator.command(VERIFY);
    let output = until(stage, VERIFY, signed).await?;
    narrator.output_whole(&output.text);
    narrator.check(signed(&output), "journal and recordings are as they were signed", &output.text);
    for line in [COPY, FLIP] {
        show(stage, narrator, line).await?;
    }
    let output = show(stage, narrator, COMPARE).await?;
    narrator.check(
        output.text.lines().count() == 1,
        "one byte: the reason of the window says INC-1433 now",
        &output.text,
    );
    narrator.command(VERIFY_COPY);
    let output = stage.shell.run(VERIFY_COPY).await?;
    narrator.output_whole(&output.text);
    let broken = output.text.lines().find_map(|line| line.trim().strip_prefix("altered event "));
    let named = output.has("BROKEN") && output.has("0000000001.seg, byte ");
    narrator.check(
        !output.succeeded && named && broken.is_some(),
        "found, and its place is named",
        &output.text,
    );
    let request = stage.shell.run(REQUEST).await?;
    let number = request.text.lines().nth(1).and_then(|line| line.split_whitespace().next());
    narrator.check(
        number == broken,
        &format!(
            "event {} is the request of the window, as the search above numbers it",
            number.unwrap_or("?")
        ),
        &request.text,
    );
    show(stage, narrator, FLIP_BACK).await?;
    let output = show(stage, narrator, VERIFY_COPY).await?;
    narrator.check(verified(&output), "put back: verified again", &output.text);
    narrator.note("Whoever fixes the checksum too is found by the tree, whoever takes an older copy by a checkpoint kept elsewhere:");
    narrator.note("docs/manual/verification.md");
    Ok(())
}

/// Runs a line until it says what it should: index, recordings and signatures are a moment behind the journal.
async fn until(stage: &Stage, line: &str, as_expected: impl Fn(&Output) -> bool) -> anyhow::Result<Output> {
    let deadline = Instant::now() + LATE;
    loop {
        let output = stage.shell.run(line).await?;
        if as_expected(&output) || Instant::now() > deadline {
            return Ok(output);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// The sessions that a text names.
fn sessions(text: &str) -> Vec<String> {
    let name = |rest: &str| {
        let digits: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
        format!("ses_{digits}")
    };
    let mut found: Vec<String> = text.split("ses_").skip(1).map(name).collect();
    found.sort_unstable();
    found.dedup();
    found
}
