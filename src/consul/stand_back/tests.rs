use super::*;

#[test]
fn a_process_stands_back_only_when_it_is_addressed_and_not_for_ever() {
    let keeps = Duration::from_secs(15);
    let value = StandBack::value("a", keeps);
    assert_eq!(StandBack::demanded(&value, "a"), Some(keeps + StandBack::MARGIN));
    assert_eq!(StandBack::demanded(&value, "b"), None);
    let long = br#"{"stand_back":{"session":"a","pause_ms":18446744073709551615}}"#;
    assert_eq!(StandBack::demanded(long, "a"), Some(StandBack::LONGEST));
    for other in [&b""[..], b"a", b"{}", br#"{"stand_back":{"session":"a"}}"#] {
        assert_eq!(StandBack::demanded(other, "a"), None);
    }
}
