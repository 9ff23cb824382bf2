use super::*;

fn why(key: &str) -> String {
    match Key::new(key) {
        Err(Error::Invalid { field: "key", why }) => why,
        other => panic!("{key:?} gave {other:?}"),
    }
}

#[test]
fn a_key_that_consul_would_redirect_or_reject_is_refused_with_the_reason() {
    for (key, word) in [
        ("", "empty"),
        ("/lead", "leading"),
        ("trail/", "trailing"),
        ("a//b", "'//'"),
        ("a/./b", "'.'"),
        ("../b", "'..'"),
        (".dsync", "reserved"),
        (".dsync/every/b", "reserved"),
        ("a/.dsync/b", "reserved"),
        ("a\0b", "control"),
        ("a\nb", "control"),
    ] {
        assert!(why(key).contains(word), "{key:?}: {}", why(key));
    }
    assert!(why(&"x".repeat(1 << 20)).contains("1048576 bytes"));
}

#[test]
fn spaces_unicode_and_url_characters_are_kept_unchanged() {
    for key in ["a b", "q?x=1&y#z", "100%", "größe/日本", "a+b", "...", "a..b"] {
        assert_eq!(Key::new(key).unwrap().as_str(), key);
    }
}

#[test]
fn different_lists_of_segments_never_join_to_the_same_key() {
    let key = |parts: &[&str]| Key::join(parts).unwrap();
    assert_ne!(key(&["a", "b"]), key(&["a/b"]));
    assert_ne!(key(&["a%2Fb"]), key(&["a/b"]));
    assert_eq!(key(&["orders", ".."]).as_str(), "orders/%2E%2E");
    assert_eq!(key(&["a\nb"]).as_str(), "a%0Ab");
    assert_eq!(key(&["a", ".dsync"]).as_str(), "a/%2E%64%73%79%6E%63");
    assert!(Key::join(["orders", ""]).is_err());
    assert!(Key::join::<&str>([]).is_err());
}

#[test]
fn a_key_from_json_passes_the_same_checks() {
    assert!(serde_json::from_str::<Key>("\"a/b\"").is_ok());
    assert!(serde_json::from_str::<Key>("\"a//b\"").is_err());
}
