use super::*;
use crate::notice::fixture;
use portcullis_core::Timestamp;

fn notice(number: u8) -> Arc<Notice> {
    let mut notice = fixture::notice();
    notice.id = NoticeId::generate(Timestamp::from_seconds(i64::from(number)));
    Arc::new(notice)
}

fn tried(line: &mut Line, now: Instant) -> Job {
    match line.next(now) {
        Next::Try(job) => job,
        other => panic!("{other:?}"),
    }
}

fn opens(line: &mut Line, now: Instant) -> Duration {
    match line.next(now) {
        Next::At(then) => then - now,
        other => panic!("{other:?}"),
    }
}

fn again(settled: Settled) -> Duration {
    match settled {
        Settled::Again(pause, _) => pause,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_double_up_to_the_longest_and_the_twelfth_attempt_is_the_last() {
    let mut line = Line::new(Schedule::default(), 7);
    let mut now = Instant::now();
    line.push(notice(1), 0, Duration::ZERO, now);
    for full in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600] {
        tried(&mut line, now);
        let pause = again(line.settle(Err(Failed::channel("no answer")), now));
        let full = Duration::from_secs(full);
        assert!(pause <= full && pause >= full * 3 / 4, "{pause:?} of {full:?}");
        assert_eq!(opens(&mut line, now), pause);
        now += pause;
    }
    tried(&mut line, now);
    let last = line.settle(Err(Failed::channel("no answer")), now);
    assert_eq!(last, Settled::Failed("no answer (given up after 12 attempts)".to_owned()));
    assert!(matches!(line.next(now), Next::Idle));
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_pauses_and_another_gives_others() {
    let pauses = |seed| {
        let mut line = Line::new(Schedule::default(), seed);
        (1..10).map(|attempt| line.pause(attempt)).collect::<Vec<_>>()
    };
    assert_eq!(pauses(1), pauses(1));
    assert_ne!(pauses(1), pauses(2));
}

#[tokio::test(start_paused = true)]
async fn a_dead_channel_is_tried_by_one_and_the_others_are_not_counted_as_tried() {
    let mut line = Line::new(Schedule::default(), 1);
    let now = Instant::now();
    let (first, second) = (notice(1), notice(2));
    line.push(Arc::clone(&first), 0, Duration::ZERO, now);
    line.push(Arc::clone(&second), 0, Duration::ZERO, now);
    assert_eq!(tried(&mut line, now).notice.id, first.id);
    let pause = again(line.settle(Err(Failed::channel("no answer")), now));
    assert_eq!(opens(&mut line, now), pause);
    let later = now + pause;
    assert_eq!(tried(&mut line, later).notice.id, first.id);
    assert_eq!(line.settle(Ok(None), later), Settled::Delivered(None));
    let next = tried(&mut line, later);
    assert_eq!((next.notice.id, next.attempts), (second.id, 0));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_by_itself_does_not_delay_others() {
    let mut line = Line::new(Schedule::default(), 1);
    let now = Instant::now();
    let (bad, good) = (notice(1), notice(2));
    line.push(Arc::clone(&bad), 0, Duration::ZERO, now);
    line.push(Arc::clone(&good), 0, Duration::ZERO, now);
    tried(&mut line, now);
    again(line.settle(Err(Failed::message("500")), now));
    assert_eq!(tried(&mut line, now).notice.id, good.id);
    assert_eq!(line.settle(Err(Failed::never("400")), now), Settled::Failed("400".to_owned()));
    assert!(matches!(line.next(now), Next::At(_)));
}

#[tokio::test(start_paused = true)]
async fn a_server_may_ask_for_a_longer_pause_but_not_for_any() {
    for (asked, expected) in [(90, 90), (1_000_000_000, 3_600)] {
        let mut line = Line::new(Schedule::default(), 1);
        let now = Instant::now();
        line.push(notice(1), 0, Duration::ZERO, now);
        tried(&mut line, now);
        let failed = Failed::new("429", Again::Channel(Some(Duration::from_secs(asked))));
        assert_eq!(again(line.settle(Err(failed), now)), Duration::from_secs(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn what_waited_six_hours_is_given_up_with_what_it_waited_for() {
    let mut line = Line::new(Schedule::default(), 1);
    let mut now = Instant::now();
    line.push(notice(1), 0, Duration::ZERO, now);
    tried(&mut line, now);
    again(line.settle(Err(Failed::channel("no answer: refused")), now));
    // It happened five hours ago, before a restart.
    let old = notice(2);
    line.push(Arc::clone(&old), 3, Duration::from_secs(5 * 3_600), now);
    now += Duration::from_secs(3_600);
    match line.next(now) {
        Next::TooLate(job, why) => {
            assert_eq!((job.notice.id, job.attempts, why.as_str()), (old.id, 3, "no answer: refused"));
        }
        other => panic!("{other:?}"),
    }
    tried(&mut line, now);
    let late = now + Duration::from_secs(6 * 3_600);
    let settled = line.settle(Err(Failed::message("500")), late);
    assert!(matches!(settled, Settled::Failed(_)), "no pause beyond the end: {settled:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_out_while_it_was_tried_stays_out() {
    let mut line = Line::new(Schedule::default(), 1);
    let now = Instant::now();
    let (first, second) = (notice(1), notice(2));
    line.push(Arc::clone(&first), 0, Duration::ZERO, now);
    line.push(Arc::clone(&second), 0, Duration::ZERO, now);
    tried(&mut line, now);
    assert!(line.has(first.id) && line.has(second.id));
    assert_eq!(line.clear().len(), 2);
    assert_eq!(line.settle(Err(Failed::channel("no answer")), now), Settled::Gone);
    assert!(matches!(line.next(now), Next::Idle));
}

#[tokio::test(start_paused = true)]
async fn another_channel_is_tried_at_once() {
    let mut line = Line::new(Schedule::default(), 1);
    let now = Instant::now();
    line.push(notice(1), 0, Duration::ZERO, now);
    tried(&mut line, now);
    again(line.settle(Err(Failed::channel("no answer")), now));
    line.refresh(now);
    tried(&mut line, now);
}
