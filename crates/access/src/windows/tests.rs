//! Limits of windows, with time passed in.

use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_policy::{AskWay, When};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn start() -> Timestamp {
    Timestamp::from_seconds(1_790_000_000)
}

fn agent() -> PrincipalKey {
    PrincipalKey { provider: "entra".into(), tenant: None, object_id: "77aa".into() }
}

fn grant(cooldown: Option<Duration>, max_per_day: Option<u32>) -> Grant {
    Grant {
        id: GrantId("logs#1".into()),
        connection: "logs".parse().unwrap(),
        to: Vec::new(),
        when: When::Requested,
        approval: None,
        ask: AskWay::Explicit,
        reason_required: true,
        answer_within: 60 * MINUTE,
        break_glass: Vec::new(),
        lifetime: Some(15 * MINUTE),
        cooldown,
        max_per_day,
        recorded: true,
        scope: Vec::new(),
        condition: None,
        location: "policy.yaml:1".into(),
    }
}

fn window(grant: &Grant, now: Timestamp) -> Window {
    Window {
        id: WindowId::generate(now),
        principal: agent(),
        name: "agent".into(),
        grant: grant.id.clone(),
        connection: grant.connection.clone(),
        reason: "because".into(),
        opened_at: now,
        ends_at: now.plus(15 * MINUTE),
    }
}

fn ask(windows: &Windows, grant: &Grant, now: Timestamp) -> Result<Window, RequestRefused> {
    windows.ask(&agent(), grant, now, || window(grant, now), |_| Ok(()))
}

#[test]
fn asking_again_gives_the_same_window_and_never_extends_it() {
    let (windows, grant) = (Windows::default(), grant(None, None));
    let first = ask(&windows, &grant, start()).unwrap();
    let again = ask(&windows, &grant, start().plus(14 * MINUTE)).unwrap();
    assert_eq!(first, again);
    assert!(windows.open(&agent(), &grant.id, first.ends_at.minus(Duration::from_micros(1))).is_some());
    assert!(windows.open(&agent(), &grant.id, first.ends_at).is_none(), "over at its end, not after it");
    assert_ne!(ask(&windows, &grant, first.ends_at).unwrap().id, first.id);
}

#[test]
fn a_window_is_of_one_principal_and_one_grant() {
    let (windows, grant) = (Windows::default(), grant(None, None));
    ask(&windows, &grant, start()).unwrap();
    let other = PrincipalKey { object_id: "88bb".into(), ..agent() };
    assert!(windows.open(&other, &grant.id, start()).is_none());
    assert!(windows.open(&agent(), &GrantId("logs#2".into()), start()).is_none());
}

#[test]
fn cooldown_counts_from_the_end() {
    let (windows, grant) = (Windows::default(), grant(Some(10 * MINUTE), None));
    let first = ask(&windows, &grant, start()).unwrap();
    let until = first.ends_at.plus(10 * MINUTE);
    let early = ask(&windows, &grant, until.minus(Duration::from_secs(1)));
    assert_eq!(early, Err(RequestRefused::Cooldown { until }));
    assert!(ask(&windows, &grant, until).is_ok());
}

#[test]
fn the_daily_limit_is_over_any_24_hours_and_says_until_when() {
    let (windows, grant) = (Windows::default(), grant(None, Some(2)));
    let first = ask(&windows, &grant, start()).unwrap();
    let second_at = start().plus(60 * MINUTE);
    ask(&windows, &grant, second_at).unwrap();
    let refused = ask(&windows, &grant, start().plus(120 * MINUTE));
    assert_eq!(refused, Err(RequestRefused::DailyLimit { limit: 2, until: first.opened_at.plus(DAY) }));
    assert!(ask(&windows, &grant, first.opened_at.plus(DAY)).is_ok());
}

#[test]
fn a_window_that_cannot_be_kept_does_not_open() {
    let (windows, grant) = (Windows::default(), grant(None, Some(1)));
    let failed = windows.ask(
        &agent(),
        &grant,
        start(),
        || window(&grant, start()),
        |_| Err(StoreError("full".into())),
    );
    assert!(matches!(failed, Err(RequestRefused::Unavailable { .. })));
    assert!(windows.open(&agent(), &grant.id, start()).is_none());
    assert!(ask(&windows, &grant, start()).is_ok(), "and does not count");
}

#[test]
fn askers_at_the_same_time_share_one_window_and_looking_never_waits_for_the_disk() {
    let (windows, grant, kept) = (Windows::default(), grant(None, Some(1)), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let keep = |_: &Window| {
                    // While one is being kept, a connect still looks without waiting, and finds nothing open.
                    assert!(windows.open(&agent(), &grant.id, start()).is_none());
                    kept.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                };
                windows.ask(&agent(), &grant, start(), || window(&grant, start()), keep).unwrap();
            });
        }
    });
    assert_eq!(kept.load(Ordering::SeqCst), 1);
}

#[test]
fn ending_early_ends_it_even_where_the_store_fails() {
    let (windows, grant) = (Windows::default(), grant(None, None));
    let open = ask(&windows, &grant, start()).unwrap();
    let at = start().plus(MINUTE);
    assert!(windows.end(open.id, at, || Err(StoreError("full".into()))).is_err());
    assert!(windows.open(&agent(), &grant.id, at).is_none());
    assert_eq!(windows.end(open.id, at, || Ok(())), Ok(false));
}
