//! The processes of a history, and what befalls them.

use std::{collections::BTreeMap, time::Duration};

use futures::future::{Either, select};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use super::{
    plan::Plan,
    process::Process,
    witness::{JOB, Reached, Seen, Witness},
    work::Work,
};
use crate::{
    dsync::Dsync,
    embedded::Embedded,
    key::Key,
    logs,
    messages::{Campaign, Resign},
    simulation::random::Random,
};

/// A command to a process.
enum Command {
    Resign { cool_down: Duration },
    HandOver { limit: Duration },
    ShutDown { limit: Duration },
}

/// The place of a process, and of its successors.
struct Seat {
    lives: u32,
    link: Embedded,
    process: Option<Process>,
    commands: mpsc::UnboundedSender<Command>,
}

/// A scheduled step of the history.
#[derive(Clone, Copy, Debug)]
enum Act {
    Fault,
    GoOn(usize),
    Mend(usize),
    /// Kills the process, if it lives, and starts another.
    Replace(usize),
    Thaw,
}

pub(super) struct World {
    plan: Plan,
    random: Random,
    consul: Embedded,
    witness: Witness,
    seats: Vec<Seat>,
    agenda: BTreeMap<(Instant, u64), Act>,
    noted: u64,
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let random = Random::new(plan.seed ^ 0x776f_726b);
        let consul = Embedded::new().seed(plan.seed);
        let witness = Witness::new(&consul);
        let seat = |_| Seat {
            lives: 0,
            link: consul.link(),
            process: None,
            commands: mpsc::unbounded_channel().0,
        };
        let seats = (0..plan.processes).map(seat).collect();
        Self { plan, random, consul, witness, seats, agenda: BTreeMap::new(), noted: 0 }
    }

    pub(super) async fn run(mut self) -> Seen {
        for seat in 0..self.seats.len() {
            self.replace(seat);
        }
        let end = Instant::now() + self.plan.trouble;
        self.after(Duration::from_secs(5), Act::Fault);
        // What is to come later is left for the end of all faults.
        while let Some(next) = self.agenda.first_entry().filter(|next| next.key().0 < end) {
            let ((at, _), act) = next.remove_entry();
            sleep_until(at).await;
            self.carry_out(act);
        }
        sleep_until(end).await;
        self.heal();
        self.check_progress().await;
        self.end().await;
        std::mem::take(&mut *self.witness.seen())
    }

    fn after(&mut self, pause: Duration, act: Act) {
        self.noted += 1;
        self.agenda.insert((Instant::now() + pause, self.noted), act);
    }

    fn carry_out(&mut self, act: Act) {
        logs::info!(?act, "next");
        match act {
            Act::Fault => {
                let seat = self.random.below(self.seats.len());
                self.fault(seat);
                let pause = self.random.skewed_millis(10..=20_000);
                self.after(pause, Act::Fault);
            }
            Act::GoOn(seat) => self.seats[seat].process.iter().for_each(Process::go_on),
            Act::Mend(seat) => self.mend(seat),
            Act::Replace(seat) => self.replace(seat),
            Act::Thaw => self.consul.thaw(),
        }
    }

    /// Something befalls this process, or the agent.
    fn fault(&mut self, seat: usize) {
        let name = self.name(seat);
        let lives = self.seats[seat].process.is_some();
        let leads = lives && self.witness.holder().is_some_and(|holder| holder == name);
        let leader = |what: Reached| leads.then_some(what);
        let link = &self.seats[seat].link;
        let fault = self.random.below(13);
        let reached = match fault {
            0..3 => {
                self.seats[seat].process.iter().for_each(Process::stop);
                let lasts = self.random.skewed_millis(10..=90_000);
                self.after(lasts, Act::GoOn(seat));
                leader(Reached::LeaderStopped)
            }
            3..5 => {
                link.cut();
                let lasts = self.random.skewed_millis(10..=60_000);
                self.after(lasts, Act::Mend(seat));
                leader(Reached::LeaderCutOff)
            }
            5 => {
                let late = self.random.skewed_millis(1..=5_000);
                link.delay_replies(late);
                let lasts = self.random.skewed_millis(10..=30_000);
                self.after(lasts, Act::Mend(seat));
                leader(Reached::RepliesLate)
            }
            6 => {
                link.lose_replies(self.random.pick(&[1, 1, 2, 5]));
                None
            }
            7 => {
                self.seats[seat].process = None;
                let pause = self.random.skewed_millis(10..=30_000);
                self.after(pause, Act::Replace(seat));
                leader(Reached::LeaderKilled)
            }
            8 => {
                self.consul.freeze();
                let lasts = self.random.skewed_millis(10..=30_000);
                self.after(lasts, Act::Thaw);
                Some(Reached::AgentFrozen)
            }
            9 => {
                if self.random.chance(500) {
                    self.consul.restart();
                } else {
                    self.consul.elect();
                }
                Some(Reached::AgentRestarted)
            }
            10 => {
                let ended = self.consul.expire_sessions(&name) > 0;
                (ended && leads).then_some(Reached::SessionEnded)
            }
            11 => {
                let cool_down = self.random.skewed_millis(0..=10_000);
                self.tell(seat, Command::Resign { cool_down });
                leader(Reached::LeaderResigns)
            }
            _ => {
                let limit = self.random.skewed_millis(1..=10_000);
                let shuts_down = self.random.chance(500);
                let (command, reached) = if shuts_down {
                    (Command::ShutDown { limit }, Reached::LeaderShutsDown)
                } else {
                    (Command::HandOver { limit }, Reached::LeaderHandsOver)
                };
                self.tell(seat, command);
                let pause = self.random.skewed_millis(10..=20_000);
                self.after(pause, Act::Replace(seat));
                leader(reached)
            }
        };
        logs::info!(process = name, ?fault, ?reached, "a fault");
        reached.into_iter().for_each(|what| self.witness.reach(what));
    }

    fn name(&self, seat: usize) -> String {
        format!("p{seat}-{}", self.seats[seat].lives)
    }

    fn tell(&self, seat: usize, command: Command) {
        // A killed process hears nothing.
        let _ = self.seats[seat].commands.send(command);
    }

    fn mend(&self, seat: usize) {
        let link = &self.seats[seat].link;
        link.mend();
        link.delay_replies(Duration::ZERO);
    }

    fn replace(&mut self, seat: usize) {
        self.seats[seat].process = None;
        self.seats[seat].lives += 1;
        let name = self.name(seat);
        let (commands, told) = mpsc::unbounded_channel();
        let work = Work::new(&name, &self.witness, self.random.next());
        let link = self.seats[seat].link.clone();
        let main = main(name, link, work, self.plan.clone(), self.witness.clone(), told);
        self.seats[seat].commands = commands;
        self.seats[seat].process = Some(Process::start(main));
    }

    /// Ends all faults.
    fn heal(&mut self) {
        self.consul.thaw();
        let dead = |act: &Act| if let Act::Replace(seat) = act { Some(*seat) } else { None };
        for seat in self.agenda.values().filter_map(dead).collect::<Vec<_>>() {
            self.replace(seat);
        }
        for seat in 0..self.seats.len() {
            self.mend(seat);
            self.seats[seat].link.lose_replies(0);
            self.seats[seat].process.iter().for_each(Process::go_on);
        }
    }

    /// The work goes on after the last fault.
    async fn check_progress(&self) {
        sleep(self.plan.settles_within()).await;
        let (settled, limit) = (Instant::now(), self.plan.period + Duration::from_secs(20));
        sleep(limit).await;
        if self.witness.worked_at().is_none_or(|at| at < settled) {
            self.witness.wrong(|| format!("no work for {limit:?} after the last fault"));
        }
    }

    /// All processes end in good order, and leave nothing locked.
    async fn end(&mut self) {
        let limit = Duration::from_secs(30);
        for seat in 0..self.seats.len() {
            self.tell(seat, Command::ShutDown { limit });
        }
        sleep(limit).await;
        let held = self.consul.entries().into_iter().filter(|entry| entry.session.is_some());
        let held: Vec<_> = held.map(|entry| entry.key).collect();
        let sessions = self.consul.sessions();
        if !(held.is_empty() && sessions.is_empty()) {
            self.witness.wrong(|| format!("{held:?} and {sessions:?} stay after all processes"));
        }
        self.seats.clear();
    }
}

/// The main function of a process.
async fn main(
    name: String,
    link: Embedded,
    work: Work,
    plan: Plan,
    witness: Witness,
    mut told: mpsc::UnboundedReceiver<Command>,
) {
    let builder = Dsync::builder(&*name).embedded(&link).timing(plan.timing.clone());
    let dsync = match builder.on_current_arbiter().start() {
        Ok(dsync) => dsync,
        Err(error) => return witness.wrong(|| format!("{name} does not start: {error}")),
    };
    let mut work = std::pin::pin!(work.run(dsync.clone(), plan));
    let (mut is_over, mut hands_over) = (false, false);
    loop {
        let command = std::pin::pin!(told.recv());
        let command = if is_over {
            command.await
        } else {
            match select(work.as_mut(), command).await {
                Either::Left((ended, _)) => {
                    is_over = true;
                    if let Err(error) = ended {
                        witness.wrong(|| format!("the work of {name} ended: {error}"));
                    }
                    continue;
                }
                Either::Right((command, _)) => command,
            }
        };
        // The work goes on meanwhile.
        match command {
            // It would campaign again, without any work.
            Some(Command::Resign { .. }) if hands_over => {}
            Some(Command::Resign { cool_down }) => {
                let (dsync, key) = (dsync.clone(), Key::new(JOB));
                actix_rt::spawn(async move {
                    let Ok(key) = key else { return };
                    if let Ok(tenure) = dsync.send(Campaign::on(key)).await {
                        let _ = dsync.send(Resign::of(&tenure).cool_down(cool_down)).await;
                    }
                });
            }
            Some(Command::HandOver { limit }) => {
                hands_over = true;
                let (dsync, witness, name) = (dsync.clone(), witness.clone(), name.clone());
                actix_rt::spawn(async move {
                    if dsync.hand_over(limit).await.is_ok() {
                        witness.has_handed_over(&name);
                    }
                });
            }
            Some(Command::ShutDown { limit }) => {
                hands_over = true;
                let (dsync, witness, name) = (dsync.clone(), witness.clone(), name.clone());
                actix_rt::spawn(async move {
                    if dsync.shutdown(limit).await.is_ok() {
                        witness.has_shut_down(&name);
                    }
                });
            }
            None => return,
        }
    }
}
