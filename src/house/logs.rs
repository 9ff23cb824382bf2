//! Whether the log is called only through `crate::logs`.

use std::fs;

use super::House;

#[test]
fn the_log_is_called_only_where_its_panics_are_caught() {
    let (house, mut wrong) = (House::read(), Vec::new());
    for path in house.files.values().filter(|path| !path.ends_with("src/logs.rs")) {
        let text = fs::read_to_string(path).unwrap();
        let mut code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        // The fields of events call nothing.
        let names = |line: &str| line.replace("tracing::field", "").contains("tracing::");
        if code.any(names) {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "use crate::logs in {wrong:?}");
}
