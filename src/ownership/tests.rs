use super::*;

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
    ] {
        assert_eq!(serde_json::json!(reason), reason.name());
    }
}
