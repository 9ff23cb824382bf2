//! Why a key is not granted: the state of its lock, its callers and the session in words.

use std::time::Duration;

use crate::{
    clock::Moment,
    error::Error,
    holding::{callers::Outline, slot::Slot},
    ownership::KeyState,
    protocol::{lock::Pause, queue::Obstacle},
    status::{
        report::{HealthReport, Role},
        why::{Hindrance, Why},
    },
};

/// Why nobody of those who want the slot's key has it. `None` if nobody wants it, or a
/// request for it is on its way.
pub(super) fn of(
    slot: &Slot,
    state: KeyState,
    outline: &Outline,
    health: &HealthReport,
    now: Moment,
) -> Option<Why> {
    let campaigns = outline.role == Some(Role::Candidate);
    if outline.waiting == 0 && !campaigns {
        return None;
    }
    match state {
        KeyState::Held => {
            let held = outline.held.unwrap_or_default();
            let text = format!("held by another caller of this process for {held:.1?}");
            Some(Why::new(Hindrance::Held, text))
        }
        KeyState::NoSession => Some(Why::new(Hindrance::NoSession, no_session(health))),
        KeyState::Gathering => {
            let text = "wanted only together with other keys, and one of them cannot be locked now";
            Some(Why::new(Hindrance::Gathering, text))
        }
        KeyState::Unclear => {
            let text = "a lock request was not answered; a read decides whether it locked the key";
            Some(Why::new(Hindrance::Unclear, text))
        }
        KeyState::Losing | KeyState::Releasing => None,
        _ => {
            let pause = slot.machine().pausing(now);
            let paused = pause.map(|(pause, until)| (pause, until.since(now)));
            hindered(slot, outline, health, paused)
        }
    }
}

fn no_session(health: &HealthReport) -> String {
    let why = health.blocked.as_ref().or(health.trouble.as_ref());
    why.map_or("no session: Consul has not answered yet".into(), |why| format!("no session: {why}"))
}

fn hindered(
    slot: &Slot,
    outline: &Outline,
    health: &HealthReport,
    paused: Option<(Pause, Duration)>,
) -> Option<Why> {
    match (paused, &outline.obstacle) {
        (Some((Pause::Courtesy, left)), _) => {
            Some(Why::new(Hindrance::Courtesy, "left to other processes").until(" for ", left))
        }
        (Some((Pause::Delay { known: true }, left)), _) => {
            let text = "lock-delay: Consul keeps the key closed";
            Some(Why::new(Hindrance::LockDelay, text).until(" for ", left))
        }
        (Some((Pause::Delay { known: false }, left)), _) => {
            let text = "lock-delay: Consul keeps the key closed for an unknown time";
            Some(Why::new(Hindrance::LockDelay, text).until("; the next attempt is in ", left))
        }
        (Some((Pause::Herd, left)), Some(Obstacle::Held(_))) => {
            let text = format!("{}; many wait for it, so this process rests", held(outline)?);
            Some(Why::new(Hindrance::Crowd, text).until(" and reads it again in ", left))
        }
        (_, Some(Obstacle::Held(_))) => {
            let mut text = held(outline)?;
            if let Some(saturation) = health.saturation {
                text.push_str(&format!("; {saturation}, so a release may be noticed late"));
            }
            Some(Why::new(Hindrance::Held, text))
        }
        (paused, Some(obstacle)) => {
            let kind = match obstacle {
                Obstacle::Foreign { .. } | Obstacle::NoSemaphore { .. } => Hindrance::FlagConflict,
                Obstacle::LimitDiffers { .. } => Hindrance::LimitConflict,
                Obstacle::NameRefused { .. } => Hindrance::NameRefused,
                Obstacle::Trouble(Error::Denied { .. }) => Hindrance::Denied,
                Obstacle::Delayed { .. } => Hindrance::LockDelay,
                Obstacle::Held(_) | Obstacle::Trouble(_) => Hindrance::Unavailable,
            };
            let why = Why::new(kind, obstacle.clone().into_error(&slot.key).to_string());
            Some(match paused.map(|(_, left)| left).or(outline.rests) {
                Some(left) => why.until("; the next attempt is in ", left),
                None => why,
            })
        }
        (_, None) => None,
    }
}

fn held(outline: &Outline) -> Option<String> {
    let Some(Obstacle::Held(holder)) = &outline.obstacle else { return None };
    let met = outline.met.unwrap_or_default();
    Some(format!("held by {holder}, first seen {met:.1?} ago"))
}
