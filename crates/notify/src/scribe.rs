//! Writes the delivery log, so that nobody else waits for it: one task, records in order, a bounded queue.

use std::sync::Arc;

use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};

use crate::{Delivery, DeliveryLog, Notice};

/// Most records that wait. A delivery makes 14 at most, spread over hours; what does not fit is told in the program's log.
const QUEUE: usize = 65_536;
/// Most records written in one go.
const BATCH: usize = 256;

type Record = (Delivery, Arc<Notice>);

/// Hands records to the task that writes them.
#[derive(Clone, Debug)]
pub(crate) struct Scribe(mpsc::Sender<Record>);

impl Scribe {
    /// Starts the task; it ends, everything written, when every `Scribe` is gone.
    pub(crate) fn start(handle: &Handle, log: Arc<dyn DeliveryLog>) -> (Self, JoinHandle<()>) {
        let (sender, records) = mpsc::channel(QUEUE);
        (Self(sender), handle.spawn(write(records, log)))
    }

    /// Never waits and never fails.
    pub(crate) fn record(&self, delivery: Delivery, notice: &Arc<Notice>) {
        if let Err(error) = self.0.try_send((delivery, Arc::clone(notice))) {
            let (delivery, _) = error.into_inner();
            tracing::error!(delivery = %delivery.id, state = ?delivery.state, "the delivery log has no room; a record is lost");
        }
    }
}

async fn write(mut records: mpsc::Receiver<Record>, log: Arc<dyn DeliveryLog>) {
    let mut batch = Vec::with_capacity(BATCH);
    while records.recv_many(&mut batch, BATCH).await > 0 {
        let (taken, log) = (std::mem::take(&mut batch), Arc::clone(&log));
        let written = tokio::task::spawn_blocking(move || {
            for (delivery, notice) in taken {
                if let Err(error) = log.record(&delivery, &notice) {
                    tracing::error!(delivery = %delivery.id, state = ?delivery.state, %error, "a delivery is not recorded");
                }
            }
        });
        if written.await.is_err() {
            tracing::error!("writing the delivery log failed");
        }
    }
}
