//! Values that are changed before the agent sees them, and attempts to see them all the same.

use super::{REFUNDS_ID, REFUNDS_SECRET, present, show};
use crate::demo::{narrator::Narrator, stage::Stage};

/// The card numbers of `databases.sql`, without the last four digits, which everybody may see.
pub(super) const CARDS: [&str; 9] = [
    "411111111111",
    "555555555555",
    "424242424242",
    "37828224631",
    "601111111111",
    "401288888888",
    "510510510510",
    "400005665566",
    "4000 0025 0000",
];

/// What gives cards and addresses back, and what must be in the answer.
const SEEN: [(&str, &str, &[&str]); 4] = [
    (
        "with `*`; the number in a note is found by a detector:",
        "psql -U shop-db -c 'SELECT * FROM payments ORDER BY id LIMIT 2'",
        &["************4444", "by phone: **** **** **** 3155, please"],
    ),
    (
        "under other names, in a join:",
        "psql -U shop-db -c 'SELECT p.card_number AS amount, c.email AS city, p.note FROM payments p JOIN orders o ON o.id = order_id JOIN customers c ON c.id = customer_id ORDER BY p.id LIMIT 2'",
        &["************4444", "***@example.com"],
    ),
    (
        "through a view, which has names of its own:",
        "psql -U shop-db -c 'SELECT * FROM receipts ORDER BY id LIMIT 2'",
        &["************4444", "***@example.com"],
    ),
    (
        "as COPY:",
        "psql -U shop-db -c 'COPY (SELECT id, card_number, note FROM payments ORDER BY id LIMIT 2) TO STDOUT (FORMAT csv)'",
        &["************4444", "**** **** **** 3155"],
    ),
];

/// One session: first what is allowed, then what would get around the mask. Refused statements do not end it.
const TRIED: &str = "psql -U shop-db <<'SQL'
SELECT id, card_number FROM payments ORDER BY id LIMIT 2;
SELECT count(*), count(card_number) FROM payments;
SELECT substr(card_number, 1, 12) FROM payments;
SELECT row_to_json(p) FROM payments p;
SELECT id FROM payments WHERE card_number LIKE '4111%';
SQL";
/// How many of them are refused.
pub(super) const REFUSED: usize = 3;
/// What of them would be in the server's log.
const NEVER_SENT: [&str; REFUSED] = ["substr(card_number", "row_to_json(p)", "LIKE '4111%'"];

/// Whether a text shows of no card more than everybody may see.
pub(super) fn hides_cards(text: &str) -> bool {
    !CARDS.iter().any(|card| text.contains(card))
}

/// Another agent, which may read what it must not see whole. The first agent's token is put back by [`got_around`].
pub(super) async fn masked(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.step(
        "Another agent may read payments, and sees no card number",
        "The scope of `refund-agent` is `read:public.*`. The masks say `with: last4` of `payments.card_number`, `with: email` of\n\
         `customers.email`, and what looks like a card number anywhere else is masked as well. A mask follows the column, not its name.",
    );
    present(stage, narrator, REFUNDS_ID, REFUNDS_SECRET).await?;
    for (about, line, expected) in SEEN {
        narrator.note(about);
        let output = show(stage, narrator, line).await?;
        let held = output.succeeded && expected.iter().all(|part| output.has(part));
        narrator.check(held && hides_cards(&output.text), "masked", &output.text);
    }
    Ok(())
}

/// The same agent tries harder.
pub(super) async fn got_around(stage: &mut Stage, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.step(
        "It tries to get around the mask",
        "What is computed from a masked column, or compared with it, could give it away piece by piece. The error says which column,\n\
         which rule, and what to write instead. Counting stays possible.",
    );
    narrator.command(TRIED);
    let output = stage.shell.run(TRIED).await?;
    narrator.output_whole(&output.text);
    let counted = output.has(" 2057 ") && output.has("************4444");
    narrator.check(counted && hides_cards(&output.text), "masked, and counted", &output.text);
    let refused = output.text.matches("`public.payments.card_number` is masked by the rule `card numbers`: ");
    narrator.check(
        refused.count() == REFUSED,
        "the other three are refused, and the errors name the column and the rule",
        &output.text,
    );
    let log = stage.upstream_log();
    let sent: Vec<&str> = NEVER_SENT.into_iter().filter(|part| log.contains(part)).collect();
    narrator.check(sent.is_empty(), "PostgreSQL never saw them", &sent.join("\n"));
    stage.present_first();
    Ok(())
}
