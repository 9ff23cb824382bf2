use super::*;
use crate::ownership::LossReason;

/// Every state of a key.
const STATES: [KeyState; 11] = [
    KeyState::Idle,
    KeyState::Held,
    KeyState::NoSession,
    KeyState::Trying,
    KeyState::Gathering,
    KeyState::Waiting,
    KeyState::Pausing,
    KeyState::Unclear,
    KeyState::Losing,
    KeyState::Releasing,
    KeyState::Observing,
];

// A new state must be last, and in the list.
const _: () = assert!(STATES.len() == KeyState::Observing as usize + 1);

/// The lines of a table in the page's script.
fn table(name: &str) -> Vec<&'static str> {
    let (_, table) = TEMPLATE.split_once(&format!("const {name} = {{\n")).unwrap();
    table.split_once("\n};").unwrap().0.lines().collect()
}

/// Whether a table has an entry for each value, and no other.
fn assert_complete(name: &str, values: &[impl Serialize]) {
    let lines = table(name);
    for value in values {
        let value = serde_json::to_value(value).unwrap();
        let entry = format!("  {}: ", value.as_str().unwrap());
        assert!(lines.iter().any(|line| line.starts_with(&entry)), "{name} lacks {value}");
    }
    assert_eq!(lines.len(), values.len(), "{name}");
}

#[test]
fn the_page_has_words_for_every_state_of_a_key() {
    assert_complete("STATES", &STATES);
}

#[test]
fn the_page_has_words_for_every_reason_of_a_loss() {
    assert_complete("REASONS", &LossReason::ALL);
}
