//! Publishes news of a key to subscribers, the journal, the metrics and the log.

use crate::{
    key::Key,
    logs::{self, GuardedSpan},
    messages::{
        Deposed, Elected, LeaderChanged, LockAcquired, LockLost, LockReleased, subscribers::Hub,
    },
    protocol::contest::News,
    status::journal::Journal,
};

/// Records the news in the journal and the metrics.
fn record(journal: &Journal, key: &Key, news: &News) {
    journal.news(key, news);
    let telemetry = journal.telemetry();
    match news {
        News::Acquired { .. } => telemetry.acquired(key),
        News::Lost { reason, .. } => {
            telemetry.lost(key, *reason);
            journal.add_incident(Some(key), format!("lost: {reason}"));
        }
        News::Elected { .. } => telemetry.leads(key, true),
        News::Deposed { .. } => telemetry.leads(key, false),
        News::Released { .. } | News::LeaderChanged { .. } | News::StoodBack { .. } => {}
    }
}

/// Records, publishes and logs the news; logs it in the span `hold`. No subscriber of the log can
/// keep it from the subscribers of the event.
pub(super) fn publish(journal: &Journal, hub: &Hub, key: &Key, news: &News, hold: &GuardedSpan) {
    record(journal, key, news);
    send(hub, key.clone(), news);
    logs::within(hold, || log(key, news));
}

fn send(hub: &Hub, key: Key, news: &News) {
    match *news {
        News::Acquired { token } => hub.publish(&LockAcquired { key, token }),
        News::Lost { token, reason } => hub.publish(&LockLost { key, token, reason }),
        News::Released { token } => hub.publish(&LockReleased { key, token }),
        News::Elected { token } => hub.publish(&Elected { key, token }),
        News::Deposed { token, reason } => hub.publish(&Deposed { key, token, reason }),
        News::LeaderChanged { ref leader } => {
            hub.publish(&LeaderChanged { key, leader: leader.as_deref().cloned() });
        }
        News::StoodBack { .. } => {}
    }
}

fn log(key: &Key, news: &News) {
    match news {
        News::Acquired { token } => logs::debug!(%key, %token, "lock acquired"),
        News::Lost { token, reason } => logs::warn!(%key, %token, %reason, "lock lost"),
        News::Released { token } => logs::debug!(%key, %token, "lock released"),
        News::Elected { token } => logs::info!(%key, %token, "elected"),
        News::Deposed { token, reason } => logs::info!(%key, %token, %reason, "deposed"),
        News::LeaderChanged { leader } => {
            let session = leader.as_ref().map(|leader| leader.session.as_str());
            logs::debug!(%key, session, "leader changed");
        }
        News::StoodBack { pause } => logs::info!(%key, ?pause, "the campaign stands back"),
    }
}
