//! The list of cases, and where each is played.

use crate::checker_cases;
use crate::cluster;
use crate::leadership;
use crate::namespace;
use crate::network;
use crate::process;
use crate::session;
use crate::specified;
use crate::stage::Outcome;
use crate::support::consul::Cluster;

/// One case: a fault, played once.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) fault: &'static str,
    /// The number of this fault's run.
    pub(crate) run: usize,
    /// Whether the case is played at full length.
    pub(crate) trial: bool,
    pub(crate) play: Play,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Play {
    /// Takes no time.
    Check(fn()),
    /// Brings its own agent, and runs beside all others.
    Alone(Alone),
    /// Affects the cluster with this number, after other cases did.
    Cluster(usize, OnCluster),
}

/// The outcome of a case that did not panic.
#[derive(Debug)]
pub(crate) enum Verdict {
    Played(Vec<Outcome>),
    Skipped(String),
}

impl Verdict {
    pub(crate) fn of(outcome: Outcome) -> Self {
        Self::Played(vec![outcome])
    }
}

type Alone = fn(&Case) -> Verdict;
type OnCluster = fn(&Case, &Cluster) -> Verdict;

impl Case {
    fn new(fault: &'static str, run: usize, trial: bool, play: Play) -> Self {
        Self { name: format!("{}::{run}", fault.replace(' ', "_")), fault, run, trial, play }
    }

    pub(crate) fn inside(fault: &'static str, run: usize) -> Self {
        Self::new(fault, run, false, Play::Check(|| ()))
    }
}

/// The cases that every test run plays.
pub(crate) fn all() -> Vec<Case> {
    let mut cases: Vec<_> = CHECKS
        .iter()
        .map(|(name, check)| Case {
            name: format!("checker::{name}"),
            ..Case::new("checker", 0, false, Play::Check(*check))
        })
        .collect();
    cases.extend(main_faults(2, 2, false));
    let alone: [(&'static str, Alone); 13] = [
        ("one way", network::one_way),
        ("holder killed", process::killed),
        ("leader of three killed", leadership::killed),
        ("leader of three told to end", leadership::told_to_end),
        ("leader of three stopped", leadership::stopped),
        ("leader of three cut off", leadership::cut_off),
        ("leader of three resigns", leadership::resigns),
        ("reset and refuse", network::reset_and_refuse),
        ("no connections left", network::no_connections_left),
        ("destroyed while cut off", session::destroyed_while_cut_off),
        ("destroyed while stopped", session::destroyed_while_stopped),
        ("destroyed under fast_failover", session::destroyed_under_fast_failover),
        ("agent restarted empty", session::agent_restarted_empty),
    ];
    cases.extend(alone.map(|(fault, play)| Case::new(fault, 1, false, Play::Alone(play))));
    let on_cluster: [(usize, &'static str, OnCluster); 7] = [
        (2, "server killed for good", cluster::server_killed_for_good),
        (0, "leader killed", cluster::leader_killed),
        (1, "quorum lost", cluster::quorum_lost),
        (3, "patient", cluster::patient),
        (3, "all servers restarted", cluster::all_servers_restarted),
        // The last cases on their clusters.
        (0, "agent leaves while stopped", session::agent_leaves_while_stopped),
        (1, "agent leaves while cut off", session::agent_leaves_while_cut_off),
    ];
    let on_cluster = on_cluster
        .map(|(cluster, fault, play)| Case::new(fault, 1, false, Play::Cluster(cluster, play)));
    cases.extend(on_cluster);
    cases
}

/// The cases whose records are checked against the specification.
pub(crate) fn recorded() -> Vec<Case> {
    let cases: [(&'static str, Alone); 5] = [
        ("contended", specified::contended),
        ("cut off", specified::cut_off),
        ("stopped", specified::stopped),
        ("destroyed while cut off", specified::destroyed),
        ("killed", specified::killed),
    ];
    cases.map(|(fault, play)| Case::new(fault, 0, false, Play::Alone(play))).into()
}

/// The main faults, each repeated this often.
pub(crate) fn main_faults(runs: usize, clusters: usize, trial: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for run in 0..runs {
        let mut add = |fault, play| cases.push(Case::new(fault, run, trial, play));
        add("black hole", Play::Alone(network::black_hole));
        add("packets dropped", Play::Alone(namespace::packets_dropped));
        add("stopped for 40 s", Play::Alone(process::stopped));
        if trial {
            add("destroyed while cut off", Play::Alone(session::destroyed_while_cut_off));
        }
        add("leader frozen", Play::Cluster(run % clusters, cluster::leader_frozen));
    }
    cases
}

/// The additional cases of a trial, each once at full length.
pub(crate) fn long_ones(clusters: usize) -> Vec<Case> {
    let case = |fault, play| Case::new(fault, 0, true, play);
    let mut cases = vec![case("no connections left", Play::Alone(network::no_connections_left))];
    for run in 0..5 {
        let play = Play::Cluster(run % clusters, cluster::patient);
        cases.push(Case::new("patient", run, true, play));
    }
    cases
}

macro_rules! checks {
    ($($name:ident)*) => { &[$((stringify!($name), checker_cases::$name as fn())),*] };
}

const CHECKS: &[(&str, fn())] = checks![
    a_good_history_passes
    an_overlap_is_found
    an_early_grant_is_found
    tokens_out_of_order_are_found
    a_loss_that_is_not_told_is_found
    a_loss_told_twice_or_wrongly_or_too_early_is_found
    a_check_that_lies_after_a_pause_is_found
    a_grant_that_is_told_late_and_was_never_valid_is_no_overlap
    a_write_that_was_checked_after_its_successor_s_is_found
    an_ownership_that_comes_back_is_found
    a_history_that_was_spoiled_is_found
    every_line_is_read_as_it_was_written
];
