use super::*;
use crate::ownership::LossReason;

#[test]
fn the_page_has_words_for_every_reason_of_a_loss() {
    let (_, reasons) = TEMPLATE.split_once("const REASONS = {").unwrap();
    let (reasons, _) = reasons.split_once("};").unwrap();
    for reason in LossReason::ALL {
        let name = serde_json::to_value(reason).unwrap();
        assert!(reasons.contains(&format!("\n  {}: ", name.as_str().unwrap())), "{name}");
    }
    assert_eq!(reasons.lines().filter(|line| line.contains(": ")).count(), LossReason::ALL.len());
}
