//! One replica of a service, and the actor that only the leader runs.

use actix::{Actor, Context};
use actix_dsync::{
    ConfigError, Dsync, Error, Tenure, Term, Timing,
    embedded::Embedded,
    events::{Deposed, Elected, Filter, LeaderChanged},
    jobs::{Singleton, SingletonHandle},
};
use futures::StreamExt as _;

use crate::timeline::Timeline;

pub(crate) struct Replica {
    name: &'static str,
    link: Embedded,
    dsync: Dsync,
    worker: SingletonHandle<Worker>,
}

impl Replica {
    /// Starts a runtime and the singleton.
    pub(crate) fn start(
        name: &'static str,
        consul: &Embedded,
        timeline: &Timeline,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let link = consul.link();
        let dsync = runtime(name, &link)?;
        tell(name, &dsync, timeline);
        let worker = worker(name, &dsync, timeline)?;
        Ok(Self { name, link, dsync, worker })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The network between this replica and Consul.
    pub(crate) fn link(&self) -> &Embedded {
        &self.link
    }

    pub(crate) fn dsync(&self) -> &Dsync {
        &self.dsync
    }

    pub(crate) fn tenure(&self) -> &Tenure {
        self.worker.tenure()
    }
}

fn runtime(name: &str, link: &Embedded) -> Result<Dsync, ConfigError> {
    let described = serde_json::json!({ "name": name });
    let timing = Timing::fast_failover();
    Dsync::builder("election").embedded(link).timing(timing).value(described).start()
}

fn worker(
    name: &'static str,
    dsync: &Dsync,
    timeline: &Timeline,
) -> Result<SingletonHandle<Worker>, Error> {
    let timeline = timeline.clone();
    let make = move |term| Worker { name, term, timeline: timeline.clone() };
    Singleton::new(make).start(dsync)
}

/// Adds the runtime's leadership events to the timeline.
fn tell(name: &'static str, dsync: &Dsync, timeline: &Timeline) {
    let mut elected = dsync.events::<Elected>(Filter::All);
    let mut deposed = dsync.events::<Deposed>(Filter::All);
    let mut leaders = dsync.events::<LeaderChanged>(Filter::All);
    let (one, two, three) = (timeline.clone(), timeline.clone(), timeline.clone());
    actix_rt::spawn(async move {
        while let Some(event) = elected.next().await {
            one.elected(name, event.token);
        }
    });
    actix_rt::spawn(async move {
        while let Some(event) = deposed.next().await {
            two.deposed(name, event.reason);
        }
    });
    actix_rt::spawn(async move {
        while let Some(event) = leaders.next().await {
            let said = event.leader.and_then(|leader| leader.json());
            let leader = said.as_ref().and_then(|said| said["name"].as_str());
            // Its own election is in the timeline already.
            if leader != Some(name) {
                three.follows(name, leader);
            }
        }
    });
}

/// The work that only the leader does.
pub(crate) struct Worker {
    name: &'static str,
    term: Term,
    timeline: Timeline,
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.timeline.work_begins(self.name, self.term.token());
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.timeline.work_ends(self.name, self.term.remaining());
    }
}
