use super::*;
use crate::consul::fact::Entry;

fn read(value: &[u8], session: &str) -> Result<Option<LastTurn>, Error> {
    let entry =
        Entry { session: None, modify_index: 7, lock_index: 0, flags: 0, value: value.to_vec() };
    let seen = Seen::Found { entry, index: 9 };
    LastTurn::of(&Key::new("job").unwrap(), seen, Some(&SessionId::from(session)))
}

#[test]
fn only_an_attempt_of_the_current_session_is_our_own() {
    let token = FencingToken::new(5, 0).unwrap();
    let record = TurnRecord { next: 60_000, session: "ours".into(), token, attempt: 3 }.to_bytes();
    let last = |own| LastTurn { index: 7, next: 60_000, own };
    assert_eq!(read(&record, "ours"), Ok(Some(last(Some(3)))));
    assert_eq!(read(&record, "theirs"), Ok(Some(last(None))));
}

#[test]
fn an_entry_that_is_no_record_names_where_it_is() {
    for value in [&b""[..], b"{}", b"[]", br#"{"next":-1,"session":"a","token":1,"attempt":1}"#] {
        let error = read(value, "ours").unwrap_err().to_string();
        assert!(error.contains(".dsync/every") && error.contains("delete it"), "{error}");
    }
    let long = format!("\"{}\"", "a".repeat(100_000));
    let error = read(long.as_bytes(), "ours").unwrap_err().to_string();
    assert!(error.len() < 500 && error.contains("delete it"), "{error:.500}");
}
