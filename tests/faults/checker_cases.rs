//! Tests of the checker: it finds each fault of a history, and nothing else.

use crate::checker::{Logs, Pause, Report};
use crate::history::{SPOILS, Spoil, spoiled};
use crate::record::{Event, Own, What, Write};

fn own(token: u64) -> Own {
    Own { key: "k".into(), token }
}

/// `a` holds from 10 to 20 and learns of the loss at 25, then `b` holds from 30 to 40 and releases.
fn good() -> Logs {
    let mut logs = Logs::default();
    let lost = What::Lost { own: own(1), reason: "deadline_passed".into(), valid: false };
    logs.events.push((
        "a".into(),
        vec![
            Event { at: 10, what: What::Granted(own(1)) },
            Event { at: 23, what: What::Invalid { own: own(1), deadline: 22 } },
            Event { at: 25, what: lost },
            Event { at: 50, what: What::Finished },
        ],
    ));
    logs.events.push((
        "b".into(),
        vec![
            Event { at: 30, what: What::Granted(own(2)) },
            Event { at: 41, what: What::Released { own: own(2), lost: false } },
            Event { at: 50, what: What::Finished },
        ],
    ));
    for (at, process, token) in [(11, "a", 1), (20, "a", 1), (31, "b", 2), (40, "b", 2)] {
        write(&mut logs, at, process, token);
    }
    logs
}

fn write(logs: &mut Logs, at: u64, process: &str, token: u64) {
    logs.writes.push(Write { at, until: at, process: process.into(), own: own(token) });
}

fn found(logs: &Logs) -> [usize; 5] {
    let report = Report::of(logs);
    [
        report.overlaps.len(),
        report.disorder.len(),
        report.untold.len(),
        report.stale_checks,
        report.late_writes,
    ]
}

pub(crate) fn a_good_history_passes() {
    let report = Report::of(&good());
    report.assert_safe();
    assert_eq!((report.grants, report.writes, report.changes), (2, 4, 1));
    assert_eq!(report.overlap, Some(-10));
    assert_eq!(report.lateness.len(), 1);
    assert_eq!(report.lateness[0].as_nanos(), 3);
    assert_eq!(report.losses["deadline_passed"], 1);
}

pub(crate) fn an_overlap_is_found() {
    let mut logs = good();
    write(&mut logs, 31, "a", 1);
    assert_eq!(found(&logs), [1, 0, 0, 0, 1]);
    assert_eq!(Report::of(&logs).overlap, Some(1));
    // This also holds with an ownership between them.
    let Logs { events, .. } = &mut logs;
    events[1].1.insert(2, Event { at: 45, what: What::Granted(own(3)) });
    events[1].1.insert(3, Event { at: 46, what: What::Released { own: own(3), lost: false } });
    write(&mut logs, 45, "b", 3);
    write(&mut logs, 46, "a", 1);
    assert_eq!(found(&logs)[0], 2);
}

pub(crate) fn an_early_grant_is_found() {
    let mut logs = good();
    logs.events[1].1[0].at = 19;
    assert_eq!(found(&logs), [1, 0, 0, 0, 0]);
}

pub(crate) fn tokens_out_of_order_are_found() {
    let mut logs = good();
    logs.events[1].1[0].what = What::Granted(own(1));
    logs.events[1].1[1].what = What::Released { own: own(1), lost: false };
    write(&mut logs, 40, "b", 1);
    assert_eq!(found(&logs)[1], 1);
}

pub(crate) fn a_loss_that_is_not_told_is_found() {
    let mut logs = good();
    logs.events[0].1.remove(2);
    assert_eq!(found(&logs), [0, 0, 1, 0, 0]);
    // A killed process cannot log anything.
    logs.events[0].1.pop();
    assert_eq!(found(&logs), [0, 0, 0, 0, 0]);
}

pub(crate) fn a_loss_told_twice_or_wrongly_or_too_early_is_found() {
    let lost = |token, valid| Event {
        at: 26,
        what: What::Lost { own: own(token), reason: "session_gone".into(), valid },
    };
    let mut twice = good();
    twice.events[0].1.insert(3, lost(1, false));
    assert_eq!(found(&twice), [0, 0, 1, 0, 0]);
    let mut another = good();
    another.events[0].1.insert(3, lost(7, false));
    assert_eq!(found(&another), [0, 0, 1, 0, 0]);
    let mut returned = good();
    returned.events[1].1.insert(2, lost(2, false));
    assert_eq!(found(&returned), [0, 0, 1, 0, 0]);
    let mut early = good();
    early.events[0].1[2] = lost(1, true);
    assert_eq!(found(&early), [0, 0, 1, 0, 0]);
}

pub(crate) fn a_check_that_lies_after_a_pause_is_found() {
    let mut logs = good();
    logs.pauses.push(Pause { process: "a".into(), from: 15, to: 20, outlasts: false });
    assert_eq!(found(&logs), [0, 0, 0, 0, 0]);
    logs.pauses[0].outlasts = true;
    assert_eq!(found(&logs), [0, 0, 0, 1, 0]);
}

/// Its process was stopped after it had won, and learned of it when it was over.
pub(crate) fn a_grant_that_is_told_late_and_was_never_valid_is_no_overlap() {
    let late = |asked| {
        let mut logs = good();
        let events = [
            Event { at: asked, what: What::Asks("k".into()) },
            Event { at: 35, what: What::Granted(Own { key: "k".into(), token: 0 }) },
        ];
        logs.events.push(("c".into(), events.into()));
        found(&logs)
    };
    assert_eq!(late(9), [0, 0, 0, 0, 0]);
    // One that was asked for after the other grant can not have been won before it.
    assert_eq!(late(34), [1, 1, 0, 0, 0]);
}

/// A process that is slow to write what it checked in time is told from one that checked too late.
pub(crate) fn a_write_that_was_checked_after_its_successor_s_is_found() {
    for (checked, overtaken) in [(29, 0), (32, 1)] {
        let mut logs = good();
        write(&mut logs, checked, "a", 1);
        let report = Report::of(&logs);
        assert_eq!((report.late_writes, report.overtaken_writes), (1, overtaken), "{checked}");
    }
}

pub(crate) fn an_ownership_that_comes_back_is_found() {
    let mut logs = good();
    write(&mut logs, 24, "a", 1);
    let report = Report::of(&logs);
    assert_eq!((report.revived.len(), report.overlaps.len()), (1, 0));
    // So is a release that was confirmed after the next grant.
    let mut logs = good();
    let events = &mut logs.events[0].1;
    events.splice(
        1..3,
        [
            Event { at: 32, what: What::Releases(own(1)) },
            Event { at: 33, what: What::Released { own: own(1), lost: false } },
        ],
    );
    assert_eq!(found(&logs)[0], 1);
}

/// The other judge sees the same copies: `scripts/judge`.
pub(crate) fn a_history_that_was_spoiled_is_found() {
    let mut logs = good();
    // A third ownership, so that the second has a successor in another process.
    logs.events[0].1.insert(3, Event { at: 45, what: What::Granted(own(3)) });
    logs.events[1].1.insert(1, Event { at: 41, what: What::Releases(own(2)) });
    logs.events[0].1.insert(0, Event { at: 9, what: What::Asks("k".into()) });
    write(&mut logs, 46, "a", 3);
    let found = spoiled(&logs);
    assert_eq!(found.iter().map(|(spoil, _)| *spoil).collect::<Vec<_>>(), SPOILS);
    let wrong = found.iter().filter(|(spoil, good)| spoil.is_harmless() != *good);
    assert_eq!(wrong.map(|(spoil, _)| *spoil).collect::<Vec<Spoil>>(), []);
}

pub(crate) fn every_line_is_read_as_it_was_written() {
    let all = [
        What::Asks("k".into()),
        What::Gone("k".into()),
        What::Granted(own(9)),
        What::Releases(own(9)),
        What::Invalid { own: own(9), deadline: 7 },
        What::Lost { own: own(9), reason: "session_gone".into(), valid: true },
        What::Released { own: own(9), lost: true },
        What::Rests,
        What::Finished,
        What::Failed("two words\nand a line".into()),
    ];
    for what in all {
        let event = Event { at: 3, what };
        let line = event.line();
        let read = Event::parse(line.trim_end()).expect("our own line");
        assert_eq!(read.line(), line);
    }
    let write = Write::parse(Write::line(3, "p", &own(9)).trim_end()).expect("our own line");
    assert_eq!((write.at, &*write.process, &write.own), (3, "p", &own(9)));
    assert!(write.until > write.at);
    assert_eq!(Write::parse("3 4 p k"), None, "cut off");
}
