use super::*;

#[test]
fn what_another_process_wrote_into_a_key_is_printed_escaped() {
    let holder = Holder {
        session: "s-1".into(),
        session_name: None,
        node: None,
        value: b"{\"a\":1}\n\x1b[31m \xff"[..].into(),
        index: 3,
    };
    let debug = format!("{holder:?}");
    assert!(debug.contains(r#"value: "{\"a\":1}\n\x1b[31m \xff""#), "{debug}");
    let long = format!("{:?}", Holder::mock("a", vec![0xff; 512 * 1024]));
    assert!(long.contains("…") && long.len() < 2_000, "{} bytes", long.len());
    assert!(!holder.to_string().contains(['\n', '\u{1b}']));
    // `Display` prints only values that are UTF-8.
    let readable = Holder { value: "größe\n\x1b[31m".as_bytes().into(), ..holder };
    assert_eq!(readable.to_string(), r"session s-1 saying größe\n\u{1b}[31m");
}

#[test]
fn the_end_of_a_release_has_words_and_json() {
    let lost = Released::AlreadyLost(LossReason::SessionGone);
    for (released, text, json) in [
        (Released::Confirmed, "released", r#""confirmed""#),
        (
            lost,
            "lost before its release: the Consul session is gone",
            r#"{"already_lost":"session_gone"}"#,
        ),
    ] {
        assert_eq!(released.to_string(), text);
        assert_eq!(serde_json::to_string(&released).unwrap(), json);
        assert_eq!(serde_json::from_str::<Released>(json).unwrap(), released);
    }
}

#[cfg(feature = "metrics")]
#[test]
fn a_reason_has_one_name_in_labels_and_in_json() {
    for reason in [
        LossReason::DeadlinePassed,
        LossReason::SessionGone,
        LossReason::KeyDeleted,
        LossReason::ForceReleased,
        LossReason::StoreReplaced,
        LossReason::RuntimeFailed,
        LossReason::Shutdown,
        LossReason::Resigned,
        LossReason::Released,
    ] {
        assert_eq!(serde_json::json!(reason), reason.name());
    }
}
