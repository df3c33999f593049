//! The steps, each checked.

use std::time::{Duration, Instant};

use super::{
    audience::Audience,
    narrator::Narrator,
    shell::{Output, Running},
    stage::Stage,
};

mod evidence;
mod masks;
mod people;

const TENANT: &str = "4c5a0d3e-0000-4000-8000-000000000001";
const AGENT_ID: &str = "9f2c0000-0000-4000-8000-000000000001";
const AGENT_SECRET: &str = "triage-agent-demo-secret";
const AGENT_OBJECT: &str = "77aa0000-0000-4000-8000-000000000001";
const REFUNDS_ID: &str = "9f2c0000-0000-4000-8000-000000000004";
const REFUNDS_SECRET: &str = "refund-agent-demo-secret";
const DEPLOY_ID: &str = "9f2c0000-0000-4000-8000-000000000002";
const DEPLOY_SECRET: &str = "deploy-agent-demo-secret";
const ADMIN_ID: &str = "9f2c0000-0000-4000-8000-0000000000f1";
const ADMIN_SECRET: &str = "directory-admin-demo-secret";

/// `lifetime` of the grant `triage-logs` in policy.yaml.
const WINDOW: Duration = Duration::from_secs(20);
/// How late an end may come and still count as on time, on a machine under load.
const LATE: Duration = Duration::from_secs(10);

const TOP_CUSTOMERS: &str = "psql -U shop-db -c 'SELECT city, count(*), sum(total) FROM customers c JOIN orders ON c.id = customer_id GROUP BY city LIMIT 3'";
const CONNECT_LOGS: &str =
    "psql -U prod-logs -c \"SELECT service, count(*) FROM events WHERE level = 'error' GROUP BY 1\"";
const STAY_IN_LOGS: &str =
    "echo 'SELECT count(*) FROM events \\watch 5' | psql -U prod-logs -At -v VERBOSITY=verbose";
const STAY_IN_SHOP: &str =
    "echo 'SELECT count(*) FROM orders \\watch 1' | psql -U shop-db -At -v VERBOSITY=verbose";

/// What is asked of the audit log, and what must be in the answer.
const AUDIT: [(&str, &str, &[&str]); 4] = [
    (
        "what was refused, and by which rule",
        "portcullis audit search --decision deny --oldest-first",
        &[
            "DROP TABLE payments, orders",
            "DrOp/**/TaBlE",
            "no destructive ddl",
            "public.payments",
            "card numbers",
            "must be requested",
            "disabled",
        ],
    ),
    (
        "what was answered from the orders, under which grant",
        "portcullis audit search --decision allow --text orders --oldest-first",
        &["triage-agent", "GROUP BY city", "triage-shop"],
    ),
    (
        "who asked for a window, and why",
        "portcullis audit search --kind window_request",
        &["triage-agent", "prod-logs", "INC-1432"],
    ),
    (
        "which sessions the gateway ended",
        "portcullis audit search --kind session_ended --oldest-first | grep -v 'client disconnected'",
        &["window is over", "revoked"],
    ),
];

/// Tells it all.
pub(super) async fn tell(
    stage: &mut Stage,
    narrator: &mut Narrator,
    audience: &mut Audience,
) -> anyhow::Result<()> {
    token(stage, narrator).await?;
    answered(stage, narrator).await?;
    dropped(stage, narrator).await?;
    out_of_scope(stage, narrator).await?;
    masks::masked(stage, narrator).await?;
    masks::got_around(stage, narrator).await?;
    window(stage, narrator).await?;
    disabled(stage, narrator).await?;
    audit(stage, narrator).await?;
    evidence::replayed(stage, narrator).await?;
    evidence::verified(stage, narrator).await?;
    people::tell(stage, narrator, audience).await
}

/// Shows a command, runs it, shows what it printed.
async fn show(stage: &Stage, narrator: &Narrator, line: &str) -> anyhow::Result<Output> {
    narrator.command(line);
    let output = stage.shell.run(line).await?;
    narrator.output(&output.text);
    Ok(output)
}

fn token_command(stage: &Stage, client: &str, secret: &str, scope: &str) -> String {
    let issuer = stage.issuer();
    format!(
        "portcullis token --issuer {issuer}/{TENANT}/v2.0 --scope {scope} \\\n  --client-id {client} --client-secret {secret}"
    )
}

async fn token(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.step(
        "The agent gets a token",
        "From its identity provider, as it would from Entra: client credentials, for the audience `api://portcullis`.",
    );
    present(stage, narrator, AGENT_ID, AGENT_SECRET).await
}

/// Asks for an agent's token; whoever runs commands from now on is this agent.
async fn present(
    stage: &mut Stage,
    narrator: &mut Narrator,
    client: &str,
    secret: &str,
) -> anyhow::Result<()> {
    let command = token_command(stage, client, secret, "api://portcullis/.default");
    narrator.command(&format!("export PORTCULLIS_TOKEN=$({command})\nexport PGPASSWORD=$PORTCULLIS_TOKEN"));
    let output = stage.shell.run(&command).await?;
    let token = output.text.trim().to_owned();
    let start: String = token.chars().take(32).collect();
    narrator.output(&format!("{start}… ({} bytes)", token.len()));
    let held = output.succeeded && token.starts_with("ey") && token.split('.').count() == 3;
    narrator.check(held, "a signed token", &output.text);
    stage.present(token);
    Ok(())
}

async fn answered(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.step(
        "A query is answered",
        "psql as it is: the user is the connection's name, the password is the token. PGHOST and PGPORT name the gateway.",
    );
    for (name, value) in
        stage.shell.exports().iter().filter(|(name, _)| name.starts_with("PG") && *name != "PGPASSWORD")
    {
        narrator.command(&format!("export {name}={value}"));
    }
    let output = show(stage, narrator, TOP_CUSTOMERS).await?;
    narrator.check(
        output.succeeded && output.has("(3 rows)"),
        "three rows, from the real server",
        &output.text,
    );
    let log = stage.upstream_log();
    let named = log.lines().any(|line| line.contains("shop_app@shop") && line.contains("/77aa0000]"));
    narrator.check(
        named,
        "PostgreSQL's own log names the agent (as part of application_name)",
        "no such line",
    );
    Ok(())
}

async fn dropped(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.step(
        "DROP TABLE is refused",
        "The role that the gateway logs in with owns the table: PostgreSQL would obey. The guardrail `no destructive ddl` does not.",
    );
    for statement in ["DROP TABLE payments, orders", "SELECT 1; DrOp/**/TaBlE orders CASCADE"] {
        let output = show(stage, narrator, &format!("psql -U shop-db -c '{statement}'")).await?;
        let named = output.has("no destructive ddl") && output.has("schema changes go through migrations");
        narrator.check(!output.succeeded && named, "refused, and the error names the rule", &output.text);
    }
    let output = show(stage, narrator, "psql -U shop-db -Atc 'SELECT count(*) FROM orders'").await?;
    narrator.check(
        output.succeeded && output.text.trim() == "2400",
        "the table is still there",
        &output.text,
    );
    let log = stage.upstream_log().to_lowercase();
    let seen = log.contains("drop table") || log.contains("drop/**/table");
    narrator.check(!seen, "PostgreSQL never saw the statement", "its log has a DROP");
    Ok(())
}

async fn out_of_scope(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.step(
        "A table outside the scope is refused",
        "The grant says `read:public.customers` and `read:public.orders`.",
    );
    let line = "psql -U shop-db -c 'SELECT card_number, card_holder FROM payments'";
    let output = show(stage, narrator, line).await?;
    narrator.check(
        !output.succeeded && output.has("public.payments"),
        "refused, and the error names the table",
        &output.text,
    );
    Ok(())
}

async fn window(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.step(
        "Access for 20 seconds, on request",
        "The grant for `prod-logs` says `when: requested` and `lifetime: 20s`.",
    );
    let output = show(stage, narrator, CONNECT_LOGS).await?;
    let hinted = output.has("portcullis request prod-logs");
    narrator.check(!output.succeeded && hinted, "refused, with the command to ask with", &output.text);
    let asked = Instant::now();
    let output =
        show(stage, narrator, "portcullis request prod-logs --reason 'checkout times out, INC-1432'").await?;
    narrator.check(output.succeeded, "a window is open", &output.text);
    let output = show(stage, narrator, CONNECT_LOGS).await?;
    narrator.check(output.succeeded && output.has("checkout"), "answered", &output.text);
    narrator.command(STAY_IN_LOGS);
    let output = watch(stage.shell.start(STAY_IN_LOGS)?, narrator).await?;
    let took = asked.elapsed();
    narrator.check(
        output.has("57P01") && output.has("window is over"),
        "the open session was cut (SQLSTATE 57P01)",
        &output.text,
    );
    let on_time = took + Duration::from_secs(1) > WINDOW && took < WINDOW + LATE;
    narrator.check(on_time, &format!("{:.1} s after the request", took.as_secs_f32()), &format!("{took:?}"));
    let output = show(stage, narrator, CONNECT_LOGS).await?;
    narrator.check(
        !output.succeeded && output.has("must be requested"),
        "refused again until the next request",
        &output.text,
    );
    Ok(())
}

async fn disabled(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.step(
        "The identity is disabled in the directory",
        "Its token is still valid. The gateway asks the directory (Graph) about live identities, here every second.",
    );
    narrator.command(STAY_IN_SHOP);
    let mut session = stage.shell.start(STAY_IN_SHOP)?;
    for _ in 0..2 {
        if let Some(line) = session.line().await? {
            narrator.output_line(&line);
        }
    }
    let command = token_command(stage, ADMIN_ID, ADMIN_SECRET, "https://graph.microsoft.com/.default");
    let directory = stage.shell.run(&command).await?;
    stage.shell.set("DIRECTORY_ADMIN", directory.text.trim());
    narrator.note("meanwhile, a directory administrator:");
    let switched = Instant::now();
    let output = switch(stage, narrator, false).await?;
    narrator.check(output.succeeded && output.has("204"), "the account is disabled", &output.text);
    let output = watch(session, narrator).await?;
    let took = switched.elapsed();
    let cut = output.has("57P01") && output.has("revoked");
    narrator.check(
        cut && took < LATE,
        &format!("the open session was cut, {:.1} s later", took.as_secs_f32()),
        &output.text,
    );
    let output = show(stage, narrator, "psql -U shop-db -c 'SELECT 1'").await?;
    narrator.check(
        !output.succeeded && output.has("disabled"),
        "the next connect is refused, whatever the token says",
        &output.text,
    );
    let output = switch(stage, narrator, true).await?;
    narrator.check(output.succeeded && output.has("204"), "the account is enabled again", &output.text);
    let line = "psql -U shop-db -Atc 'SELECT count(*) FROM customers'";
    narrator.command(line);
    let deadline = Instant::now() + LATE;
    let mut output = stage.shell.run(line).await?;
    while !output.succeeded && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(250)).await;
        output = stage.shell.run(line).await?;
    }
    narrator.output(&output.text);
    narrator.check(output.succeeded, "answered again, with the same token", &output.text);
    Ok(())
}

/// Switches the agent's account.
async fn switch(stage: &Stage, narrator: &Narrator, enabled: bool) -> anyhow::Result<Output> {
    let line = enable_command(stage, enabled);
    if stage.shell.run("command -v curl").await?.succeeded {
        return show(stage, narrator, &line).await;
    }
    narrator.command(&line);
    let token = stage
        .shell
        .exports()
        .iter()
        .find(|(name, _)| *name == "DIRECTORY_ADMIN")
        .map(|(_, token)| token.as_str());
    let http = reqwest::Client::builder().no_proxy().build()?;
    let patch = http.patch(format!("{}/v1.0/servicePrincipals/{AGENT_OBJECT}", stage.issuer()));
    let patch =
        patch.bearer_auth(token.unwrap_or_default()).json(&serde_json::json!({ "accountEnabled": enabled }));
    let status = patch.send().await?.status();
    let text =
        format!("status {} (curl is not installed: the demo sent the request itself)", status.as_u16());
    narrator.output(&text);
    Ok(Output { succeeded: status.is_success(), text })
}

/// Switches the agent's account through Graph; prints the status of the answer.
fn enable_command(stage: &Stage, enabled: bool) -> String {
    format!(
        "curl -s -o /dev/null -w 'status %{{http_code}}\\n' -X PATCH {}/v1.0/servicePrincipals/{AGENT_OBJECT} \\\n  \
         -H \"Authorization: Bearer $DIRECTORY_ADMIN\" -H 'Content-Type: application/json' -d '{{\"accountEnabled\": {enabled}}}'",
        stage.issuer()
    )
}

async fn audit(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.step(
        "What the audit log says",
        "Every decision was in the journal before the statement was sent. This searches its index.",
    );
    for (about, line, expected) in AUDIT {
        narrator.note(&format!("{about}:"));
        narrator.command(line);
        let complete = |output: &Output| output.succeeded && expected.iter().all(|part| output.has(part));
        let deadline = Instant::now() + LATE;
        let mut output = stage.shell.run(line).await?;
        // The index is a moment behind the journal.
        while !complete(&output) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(250)).await;
            output = stage.shell.run(line).await?;
        }
        narrator.output_whole(&output.text);
        let missing: Vec<&str> = expected.iter().copied().filter(|part| !output.has(part)).collect();
        narrator.check(complete(&output), "all of it is there", &format!("without {missing:?}"));
    }
    let leaks = stage.leaks(&masks::CARDS)?;
    narrator.check(
        leaks.is_empty(),
        "no token, no database password and no card number in journal, store or log",
        &leaks.join("\n"),
    );
    Ok(())
}

/// Shows what a running command prints until it ends.
async fn watch(mut running: Running, narrator: &Narrator) -> anyhow::Result<Output> {
    while let Some(line) = running.line().await? {
        narrator.output_line(&line);
    }
    running.finish().await
}

/// What to try next.
pub(super) fn by_hand(stage: &Stage, narrator: &Narrator) {
    narrator.heading("It stays up. In another terminal:");
    for (name, value) in stage.shell.exports().iter().filter(|(name, _)| !is_token(name)) {
        let value = if *name == "PATH" { own_path(value) } else { value.clone() };
        narrator.plain(&format!("export {name}={value}"));
    }
    let agent = token_command(stage, AGENT_ID, AGENT_SECRET, "api://portcullis/.default");
    let admin = token_command(stage, ADMIN_ID, ADMIN_SECRET, "https://graph.microsoft.com/.default");
    narrator.plain(&format!("export PORTCULLIS_TOKEN=$({agent}); export PGPASSWORD=$PORTCULLIS_TOKEN"));
    narrator.plain(&format!("export DIRECTORY_ADMIN=$({admin})"));
    let refunds = token_command(stage, REFUNDS_ID, REFUNDS_SECRET, "api://portcullis/.default");
    narrator.plain(&format!("refund_agent() {{ PGPASSWORD=$({refunds}) psql \"$@\"; }}"));
    let deploys = token_command(stage, DEPLOY_ID, DEPLOY_SECRET, "api://portcullis/.default");
    narrator.plain(&format!("deploy_agent() {{ PGPASSWORD=$({deploys}) psql \"$@\"; }}"));
    let kept = stage.dir().join("sam");
    narrator.plain(&format!(
        "sam() {{ env -u PORTCULLIS_TOKEN XDG_STATE_HOME={} portcullis \"$@\"; }}",
        kept.display()
    ));
    narrator.plain("");
    narrator.plain(&format!(
        "The console: {}   (your browser does not know its certificate; sign in as sam)",
        stage.web()
    ));
    narrator.plain("");
    narrator
        .plain("psql -U shop-db                                                   # and ask what you like");
    narrator.plain("refund_agent -U shop-db                                           # payments, masked");
    narrator.plain(
        "deploy_agent -U shop-maintenance                                  # waits for a person; so does an UPDATE without WHERE",
    );
    narrator.plain(
        "sam requests                                                      # then: sam approve REQUEST, or sam deny REQUEST --note WHY",
    );
    narrator.plain(
        "portcullis request prod-logs --reason 'looking around'            # 20 seconds of psql -U prod-logs",
    );
    narrator.plain("portcullis audit search --limit 20");
    narrator.plain(
        "portcullis sessions --all                                         # then: portcullis replay SESSION",
    );
    narrator.plain("portcullis audit verify --data $DATA");
    for enabled in [false, true] {
        narrator.plain(&enable_command(stage, enabled));
    }
    narrator.plain(&format!(
        "$EDITOR {}   # applied as soon as it is saved",
        stage.dir().join("policy.yaml").display()
    ));
    narrator.plain("");
    narrator.plain("Ctrl-C stops everything and removes it.");
}

fn is_token(name: &str) -> bool {
    ["PGPASSWORD", "PORTCULLIS_TOKEN", "DIRECTORY_ADMIN"].contains(&name)
}

/// The folder of this program, before whatever the PATH is.
fn own_path(path: &str) -> String {
    format!("{}:$PATH", path.split(':').next().unwrap_or_default())
}
