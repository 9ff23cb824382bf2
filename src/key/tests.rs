use super::*;

fn why(key: &str) -> String {
    match Key::new(key) {
        Err(Error::Invalid { field: "key", why }) => why,
        other => panic!("{key:?} gave {other:?}"),
    }
}

#[test]
fn refuses_what_consul_would_redirect_or_reject_and_says_why() {
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
        ("a\0b", "unprintable"),
        ("a\u{202e}b", "unprintable character '\\u{202e}'"),
        ("a\u{a0}b", "unprintable"),
        ("a\nb", "unprintable"),
    ] {
        assert!(why(key).contains(word), "{key:?}: {}", why(key));
    }
    assert!(why(&"x".repeat(1 << 20)).contains("1048576 bytes"));
}

#[test]
fn takes_spaces_unicode_and_url_characters_as_they_are() {
    for key in ["a b", "q?x=1&y#z", "100%", "größe/日本", "a+b", "...", "a..b"] {
        assert_eq!(Key::new(key).unwrap().as_str(), key);
    }
}

#[test]
fn joining_never_makes_two_inputs_one_key() {
    let key = |parts: &[&str]| Key::join(parts).unwrap();
    assert_ne!(key(&["a", "b"]), key(&["a/b"]));
    assert_ne!(key(&["a=2Fb"]), key(&["a/b"]));
    assert_eq!(key(&["orders", ".."]).as_str(), "orders/=2E=2E");
    assert_eq!(key(&["a\nb"]).as_str(), "a=0Ab");
    assert_eq!(key(&["a", ".dsync"]).as_str(), "a/=2E=64=73=79=6E=63");
    assert!(Key::join(["orders", ""]).is_err());
    assert!(Key::join::<&str>([]).is_err());
}

#[test]
fn joined_keys_pass_every_server_and_proxy() {
    for (segment, key) in [
        ("Ab-9_x,y.z", "Ab-9_x,y.z"),
        ("a..b", "a.=2Eb"),
        ("...", ".=2E."),
        ("1=2", "1=3D2"),
        (" a b ", "=20a=20b=20"),
        ("100%?&+:~\\", "100=25=3F=26=2B=3A=7E=5C"),
        ("größe", "gr=C3=B6=C3=9Fe"),
    ] {
        let joined = Key::join([segment]).unwrap();
        assert_eq!(joined.as_str(), key);
        assert!(is_portable(key), "{key}");
    }
    assert_eq!(Key::join(["a.", ".b"]).unwrap().as_str(), "a./.b");
    for key in ["a b", "a%2Fb", "a..b", "q?x&y", "größe"] {
        assert!(!is_portable(key), "{key}");
    }
}

#[test]
fn reads_from_json_with_the_same_checks() {
    assert!(serde_json::from_str::<Key>("\"a/b\"").is_ok());
    assert!(serde_json::from_str::<Key>("\"a//b\"").is_err());
}
