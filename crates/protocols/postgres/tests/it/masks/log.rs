//! Everything that is logged, at every level, as one text.

use std::{
    fmt::{Debug, Write},
    sync::Mutex,
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

static LOG: Mutex<String> = Mutex::new(String::new());

/// From here on, in this process.
pub fn keep() {
    // Another test of the process keeps it already.
    let _ = tracing::subscriber::set_global_default(Keep);
}

/// What was logged.
pub fn kept() -> String {
    LOG.lock().unwrap().clone()
}

struct Keep;

struct Fields;

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Written while the lock is not held: what it formats may log.
        let text = format!("{field}={value:?} ");
        LOG.lock().unwrap().push_str(&text);
    }
}

impl Subscriber for Keep {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        attributes.record(&mut Fields);
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, record: &span::Record<'_>) {
        record.record(&mut Fields);
    }
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut Fields);
        writeln!(LOG.lock().unwrap(), "[{}]", event.metadata().target()).unwrap();
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
