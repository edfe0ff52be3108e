//! The log events of a test.

use std::{
    fmt::{Debug, Write},
    mem,
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};

/// The log events of this thread, each as its fields in one text: `message=… name=… `. Clones share the events.
#[derive(Clone)]
pub struct LogEvents {
    level: Level,
    events: Arc<Mutex<Vec<String>>>,
}

impl LogEvents {
    /// Collects events of this level and of more severe ones until the guard is dropped.
    pub fn collect(level: Level) -> (LogEvents, DefaultGuard) {
        let events = LogEvents { level, events: Arc::default() };
        let guard = tracing::subscriber::set_default(events.clone());
        (events, guard)
    }

    /// Returns the events collected since the last call of this method.
    pub fn take(&self) -> Vec<String> {
        mem::take(&mut *self.events.lock().unwrap())
    }

    /// Returns the events collected since the last [`LogEvents::take`], and keeps them.
    pub fn all(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }
}

impl Subscriber for LogEvents {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = EventText::default();
        event.record(&mut text);
        self.events.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The fields of an event.
#[derive(Default)]
struct EventText(String);

impl Visit for EventText {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}
