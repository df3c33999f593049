//! What people are asked: whether an agent comes in, whether a statement runs, whether a transaction stays.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{DEPLOY_ID, DEPLOY_SECRET, LATE, present, show};
use crate::demo::{
    audience::Audience,
    narrator::Narrator,
    shell::{Output, Running, Shell},
    stage::Stage,
};

const SAM: &str = "sam$";
/// How long psql may take for the rest of a notice.
const A_MOMENT: Duration = Duration::from_millis(250);

const LOGIN: &str = "portcullis login --browser --no-browser";
const CONNECT: &str = "psql -U shop-maintenance -c \"SELECT count(*) AS customers FROM customers\"";
const EVERY_ROW: &str = "psql -U shop-maintenance -c 'UPDATE customers SET city = upper(city)'";
const IN_CAPITALS: &str =
    "psql -U shop-maintenance -Atc 'SELECT count(*) FROM customers WHERE city = upper(city)'";
const MANY: &str = "psql -U shop-maintenance -c BEGIN -c \"UPDATE orders SET status = 'returned' WHERE status = 'pending'\" -c COMMIT";
const STILL: &str = "psql -U shop-maintenance -Atc \"SELECT count(*) FROM orders WHERE status = 'pending'\"";
const STEPS: &str = "portcullis audit search --kind request --oldest-first";

/// Rows of `customers`, and orders that are `pending`, as databases.sql makes them.
const CUSTOMERS: &str = "132";
const PENDING: &str = "343";

/// What became of a question.
struct Answered {
    output: Output,
    /// Whether whoever watches answered, so that either answer is right.
    by_audience: bool,
}

/// Tells it all.
pub(super) async fn tell(
    stage: &mut Stage,
    narrator: &mut Narrator,
    audience: &mut Audience,
) -> anyhow::Result<()> {
    signed_in(stage, narrator).await?;
    if connecting_asks(stage, narrator, audience).await? {
        every_row(stage, narrator, audience).await?;
        many_rows(stage, narrator, audience).await?;
    } else {
        narrator.note("The agent was not let in: the steps inside are left out.");
    }
    answers_are_audited(stage, narrator).await?;
    stage.present_first();
    Ok(())
}

async fn signed_in(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.step(
        "A person signs in",
        "sam is on call. People sign in with the same identity provider, to the console or from a terminal, here sam's. The demo\n\
         plays the browser. Grants and guardrails name the groups whose members are asked.",
    );
    narrator.command_of(SAM, LOGIN);
    let mut login = stage.person.start(LOGIN)?;
    while let Some(line) = login.line().await? {
        let address = line.trim().to_owned();
        if address.contains("/authorize?") {
            narrator.output_line(&format!("  {:.60}…", address));
            browse(&address).await?;
        } else if !address.is_empty() {
            narrator.output_line(&line);
        }
    }
    let output = login.finish().await?;
    narrator.check(output.succeeded && output.has("as sam"), "signed in as sam", &output.text);
    Ok(())
}

/// What a browser and sam do: choose who to be on the issuer's page, and follow it back.
async fn browse(address: &str) -> anyhow::Result<()> {
    let address: reqwest::Url = address.parse()?;
    let mut form: Vec<(String, String)> = address.query_pairs().into_owned().collect();
    form.push(("user".to_owned(), "sam".to_owned()));
    let mut page = address;
    page.set_query(None);
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    let answer = http.post(page).form(&form).send().await?;
    let back = answer.headers().get("location").context("the issuer's page sent nobody back")?;
    http.get(back.to_str()?).send().await?;
    Ok(())
}

/// Whether the agent was let in.
async fn connecting_asks(
    stage: &mut Stage,
    narrator: &mut Narrator,
    audience: &mut Audience,
) -> anyhow::Result<bool> {
    narrator.step(
        "An agent connects, and somebody lets it in",
        "The grant of `shop-maintenance` says `when: approved`, `approvers: group:oncall`, `request: on_connect`: connecting asks. psql\n\
         waits, and says where the answer is given.",
    );
    present(stage, narrator, DEPLOY_ID, DEPLOY_SECRET).await?;
    let answer =
        [("portcullis requests", "answer"), ("portcullis approve REQUEST --note 'go ahead, INC-1440'", "")];
    let answered = ask(stage, narrator, audience, CONNECT, &answer).await?;
    let let_in = answered.output.succeeded;
    if !answered.by_audience {
        let held = let_in && answered.output.has(CUSTOMERS);
        narrator.check(held, "psql waited for sam, and went on", &answered.output.text);
    }
    Ok(let_in)
}

async fn every_row(
    stage: &mut Stage,
    narrator: &mut Narrator,
    audience: &mut Audience,
) -> anyhow::Result<()> {
    narrator.step(
        "An UPDATE without WHERE waits for a person",
        "The guardrail `every row needs a person` holds it on its open connection. Whoever answers sees the exact statement and what it\n\
         would touch: the plan, and with `preview: rows` the count and some rows, masked, from a transaction that was rolled back.",
    );
    let answer = [
        ("portcullis requests show REQUEST", "after:"),
        ("portcullis approve REQUEST --note 'all of them, as agreed'", ""),
    ];
    let answered = ask(stage, narrator, audience, EVERY_ROW, &answer).await?;
    if answered.by_audience {
        return Ok(());
    }
    let ran = answered.output.has(&format!("UPDATE {CUSTOMERS}"));
    narrator.check(answered.output.succeeded && ran, "approved, it ran", &answered.output.text);
    let output = show(stage, narrator, IN_CAPITALS).await?;
    narrator.check(output.text.trim() == CUSTOMERS, "on every row", &output.text);
    narrator.note("The approval is for that statement, of that session, once. The same again asks again.");
    Ok(())
}

async fn many_rows(
    stage: &mut Stage,
    narrator: &mut Narrator,
    audience: &mut Audience,
) -> anyhow::Result<()> {
    narrator.step(
        "A transaction of many rows waits at its COMMIT",
        "`at: commit`, `rows_over: 100`: what it changes is counted as it runs; whether it stays is asked at the end.",
    );
    let answer = [
        ("portcullis requests show REQUEST", ""),
        ("portcullis deny REQUEST --note 'ask the shop first'", ""),
    ];
    let answered = ask(stage, narrator, audience, MANY, &answer).await?;
    if answered.by_audience {
        return Ok(());
    }
    let told = answered.output.has("ask the shop first");
    narrator.check(told, "denied: the COMMIT fails, with sam's note", &answered.output.text);
    let output = show(stage, narrator, STILL).await?;
    narrator.check(output.text.trim() == PENDING, "it was rolled back", &output.text);
    Ok(())
}

async fn answers_are_audited(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.step("Every question and answer is in the audit log", "");
    narrator.command(STEPS);
    let complete = |output: &Output| output.succeeded && output.has("filed") && output.has("sam");
    // The index is a moment behind the journal.
    let output = until(&stage.shell, STEPS, complete).await?;
    narrator.output_whole(&output.text);
    narrator.check(complete(&output), "who asked, who answered, what they said", &output.text);
    let leaks = stage.leaks(&super::masks::CARDS)?;
    narrator.check(leaks.is_empty(), "no token and no card number among it", &leaks.join("\n"));
    Ok(())
}

/// Runs what waits for a person, and has it answered: by whoever watches, or by sam's commands, each with
/// what is waited for in its output.
async fn ask(
    stage: &Stage,
    narrator: &Narrator,
    audience: &mut Audience,
    line: &str,
    answer: &[(&str, &str)],
) -> anyhow::Result<Answered> {
    narrator.command(line);
    let mut running = stage.shell.start(line)?;
    let id = loop {
        let Some(line) = running.line().await? else {
            let output = running.finish().await?;
            return Ok(Answered { output, by_audience: false });
        };
        narrator.output_line(&line);
        if let Some(id) = request_in(running.text()) {
            break id;
        }
    };
    // The rest of what psql is told of it.
    while let Ok(Some(line)) =
        tokio::time::timeout(A_MOMENT, running.line_at_leisure()).await.unwrap_or(Ok(None))
    {
        narrator.output_line(&line);
    }
    audience.attention();
    if audience.watches() {
        narrator.turn(&format!(
            "Your turn: open {}/requests/{id}, sign in as sam, and answer. Or press Enter, and the demo answers as sam.",
            stage.web()
        ));
    }
    let by_audience = loop {
        tokio::select! {
            line = running.line_at_leisure(), if audience.watches() => match line? {
                Some(line) => narrator.output_line(&line),
                None => break true,
            },
            () = audience.leaves_it_to_us() => break false,
        }
    };
    if !by_audience {
        for (command, part) in answer {
            let command = command.replace("REQUEST", &id);
            narrator.command_of(SAM, &command);
            let output = until(&stage.person, &command, |output| output.has(part)).await?;
            narrator.output_whole(&output.text);
        }
        narrator.note("and psql:");
        rest(&mut running, narrator).await?;
    }
    Ok(Answered { output: running.finish().await?, by_audience })
}

/// Runs a command that changes nothing, until its output is `complete` or it is late.
async fn until(shell: &Shell, command: &str, complete: impl Fn(&Output) -> bool) -> anyhow::Result<Output> {
    let deadline = Instant::now() + LATE;
    let mut output = shell.run(command).await?;
    while !complete(&output) && Instant::now() < deadline {
        tokio::time::sleep(A_MOMENT).await;
        output = shell.run(command).await?;
    }
    Ok(output)
}

async fn rest(running: &mut Running, narrator: &Narrator) -> anyhow::Result<()> {
    while let Some(line) = running.line().await? {
        narrator.output_line(&line);
    }
    Ok(())
}

/// The first request that a text names, once it is there to its end.
fn request_in(text: &str) -> Option<String> {
    const DIGITS: usize = 32;
    let (_, after) = text.split_once("req_")?;
    let digits: String = after.chars().take_while(char::is_ascii_alphanumeric).collect();
    (digits.len() == DIGITS).then(|| format!("req_{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_found_in_what_psql_prints() {
        let id = format!("req_{}", "0a".repeat(16));
        let text = format!("NOTICE:  waits for group:oncall: https://127.0.0.1:8443/requests/{id}\nHINT: x");
        assert_eq!(request_in(&text), Some(id));
        assert_eq!(request_in("NOTICE:  req_0a0a"), None);
        assert_eq!(request_in("nothing"), None);
    }
}
