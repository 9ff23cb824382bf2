use super::{super::tests::fixtures::*, *};

#[test]
fn every_byte_that_a_url_could_misread_is_escaped() {
    for (key, target) in [
        ("a/b-c_d.e~f", "/v1/kv/a/b-c_d.e~f?consistent"),
        ("a%2Fb", "/v1/kv/a%252Fb?consistent"),
        ("a b+c?d=1&e#f", "/v1/kv/a%20b%2Bc%3Fd=1%26e%23f?consistent"),
        ("größe", "/v1/kv/gr%C3%B6%C3%9Fe?consistent"),
    ] {
        let read = Read::Key(Key::new(key).unwrap());
        assert_eq!(read.request(&Keyspace::default()).target, target);
    }
}

#[test]
fn fences_and_records_lie_below_the_reserved_segment() {
    let target = |read: Read| read.request(&Keyspace::below(Some("p"))).target;
    assert_eq!(target(Read::Fence(id())), format!("/v1/kv/p/.dsync/{ID}?consistent"));
    let record = Read::Record(Key::new("a/b").unwrap());
    assert_eq!(target(record), "/v1/kv/p/.dsync/every/a/b?consistent");
}
