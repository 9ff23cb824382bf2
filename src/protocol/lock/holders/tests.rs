use super::*;
use crate::consul::fact::Trouble;

fn exists(name: &str) -> SessionSeen {
    let (name, node) = (name.to_owned(), "n1".to_owned());
    SessionSeen::Exists { name, node, lock_delay: Duration::from_secs(5), ttl: None }
}

fn session(n: usize) -> SessionId {
    format!("s{n}").as_str().into()
}

#[test]
fn a_holder_is_asked_for_once_although_others_come_between() {
    let mut holders = Holders::default();
    for turn in 0..3 {
        for n in 0..3 {
            let is_new = holders.meet(&session(n));
            assert_eq!(is_new, turn == 0);
            if is_new {
                holders.asked(Ticket(n as u64));
            }
        }
    }
    // A late answer still belongs to the session that was queried.
    assert!(holders.answered(Ticket(1), &exists("second")));
    assert!(!holders.answered(Ticket(1), &exists("again")));
    assert!(holders.last().is_none());
    holders.meet(&session(1));
    let (last, facts) = holders.last().unwrap();
    assert_eq!((last, facts.name.as_str()), (&session(1), "second"));
}

#[test]
fn who_could_not_be_asked_for_is_asked_for_again() {
    let mut holders = Holders::default();
    assert!(holders.meet(&session(1)));
    holders.asked(Ticket(1));
    let unknown = SessionSeen::Unknown(Trouble::Timeout(Duration::from_secs(2)));
    assert!(holders.answered(Ticket(1), &unknown));
    assert!(holders.meet(&session(1)));
    holders.asked(Ticket(2));
    assert!(holders.answered(Ticket(2), &SessionSeen::NotShown));
    assert!(!holders.meet(&session(1)), "it is not shown to us, however often we ask");
}

#[test]
fn the_longest_unseen_is_forgotten_first() {
    let mut holders = Holders::default();
    for n in 0..MOST {
        assert!(holders.meet(&session(n)));
    }
    assert!(!holders.meet(&session(0)));
    assert!(holders.meet(&session(MOST)));
    assert!(!holders.meet(&session(0)));
    assert!(holders.meet(&session(1)));
}
