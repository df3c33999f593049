use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use portcullis_core::{Clock, Timestamp};
use portcullis_policy::{Channel, NoticeKind, SecretRef};
use tokio::{sync::watch, time::Instant};

use super::*;
use crate::{Deliveries, NoticeId, notice::fixture, post::Sending};

/// Tells tokio's time, which tests hold still.
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_790_000_000).plus(self.0.elapsed())
    }
}

type Answer = Result<Option<String>, Failed>;

/// Answers each channel as its script says; the last answer stays. No script: never answers.
#[derive(Default)]
struct Script {
    answers: Mutex<BTreeMap<String, Vec<Answer>>>,
    sent: Mutex<Vec<(String, NoticeId)>>,
}

impl SendNotice for Script {
    fn send<'a>(&'a self, channel: &'a Notification, notice: &'a Notice) -> Sending<'a> {
        lock(&self.sent).push((channel.name.clone(), notice.id));
        let answer = lock(&self.answers)
            .get_mut(&channel.name)
            .map(|answers| if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() });
        Box::pin(async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }
}

/// [`Deliveries`], and a way to wait for what it gets.
struct Watched {
    deliveries: Deliveries,
    changed: watch::Sender<()>,
    broken: bool,
}

impl DeliveryLog for Watched {
    fn record(&self, delivery: &Delivery, notice: &Notice) -> Result<(), LogError> {
        if self.broken {
            return Err(LogError("the disk is full".to_owned()));
        }
        self.deliveries.record(delivery, notice)?;
        self.changed.send_replace(());
        Ok(())
    }

    fn unfinished(&self) -> Result<Vec<(Delivery, Notice)>, LogError> {
        self.deliveries.unfinished()
    }

    fn undelivered(&self, limit: usize) -> Result<Vec<Delivery>, LogError> {
        self.deliveries.undelivered(limit)
    }

    fn recent(&self, limit: usize) -> Result<Vec<Delivery>, LogError> {
        self.deliveries.recent(limit)
    }
}

struct World {
    script: Arc<Script>,
    log: Arc<Watched>,
    notifier: Arc<Notifier>,
}

fn world(settings: Settings, broken: bool, kept: Deliveries) -> World {
    let script = Arc::new(Script::default());
    let log = Arc::new(Watched { deliveries: kept, changed: watch::Sender::new(()), broken });
    let clock = Arc::new(TokioClock(Instant::now()));
    let post = Arc::clone(&script) as Arc<dyn SendNotice>;
    let notifier =
        Notifier::with(post, None, clock, Arc::clone(&log) as Arc<dyn DeliveryLog>, settings).unwrap();
    World { script, log, notifier }
}

impl World {
    fn answers(&self, channel: &str, answers: Vec<Answer>) {
        lock(&self.script.answers).insert(channel.to_owned(), answers);
    }

    fn sent(&self, channel: &str) -> usize {
        lock(&self.script.sent).iter().filter(|(name, _)| name == channel).count()
    }

    async fn until(&self, what: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        let mut changed = self.log.changed.subscribe();
        loop {
            let all = self.log.recent(usize::MAX).unwrap();
            if what(&all) {
                return all;
            }
            changed.changed().await.unwrap();
        }
    }
}

fn channel(name: &str, variable: &str) -> Arc<Notification> {
    Arc::new(Notification {
        name: name.to_owned(),
        channel: Channel::Teams { url: SecretRef::Env(variable.to_owned()) },
        events: NoticeKind::DEFAULT.to_vec(),
        connections: vec!["orders-*".parse().unwrap()],
        location: "policy.yaml:1".to_owned(),
    })
}

fn notice(number: i64) -> Notice {
    Notice { id: NoticeId::generate(Timestamp::from_seconds(number)), ..fixture::notice() }
}

fn all(state: DeliveryState) -> impl Fn(&[Delivery]) -> bool {
    move |deliveries| !deliveries.is_empty() && deliveries.iter().all(|delivery| delivery.state == state)
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_never_answers_delays_no_other_and_no_caller() {
    let world = world(Settings::default(), false, Deliveries::default());
    world.answers("alive", vec![Ok(None)]);
    let channels = [channel("dead", "A"), channel("alive", "A")];
    let before = Instant::now();
    for number in 0..100 {
        world.notifier.notify(&channels, notice(number));
    }
    assert_eq!(before.elapsed(), Duration::ZERO);
    let delivered = |all: &[Delivery]| all.iter().filter(|d| d.state == DeliveryState::Delivered).count();
    let deliveries = world.until(|all| delivered(all) == 100).await;
    assert!(deliveries.iter().all(|d| (d.channel == "alive") == (d.state == DeliveryState::Delivered)));
    assert_eq!((world.sent("dead"), world.notifier.waiting()), (1, 100));
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_and_every_step_is_in_the_log() {
    let world = world(Settings::default(), false, Deliveries::default());
    let refused = || Err(Failed::channel("no answer: refused"));
    world.answers("oncall", vec![refused(), refused(), Ok(None)]);
    let told = notice(1);
    let before = Instant::now();
    world.notifier.notify(&[channel("oncall", "A")], told.clone());
    let first = world.until(all(DeliveryState::Retrying)).await.remove(0);
    assert_eq!((first.attempts, first.last_error.as_deref()), (1, Some("no answer: refused")));
    assert_eq!((first.notice, first.request, first.kind), (told.id, told.request, NoticeKind::Held));
    let pause = first.next_at.unwrap().since(first.at);
    assert!(pause > Duration::from_millis(700) && pause <= Duration::from_secs(1), "{pause:?}");
    let last = world.until(all(DeliveryState::Delivered)).await.remove(0);
    assert_eq!((last.attempts, last.last_error, last.next_at), (3, None, None));
    assert!(before.elapsed() > Duration::from_secs(2), "two pauses");
    assert_eq!(world.log.undelivered(10).unwrap(), vec![]);
    assert_eq!(world.notifier.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_stays_dead_is_given_up_and_the_log_says_so() {
    let world = world(Settings::default(), false, Deliveries::default());
    world.answers("oncall", vec![Err(Failed::channel("no answer: refused"))]);
    for number in 0..3 {
        world.notifier.notify(&[channel("oncall", "A")], notice(number));
    }
    let failed =
        world.until(|all| all.len() == 3 && all.iter().all(|d| d.state == DeliveryState::Failed)).await;
    assert!(failed.iter().all(|d| d.last_error.as_deref().unwrap().contains("no answer: refused")));
    assert_eq!(world.log.undelivered(10).unwrap().len(), 3);
    assert_eq!(world.log.unfinished().unwrap(), vec![]);
    assert!(world.sent("oncall") <= 40, "a dead channel is left in peace: {}", world.sent("oncall"));
    assert_eq!(world.notifier.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn only_channels_that_tell_of_it_are_told() {
    let world = world(Settings::default(), false, Deliveries::default());
    world.answers("oncall", vec![Ok(None)]);
    let channels = [channel("oncall", "A")];
    world.notifier.notify(&channels, Notice { kind: NoticeKind::Answered, ..notice(1) });
    world.notifier.notify(&channels, Notice { connection: "logs".parse().unwrap(), ..notice(2) });
    let told = notice(3);
    world.notifier.notify(&channels, told.clone());
    let deliveries = world.until(all(DeliveryState::Delivered)).await;
    assert_eq!(deliveries.iter().map(|d| d.notice).collect::<Vec<_>>(), [told.id]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_the_queue_is_recorded_as_failed() {
    let world = world(Settings { queue: 2, ..Settings::default() }, false, Deliveries::default());
    for number in 0..5 {
        world.notifier.notify(&[channel("dead", "A")], notice(number));
    }
    let deliveries = world.until(|all| all.len() == 5).await;
    let failed: Vec<_> = deliveries.iter().filter(|d| d.state == DeliveryState::Failed).collect();
    assert_eq!(failed.len(), 3);
    assert!(
        failed.iter().all(|d| d.last_error.as_deref() == Some("too many notices wait") && d.attempts == 0)
    );
    assert_eq!(world.notifier.waiting(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_restart_resumes_what_was_waiting_with_the_attempts_it_had() {
    let kept = Deliveries::default();
    let (waiting, orphan) = (notice(1), notice(2));
    let mut delivery = Delivery::queued(&waiting, "oncall", waiting.at);
    delivery.state = DeliveryState::Retrying;
    delivery.attempts = 5;
    kept.record(&delivery, &waiting).unwrap();
    kept.record(&Delivery::queued(&orphan, "gone", orphan.at), &orphan).unwrap();
    let world = world(Settings::default(), false, kept);
    world.answers("oncall", vec![Ok(None)]);
    assert_eq!(world.notifier.resume(&[channel("oncall", "A")]).await, Ok(1));
    let all = world.until(|all| all.iter().all(|d| !d.state.is_unfinished())).await;
    let of = |name: &str| all.iter().find(|d| d.channel == name).unwrap();
    assert_eq!((of("oncall").state, of("oncall").attempts), (DeliveryState::Delivered, 6));
    assert_eq!(of("gone").last_error.as_deref(), Some(REMOVED));
    assert_eq!((of("gone").state, world.notifier.waiting()), (DeliveryState::Failed, 0));
}

#[tokio::test(start_paused = true)]
async fn stopped_it_has_written_everything_and_takes_nothing_more() {
    let world = world(Settings::default(), false, Deliveries::default());
    let waiting = notice(1);
    world.notifier.notify(&[channel("dead", "A")], waiting.clone());
    world.notifier.stop().await;
    let unfinished = world.log.unfinished().unwrap();
    assert_eq!(unfinished.len(), 1);
    assert_eq!(unfinished[0].1, waiting.bounded());
    world.notifier.notify(&[channel("late", "A")], notice(2));
    assert_eq!(world.log.recent(10).unwrap().len(), 1);
    world.notifier.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_corrected_channel_gets_at_once_what_waited_and_a_removed_one_s_is_told_as_failed() {
    let world = world(Settings::default(), false, Deliveries::default());
    let wrong = || vec![Err(Failed::channel("what `env:A` names is no URL"))];
    world.answers("oncall", wrong());
    world.answers("old", wrong());
    world.notifier.notify(&[channel("oncall", "A"), channel("old", "A")], notice(1));
    world.until(|all| all.len() == 2 && all.iter().all(|d| d.attempts >= 1)).await;
    world.answers("oncall", vec![Ok(None)]);
    let before = Instant::now();
    world.notifier.reconfigure(&[channel("oncall", "B")]);
    let all = world.until(|all| all.iter().all(|d| !d.state.is_unfinished())).await;
    assert_eq!(before.elapsed(), Duration::ZERO);
    for delivery in all {
        match delivery.channel.as_str() {
            "oncall" => assert_eq!(delivery.state, DeliveryState::Delivered),
            _ => assert_eq!(delivery.last_error.as_deref(), Some(REMOVED)),
        }
    }
    assert_eq!(world.notifier.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_written_stops_no_delivery() {
    let world = world(Settings::default(), true, Deliveries::default());
    world.answers("oncall", vec![Ok(None)]);
    world.notifier.notify(&[channel("oncall", "A")], notice(1));
    while world.notifier.waiting() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.sent("oncall"), 1);
    world.notifier.stop().await;
}
