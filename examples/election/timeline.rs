//! The timeline of the election, one line per event.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use actix_dsync::{FencingToken, LossReason};

/// Prints events as they happen, and records when nobody worked.
#[derive(Clone)]
pub(crate) struct Timeline(Arc<Mutex<Inner>>);

struct Inner {
    began: Instant,
    colours: bool,
    scene: String,
    /// Since when nobody works.
    idle: Option<Instant>,
    pauses: Vec<(String, Duration)>,
}

const BOLD: &str = "1";
const GREEN: &str = "32";
const RED: &str = "31";
const FAINT: &str = "2";

impl Timeline {
    pub(crate) fn start() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let began = Instant::now();
        Self(Arc::new(Mutex::new(Inner {
            began,
            colours: !plain && std::io::stdout().is_terminal(),
            scene: String::new(),
            idle: Some(began),
            pauses: Vec::new(),
        })))
    }

    /// Something is done to the replicas.
    pub(crate) fn scene(&self, what: &str) {
        let mut inner = self.lock();
        inner.scene = what.to_owned();
        inner.line("", BOLD, &format!("—— {what}"));
    }

    pub(crate) fn elected(&self, who: &str, token: FencingToken) {
        self.lock().line(who, GREEN, &format!("is elected, with fencing token {token}"));
    }

    pub(crate) fn deposed(&self, who: &str, why: LossReason) {
        self.lock().line(who, RED, &format!("leads no longer: {why}"));
    }

    pub(crate) fn follows(&self, who: &str, leader: Option<&str>) {
        let what = leader.map_or("sees no leader".to_owned(), |leader| format!("follows {leader}"));
        self.lock().line(who, FAINT, &what);
    }

    pub(crate) fn work_begins(&self, who: &str, token: FencingToken) {
        let mut inner = self.lock();
        let pause = inner.idle.take().map(|since| since.elapsed());
        inner.line(who, GREEN, &format!("works, fenced by {token}"));
        if let Some(pause) = pause {
            let scene = inner.scene.clone();
            inner.pauses.push((scene, pause));
        }
    }

    /// `left` is what remained of the term.
    pub(crate) fn work_ends(&self, who: &str, left: Duration) {
        let mut inner = self.lock();
        inner.idle = Some(Instant::now());
        let what = match left {
            Duration::ZERO => "has stopped its work".to_owned(),
            left => {
                format!("has stopped its work, {:.1} s before its deadline", left.as_secs_f64())
            }
        };
        inner.line(who, RED, &what);
    }

    /// How long nobody worked, each time.
    pub(crate) fn sum_up(&self) {
        let mut inner = self.lock();
        inner.line("", BOLD, "—— for how long nobody worked");
        for (scene, pause) in std::mem::take(&mut inner.pauses) {
            inner.line("", FAINT, &format!("{:>9.3} s  {scene}", pause.as_secs_f64()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn line(&self, who: &str, colour: &str, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        let mut out = std::io::stdout().lock();
        // The reader may have closed the pipe.
        let _ = if self.colours {
            writeln!(out, "{at:8.3} s  {who:<6}  \x1b[{colour}m{what}\x1b[0m")
        } else {
            writeln!(out, "{at:8.3} s  {who:<6}  {what}")
        };
    }
}
