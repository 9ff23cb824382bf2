use super::*;

static_assertions::assert_impl_all!(Error: Send, Sync, std::error::Error, Clone);
static_assertions::assert_impl_all!(ConfigError: Send, Sync, std::error::Error);
// An I/O error means nothing without the step that met it.
static_assertions::assert_not_impl_any!(Error: From<std::io::Error>);
static_assertions::assert_not_impl_any!(ConfigError: From<std::io::Error>);

#[test]
fn an_error_names_the_holder_it_met() {
    let holder = Holder {
        session: "s-1".into(),
        session_name: Some("orders".into()),
        node: None,
        value: b"{\"pid\":7}"[..].into(),
        index: 3,
    };
    let held = Error::Held { key: Key::new("orders/7").unwrap(), holder: Box::new(holder) };
    let text = held.to_string();
    assert_eq!(text, "the lock orders/7 is held by session s-1 of \"orders\" saying {\"pid\":7}");
}

#[test]
fn an_error_about_a_key_names_it() {
    let key = Key::new("orders/7").unwrap();
    let lock = Error::unavailable(Step::Lock, "no answer").naming(&key);
    assert_eq!(lock.to_string(), "could not lock the key orders/7: no answer");
    let other = Key::new("orders/8").unwrap();
    assert_eq!(lock.clone().naming(&other), lock);
    let turn = Error::unknown(Step::Record, "no answer").naming(&key);
    let unknown = "could not learn whether this took effect: record a turn of the job";
    assert_eq!(turn.to_string(), format!("{unknown} orders/7: no answer"));
    // The session is no key's.
    let session = Error::unavailable(Step::CreateSession, "no answer").naming(&key);
    assert_eq!(session.to_string(), "could not create the session: no answer");
    let full = Error::TooManyKeys { key, limit: 9 };
    assert!(full.to_string().starts_with("no room for orders/7: "), "{full}");
}

#[test]
fn what_others_wrote_is_one_line_and_moves_no_cursor() {
    let wild = "\u{1b}[2Jall is well\r\n\u{202e}";
    let holder = Holder::of_text(wild);
    let held = || Box::new(holder.clone());
    let key = || Key::new("orders/7").unwrap();
    for error in [
        Error::Held { key: key(), holder: held() },
        Error::WaitedTooLong { key: key(), waited: Duration::ZERO, holder: Some(held()) },
        Error::Invalid { field: "key", why: wild.into() },
        Error::Denied { right: wild.into() },
        Error::unavailable(Step::Read, wild),
    ] {
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(text.chars().all(crate::escape::is_printable), "{text:?}");
            assert!(text.contains("all is well"), "{text}");
        }
    }
}
