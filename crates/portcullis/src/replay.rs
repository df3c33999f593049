//! `portcullis replay` and `portcullis watch`: a recording as it went, and one as it goes.

use std::{io::Write as _, ops::ControlFlow, time::Duration};

use portcullis_core::Timestamp;
use portcullis_record::{View, What};

use crate::{
    failure::Failure,
    output::{self, Format},
    sessions::source::{Follow, SourceArgs},
};

pub mod screen;

use screen::{Colours, Screen};

/// Shows what a session did, at the pace it did it.
///
/// Statements with their decisions, values, results as tables (∅ is NULL, what masks changed is masked here too), errors. What
/// the recording does not hold is said. Nothing recorded can steer the terminal. The hash chain is checked first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  portcullis replay ses_… --speed 4
  portcullis replay ses_… --instant | less
  portcullis replay ses_… --data /var/lib/portcullis --from 90s")]
pub struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// How many times faster than it went
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = speed, conflicts_with = "instant")]
    speed: f64,
    /// All at once
    #[arg(long)]
    instant: bool,
    /// Begin at this time: RFC 3339, or since the beginning, such as `90s`
    #[arg(long, value_name = "TIME", value_parser = from)]
    from: Option<From>,
    /// Wait no longer than this where the session did: `2s`; `0s` for not at all
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = output::parse_duration)]
    max_pause: u64,
}

/// Shows what a live session does, until it ends.
///
/// From its beginning on, as in `replay --instant`, and then as it goes.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    #[command(flatten)]
    source: SourceArgs,
}

/// Where a replay begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum From {
    At(Timestamp),
    After(Duration),
}

fn from(text: &str) -> Result<From, String> {
    match output::parse_duration(text) {
        Ok(seconds) => Ok(From::After(Duration::from_secs(seconds))),
        Err(_) => text.parse().map(From::At).map_err(|error: portcullis_core::time::InvalidTimestamp| {
            format!("{error}, or a time since the beginning, such as `90s`")
        }),
    }
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "expected a number, such as `4` or `0.5`".to_owned())?;
    if speed.is_finite() && (0.001..=1e6).contains(&speed) {
        Ok(speed)
    } else {
        Err("expected a number between 0.001 and 1000000; --instant waits for nothing".to_owned())
    }
}

/// Runs `replay`.
pub fn run(args: &Args, format: Format) -> Result<(), Failure> {
    let pace = Pace {
        speed: if args.instant { None } else { Some(args.speed) },
        max_pause: Duration::from_secs(args.max_pause),
        from: args.from,
        began: None,
        last: None,
    };
    play(&args.source, Follow::No, pace, format)
}

/// Runs `watch`.
pub fn watch(args: &WatchArgs, format: Format) -> Result<(), Failure> {
    let pace = Pace { speed: None, max_pause: Duration::ZERO, from: None, began: None, last: None };
    play(&args.source, Follow::Yes, pace, format)
}

fn play(source: &SourceArgs, follow: Follow, mut pace: Pace, format: Format) -> Result<(), Failure> {
    let colours = if output::colours_on_stdout() { Colours::On } else { Colours::Off };
    let mut screen = Screen::new(colours);
    let mut has_ended = false;
    source.open()?.each(source.session, follow, |view| {
        has_ended |= matches!(view.what, What::Ended { .. });
        let is_shown = pace.reach(&view);
        let text = if format == Format::Json { view.to_line() } else { screen.show(&view) };
        if is_shown { print(&text) } else { ControlFlow::Continue(()) }
    })?;
    if format == Format::Table {
        let _ = print(&screen.flush_all());
        if !has_ended {
            let _ = print("\n(the recording has no end yet, or the gateway died under the session)\n");
        }
    }
    Ok(())
}

/// Prints at once. A reader that went away (`| head`) ends it.
fn print(text: &str) -> ControlFlow<()> {
    if text.is_empty() {
        return ControlFlow::Continue(());
    }
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

/// When to show what.
struct Pace {
    /// `None`: at once.
    speed: Option<f64>,
    max_pause: Duration,
    from: Option<From>,
    began: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Pace {
    /// Waits until the event's time has come. Whether it is to be shown.
    fn reach(&mut self, view: &View) -> bool {
        let began = *self.began.get_or_insert(view.at);
        let is_before = match self.from {
            None => false,
            Some(From::At(at)) => view.at < at,
            Some(From::After(since)) => view.at < began.plus(since),
        };
        // The heading is shown wherever it begins.
        if is_before {
            return matches!(view.what, What::Began { .. });
        }
        let pause = self.pause(view.at);
        self.last = Some(view.at);
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        true
    }

    fn pause(&self, at: Timestamp) -> Duration {
        let (Some(last), Some(speed)) = (self.last, self.speed) else { return Duration::ZERO };
        at.since(last).div_f64(speed).min(self.max_pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_waits_as_long_as_the_session_did_but_for_long_pauses() {
        let at = Timestamp::from_seconds;
        let pace =
            |speed, last| Pace { speed, max_pause: Duration::from_secs(2), from: None, began: None, last };
        assert_eq!(pace(Some(1.0), Some(at(10))).pause(at(11)), Duration::from_secs(1));
        assert_eq!(pace(Some(4.0), Some(at(10))).pause(at(11)), Duration::from_millis(250));
        assert_eq!(pace(Some(1.0), Some(at(10))).pause(at(100)), Duration::from_secs(2));
        assert_eq!(pace(Some(1.0), None).pause(at(100)), Duration::ZERO);
        assert_eq!(pace(None, Some(at(10))).pause(at(11)), Duration::ZERO);
    }

    #[test]
    fn a_replay_begins_at_a_time_or_after_one() {
        assert_eq!(from("90s"), Ok(From::After(Duration::from_secs(90))));
        assert_eq!(from("2026-01-31T08:00:00Z"), Ok(From::At("2026-01-31T08:00:00Z".parse().unwrap())));
        assert!(from("soon").is_err());
        assert!(speed("0").is_err() && speed("-1").is_err() && speed("NaN").is_err() && speed("2.5").is_ok());
    }
}
