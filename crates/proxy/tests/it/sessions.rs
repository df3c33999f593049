//! The registry: ending, swapping rules, deadlines, draining, races.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use portcullis_core::{ClientSoftware, Clock, EndReason, SessionFacts, SessionId, Source, Timestamp};
use portcullis_proxy::{Activity, SessionHandle, Sessions};
use portcullis_testkit::ManualClock;

fn facts(ends_at: Option<Timestamp>) -> Arc<SessionFacts> {
    let started_at = ManualClock::default().now();
    Arc::new(SessionFacts {
        session: SessionId::generate(started_at),
        started_at,
        protocol: "test".to_owned(),
        source: Source { address: SocketAddr::from(([127, 0, 0, 1], 1)), via: None },
        client: ClientSoftware::default(),
        principal: None,
        connection: None,
        database: None,
        grants: Vec::new(),
        window: None,
        ends_at,
    })
}

fn killed(reason: &str) -> EndReason {
    EndReason::Killed { by: "a test".to_owned(), reason: reason.to_owned() }
}

fn start() -> (Arc<Sessions<u32>>, ManualClock) {
    let clock = ManualClock::default();
    (Sessions::start(Arc::new(clock.clone())), clock)
}

fn register(sessions: &Sessions<u32>) -> SessionHandle<u32> {
    sessions.register(facts(None), Arc::new(1))
}

async fn is_told(session: &SessionHandle<u32>, activity: Activity) -> Option<EndReason> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match session.poll_ended(cx, activity) {
            std::task::Poll::Ready(reason) => Some(reason),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn a_session_is_listed_while_its_handle_lives() {
    let (sessions, _clock) = start();
    let (one, two) = (register(&sessions), register(&sessions));
    one.add_bytes_in(3);
    one.add_bytes_out(5);
    one.add_statements(1);
    assert_eq!(sessions.count(), 2);
    let listed = sessions.list();
    let mine = listed.iter().find(|live| live.facts.session == one.facts().session).unwrap();
    assert_eq!((mine.traffic.bytes_in, mine.traffic.bytes_out, mine.traffic.statements), (3, 5, 1));
    drop(one);
    assert_eq!(sessions.count(), 1);
    assert_eq!(sessions.totals().bytes_in, 3, "totals keep what a gone session moved");
    drop(two);
    sessions.empty().await;
}

#[tokio::test]
async fn the_first_reason_counts_and_wakes_the_session() {
    let (sessions, _clock) = start();
    let handle = register(&sessions);
    let id = handle.facts().session;
    let waiting = tokio::spawn(async move { handle.ended().await });
    tokio::task::yield_now().await;
    assert!(sessions.end(id, killed("first")));
    assert!(!sessions.end(id, killed("second")));
    assert_eq!(waiting.await.unwrap(), killed("first"));
    assert!(!sessions.end(id, killed("third")), "nobody is there any more");
}

#[tokio::test]
async fn sessions_are_ended_by_what_they_are() {
    let (sessions, _clock) = start();
    let (one, two) = (register(&sessions), register(&sessions));
    let target = one.facts().session;
    assert_eq!(sessions.end_where(|facts| facts.session == target, &killed("this one")), 1);
    assert_eq!(one.ending(), Some(&killed("this one")));
    assert_eq!(two.ending(), None);
    assert_eq!(sessions.end_where(|_| true, &killed("the rest")), 1);
}

#[tokio::test]
async fn rules_are_swapped_under_a_live_session() {
    let (sessions, _clock) = start();
    let handle = register(&sessions);
    assert_eq!(**handle.rules(), 1);
    for control in sessions.controls() {
        control.replace_rules(Arc::new(2));
    }
    assert_eq!(**handle.rules(), 2);
    assert_eq!(*handle.rules_owned(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_its_window_and_not_before() {
    let (sessions, clock) = start();
    let end = clock.now().plus(Duration::from_secs(900));
    let handle = sessions.register(facts(Some(end)), Arc::new(1));
    let other = register(&sessions);
    clock.advance(Duration::from_secs(899));
    tokio::time::sleep(Duration::from_secs(899)).await;
    assert_eq!(handle.ending(), None);
    assert!(!handle.is_over(clock.now()));
    clock.advance(Duration::from_secs(1));
    assert!(handle.is_over(clock.now()));
    assert_eq!(handle.ended().await, EndReason::WindowOver);
    assert_eq!(other.ending(), None);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_begins_after_its_end_ends_at_once_and_an_earlier_end_comes_first() {
    let (sessions, clock) = start();
    let late = sessions.register(facts(Some(clock.now().plus(Duration::from_secs(600)))), Arc::new(1));
    // The task sleeps for the later one now: an earlier one must wake it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let over = sessions.register(facts(Some(clock.now())), Arc::new(1));
    assert_eq!(over.ended().await, EndReason::WindowOver);
    assert_eq!(late.ending(), None);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_forward_ends_sessions_within_a_second() {
    let (sessions, clock) = start();
    let handle = sessions.register(facts(Some(clock.now().plus(Duration::from_secs(86_400)))), Arc::new(1));
    tokio::time::sleep(Duration::from_secs(10)).await;
    clock.advance(Duration::from_secs(86_400));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(handle.ending(), Some(&EndReason::WindowOver));
}

#[tokio::test]
async fn the_deadline_task_stops_with_the_registry() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    let sessions: Arc<Sessions<u32>> = Sessions::start(Arc::clone(&clock));
    drop(register(&sessions));
    drop(sessions);
    while Arc::strong_count(&clock) > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_idle_sessions_at_once_and_busy_ones_at_its_limit() {
    let (sessions, _clock) = start();
    let (idle, busy, stuck) = (register(&sessions), register(&sessions), register(&sessions));
    let idle =
        tokio::spawn(async move { std::future::poll_fn(|cx| idle.poll_ended(cx, Activity::Idle)).await });
    let busy = tokio::spawn(async move { busy.ended().await });
    tokio::task::yield_now().await;
    let begin = tokio::time::Instant::now();
    let draining = {
        let sessions = Arc::clone(&sessions);
        tokio::spawn(async move { sessions.drain(Duration::from_secs(30), Duration::from_secs(5)).await })
    };
    assert_eq!(idle.await.unwrap(), EndReason::Drained);
    assert_eq!(begin.elapsed(), Duration::ZERO);
    let late = register(&sessions);
    assert_eq!(is_told(&late, Activity::Idle).await, Some(EndReason::Drained), "nobody new stays");
    drop(late);
    assert_eq!(busy.await.unwrap(), EndReason::Drained);
    assert_eq!(begin.elapsed(), Duration::from_secs(30));
    assert_eq!(draining.await.unwrap(), 1, "one did not leave");
    assert_eq!(stuck.ending(), Some(&EndReason::Drained));
}

#[tokio::test(start_paused = true)]
async fn a_busy_session_that_becomes_idle_leaves_the_drain_early() {
    let (sessions, _clock) = start();
    let session = register(&sessions);
    let draining = {
        let sessions = Arc::clone(&sessions);
        tokio::spawn(async move { sessions.drain(Duration::from_secs(30), Duration::from_secs(5)).await })
    };
    tokio::task::yield_now().await;
    assert_eq!(is_told(&session, Activity::Busy).await, None);
    assert_eq!(is_told(&session, Activity::Idle).await, Some(EndReason::Drained));
    drop(session);
    assert_eq!(draining.await.unwrap(), 0);
}

/// Ending, listing and swapping while sessions come and go: nobody is lost, nobody stays, totals add up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ending_races_leaving() {
    let (sessions, _clock) = start();
    let told = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..400_u32 {
        let (sessions, told) = (Arc::clone(&sessions), Arc::clone(&told));
        tasks.spawn(async move {
            let handle = register(&sessions);
            handle.add_bytes_in(1);
            if i % 2 == 0 {
                handle.ended().await;
                told.fetch_add(1, Ordering::SeqCst);
            } else {
                tokio::task::yield_now().await;
            }
        });
    }
    while !tasks.is_empty() {
        sessions.end_where(|_| true, &killed("race"));
        let _ = sessions.list();
        while tasks.try_join_next().is_some_and(|done| done.is_ok()) {}
        tokio::task::yield_now().await;
    }
    assert_eq!(told.load(Ordering::SeqCst), 200);
    assert_eq!((sessions.count(), sessions.totals().bytes_in), (0, 400));
}
