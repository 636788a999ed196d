//! Where events go: first into the run's log, then to whoever watches.
//!
//! A watcher never sees an event that the log does not have (progress apart, which nobody keeps).
//! If the log cannot be written (a full disk), the bus remembers it and says so: the run ends as a
//! host fault, with everything that was written before.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use crate::model::Event;
use crate::store::StoreError;
use crate::store::events::EventLog;

struct Inner {
    log: Option<EventLog>,
    watchers: Vec<mpsc::UnboundedSender<Arc<Event>>>,
    failed: Option<String>,
}

/// A cloneable handle to the run's events.
#[derive(Clone)]
pub struct Bus(Arc<Mutex<Inner>>);

impl Bus {
    /// A bus that writes to `log`.
    pub fn new(log: EventLog) -> Self {
        Self::with(Some(log))
    }

    /// A bus that keeps nothing: for work outside a run.
    pub fn unlogged() -> Self {
        Self::with(None)
    }

    fn with(log: Option<EventLog>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            log,
            watchers: Vec::new(),
            failed: None,
        })))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // A poisoned lock means that another task panicked while it wrote an event; the log itself
        // is line by line and stays sound.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Starts watching: events from now on.
    pub fn watch(&self) -> mpsc::UnboundedReceiver<Arc<Event>> {
        let (tx, rx) = mpsc::unbounded_channel();
        self.lock().watchers.push(tx);
        rx
    }

    /// Records an event and shows it to the watchers.
    pub fn emit(&self, event: Event) {
        let mut inner = self.lock();
        if !event.is_transient() && inner.failed.is_none() {
            let written = inner.log.as_mut().map(|log| log.append(event.clone()));
            if let Some(Err(error)) = written {
                inner.failed = Some(error.to_string());
            }
        }
        let event = Arc::new(event);
        inner.watchers.retain(|w| w.send(event.clone()).is_ok());
    }

    /// Why the log could not be written, if it could not.
    pub fn failure(&self) -> Option<String> {
        self.lock().failed.clone()
    }

    /// Forces the log onto the disk.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.lock().log.as_mut().map_or(Ok(()), EventLog::sync)
    }

    /// Ends all watchers' streams.
    pub fn close(&self) {
        self.lock().watchers.clear();
    }
}
