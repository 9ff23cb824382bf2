use super::*;

fn watch(after: Option<u64>, wait: Duration) -> Watch {
    Watch { key: Key::new("k").unwrap(), after, wait }
}

#[test]
fn a_watch_never_sends_the_zeros_that_consul_reads_as_not_given() {
    let target = |after, wait| watch(after, wait).request(&Keyspace::default()).target;
    let wait = Duration::from_secs(30);
    assert_eq!(target(Some(7), wait), "/v1/kv/k?index=7&wait=30000ms");
    assert_eq!(target(Some(0), Duration::ZERO), "/v1/kv/k?index=1&wait=1ms");
    assert_eq!(target(None, wait), "/v1/kv/k?consistent");
}

#[test]
fn a_watch_has_its_wait_what_consul_adds_to_it_and_what_a_fast_clock_skips() {
    let (wait, limit) = (Duration::from_secs(32), Duration::from_secs(2));
    assert_eq!(watch(Some(7), wait).limit(limit), Duration::from_secs(40));
    assert_eq!(watch(None, wait).limit(limit), limit);
}
