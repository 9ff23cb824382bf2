//! Events that wake a blocking read, and events that do not.

use super::{Case, NO_DELAY, script::Script};

pub(crate) const CASES: &[Case] = &[
    ("wake: an existing key", wake_existing),
    ("wake: a held key is released, deleted, recreated", wake_lock),
    ("wake: a missing key", wake_missing),
    ("wake: prefixes", wake_prefixes),
    ("wake: the root prefix", wake_root),
    ("wake: several changes, several readers", wake_repeats),
    ("wake: keys only", wake_keys),
    ("wake: one session", wake_session),
    ("wake: the list of sessions", wake_sessions),
    ("wake: timeouts and odd waits", wake_timeouts),
];

fn wake_existing(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.put("kv/<p>k", "1");
    s.keep_header("I", "kv/<p>k");
    s.wait("k", "kv/<p>k?index=<I>");
    s.put("kv/<p>sibling", "x");
    s.put("kv/<p>k/longer", "x");
    s.put("kv/elsewhere/<p>x", "x");
    s.put("kv/<p>k", "1");
    s.delete("kv/<p>sibling");
    s.session("B", NO_DELAY);
    s.put("session/destroy/<B>", "");
    s.txn("set k v=2; get none");
    s.sleeps("k");
    s.put("kv/<p>k", "2");
    s.wakes("k");
    s.keep_header("I", "kv/<p>k");
    s.wait("deleted", "kv/<p>k?index=<I>");
    s.delete("kv/<p>k");
    s.wakes("deleted");
    s.put("kv/<p>k", "2");
    s.wait("recreated", "kv/<p>k?index=<I>");
    s.wakes("recreated");
    s.wait("passed", "kv/<p>k?index=1");
    s.wakes("passed");
    s.wait("beyond", "kv/<p>k?index=99999999&wait=2s");
    s.put("kv/<p>k", "3");
    s.sleeps("beyond");
    s.wakes("beyond");
    s.keep_header("I", "kv/<p>k");
    s.wait("txn", "kv/<p>k?index=<I>&consistent");
    s.txn("set k v=4");
    s.wakes("txn");
}

fn wake_lock(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.put("kv/<p>k?acquire=<A>", "a");
    s.keep_header("I", "kv/<p>k");
    s.wait("released", "kv/<p>k?index=<I>");
    s.put("kv/<p>k?acquire=<B>", "b");
    s.put("session/renew/<A>", "");
    s.sleeps("released");
    s.put("kv/<p>k?release=<A>", "a");
    s.wakes("released");
    s.put("kv/<p>k?acquire=<B>", "b");
    s.keep_header("I", "kv/<p>k");
    s.wait("ended", "kv/<p>k?index=<I>");
    s.put("session/destroy/<B>", "");
    s.wakes("ended");
    s.session("D", r#"{"LockDelay":"0s","Behavior":"delete"}"#);
    s.put("kv/<p>k?acquire=<D>", "d");
    s.keep_header("I", "kv/<p>k");
    s.wait("gone", "kv/<p>k?index=<I>");
    s.put("session/destroy/<D>", "");
    s.wakes("gone");
}

fn wake_missing(s: &mut Script) {
    s.put("kv/<p>m/sibling", "1");
    s.keep_header("I", "kv/<p>m/missing");
    s.wait("sibling", "kv/<p>m/missing?index=<I>");
    s.put("kv/<p>m/sibling", "1");
    s.sleeps("sibling");
    s.put("kv/<p>m/sibling", "2");
    s.wakes("sibling");
    s.keep_header("I", "kv/<p>m/missing");
    s.wait("created", "kv/<p>m/missing?index=<I>");
    s.session("A", NO_DELAY);
    s.sleeps("created");
    s.put("kv/<p>m/missing", "1");
    s.wakes("created");
    s.keep_header("I", "kv/<p>m/none?recurse");
    s.wait("prefix", "kv/<p>m/none?recurse&index=<I>");
    s.put("kv/<p>m/none/x", "1");
    s.wakes("prefix");
}

fn wake_prefixes(s: &mut Script) {
    s.put("kv/<p>in/a", "1");
    s.put("kv/<p>out", "1");
    s.keep_header("I", "kv/<p>in/?recurse");
    s.wait("changed", "kv/<p>in/?recurse&index=<I>");
    s.put("kv/<p>out", "2");
    s.put("kv/<p>in/a", "1");
    s.sleeps("changed");
    s.put("kv/<p>in/a", "2");
    s.wakes("changed");
    s.keep_header("I", "kv/<p>in/?recurse");
    s.wait("added", "kv/<p>in/?recurse&index=<I>");
    s.put("kv/<p>in/b", "1");
    s.wakes("added");
    s.keep_header("I", "kv/<p>in/?recurse");
    s.wait("removed", "kv/<p>in/?recurse&index=<I>");
    s.delete("kv/<p>in/b");
    s.wakes("removed");
    s.keep_header("I", "kv/<p>in/?recurse");
    s.wait("emptied", "kv/<p>in/?recurse&index=<I>");
    s.delete("kv/<p>in/?recurse");
    s.wakes("emptied");
}

fn wake_root(s: &mut Script) {
    s.delete("kv/?recurse");
    s.get("kv/?recurse");
    s.keep_header("I", "kv/?keys");
    s.wait("first", "kv/?keys&index=<I>");
    s.put("kv/<p>a", "1");
    s.wakes("first");
    s.keep_header("I", "kv/?recurse");
    s.wait("gone", "kv/?recurse&index=<I>");
    s.put("kv/<p>a", "1");
    s.session("A", NO_DELAY);
    s.sleeps("gone");
    s.delete("kv/<p>a");
    s.wakes("gone");
    s.put("kv/<p>b", "1");
    s.get("kv/?recurse");
    s.delete("kv/<p>b");
    s.put("kv/<p>c", "1");
    s.get("kv/?keys");
}

fn wake_repeats(s: &mut Script) {
    // Changes between two reads are seen as one, and none is missed.
    s.put("kv/<p>k", "1");
    s.keep_header("I", "kv/<p>k");
    for value in ["2", "3", "4"] {
        s.put("kv/<p>k", value);
    }
    s.wait("behind", "kv/<p>k?index=<I>");
    s.wakes("behind");
    s.keep_header("I", "kv/<p>k");
    s.delete("kv/<p>k");
    s.put("kv/<p>k", "4");
    s.wait("again", "kv/<p>k?index=<I>");
    s.wakes("again");
    s.keep_header("I", "kv/<p>k");
    s.wait("one", "kv/<p>k?index=<I>");
    s.wait("two", "kv/<p>k?raw&index=<I>");
    s.wait("three", "kv/<p>k?keys&index=<I>&stale");
    s.put("kv/<p>k", "5");
    s.wakes("one");
    s.wakes("two");
    s.wakes("three");
}

fn wake_keys(s: &mut Script) {
    s.put("kv/<p>in/a", "1");
    s.keep_header("I", "kv/<p>in/?keys");
    s.wait("keys", "kv/<p>in/?keys&index=<I>");
    s.put("kv/<p>out", "2");
    s.sleeps("keys");
    s.put("kv/<p>in/a", "2");
    s.wakes("keys");
}

fn wake_session(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.keep_header("I", "session/info/<A>");
    s.wait("info", "session/info/<A>?index=<I>");
    s.session("B", NO_DELAY);
    s.put("session/renew/<A>", "");
    s.put("kv/<p>k?acquire=<A>", "x");
    s.put("session/destroy/<B>", "");
    s.sleeps("info");
    s.put("session/destroy/<A>", "");
    s.wakes("info");
    s.keep_header("I", "session/info/<A>");
    s.wait("gone", "session/info/<A>?index=<I>");
    s.put("kv/<p>k", "y");
    s.sleeps("gone");
    s.session("C", NO_DELAY);
    s.wait("passed", "session/info/<C>?index=<I>");
    s.wakes("passed");
    s.keep_header("J", "session/info/<C>");
    s.wait("timeout", "session/info/<C>?index=<J>&wait=1s");
    s.session("D", NO_DELAY);
    s.wakes("timeout");
}

fn wake_sessions(s: &mut Script) {
    s.destroy_all();
    s.session("A", NO_DELAY);
    s.keep_header("I", "session/list");
    s.wait("created", "session/list?index=<I>");
    s.put("session/renew/<A>", "");
    s.put("kv/<p>k?acquire=<A>", "x");
    s.sleeps("created");
    s.session("B", NO_DELAY);
    s.wakes_unordered("created");
    s.keep_header("I", "kv/<p>missing");
    s.put("session/destroy/<A>", "");
    s.get("session/list");
    s.put("session/destroy/<B>", "");
    s.get("session/list");
}

fn wake_timeouts(s: &mut Script) {
    s.put("kv/<p>k", "1");
    s.keep_header("I", "kv/<p>k");
    s.wait("zero", "kv/<p>k?index=<I>&wait=0s");
    s.wait("0", "kv/<p>k?index=<I>&wait=0");
    s.wait("short", "kv/<p>k?index=<I>&wait=1ms");
    s.wakes("short");
    s.wait("negative", "kv/<p>k?index=<I>&wait=-1s");
    s.wait("fraction", "kv/<p>k?index=<I>&wait=0.5s");
    s.wakes("fraction");
    s.wait("missing", "kv/<p>missing?index=99999999&wait=200ms");
    s.wakes("missing");
    s.sleeps("zero");
    s.sleeps("0");
    s.sleeps("negative");
    s.put("kv/<p>k", "2");
    s.wakes("zero");
    s.wakes("0");
    s.wakes("negative");
}
