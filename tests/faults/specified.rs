//! Runs whose records `scripts/specify` checks against `spec/lock.qnt`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_dsync::Timing;

use crate::cases::{Case, Verdict};
use crate::network::agent;
use crate::observer::Observer;
use crate::player::Role;
use crate::stage::{Stage, Who};
use crate::wire::{Passes, Wire};

/// The variable that names the folder of the records.
pub(crate) const RECORDS: &str = "DSYNC_RECORDS";

/// Processes that want one key, each at a wire of its own.
struct Scene {
    stage: Stage,
    observer: Arc<Observer>,
    wires: Vec<Wire>,
    timing: Timing,
}

impl Scene {
    fn new(case: &Case) -> Self {
        let timing = Timing::default()
            .with_session_ttl(Duration::from_secs(10))
            .with_lock_delay(Duration::from_secs(10));
        let stage = Stage::new(case.fault);
        let observer = Observer::start(agent().operator(), stage.prefix(), timing.clone());
        Self { stage, observer, wires: Vec::new(), timing }
    }

    fn player(&mut self, name: &str, role: Role) -> Who {
        let wire = Wire::of(self.wires.len(), agent().http_addr(), &self.observer);
        let who = self.stage.player(name, &wire.url(), self.timing.clone(), role, 1);
        self.wires.push(wire);
        who
    }

    /// A holder, and a second process that waits.
    fn two(&mut self) -> [Who; 2] {
        let holder = self.player("holder", Role::Hold);
        self.wait_until_held(holder);
        let second = self.player("second", Role::Hold);
        std::thread::sleep(Duration::from_secs(3));
        [holder, second]
    }

    fn wait_until_held(&self, who: Who) {
        self.stage.wait_until_held(&[who], self.timing.failover());
    }

    /// Ends the processes, and writes the record.
    fn end(mut self, case: &Case) -> Verdict {
        self.stage.end(&agent().operator());
        let record = self.observer.record(&self.stage.told());
        let folder = std::env::var(RECORDS).expect("a folder for records");
        let path = Path::new(&folder).join(format!("{}.jsonl", case.fault.replace(' ', "-")));
        std::fs::write(&path, record).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let outcome = self.stage.outcome(Vec::new());
        outcome.report.assert_safe();
        Verdict::of(outcome)
    }
}

/// Three processes lock and release the key as fast as they can, and often give up. In turn, each
/// wire holds the requests for a while, but not for a lease; then they arrive late.
pub(crate) fn contended(case: &Case) -> Verdict {
    let mut scene = Scene::new(case);
    for name in ["first", "second", "third"] {
        scene.player(name, Role::Short);
    }
    for turn in 0..6 {
        let wire = &scene.wires[turn % scene.wires.len()];
        std::thread::sleep(Duration::from_millis(700));
        wire.set(Passes::Replies);
        std::thread::sleep(Duration::from_millis(1_900));
        wire.set(Passes::All);
    }
    scene.end(case)
}

/// The holder's wire is cut until the second process has acquired; then late bytes arrive.
pub(crate) fn cut_off(case: &Case) -> Verdict {
    cut(case, |_| ())
}

/// The same, and the holder's session is destroyed meanwhile, over the other wire: an end that no
/// wire shows would be one by the TTL.
pub(crate) fn destroyed(case: &Case) -> Verdict {
    cut(case, |scene| {
        let key = format!("{}/0", scene.stage.prefix());
        let session = agent().operator().kv_get(&key).and_then(|entry| entry.session);
        scene.wires[1].operator().destroy_session(&session.expect("held"));
    })
}

fn cut(case: &Case, meanwhile: impl Fn(&Scene)) -> Verdict {
    let mut scene = Scene::new(case);
    let [holder, second] = scene.two();
    scene.wires[0].set(Passes::Nothing);
    meanwhile(&scene);
    scene.wait_until_held(second);
    scene.stage.wait_until_told(holder, 1);
    scene.wires[0].set(Passes::All);
    scene.stage.rest(second);
    scene.wait_until_held(holder);
    scene.end(case)
}

/// The holder is stopped until the second process has acquired.
pub(crate) fn stopped(case: &Case) -> Verdict {
    let mut scene = Scene::new(case);
    let [holder, second] = scene.two();
    scene.stage.stop(holder);
    scene.wait_until_held(second);
    scene.stage.resume(holder);
    scene.stage.wait_until_told(holder, 1);
    scene.stage.rest(second);
    scene.wait_until_held(holder);
    scene.end(case)
}

/// The holder is killed, and a new process takes its place.
pub(crate) fn killed(case: &Case) -> Verdict {
    let mut scene = Scene::new(case);
    let [holder, second] = scene.two();
    scene.stage.kill(holder);
    scene.wait_until_held(second);
    let again = scene.player("again", Role::Hold);
    scene.stage.rest(second);
    scene.wait_until_held(again);
    scene.end(case)
}
