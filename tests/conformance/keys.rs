//! Locks, entries and indexes of keys.

use super::{Case, NO_DELAY, NO_SESSION, script::Script};

pub(crate) const CASES: &[Case] = &[
    ("acquire and release", acquire_release),
    ("acquire and release with odd sessions", acquire_odd),
    ("check-and-set writes", cas),
    ("flags", flags),
    ("deletes", deletes),
    ("LockIndex is not monotonic", lock_index),
    ("session ids in capitals", capitals),
    ("end of a session: release", end_releases),
    ("end of a session: delete", end_deletes),
    ("indexes after deletes", delete_indexes),
    ("index of a missing key and of other tables", table_indexes),
    ("failed writes move no table's index", failed_writes),
];

fn acquire_release(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    let all = [
        ("acquire=<A>&flags=5", "1"),
        ("acquire=<B>", "2"),
        ("acquire=<A>&flags=5", "1"),
        ("acquire=<A>", "3"),
        ("release=<B>", ""),
        ("release=<A>", ""),
        ("release=<A>", "zz"),
        ("acquire=<B>", "4"),
        ("", "plain"),
        ("acquire=<A>", "5"),
        ("release=<B>&flags=9", "left"),
        ("acquire=<A>", "6"),
    ];
    for (options, body) in all {
        s.put(&format!("kv/<p>k?{options}"), body);
        s.get("kv/<p>k");
    }
    s.delete("kv/<p>k");
    s.put("kv/<p>k?release=<A>", "");
    s.put("kv/<p>k?acquire=<B>", "7");
    s.get("kv/<p>k");
}

fn acquire_odd(s: &mut Script) {
    s.put("kv/<p>k", "v");
    for session in ["", "abc", NO_SESSION, &"z".repeat(36)] {
        s.put(&format!("kv/<p>k?acquire={session}"), "x");
        s.put(&format!("kv/<p>k?release={session}"), "x");
        s.put(&format!("kv/<p>missing?release={session}"), "x");
    }
    s.get("kv/<p>k");
    s.get("kv/<p>missing");
}

fn cas(s: &mut Script) {
    s.put("kv/<p>k?cas=0", "x");
    s.put("kv/<p>k?cas=0", "y");
    s.keep_index("I", "k");
    s.put("kv/<p>k?cas=<I>", "x");
    s.put("kv/<p>k?cas=<I>", "z");
    s.put("kv/<p>k?cas=<I>", "w");
    s.put("kv/<p>other?cas=5", "w");
    s.get("kv/<p>k");
    s.session("A", NO_DELAY);
    s.put("kv/<p>k?acquire=<A>", "held");
    s.keep_index("J", "k");
    s.put("kv/<p>k?cas=<J>", "written");
    s.get("kv/<p>k");
}

fn flags(s: &mut Script) {
    for flags in ["9223372036854775808", "18446744073709551615", "0", "007"] {
        s.put(&format!("kv/<p>k?flags={flags}"), "v");
        s.get("kv/<p>k");
    }
    s.put("kv/<p>k", "v");
    s.get("kv/<p>k");
}

fn deletes(s: &mut Script) {
    s.session("A", r#"{"LockDelay":"20s"}"#);
    s.session("B", NO_DELAY);
    s.put("kv/<p>k?acquire=<A>", "v");
    s.keep_index("I", "k");
    s.delete("kv/<p>k?cas=1");
    s.delete("kv/<p>k?cas=0");
    s.delete("kv/<p>missing?cas=5");
    s.delete("kv/<p>missing?cas=0");
    s.delete("kv/<p>missing");
    s.delete("kv/<p>k?cas=<I>");
    s.get("kv/<p>k");
    s.put("kv/<p>k?acquire=<B>", "now");
    s.get("kv/<p>k");
    s.put("kv/<p>kk", "");
    s.put("kv/<p>j", "");
    s.delete("kv/<p>k?recurse");
    s.get("kv/<p>?keys");
    s.delete("kv/<p>nothing?recurse");
    s.delete("kv/<p>j?acquire=<A>");
    s.get("kv/<p>?keys");
}

fn lock_index(s: &mut Script) {
    s.session("A", NO_DELAY);
    let step = |s: &mut Script, options: &str| {
        s.put(&format!("kv/<p>k?{options}"), "");
        s.get("kv/<p>k");
    };
    for options in [
        "acquire=<A>",
        "release=<A>",
        "acquire=<A>",
        "release=<A>",
        "acquire=<A>",
        "",
        "acquire=<A>",
    ] {
        step(s, options);
    }
    step(s, "release=<A>");
    step(s, "acquire=<A>");
    s.delete("kv/<p>k");
    step(s, "acquire=<A>");
}

fn capitals(s: &mut Script) {
    // Placeholders are replaced unchanged, so convert to capitals here.
    s.session("A", NO_DELAY);
    s.put("kv/<p>k?acquire=<A>", "v");
    s.capitals("A", "C");
    s.put("session/renew/<C>", "");
    s.get("session/info/<C>");
    s.put("kv/<p>k?acquire=<C>", "v");
    s.txn("lock other s=<C>");
    s.put("kv/<p>k?release=<C>", "v");
    s.put("session/destroy/<C>", "");
    s.get("kv/<p>?recurse");
}

fn end_releases(s: &mut Script) {
    s.session("A", r#"{"LockDelay":"30s"}"#);
    s.session("B", NO_DELAY);
    s.put("kv/<p>a?acquire=<A>&flags=4", "x");
    s.put("kv/<p>b?acquire=<A>", "y");
    s.put("kv/<p>c?acquire=<B>", "z");
    s.put("session/destroy/<A>", "");
    s.get("kv/<p>?recurse");
    s.put("session/destroy/<B>", "");
    s.get("kv/<p>?recurse");
    s.get("session/info/<A>");
}

fn end_deletes(s: &mut Script) {
    s.session("A", r#"{"LockDelay":"30s","Behavior":"delete"}"#);
    s.session("B", NO_DELAY);
    s.put("kv/<p>a?acquire=<A>", "x");
    s.put("kv/<p>b?acquire=<A>", "y");
    s.put("kv/<p>b?release=<A>", "y");
    s.put("session/destroy/<A>", "");
    s.get("kv/<p>?recurse");
    s.get("kv/<p>a");
    s.txn("lock a s=<B>");
    s.txn("lock b s=<B>");
}

fn delete_indexes(s: &mut Script) {
    s.put("kv/<p>t/a", "1");
    s.put("kv/<p>t/b", "2");
    s.put("kv/<p>u", "3");
    s.get("kv/<p>t/?recurse");
    s.delete("kv/<p>t/a");
    s.get("kv/<p>t/?recurse");
    s.get("kv/<p>t/?keys");
    s.get("kv/<p>t/b");
    s.get("kv/<p>t/a");
    s.put("kv/<p>u", "4");
    s.get("kv/<p>t/?recurse");
    s.get("kv/<p>t/a");
    s.get("kv/<p>t/a?recurse");
    s.delete("kv/<p>t/?recurse");
    s.put("kv/<p>u", "5");
    s.get("kv/<p>t/?recurse");
    s.get("kv/<p>t/b?recurse");
    s.get("kv/<p>?keys");
}

fn table_indexes(s: &mut Script) {
    s.put("kv/<p>k", "1");
    s.get("kv/<p>missing");
    s.session("A", NO_DELAY);
    s.get("kv/<p>missing");
    s.get(&format!("session/info/{NO_SESSION}"));
    s.get("session/info/<A>");
    s.put("kv/<p>k", "2");
    s.get("session/info/<A>");
    s.get("kv/<p>missing");
    s.put("session/renew/<A>", "");
    s.get("session/info/<A>");
    s.put("kv/<p>k?acquire=<A>", "2");
    s.get("session/info/<A>");
    s.put("session/destroy/<A>", "");
    s.get("session/info/<A>");
    s.get("kv/<p>missing");
    s.put(&format!("session/destroy/{NO_SESSION}"), "");
    s.get("session/info/<A>");
}

fn failed_writes(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.put("kv/<p>k?acquire=<A>", "1");
    s.get("kv/<p>missing");
    s.put("kv/<p>k?acquire=<B>", "2");
    s.put("kv/<p>k?cas=1", "2");
    s.put("kv/<p>k?acquire=<A>", "1");
    s.txn("set new v=x; get none");
    s.txn("lock k s=<B>");
    s.delete("kv/<p>none");
    s.get("kv/<p>missing");
    s.get("kv/<p>k");
    s.put("kv/<p>j", "1");
    s.get("kv/<p>missing");
}
