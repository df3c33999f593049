//! The log: notes for operators, on standard error.
//!
//! INVARIANT(no-secrets-in-logs): below `info` only our own crates are heard, whatever level is asked for. At `trace`, HTTP and
//! TLS libraries write headers and handshakes, and headers hold tokens.

use std::panic::PanicHookInfo;

use portcullis_policy::{LogFormat, LogSettings};
use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{failure::Failure, output};

/// Starts logging as the process file says.
pub fn start(settings: &LogSettings) -> Result<(), Failure> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(&settings.level)
        .map_err(|error| {
            Failure::cannot(format!("the log level `{}` is not understood: {error}", settings.level))
        })?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match settings.format {
        LogFormat::Text => lines.with_ansi(output::colours_on_stderr()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter_fn(may_be_heard)).with_filter(filter))
        .try_init()
        .map_err(|error| Failure::cannot(format!("cannot log: {error}")))?;
    std::panic::set_hook(Box::new(panicked));
    Ok(())
}

fn may_be_heard(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || metadata.target().starts_with("portcullis")
}

/// Says where; the payload may quote a peer's bytes.
fn panicked(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(place, "a task panicked: this is a defect");
}
