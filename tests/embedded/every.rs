//! A job that runs at most once per period, whoever leads.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, SystemTime},
};

use actix_dsync::{
    Dsync, Error, FencingToken, Key, Resign, Term, embedded::Embedded, jobs::Period,
};
use tokio::time::Instant;

use crate::{in_a_task, key, runtime, steps};

const PERIOD: Duration = Duration::from_secs(30);

/// All turns that began: the period and the token of each.
type Turns = Rc<RefCell<Vec<(SystemTime, FencingToken)>>>;

/// A process that runs the job.
struct Replica {
    link: Embedded,
    dsync: Dsync,
    job: actix_rt::task::JoinHandle<Result<(), Error>>,
    term: Rc<RefCell<Option<Term>>>,
}

impl Replica {
    fn start(name: &str, consul: &Embedded, turns: &Turns, takes: Duration) -> Self {
        let link = consul.link();
        let dsync = runtime(name, &link);
        let (turns, term) = (turns.clone(), Rc::new(RefCell::new(None)));
        let led = term.clone();
        let job = dsync.every(key("job"), PERIOD, move |turn| {
            let (turns, led) = (turns.clone(), led.clone());
            async move {
                assert!(turn.term().is_valid());
                turns.borrow_mut().push((turn.due(), turn.token()));
                *led.borrow_mut() = Some(turn.term().clone());
                tokio::time::sleep(takes).await;
            }
        });
        Self { link, dsync, job: actix_rt::spawn(job), term }
    }
}

fn periods(turns: &Turns) -> BTreeMap<SystemTime, usize> {
    let mut periods = BTreeMap::new();
    for (due, _) in turns.borrow().iter() {
        *periods.entry(*due).or_default() += 1;
    }
    periods
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

#[actix::test]
async fn no_period_has_two_turns_over_twenty_fail_overs_of_three_processes() {
    const FAIL_OVERS: usize = 20;
    tokio::time::pause();
    let consul = Embedded::new();
    let turns = Turns::default();
    // A turn that ends at once, one that takes a while, and one longer than a period.
    let takes = [0, 7, 45].map(Duration::from_secs);
    let names = ["one", "two", "three"];
    let mut replicas: Vec<_> = (names.iter().zip(takes))
        .map(|(name, takes)| Replica::start(name, &consul, &turns, takes))
        .collect();
    let began = Instant::now();
    let mut leaders = Vec::new();
    for round in 0..FAIL_OVERS {
        seconds(40 + 7 * round as u64).await;
        let leader = replicas
            .iter()
            .position(|replica| replica.term.borrow().as_ref().is_some_and(Term::is_valid));
        let leader = leader.unwrap_or_else(|| panic!("nobody leads in round {round}"));
        leaders.push(replicas[leader].term.borrow().as_ref().unwrap().token());
        let replica = &replicas[leader];
        match round % 5 {
            0 => {
                replica.link.cut();
                seconds(50).await;
                replica.link.mend();
            }
            1 => {
                let session = consul.entries().into_iter().find(|entry| entry.key == "job");
                consul.destroy_session(&session.unwrap().session.unwrap());
            }
            2 => {
                let tenure = actix_dsync::Campaign::on(key("job"));
                let tenure = replica.dsync.send(tenure).await.unwrap();
                let resign = Resign::of(&tenure).cool_down(Duration::from_secs(3));
                replica.dsync.send(resign).await.unwrap();
            }
            3 => drop(consul.delete_key("job")),
            _ => {
                // A rolling restart.
                replica.dsync.hand_over(Duration::from_secs(5)).await.unwrap();
                let old = replicas.remove(leader);
                assert_eq!(old.job.await.unwrap(), Ok(()));
                old.dsync.shutdown(Duration::from_secs(5)).await.unwrap();
                let new = Replica::start(names[leader], &consul, &turns, takes[leader]);
                replicas.insert(leader, new);
            }
        }
    }
    seconds(60).await;
    let periods = periods(&turns);
    let passed = began.elapsed().as_secs() / PERIOD.as_secs();
    let most = periods.values().max().unwrap();
    println!(
        "{} turns in {passed} periods, {FAIL_OVERS} fail-overs: at most {most} in one",
        periods.len()
    );
    assert_eq!(*most, 1, "{periods:?}");
    // The sweep is not vacuous: slow turns and fail-overs cost some periods their turn.
    assert!(periods.len() as u64 * 3 > passed, "{} of {passed}", periods.len());
    let turns = turns.borrow();
    assert!(turns.windows(2).all(|two| two[0].1 <= two[1].1 && two[0].0 < two[1].0), "{turns:?}");
    leaders.dedup();
    assert!(leaders.len() >= FAIL_OVERS - 1, "few have failed over: {leaders:?}");
}

#[actix::test]
async fn a_job_runs_once_in_each_period_and_not_in_between() {
    tokio::time::pause();
    let consul = Embedded::new();
    let turns = Turns::default();
    let replica = Replica::start("one", &consul, &turns, Duration::ZERO);
    seconds(30 * 20).await;
    let periods = periods(&turns);
    assert!((20..=21).contains(&periods.len()), "{periods:?}");
    let starts: Vec<_> = periods.keys().collect();
    for two in starts.windows(2) {
        assert_eq!(two[1].duration_since(*two[0]).unwrap(), PERIOD);
    }
    let since = starts[0].duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(since.as_secs() % PERIOD.as_secs(), 0);
    drop(replica);
}

#[actix::test]
async fn a_network_cut_off_after_any_number_of_steps_costs_no_turn_and_gives_none_twice() {
    in_a_task(async {
        let mut cut_before = 0;
        for count in 0..60 {
            let consul = Embedded::new();
            let turns = Turns::default();
            let replica = Replica::start("one", &consul, &turns, Duration::ZERO);
            steps(count).await;
            let begun = turns.borrow().len();
            replica.link.cut();
            seconds(5).await;
            cut_before += usize::from(begun == 0);
            // A reply that arrived before the cut counts.
            assert!(turns.borrow().len() <= 1, "{count}: two turns while cut off");
            replica.link.mend();
            seconds(70).await;
            let periods = periods(&turns);
            assert!(periods.values().all(|turns| *turns == 1), "{count}: {periods:?}");
            assert!(periods.len() >= 3, "{count}: {periods:?}");
            replica.dsync.shutdown(Duration::from_secs(5)).await.unwrap();
        }
        assert!((5..60).contains(&cut_before), "the turn was never cut in two: {cut_before}");
    })
    .await;
}

#[actix::test]
async fn a_recorded_turn_counts_although_its_process_has_died() {
    tokio::time::pause();
    let consul = Embedded::new();
    let turns = Turns::default();
    let first = Replica::start("one", &consul, &turns, Duration::from_secs(600));
    seconds(1).await;
    assert_eq!(turns.borrow().len(), 1);
    first.job.abort();
    seconds(1).await;
    let second = Replica::start("two", &consul, &turns, Duration::ZERO);
    seconds(61).await;
    let periods = periods(&turns);
    assert!(periods.values().all(|turns| *turns == 1) && periods.len() >= 3, "{periods:?}");
    drop(second);
}

#[actix::test]
async fn a_turn_that_panics_costs_its_period_and_the_next_period_has_its_turn() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let turns = Turns::default();
    let begun = turns.clone();
    // Panics in the call, and in the future that it returns.
    let job = dsync.every(key("job"), PERIOD, move |turn| {
        begun.borrow_mut().push((turn.due(), turn.token()));
        let count = begun.borrow().len();
        assert!(count % 3 != 0, "as the test wants it");
        async move { assert!(count % 3 != 1, "as the test wants it, too") }
    });
    let job = actix_rt::spawn(job);
    seconds(30 * 20).await;
    let periods = periods(&turns);
    assert!(periods.values().all(|turns| *turns == 1), "{periods:?}");
    assert!(periods.len() >= 20, "{periods:?}");
    assert!(!job.is_finished());
    let report = dsync.send(actix_dsync::List).await.unwrap();
    let told = &report.incidents[0];
    assert_eq!(told.key, Some(key("job")));
    assert!(told.what.contains("a turn of the periodic job has panicked: as the test"), "{told:?}");
}

#[actix::test]
async fn a_record_from_the_future_or_in_another_format_stops_the_job_until_it_is_deleted() {
    tokio::time::pause();
    let entry = ".dsync/every/job";
    let ahead = serde_json::json!({
        "next": u64::MAX, "session": "another", "token": 1, "attempt": 0,
    });
    for record in [ahead.to_string(), "not a record".into(), String::new()] {
        let consul = Embedded::new();
        consul.write_key(entry, record.as_bytes());
        let turns = Turns::default();
        let replica = Replica::start("one", &consul, &turns, Duration::ZERO);
        seconds(300).await;
        assert_eq!(turns.borrow().len(), 0, "{record:?}");
        // Whoever looks sees it.
        let health = replica.dsync.health();
        assert!(health.live && health.ready);
        let [stuck] = &health.stuck[..] else { panic!("{record:?}: {:?}", health.stuck) };
        assert_eq!(stuck.key, key("job"));
        assert!(stuck.why.contains("delete"), "{stuck:?}");
        let report = replica.dsync.send(actix_dsync::List).await.unwrap();
        let told = report.incidents.iter().filter(|it| it.key == Some(key("job")));
        assert_eq!(told.filter(|it| it.what.contains("job is stuck: ")).count(), 1);
        assert!(report.to_string().contains("the periodic job job is stuck: "), "{report}");
        assert!(consul.delete_key(entry));
        seconds(61).await;
        assert!(!turns.borrow().is_empty(), "{record:?}");
        assert_eq!(replica.dsync.health().stuck, []);
        replica.dsync.shutdown(Duration::from_secs(5)).await.unwrap();
    }
}

#[actix::test]
async fn a_job_that_cannot_run_is_an_incident_although_nobody_looks_at_its_output() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let job = |period| dsync.every(key("job"), period, |_| async {});
    let running = actix::spawn(job(PERIOD));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(job(PERIOD).await, Err(Error::AlreadyStarted { key: key("job") }));
    assert!(matches!(job(Duration::from_millis(500)).await, Err(Error::Invalid { .. })));
    let incidents = dsync.send(actix_dsync::List).await.unwrap().incidents;
    let told = incidents.iter().filter(|it| it.what.contains("the leader's work does not run"));
    assert_eq!(told.count(), 2, "{incidents:?}");
    running.abort();
}

#[actix::test]
async fn a_job_that_is_stuck_names_its_record_with_the_prefix() {
    tokio::time::pause();
    let consul = Embedded::new();
    consul.write_key("shop/.dsync/every/job", b"not a record");
    let builder = Dsync::builder("one").embedded(&consul).prefix("shop");
    let dsync = builder.on_current_arbiter().start().unwrap();
    let job = actix_rt::spawn(dsync.every(key("job"), PERIOD, |_| async {}));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let why = &dsync.health().stuck[0].why;
    assert!(why.ends_with("delete it (the entry shop/.dsync/every/job)"), "{why}");
    job.abort();
}

#[actix::test]
async fn a_job_that_is_stuck_is_so_only_while_its_process_leads_it() {
    tokio::time::pause();
    let consul = Embedded::new();
    consul.write_key(".dsync/every/job", b"not a record");
    let turns = Turns::default();
    let replica = Replica::start("one", &consul, &turns, Duration::ZERO);
    seconds(5).await;
    assert_eq!(replica.dsync.health().stuck.len(), 1);
    replica.job.abort();
    seconds(1).await;
    assert_eq!(replica.dsync.health().stuck, []);
}

#[actix::test]
async fn periods_begin_later_by_the_offset_that_they_are_given() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let turns = Turns::default();
    let begun = turns.clone();
    let period = Period::new(PERIOD).starting_at(Duration::from_secs(7));
    let job = actix_rt::spawn(dsync.every(key("job"), period, move |turn| {
        begun.borrow_mut().push((turn.due(), turn.token()));
        std::future::ready(())
    }));
    seconds(30 * 10).await;
    let periods = periods(&turns);
    assert!((10..=11).contains(&periods.len()), "{periods:?}");
    for due in periods.keys() {
        let since = due.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_secs() % PERIOD.as_secs(), 7);
    }
    job.abort();
}

#[actix::test]
async fn an_invalid_period_or_key_is_refused() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let refused = dsync.every(key("job"), Duration::from_millis(999), |_| async {}).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "period", .. })), "{refused:?}");
    assert!(Key::new(".dsync/every/job").is_err(), "no lock lies where records do");
    seconds(1).await;
    assert_eq!(consul.entries(), [], "nothing was begun");
}
