//! The relay with real clients and a real server.

use portcullis_core::Verdict;

use crate::lab::Lab;

#[tokio::test(flavor = "multi_thread")]
async fn a_query_in_scope_is_answered_and_journalled() {
    let lab = Lab::start("read:*", "").await;
    let output = lab.psql().query("SELECT count(*) FROM orders").await;
    assert_eq!(output.ok().trim(), "1000");
    let decisions = lab.decisions();
    let last = decisions.last().unwrap();
    assert_eq!((last.decision, &*last.text), (Verdict::Allow, "SELECT count(*) FROM orders"));
    assert!(last.resources.iter().any(|r| r.resource.as_str() == "public.orders"), "{last:?}");
}
