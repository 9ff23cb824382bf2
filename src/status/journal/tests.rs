use super::*;

fn at(seconds: u64) -> Moment {
    Moment::from_nanos(seconds * 1_000_000_000)
}

#[test]
fn a_thread_without_a_beat_for_ten_seconds_is_not_live_until_it_beats_again() {
    let pulse = Pulse::new(at(100));
    assert!(pulse.beats(at(109)));
    assert!(!pulse.beats(at(110)));
    pulse.beat(at(111));
    assert!(pulse.beats(at(112)));
    assert!(pulse.beats(at(105)), "the clock was read before the beat");
}

#[test]
fn a_runtime_stays_live_after_a_shutdown_and_not_after_any_other_end() {
    let (well, badly) = (Pulse::new(at(1)), Pulse::new(at(1)));
    well.end(true);
    badly.end(false);
    badly.beat(at(2));
    assert!(well.beats(at(1_000)));
    assert!(!badly.beats(at(2)));
}

#[test]
fn a_saturated_agent_shows_in_the_health_and_with_every_key_until_it_recovers() {
    let journal = Journal::new(Clock::Boot, Telemetry::new("test", false));
    let key = Key::new("k").unwrap();
    journal.set_watch_connections(Saturation { allowed: 6, most: 6 });
    assert_eq!((journal.health().saturation, journal.incidents().len()), (None, 0));
    let saturated = Saturation { allowed: 3, most: 6 };
    journal.set_watch_connections(saturated);
    journal.set_watch_connections(saturated);
    assert_eq!(journal.health().saturation, Some(saturated));
    assert!(journal.last_error(&key).unwrap().contains("3 of 6"));
    assert_eq!(journal.incidents().len(), 1);
    journal.set_watch_connections(Saturation { allowed: 6, most: 6 });
    assert_eq!((journal.health().saturation, journal.last_error(&key)), (None, None));
}

#[test]
fn an_incident_of_a_key_is_kept_after_many_incidents_of_the_session() {
    let journal = Journal::new(Clock::Boot, Telemetry::new("test", false));
    for count in 0..50 {
        journal.add_incident(None, format!("trouble {count}"));
    }
    let key = Key::new("k").unwrap();
    journal.add_incident(Some(&key), "stuck".into());
    let incidents = journal.incidents();
    assert_eq!(incidents.len(), MOST_INCIDENTS);
    assert_eq!((incidents[0].key.as_ref(), incidents[0].what.as_str()), (Some(&key), "stuck"));
    assert_eq!(journal.last_error(&key).as_deref(), Some("stuck"));
}

#[test]
fn incidents_are_bounded_and_a_repeated_one_is_listed_once() {
    let journal = Journal::new(Clock::Boot, Telemetry::new("test", false));
    let key = Key::new("k").unwrap();
    journal.add_incident(None, "session lost".into());
    for count in 0..50 {
        let other = Key::new(format!("{count}")).unwrap();
        journal.add_incident(Some(&other), "lost".into());
        journal.add_incident(Some(&key), "again".into());
    }
    let incidents = journal.incidents();
    assert_eq!(incidents.len(), MOST_INCIDENTS);
    assert_eq!((incidents[0].key.as_ref(), incidents[0].what.as_str()), (Some(&key), "again"));
    assert_eq!(incidents[1].key.as_ref().map(Key::as_str), Some("49"));
    assert_eq!(incidents.iter().filter(|incident| incident.what == "again").count(), 1);
    assert_eq!(incidents.last().map(|incident| incident.what.as_str()), Some("session lost"));
    assert_eq!(journal.last_error(&key).as_deref(), Some("again"));
    assert_eq!(journal.last_error(&Key::new("other").unwrap()), None);
    journal.add_incident(None, "x".repeat(100_000));
    assert_eq!(journal.incidents()[0].what.chars().count(), LONGEST_INCIDENT);
}
