//! Publishes news of a key to subscribers, the journal, the metrics and the log.

use crate::{
    key::Key,
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
            journal.incident(Some(key), format!("lost: {reason}"));
        }
        News::Elected { .. } => telemetry.leads(key, true),
        News::Deposed { .. } => telemetry.leads(key, false),
        News::Released { .. } | News::LeaderChanged { .. } | News::StoodBack { .. } => {}
    }
}

/// Records, logs and publishes the news.
pub(super) fn publish(hub: &Hub, key: &Key, news: News) {
    let key = key.clone();
    record(hub.journal(), &key, &news);
    match news {
        News::Acquired { token } => {
            tracing::debug!(%key, %token, "lock acquired");
            hub.publish(&LockAcquired { key, token });
        }
        News::Lost { token, reason } => {
            tracing::warn!(%key, %token, %reason, "lock lost");
            hub.publish(&LockLost { key, token, reason });
        }
        News::Released { token } => {
            tracing::debug!(%key, %token, "lock released");
            hub.publish(&LockReleased { key, token });
        }
        News::Elected { token } => {
            tracing::info!(%key, %token, "elected");
            hub.publish(&Elected { key, token });
        }
        News::Deposed { token, reason } => {
            tracing::info!(%key, %token, %reason, "deposed");
            hub.publish(&Deposed { key, token, reason });
        }
        News::LeaderChanged { leader } => {
            let leader = leader.map(|leader| *leader);
            let session = leader.as_ref().map(|leader| leader.session.as_str());
            tracing::debug!(%key, session, "leader changed");
            hub.publish(&LeaderChanged { key, leader });
        }
        News::StoodBack { pause } => tracing::info!(%key, ?pause, "the campaign stands back"),
    }
}
