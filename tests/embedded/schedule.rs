//! A job by a schedule: any iterator of instants, and what it does with each.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, SystemTime},
};

use actix_dsync::{
    Dsync, Error, List,
    embedded::Embedded,
    jobs::{Missed, Schedule, Turn},
};
use futures::FutureExt as _;

use crate::{key, runtime};

type Job = actix_rt::task::JoinHandle<Result<(), Error>>;

/// When each turn was due that began.
type Begun = Rc<RefCell<Vec<SystemTime>>>;

fn job(dsync: &Dsync, schedule: Schedule, begun: &Begun, takes: Duration) -> Job {
    let begun = begun.clone();
    actix_rt::spawn(dsync.every(key("job"), schedule, move |turn: Turn| {
        begun.borrow_mut().push(turn.due());
        tokio::time::sleep(takes)
    }))
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

fn after(time: SystemTime, seconds: u64) -> SystemTime {
    time + Duration::from_secs(seconds)
}

/// The begin of the current second of the runtimes' time of day.
async fn now() -> SystemTime {
    let dsync = runtime("clock", &Embedded::new());
    let begun = Begun::default();
    let of = begun.clone();
    let job = actix_rt::spawn(dsync.every(key("clock"), Duration::from_secs(1), move |turn| {
        of.borrow_mut().push(turn.due());
        std::future::ready(())
    }));
    while begun.borrow().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    job.abort();
    begun.take()[0]
}

#[actix::test]
async fn each_instant_has_one_turn_over_three_replicas_and_their_fail_overs() {
    tokio::time::pause();
    let consul = Embedded::new();
    let begin = now().await;
    let begun = Begun::default();
    // Irregular: some are closer than a turn takes.
    let instants = || (1..200_u64).map(move |n| after(begin, n * 10 + n % 7));
    let start = |name: &str| {
        let link = consul.link();
        let dsync = runtime(name, &link);
        let job = job(&dsync, Schedule::at(instants()), &begun, Duration::from_secs(4));
        (link, dsync, job)
    };
    let mut replicas: Vec<_> = ["one", "two", "three"].into_iter().map(start).collect();
    for round in 0..12 {
        seconds(61).await;
        let (link, dsync, job) = replicas.remove(0);
        match round % 3 {
            0 => {
                link.cut();
                seconds(40).await;
                link.mend();
                replicas.push((link, dsync, job));
            }
            1 => {
                dsync.shutdown(Duration::from_secs(5)).await.unwrap();
                assert_eq!(job.await.unwrap(), Ok(()));
                replicas.push(start("new"));
            }
            // It is still scheduled, in another order.
            _ => replicas.push((link, dsync, job)),
        }
    }
    let known: Vec<_> = instants().collect();
    let mut turns = BTreeMap::<_, usize>::new();
    for due in begun.borrow().iter() {
        assert!(known.contains(due), "never due: {due:?}");
        *turns.entry(*due).or_default() += 1;
    }
    assert!(turns.values().all(|count| *count == 1), "{turns:?}");
    assert!(begun.borrow().is_sorted(), "{begun:?}");
    // Fail-overs cost some.
    assert!(turns.len() > 40, "{}", turns.len());
}

#[actix::test]
async fn after_a_pause_one_turn_makes_up_for_those_missed_or_none_does() {
    tokio::time::pause();
    let grace = Duration::from_secs(2);
    for (missed, makes_up) in [(Missed::RunOnce, true), (Missed::SkipAfter(grace), false)] {
        let consul = Embedded::new();
        let begin = now().await;
        let begun = Begun::default();
        let schedule = || {
            let instants = (1..20_u64).map(move |n| after(begin, n * 10));
            Schedule::at(instants).missed(missed)
        };
        let first = runtime("one", &consul);
        let running = job(&first, schedule(), &begun, Duration::ZERO);
        seconds(25).await;
        first.shutdown(Duration::from_secs(5)).await.unwrap();
        assert_eq!(running.await.unwrap(), Ok(()));
        // Nobody is there at 30, 40 and 50.
        seconds(30).await;
        let second = runtime("two", &consul);
        let running = job(&second, schedule(), &begun, Duration::ZERO);
        seconds(20).await;
        let expected: &[u64] = if makes_up { &[10, 20, 50, 60, 70] } else { &[10, 20, 60, 70] };
        let expected: Vec<_> = expected.iter().map(|at| after(begin, *at)).collect();
        assert_eq!(*begun.borrow(), expected, "{missed:?}");
        running.abort();
    }
}

#[actix::test]
async fn a_turn_longer_than_the_time_until_the_next_delays_it_or_costs_it() {
    tokio::time::pause();
    let grace = Duration::from_secs(2);
    for (missed, expected) in [
        // Each begins when the one before is over: for the latest instant.
        (Missed::RunOnce, [10, 30, 50, 80]),
        (Missed::SkipAfter(grace), [10, 40, 70, 100]),
    ] {
        let consul = Embedded::new();
        let begin = now().await;
        let begun = Begun::default();
        let instants = (1..20_u64).map(move |n| after(begin, n * 10));
        let dsync = runtime("one", &consul);
        let takes = Duration::from_secs(24);
        let job = job(&dsync, Schedule::at(instants).missed(missed), &begun, takes);
        seconds(115).await;
        let begun: Vec<_> = begun.borrow().iter().copied().take(4).collect();
        assert_eq!(begun, expected.map(|at| after(begin, at)), "{missed:?}");
        job.abort();
    }
}

#[actix::test]
async fn a_turn_that_could_be_recorded_only_after_its_grace_is_skipped() {
    tokio::time::pause();
    // It is read and written, which takes two seconds.
    for (grace, begins) in [(1, false), (3, true)] {
        let consul = Embedded::new();
        let dsync = runtime("one", &consul);
        let begun = Begun::default();
        let begin = now().await;
        let instants = (0..20).map(move |n| after(begin, 15 + 30 * n));
        let schedule = Schedule::at(instants);
        let schedule = schedule.missed(Missed::SkipAfter(Duration::from_secs(grace)));
        let job = job(&dsync, schedule, &begun, Duration::ZERO);
        seconds(10).await;
        consul.delay_replies(Duration::from_secs(1));
        begun.take();
        seconds(90).await;
        assert_eq!(begun.borrow().len(), if begins { 3 } else { 0 }, "{grace} s");
        consul.delay_replies(Duration::ZERO);
        begun.take();
        seconds(60).await;
        assert_eq!(begun.borrow().len(), 2, "later turns begin in time");
        job.abort();
    }
}

/// Counts what was dropped before its end.
struct Ended(Rc<RefCell<u64>>);

impl Drop for Ended {
    fn drop(&mut self) {
        *self.0.borrow_mut() += 1;
    }
}

#[actix::test]
async fn the_time_limit_ends_a_turn_and_the_next_instant_has_its_turn() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let (begun, ended) = (Begun::default(), Rc::new(RefCell::new(0)));
    let schedule = Schedule::new(Duration::from_secs(30)).time_limit(Duration::from_secs(5));
    let (starts, ends) = (begun.clone(), ended.clone());
    let job = actix_rt::spawn(dsync.every(key("job"), schedule, move |turn| {
        starts.borrow_mut().push(turn.due());
        let ended = Ended(ends.clone());
        async move {
            std::future::pending::<()>().await;
            drop(ended);
        }
    }));
    seconds(90).await;
    assert!(begun.borrow().len() >= 3, "{begun:?}");
    // The last may still run.
    assert!(*ended.borrow() + 1 >= begun.borrow().len() as u64, "{ended:?} of {begun:?}");
    let report = dsync.send(List).await.unwrap();
    let told = report.incidents.iter().find(|it| it.key == Some(key("job"))).unwrap();
    assert!(told.what.contains("dropped at its time limit of 5s"), "{told:?}");
    assert!(dsync.health().stuck.is_empty());
    job.abort();
}

#[actix::test]
async fn an_iterator_that_ends_ends_the_job_of_all_replicas_after_its_last_turn() {
    tokio::time::pause();
    let consul = Embedded::new();
    let begin = now().await;
    let begun = Begun::default();
    let mut replicas = Vec::new();
    for name in ["one", "two", "three"] {
        let dsync = runtime(name, &consul.link());
        let instants = [5, 10].map(|at| after(begin, at));
        let takes = Duration::from_secs(5);
        let job = job(&dsync, Schedule::at(instants), &begun, takes);
        replicas.push((dsync, job));
    }
    seconds(13).await;
    assert!(replicas.iter().all(|(_, job)| !job.is_finished()), "the last turn runs");
    seconds(30).await;
    for (_, job) in &mut replicas {
        assert_eq!(job.now_or_never().expect("it is over").unwrap(), Ok(()));
    }
    assert_eq!(*begun.borrow(), [5, 10].map(|at| after(begin, at)));
    let left = consul.entries().into_iter().find(|entry| entry.session.is_some());
    assert_eq!(left, None, "nobody leads any more");
    // A job without any instant is over at once.
    let empty = Schedule::at(std::iter::empty::<SystemTime>());
    let none = job(&replicas[0].0, empty, &begun, Duration::ZERO);
    seconds(5).await;
    assert_eq!(none.now_or_never().expect("it is over").unwrap(), Ok(()));
}

#[actix::test]
async fn instants_that_repeat_or_go_back_have_no_second_turn_and_an_endless_repetition_is_refused()
{
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let begin = now().await;
    let begun = Begun::default();
    let instants = [5, 5, 3, 10, 1, 10, 15].map(|at| after(begin, at));
    let running = job(&dsync, Schedule::at(instants), &begun, Duration::ZERO);
    seconds(30).await;
    assert_eq!(running.now_or_never().expect("it is over").unwrap(), Ok(()));
    assert_eq!(*begun.borrow(), [5, 10, 15].map(|at| after(begin, at)));

    let endless = Schedule::at(std::iter::repeat(after(begin, 40)));
    let running = job(&dsync, endless, &begun, Duration::ZERO);
    seconds(30).await;
    let refused = running.now_or_never().expect("it is over").unwrap();
    assert!(matches!(refused, Err(Error::Invalid { field: "schedule", .. })), "{refused:?}");
}

#[actix::test]
async fn a_changed_schedule_continues_with_its_first_instant_after_the_last_turn() {
    tokio::time::pause();
    let consul = Embedded::new();
    let dsync = runtime("one", &consul);
    let begin = now().await;
    let begun = Begun::default();
    // The turn of today; then the job is due each minute.
    let daily = job(&dsync, Duration::from_secs(86_400).into(), &begun, Duration::ZERO);
    seconds(5).await;
    assert_eq!(begun.borrow_mut().drain(..).count(), 1);
    daily.abort();
    seconds(1).await;
    let instants = (1..5).map(move |n| after(begin, n * 60));
    let job = job(&dsync, Schedule::at(instants), &begun, Duration::ZERO);
    seconds(10).await;
    assert_eq!(dsync.health().stuck, []);
    seconds(120).await;
    assert_eq!(*begun.borrow(), [60, 120].map(|at| after(begin, at)));
    job.abort();
}

#[actix::test]
async fn a_record_from_the_future_does_not_end_a_schedule_whose_last_instant_has_come() {
    tokio::time::pause();
    let entry = ".dsync/every/job";
    let begin = now().await;
    let consul = Embedded::new();
    let next = after(begin, 3_600).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let record = serde_json::json!({"next": next as u64, "session": "a", "token": 1, "attempt": 0});
    consul.write_key(entry, record.to_string());
    let begun = Begun::default();
    let dsync = runtime("one", &consul);
    let mut job = job(&dsync, Schedule::at([after(begin, 10)]), &begun, Duration::ZERO);
    seconds(200).await;
    assert!(futures::poll!(&mut job).is_pending());
    assert!(dsync.health().stuck[0].why.contains("from the future"));
    assert!(consul.delete_key(entry));
    seconds(90).await;
    assert_eq!(begun.borrow().len(), 1);
    assert!(futures::poll!(&mut job).is_ready(), "its last turn is over");
    assert_eq!(dsync.health().stuck, []);
}

#[actix::test]
async fn a_record_from_the_future_stops_a_schedule_until_it_is_deleted() {
    tokio::time::pause();
    let entry = ".dsync/every/job";
    let begin = now().await;
    for next in [after(begin, 3_600), after(begin, 1 << 40)] {
        let consul = Embedded::new();
        let next = next.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
        let record = serde_json::json!({"next": next, "session": "a", "token": 1, "attempt": 0});
        consul.write_key(entry, record.to_string());
        let begun = Begun::default();
        let dsync = runtime("one", &consul);
        let instants = (1..10_000).map(move |n| after(begin, n * 10));
        let job = job(&dsync, Schedule::at(instants), &begun, Duration::ZERO);
        seconds(200).await;
        assert_eq!(begun.borrow().len(), 0, "{next}");
        assert!(dsync.health().stuck[0].why.contains("from the future"));
        assert!(consul.delete_key(entry));
        seconds(90).await;
        assert!(!begun.borrow().is_empty(), "{next}");
        assert_eq!(dsync.health().stuck, []);
        job.abort();
    }
}
