//! Seeds that once broke a guarantee, and why.

use super::runs::assert_all_hold;

/// What the histories of these seeds showed when they failed. A seed means
/// another history when the simulation itself changes: the cause is what is kept.
const SEEDS: [(u64, &str); 12] = [
    (1, "a copy of an answered lock request locked the key that had been deleted since"),
    (39, "the last renewal sent into an interruption hung until after the deadline"),
    (561, "the same, with requests and replies cut off"),
    (5302, "a restored snapshot brought back a lock that its process had given back"),
    (1_044_638, "in a rewound store the fence was raised to the very index that it had had"),
    (1_048_666, "a copy of a lock request that a lock-delay had refused came after that delay"),
    (2_043_029, "one ceased to follow a key and another began before the machine heard of it"),
    (
        2_718_916,
        "the copy of a lock request was refused for the first one, and then no read came back",
    ),
    (2_732_136, "what a late request had locked was closed by a lock-delay, and given up so"),
    (572, "a clock that runs a tenth fast gave every blocking read up, and saw no new store"),
    (100_564, "a lock waited in a new store for an index of the old one to be passed"),
    (2_408_445, "a restored snapshot let through a late lock request that was fenced off before"),
];

#[test]
fn seeds_that_failed_once_hold() {
    for (seed, _) in SEEDS {
        assert_all_hold(seed, 1, false);
    }
}
