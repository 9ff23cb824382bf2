use proptest::prelude::*;

use super::*;

fn ids(names: &[&str]) -> BTreeSet<SessionId> {
    names.iter().map(|name| SessionId::from(*name)).collect()
}

#[test]
fn a_roster_is_written_as_go_writes_it_and_read_again() {
    let roster = Roster { limit: 2, holders: ids(&["b-1", "a-0"]) };
    let bytes = roster.to_bytes();
    assert_eq!(String::from_utf8_lossy(&bytes), r#"{"Limit":2,"Holders":{"a-0":true,"b-1":true}}"#);
    assert_eq!(Roster::parse(&bytes), Ok(Some(roster)));
}

#[test]
fn an_entry_without_holders_or_with_unknown_fields_is_understood() {
    for text in
        [r#"{"Limit":3,"Holders":null}"#, r#"{"Limit":3}"#, r#"{"Holders":{},"Limit":3,"New":[1]}"#]
    {
        assert_eq!(Roster::parse(text.as_bytes()), Ok(Some(Roster::empty(3))), "{text}");
    }
    assert_eq!(Roster::parse(b""), Ok(None));
    let off = Roster::parse(br#"{"Limit":1,"Holders":{"a":false}}"#);
    assert_eq!(off, Ok(Some(Roster { limit: 1, holders: ids(&["a"]) })), "only names count");
}

#[test]
fn an_entry_that_is_no_semaphores_is_an_error() {
    let long = format!(r#"{{"Limit":1,"Holders":{{"{}":true}}}}"#, "a".repeat(65));
    let many: Vec<String> = (0..=MOST_PERMITS).map(|n| format!("\"{n}\":true")).collect();
    let many = format!(r#"{{"Limit":1,"Holders":{{{}}}}}"#, many.join(","));
    for text in [
        "nonsense",
        "{}",
        "[]",
        "[1]",
        "null",
        r#"{"Limit":"2"}"#,
        r#"{"Limit":-1}"#,
        r#"{"Limit":1.5}"#,
        r#"{"Limit":1e400}"#,
        r#"{"Limit":2,"Holders":["a"]}"#,
        r#"{"Limit":2,"Holders":{"a":"yes"}}"#,
        r#"{"Limit":2,"Holders":{"":true}}"#,
        r#"{"Limit":2,"Holders":{"../a":true}}"#,
        &long,
        &many,
    ] {
        assert!(Roster::parse(text.as_bytes()).is_err(), "{text:.80}");
    }
    let quoted = format!("\"{}\"", "a".repeat(100_000));
    let error = Roster::parse(quoted.as_bytes()).unwrap_err();
    assert!(error.chars().count() <= LONGEST_ERROR, "it quotes the whole value");
    let deep = format!("{}{}", r#"{"Limit":1,"x":"#, "[".repeat(100_000));
    assert!(Roster::parse(deep.as_bytes()).is_err());
    assert!(Roster::parse(&[0xff, 0xfe]).is_err());
}

proptest! {
    #[test]
    fn no_value_makes_the_parser_panic(value in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Roster::parse(&value);
    }
}
