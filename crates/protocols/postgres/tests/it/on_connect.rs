//! Connecting that asks: the client stays, is told where, and comes in when people have said yes.

use portcullis_access::requests::{Answer, State, Withdrawer};
use portcullis_core::{RequestStep, Verdict};

use crate::{
    lab::{Lab, Setup},
    wire::Raw,
};

const GRANT: &str = "    when: approved
    approvers: id:55aa0000-0000-4000-8000-000000000001
    request: on_connect
    lifetime: 30m";

async fn lab() -> Lab {
    Lab::set_up(Setup { grant: GRANT, ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_waits_and_comes_in() {
    let lab = lab().await;
    let psql = lab.psql().env("PGOPTIONS", "-c portcullis.reason=incident\\ 7");
    let (output, request) = tokio::join!(psql.query("SELECT count(*) FROM orders"), lab.approve());
    assert_eq!(output.ok(), "1000");
    assert!(output.stderr.contains(&format!("NOTICE:  access request {} waits", request.id())), "{output:?}");
    assert_eq!((request.asked().reason.as_str(), request.asked().client.0.as_str()), ("incident 7", "psql"));
    // The window is open: the next comes in at once.
    lab.psql().query("SELECT 1").await.ok();
    assert_eq!(lab.requests().len(), 1);
    let connects: Vec<_> =
        lab.decisions().into_iter().filter(|it| it.number == 0).map(|it| it.decision).collect();
    assert_eq!(connects, [Verdict::Hold, Verdict::Allow, Verdict::Allow]);
    assert_eq!(lab.steps(), [RequestStep::Filed, RequestStep::Approved]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_waits_and_comes_in() {
    let lab = lab().await;
    let (client, _) = tokio::join!(lab.client(), lab.approve());
    let row = client.query_one("SELECT count(*) FROM orders", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_and_a_withdrawal_are_fatal_and_say_why() {
    let lab = lab().await;
    let mark = lab.server.log().len();
    let psql = lab.psql();
    let (output, request) = tokio::join!(psql.query("SELECT 1"), lab.deny("use the replica"));
    assert_eq!(output.code, 2);
    assert!(
        output
            .err()
            .contains(&format!("FATAL:  access request {} was denied by sam: use the replica", request.id())),
        "{output:?}"
    );
    let withdraw = async {
        let request = lab.pending().await;
        let (access, who) = (lab.gate.access.clone(), Withdrawer::Requester(request.asked().requester.key()));
        tokio::task::spawn_blocking(move || access.withdraw(request.id(), &who, "not needed").unwrap())
            .await
            .unwrap();
    };
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    let (said, ()) = tokio::join!(raw.send(1), withdraw);
    assert_eq!(said, ["R", "E:28000", "closed"]);
    assert!(raw.error().contains("not needed"), "{}", raw.error());
    assert_eq!(lab.server.log_since(mark), "", "the upstream heard of it");
    let connects: Vec<_> = lab.decisions().into_iter().map(|it| it.decision).collect();
    assert_eq!(connects, [Verdict::Hold, Verdict::Deny, Verdict::Hold, Verdict::Deny]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_takes_its_request_with_it() {
    let lab = lab().await;
    let mark = lab.server.log().len();
    let psql = lab.psql().env("PGCONNECT_TIMEOUT", "2");
    let output = psql.query("SELECT 1").await;
    assert!(output.err().contains("timeout"), "{output:?}");
    let id = lab.requests()[0].id();
    loop {
        let request = lab.gate.access.find_request(id).unwrap().unwrap();
        if request.state() == State::Withdrawn {
            assert_eq!(request.settled().unwrap().note(), "the client that waited is gone");
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(lab.server.log_since(mark), "", "the upstream heard of it");
    assert_eq!(lab.steps(), [RequestStep::Filed, RequestStep::Withdrawn]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_upstream_while_it_waits_and_what_is_said_out_of_turn_is_leaving() {
    let lab = lab().await;
    let mark = lab.server.log().len();
    let mut raw = Raw::connect(lab.address, "shop", &lab.token(), &[]).await;
    raw.query("SELECT 1").send(0).await;
    assert_eq!(raw.read(1).await, ["R", "closed"]);
    assert_eq!(lab.server.log_since(mark), "");
    assert!(lab.requests().iter().all(|request| request.state() == State::Withdrawn));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_wait_for_one_window_come_in_together() {
    let lab = lab().await;
    let both = async { tokio::join!(lab.client(), lab.client()) };
    let approve = async {
        while lab.decisions().len() < 2 {
            tokio::task::yield_now().await;
        }
        let request = lab.pending().await;
        lab.answer(request.id(), Answer::Approve, "").await;
    };
    let ((one, two), ()) = tokio::join!(both, approve);
    one.batch_execute("SELECT 1").await.unwrap();
    two.batch_execute("SELECT 1").await.unwrap();
    assert_eq!(lab.requests().len(), 1);
}
