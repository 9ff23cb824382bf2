use super::*;

fn at(seconds: u64) -> Moment {
    Moment::default() + Duration::from_secs(1_000 + seconds)
}

#[test]
fn every_part_fits_into_the_whole_and_something_is_left_for_listings() {
    for slots in 1..=10_000 {
        let budget = Budget::new(slots);
        // The only place is for a blocking read; short reads then use other connections.
        assert_eq!(budget.side() + budget.blocking(), slots.max(2));
        for groups in 0..=budget.groups() {
            let singles = budget.singles(groups);
            assert!(singles + groups <= budget.blocking() || singles == 0, "{slots}");
            assert!(singles < budget.blocking(), "{slots}");
        }
    }
    assert_eq!(Budget::new(22).singles(0), 10);
    let mut streams = Budget::new(38);
    assert!(streams.carry(240) && !streams.carry(240));
    assert_eq!(streams.singles(8), 6_834);
}

#[test]
fn a_refusal_halves_what_is_in_use_down_to_one_connection() {
    let mut budget = Budget::new(16);
    budget.refused(at(0), 15);
    budget.refused(at(0), 15);
    assert_eq!(budget.connections(), (8, 16));
    // Unused allowance does not count.
    budget.refused(at(1), 3);
    assert_eq!(budget.connections(), (2, 16));
    for second in 2..9 {
        budget.refused(at(second), 2);
    }
    assert_eq!((budget.connections(), budget.side()), ((1, 16), 1));
}

#[test]
fn a_read_waits_for_less_time_while_it_may_occupy_a_scarce_connection() {
    let mut budget = Budget::new(6);
    assert_eq!(budget.longest_wait(at(0)), WAIT_WHEN_SCARCE);
    assert_eq!(budget.longest_wait(at(14)), WAIT_WHEN_SCARCE);
    assert_eq!(budget.longest_wait(at(15)), WAIT);
    budget.refused(at(20), 6);
    assert_eq!(budget.longest_wait(at(30)), WAIT_WHEN_SCARCE);
    budget.carry(240);
    assert_eq!(budget.longest_wait(at(30)), WAIT);
}

#[test]
fn over_http_2_connections_are_halved_with_all_reads_that_they_carry() {
    let mut budget = Budget::new(8);
    budget.carry(240);
    budget.refused(at(0), 5 * 240);
    assert_eq!((budget.connections(), budget.now()), ((3, 8), 720));
}

#[test]
fn quiet_lets_it_grow_by_one_connection_at_a_time() {
    let mut budget = Budget::new(4);
    assert_eq!(budget.next_wakeup(), None);
    budget.refused(at(0), 4);
    assert_eq!(budget.connections().0, 2);
    assert!(!budget.advance(at(19)));
    assert!(budget.advance(at(20)));
    assert_eq!((budget.connections().0, budget.next_wakeup()), (3, Some(at(40))));
    assert!(budget.advance(at(40)));
    assert_eq!((budget.connections(), budget.next_wakeup()), ((4, 4), None));
    assert!(!budget.advance(at(100)));
}

#[test]
fn the_agent_is_tried_from_time_to_time_while_reads_are_under_way() {
    let mut budget = Budget::new(4);
    let pause = Duration::from_secs(3);
    assert!(!budget.is_to_probe(at(0), 2, pause));
    assert!(!budget.is_to_probe(at(12), 2, pause));
    assert!(budget.is_to_probe(at(13), 2, pause));
    assert_eq!(budget.next_wakeup(), Some(at(26)));
    assert!(!budget.is_to_probe(at(26), 0, pause));
    assert_eq!(budget.next_wakeup(), None);
}

#[test]
fn whoever_has_many_connections_gives_up_more_than_whoever_has_few() {
    // An agent with room for 40 connections; both processes notice whenever it is full.
    let (mut one, mut other) = (Budget::new(38), Budget::new(38));
    other.refused(at(0), 3);
    for second in 0..3_600 {
        one.advance(at(second));
        other.advance(at(second));
        let used = [one.connections().0, other.connections().0];
        if used[0] + used[1] > 40 {
            one.refused(at(second), used[0]);
            other.refused(at(second), used[1]);
        }
    }
    let (one, other) = (one.connections().0, other.connections().0);
    assert!(one.abs_diff(other) <= 2, "{one} and {other}");
}
