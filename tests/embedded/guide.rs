//! The tests of the guide's page `testing.md`, which shows them as a reader copies them.

mod fail_over;
mod handler;
mod mock;
mod reaction;
mod silence;

#[test]
fn the_guide_shows_these_tests_word_for_word() {
    let page = include_str!("../../docs/guide/testing.md");
    for shown in [
        include_str!("guide/silence.rs"),
        include_str!("guide/handler.rs"),
        include_str!("guide/reaction.rs"),
        include_str!("guide/fail_over.rs"),
        include_str!("guide/mock.rs"),
    ] {
        assert!(page.contains(&format!("```rust\n{shown}```\n")), "not in the guide:\n{shown}");
    }
}
