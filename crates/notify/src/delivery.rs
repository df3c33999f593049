//! [`Delivery`]: what became of one notice on one channel. [`DeliveryLog`] keeps it, [`Deliveries`] in memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use portcullis_core::{RequestId, Timestamp};
use portcullis_policy::NoticeKind;
use serde::{Deserialize, Serialize};

use crate::{Notice, NoticeId};

/// Most deliveries [`Deliveries`] keeps.
const MAX_KEPT: usize = 10_000;

/// One notice on one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// `<notice>/<channel>`: one delivery is recorded many times, and the last record stands.
    pub id: String,
    /// The notice.
    pub notice: NoticeId,
    /// The request it is about.
    pub request: RequestId,
    /// The channel's name in the documents.
    pub channel: String,
    /// What happened.
    pub kind: NoticeKind,
    /// How far it is.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong last; with `delivered`, what went wrong besides (a recipient that was refused).
    pub last_error: Option<String>,
    /// When it is tried again, with `retrying`.
    pub next_at: Option<Timestamp>,
    /// When this was recorded.
    pub at: Timestamp,
}

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Taken, not tried yet.
    Queued,
    /// The server took it.
    Delivered,
    /// Tried without success; it will be tried again.
    Retrying,
    /// Given up.
    Failed,
}

impl DeliveryState {
    /// Whether something is still to come.
    pub const fn is_unfinished(self) -> bool {
        matches!(self, Self::Queued | Self::Retrying)
    }
}

impl Delivery {
    /// Taken, not tried yet.
    pub(crate) fn queued(notice: &Notice, channel: &str, at: Timestamp) -> Self {
        Self {
            id: format!("{}/{channel}", notice.id),
            notice: notice.id,
            request: notice.request,
            channel: channel.to_owned(),
            kind: notice.kind,
            state: DeliveryState::Queued,
            attempts: 0,
            last_error: None,
            next_at: None,
            at,
        }
    }
}

/// Keeps deliveries, so that people see what did not arrive and a restart resumes what was waiting.
///
/// Called from one task, off every path that somebody waits for, so it may block for a moment.
pub trait DeliveryLog: Send + Sync {
    /// Keeps this as the state of `delivery.id`. The notice is kept with it for as long as the delivery is unfinished.
    fn record(&self, delivery: &Delivery, notice: &Notice) -> Result<(), LogError>;
    /// What is queued or retrying, oldest first, with its notice.
    fn unfinished(&self) -> Result<Vec<(Delivery, Notice)>, LogError>;
    /// The newest `limit` deliveries that did not arrive: failed, retrying, and queued. Newest first.
    fn undelivered(&self, limit: usize) -> Result<Vec<Delivery>, LogError>;
    /// The newest `limit` deliveries, newest first.
    fn recent(&self, limit: usize) -> Result<Vec<Delivery>, LogError>;
}

/// The log could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the delivery log: {0}")]
pub struct LogError(pub String);

/// A [`DeliveryLog`] in memory: the last 10,000 deliveries, until the process ends.
#[derive(Debug, Default)]
pub struct Deliveries {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    numbers: BTreeMap<String, u64>,
    deliveries: BTreeMap<u64, (Delivery, Option<Notice>)>,
}

impl Deliveries {
    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// The oldest one that is finished, else the oldest.
    fn forget_one(&mut self) {
        let oldest = self.deliveries.iter().find(|(_, (delivery, _))| !delivery.state.is_unfinished());
        let number = oldest.or_else(|| self.deliveries.first_key_value()).map(|(number, _)| *number);
        if let Some((delivery, _)) = number.and_then(|number| self.deliveries.remove(&number)) {
            self.numbers.remove(&delivery.id);
        }
    }
}

impl DeliveryLog for Deliveries {
    fn record(&self, delivery: &Delivery, notice: &Notice) -> Result<(), LogError> {
        let mut kept = self.lock();
        let notice = delivery.state.is_unfinished().then(|| notice.clone());
        let number = match kept.numbers.get(&delivery.id) {
            Some(number) => *number,
            None => {
                if kept.deliveries.len() >= MAX_KEPT {
                    kept.forget_one();
                }
                let number = kept.next;
                kept.next = number.saturating_add(1);
                kept.numbers.insert(delivery.id.clone(), number);
                number
            }
        };
        kept.deliveries.insert(number, (delivery.clone(), notice));
        Ok(())
    }

    fn unfinished(&self) -> Result<Vec<(Delivery, Notice)>, LogError> {
        let kept = self.lock();
        let all = kept.deliveries.values();
        Ok(all.filter_map(|(delivery, notice)| Some((delivery.clone(), notice.clone()?))).collect())
    }

    fn undelivered(&self, limit: usize) -> Result<Vec<Delivery>, LogError> {
        let kept = self.lock();
        let newest = kept.deliveries.values().rev().map(|(delivery, _)| delivery);
        let not = newest.filter(|delivery| delivery.state != DeliveryState::Delivered);
        Ok(not.take(limit).cloned().collect())
    }

    fn recent(&self, limit: usize) -> Result<Vec<Delivery>, LogError> {
        let kept = self.lock();
        Ok(kept.deliveries.values().rev().take(limit).map(|(delivery, _)| delivery.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::fixture;

    fn numbered(number: i64) -> (Delivery, Notice) {
        let notice = Notice { id: NoticeId::generate(Timestamp::from_seconds(number)), ..fixture::notice() };
        (Delivery::queued(&notice, "oncall", notice.at), notice)
    }

    #[test]
    fn the_shape_of_a_delivery_is_part_of_the_api() {
        let notice = fixture::notice();
        let mut delivery = Delivery::queued(&notice, "oncall", notice.at);
        delivery.state = DeliveryState::Retrying;
        delivery.attempts = 2;
        delivery.last_error = Some("the server answered 500".to_owned());
        delivery.next_at = Some(notice.at);
        insta::assert_snapshot!(serde_json::to_string_pretty(&delivery).unwrap(), @r#"
        {
          "id": "ntc_01998f6f0b7a7000a000000000000009/oncall",
          "notice": "ntc_01998f6f0b7a7000a000000000000009",
          "request": "req_01998f6f0b7a7000a000000000000001",
          "channel": "oncall",
          "kind": "held",
          "state": "retrying",
          "attempts": 2,
          "last_error": "the server answered 500",
          "next_at": "2026-09-21T14:13:20.000000Z",
          "at": "2026-09-21T14:13:20.000000Z"
        }
        "#);
        let kept: Notice = serde_json::from_str(&serde_json::to_string(&notice).unwrap()).unwrap();
        assert_eq!(kept, notice);
    }

    #[test]
    fn the_last_record_of_a_delivery_stands_and_finished_ones_keep_no_notice() {
        let log = Deliveries::default();
        let (mut delivery, notice) = numbered(1);
        log.record(&delivery, &notice).unwrap();
        assert_eq!(log.unfinished().unwrap(), [(delivery.clone(), notice.clone())]);
        delivery.state = DeliveryState::Failed;
        log.record(&delivery, &notice).unwrap();
        assert_eq!(log.unfinished().unwrap(), []);
        assert_eq!(log.undelivered(10).unwrap(), [delivery.clone()]);
        delivery.state = DeliveryState::Delivered;
        log.record(&delivery, &notice).unwrap();
        assert_eq!((log.undelivered(10).unwrap(), log.recent(10).unwrap()), (vec![], vec![delivery]));
    }

    #[test]
    fn the_oldest_finished_ones_are_forgotten_first() {
        let log = Deliveries::default();
        let (waiting, notice) = numbered(0);
        log.record(&waiting, &notice).unwrap();
        let (mut last, mut notice) = numbered(1);
        for number in 1..=i64::try_from(MAX_KEPT).unwrap() + 5 {
            (last, notice) = numbered(number);
            last.state = DeliveryState::Delivered;
            log.record(&last, &notice).unwrap();
        }
        let kept = log.recent(usize::MAX).unwrap();
        assert_eq!((kept.len(), &kept[0], &kept[MAX_KEPT - 1]), (MAX_KEPT, &last, &waiting));
        assert_eq!(log.recent(3).unwrap().len(), 3);
        log.record(&last, &notice).unwrap();
        assert_eq!(log.recent(usize::MAX).unwrap().len(), MAX_KEPT);
    }
}
