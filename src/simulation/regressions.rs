//! Seeds that once broke a guarantee, and why.

use super::runs::assert_all_hold;

/// The cause of each failure. When the simulation changes, a seed gives another
/// history; the recorded cause remains true.
const SEEDS: [(u64, &str); 54] = [
    (1, "a duplicate of an answered lock request locked the key after its deletion"),
    (39, "the last renewal sent during an interruption hung past the deadline"),
    (561, "as seed 39, with requests and replies cut off"),
    (5302, "a restored snapshot brought back a lock that its process had released"),
    (1_044_638, "in a rewound store, the fence was raised to its earlier index"),
    (1_048_666, "a duplicate of a lock request refused for lock-delay arrived after the delay"),
    (2_043_029, "a follower left and another came before the machine was notified"),
    (
        2_718_916,
        "a duplicate lock request was refused because of the first, then every read failed",
    ),
    (2_732_136, "a late request's lock was under lock-delay and was abandoned in that state"),
    (572, "a clock running a tenth fast abandoned every blocking read and missed a new store"),
    (100_564, "a lock waited in a new store for an index of the old store"),
    (10_286, "a follower was not notified of the holder of a key with foreign flags"),
    (16_799, "a session whose destruction was denied kept its lock until its TTL"),
    (18_728, "a wait began before its session opened, in a store that was replaced in between"),
    (5_025_733, "a lock's actor died before it sent that its session was suspect"),
    (5_030_898, "in a rewound store, a watch waited for an index of the old store"),
    (2_408_445, "a restored snapshot admitted a late lock request that had been fenced off"),
    (3_028_972, "others changed a semaphore's entry between each read and the release after it"),
    (3_031_444, "as seed 3,028,972"),
    (3_071_291, "as seed 3,028,972"),
    (3_074_374, "as seed 3,028,972"),
    (3_043_626, "a session's actor died while the end of an earlier session was not answered"),
    (3_095_954, "as seed 3,043,626"),
    (3_031_124, "a snapshot brought back a lock, and its process stopped before it looked"),
    (3_168_168, "a snapshot brought back a lock, and its process left before it looked"),
    (3_034_070, "a lock was taken away, and its holder's watch was not answered"),
    (3_099_898, "as seed 3,034,070"),
    (3_175_171, "as seed 3,034,070"),
    (3_072_076, "an election that was over ended again, and gave a dead session another two TTLs"),
    (4_024_072, "a late removal of a holder expected an index that a restored entry had again"),
    (
        4_275_553,
        "in an emptied store, a semaphore's entry had an index again, and a late leave passed",
    ),
    (4_066_908, "a slow caller's lease was taken for a later ownership with the same index"),
    (4_071_283, "as seed 4,066,908"),
    (
        4_095_087,
        "each process found out about a restored store by a lock, and ended its session with it",
    ),
    (
        6_165_502,
        "the actor of a removed slot took a last turn, and took back its successor's offer",
    ),
    (7_317_474, "a restored snapshot brought back a session with locks that were still in line"),
    (
        7_381_767,
        "a held key had a lower index in a restored store, and was checked without a pause",
    ),
    (10_050_046, "a copy of a lock request came after the right that the request had lacked"),
    (10_537_687, "a lock that a snapshot brought back was seen late by a process that observed it"),
    (10_544_160, "an entry of a rewound store had the watched index, and another holder"),
    (11_065_791, "a watch of a semaphore's entry took it for another's, since no session holds it"),
    (11_045_796, "locks of an ended session were still in line, and were taken for new attempts"),
    (10_105_264, "a lock that a snapshot brought back was written over, and its process left"),
    (
        12_134_058,
        "in a restored store, a semaphore's entry had an index again, and a leave overwrote it",
    ),
    (13_502_069, "as seed 4,095,087: the session's end overtook the release of that lock"),
    (13_708_876, "the holders of a semaphore were listed while its entry had foreign flags"),
    (13_801_993, "a leader that was handed the key could not write its own value for a moment"),
    (13_818_966, "a read was answered after a write that took effect after it was served"),
    (14_131_519, "a leader's write was answered late, while the next lock of the key was in line"),
    (15_721_616, "as seed 11,045,796, for a leader"),
    (19_315_649, "as seed 4,066,908, for two leases with the same token"),
    (16_065_644, "the first copy of a lock request locked the key, and the second was denied"),
    (22_020_549, "a dead actor's lock in line was sent again while its successor owned the key"),
    (22_767_539, "as seed 16,065,644, while a set waited for the key and for another one"),
];

#[test]
fn seeds_that_failed_once_hold() {
    for (seed, _) in SEEDS {
        assert_all_hold(seed, 1, false);
    }
}
