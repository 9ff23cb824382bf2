use std::time::Duration;

use super::*;
use crate::{ownership::LossReason, token::FencingToken};

fn at(seconds: u64) -> Moment {
    Moment::from_nanos(seconds * 1_000_000_000)
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn token(index: u64) -> FencingToken {
    FencingToken::new(index, 0).unwrap()
}

fn whats(history: &History) -> Vec<What> {
    history.report(at(0)).iter().map(|change| change.what).collect()
}

#[test]
fn an_election_and_its_end_are_two_changes_with_their_age_and_reason() {
    let (mut history, reason) = (History::default(), LossReason::KeyDeleted);
    history.add(at(1), &key("k"), &News::Acquired { token: token(1) });
    history.add(at(1), &key("k"), &News::Elected { token: token(1) });
    history.add(at(5), &key("k"), &News::Lost { token: token(1), reason });
    history.add(at(5), &key("k"), &News::Deposed { token: token(1), reason });
    assert_eq!(whats(&history), [What::Deposed, What::Elected]);
    let told = history.report(at(7));
    assert_eq!((told[0].ago, told[0].reason), (Duration::from_secs(2), Some(reason)));
    assert_eq!((told[1].ago, told[1].reason), (Duration::from_secs(6), None));
}

#[test]
fn a_deposition_replaces_only_the_loss_of_the_same_ownership() {
    let (mut history, reason) = (History::default(), LossReason::DeadlinePassed);
    history.add(at(1), &key("other"), &News::Lost { token: token(1), reason });
    history.add(at(1), &key("k"), &News::Lost { token: token(2), reason });
    history.add(at(1), &key("k"), &News::Deposed { token: token(1), reason });
    assert_eq!(whats(&history), [What::Deposed, What::Lost, What::Lost]);
}

#[test]
fn many_lost_locks_do_not_push_out_an_election() {
    let (mut history, reason) = (History::default(), LossReason::SessionGone);
    history.add(at(1), &key("k"), &News::Elected { token: token(1) });
    for count in 0..100 {
        history.add(at(2), &key(&format!("{count}")), &News::Lost { token: token(2), reason });
    }
    assert_eq!(whats(&history).len(), MOST);
    assert_eq!(whats(&history).last(), Some(&What::Elected));
    for index in 0..100 {
        history.add(at(3), &key("k"), &News::Elected { token: token(index) });
    }
    assert_eq!(whats(&history), [What::Elected; MOST]);
}

#[test]
fn a_loss_after_many_elections_is_kept() {
    let (mut history, reason) = (History::default(), LossReason::SessionGone);
    for index in 0..100 {
        history.add(at(3), &key("k"), &News::Elected { token: token(index) });
    }
    history.add(at(4), &key("lost"), &News::Lost { token: token(100), reason });
    assert_eq!((whats(&history).len(), whats(&history)[0]), (MOST, What::Lost));
}
