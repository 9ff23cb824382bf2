//! Transactions.

use super::{Case, NO_DELAY, NO_SESSION, script::Script};

pub(crate) const CASES: &[Case] = &[
    ("an identical lock keeps its index", identical_lock),
    ("txn: malformed bodies", txn_bodies),
    ("txn: writes", txn_writes),
    ("txn: locks", txn_locks),
    ("txn: checks", txn_checks),
    ("txn: deletes", txn_deletes),
    ("txn: all or nothing, and every fault is reported", txn_atomic),
    ("txn: fence-style transactions", txn_fences),
    ("txn: raises of a fence", txn_raises),
    ("txn: records beside a lock", txn_records),
    ("txn: permits of a semaphore", txn_permits),
    ("txn: writes by the owner of a lock", txn_owner_writes),
    ("txn: locks of several keys", txn_many_locks),
    ("txn: keys are not normalised", txn_keys),
    ("size limits", limits),
    ("lock-delay is refused before anything else", delay_first),
];

fn identical_lock(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.txn("lock k s=<A> v=x f=3");
    s.txn("lock k s=<A> v=x f=3");
    s.keep_index("I", "k");
    s.txn("lock k s=<A> v=y f=3");
    s.delete("kv/<p>k?cas=<I>");
    s.txn("lock k s=<A> v=y f=3");
    s.keep_index("J", "k");
    s.delete("kv/<p>k?cas=<J>");
    s.txn("lock k s=<B> v=z");
}

fn txn_bodies(s: &mut Script) {
    for body in [
        "",
        " ",
        "null",
        "[]",
        "{}",
        "5",
        "\"x\"",
        "[",
        "xx",
        "[5]",
        "[{}]",
        r#"[{"KV":null}]"#,
        r#"[{"KV":{}}]"#,
        r#"[{"KV":5}]"#,
        r#"[{"KV":{"Verb":"nope","Key":"a"}}]"#,
        r#"[{"KV":{"Verb":"SET","Key":"a"}}]"#,
        r#"[{"KV":{"Verb":"get-or-empty","Key":"a"}}]"#,
        r#"[{"KV":{"Verb":"set","Key":""}}]"#,
        r#"[{"KV":{"Verb":"set"}}]"#,
        r#"[{"KV":{"Verb":"lock","Key":""}}]"#,
        r#"[{"KV":{"Verb":5}}]"#,
        r#"[{"KV":{"Verb":"set","Key":5}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Value":5}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Value":"!!!"}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Value":"eA"}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Value":"eHh4eHh"}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Value":"eHh4eH!="}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Value":"_-=="}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Flags":"5"}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Flags":-5}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Flags":1.5}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Flags":18446744073709551616}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Index":"x"}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Session":5}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>a","Bogus":1}}]"#,
        r#"[{"Foo":{}}]"#,
    ] {
        s.put_filled("txn", body);
    }
    s.put("txn?stale&consistent", "[]");
    s.put("txn?stale", "[]");
    s.put("txn?consistent", "[]");
    s.put("txn?dc=nope", "[]");
    s.put("txn?index=abc&wait=abc", "[]");
}

fn txn_writes(s: &mut Script) {
    for body in [
        r#"[{"kv":{"verb":"set","key":"<p>low","value":"eA=="}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>n","Value":null,"Flags":null,"Index":null}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>n","Value":"eA==\n"}}]"#,
        r#"[{"KV":{"Verb":"set","Key":"<p>n","Flags":18446744073709551615}}]"#,
        r#"[{"KV":{"Verb":"get","Key":"<p>n"}}] junk"#,
    ] {
        s.put_filled("txn", body);
    }
    s.txn("set a v=val f=3");
    s.txn("set a v=val f=3");
    s.txn("get a");
    s.txn("cas a v=new i=1");
    s.txn("cas a v=new");
    s.keep_index("I", "a");
    s.txn("cas a v=new i=<I>");
    s.txn("cas b v=new i=7");
    s.txn("cas b v=new");
    s.txn("get a; get b");
    s.txn("get a; get missing");
    s.txn("get-tree a; get-tree b");
    s.txn("get-tree nothing");
    s.txn("get a; set a v=other; get a");
}

fn txn_locks(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.txn("lock k s=<A> v=x f=7");
    s.txn("lock k s=<A> v=x f=7");
    s.txn("lock k s=<B> v=x");
    s.txn("get k; lock k s=<A> v=y; get k");
    s.txn(&format!("lock k2 s={NO_SESSION}"));
    s.txn("lock k2 s=abc");
    s.txn("lock k2");
    s.txn("unlock k s=<B>");
    s.txn("unlock none s=<A>");
    s.txn("unlock k");
    s.txn("unlock k s=abc");
    s.txn("unlock k s=<A> v=left f=1");
    s.txn("unlock k s=<A>");
    s.txn("lock k s=<B>");
    s.txn("set k v=z");
    s.get("kv/<p>k");
    s.txn("lock k s=<B> v=z");
    s.txn("unlock k s=<B>; lock k s=<A> v=passed");
    s.get("kv/<p>k");
}

fn txn_checks(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.txn("lock k s=<A> v=x");
    s.put("kv/<p>free", "x");
    s.keep_index("I", "k");
    s.txn("check-session k s=<A>");
    s.txn("check-session k s=<B>");
    s.txn("check-session k");
    s.txn("check-session free");
    s.txn("check-session free s=abc");
    s.txn("check-session none s=<A>");
    s.txn("check-index k i=<I>");
    s.txn("check-index k i=1");
    s.txn("check-index k");
    s.txn("check-index none i=1");
    s.txn("check-not-exists none");
    s.txn("check-not-exists k");
    s.txn("check-session k s=<A>; set data v=fenced");
    s.txn("check-session k s=<B>; set data v=refused");
    s.txn("check-session k s=<A>; delete k");
    s.txn("check-not-exists k; get-tree data");
}

fn txn_deletes(s: &mut Script) {
    s.put("kv/<p>a", "");
    s.put("kv/<p>ab", "");
    s.put("kv/<p>b", "");
    s.txn("delete none");
    s.txn("delete-cas none i=1");
    s.txn("delete-cas a i=1");
    s.txn("delete-cas a");
    s.keep_index("I", "a");
    s.txn("delete-cas a i=<I>");
    s.txn("delete b");
    s.txn("delete-tree a");
    s.get("kv/<p>?keys");
    s.txn("delete-tree nothing");
}

fn txn_atomic(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.put("kv/<p>held?acquire=<B>", "b");
    s.put("kv/<p>old", "o");
    s.txn("lock a s=<A>; lock held s=<A>; set old v=new; delete old; set b v=x");
    s.get("kv/<p>?recurse");
    s.txn("check-not-exists a; check-not-exists old; get none; lock a s=<A>");
    s.txn(&format!("get none; lock a s={NO_SESSION}"));
    s.txn(&format!("lock a s={NO_SESSION}; get none"));
    s.txn("set a v=1; check-not-exists a; check-session a s=<A>");
    s.txn("nope a; set a; set a v=1");
    s.txn("delete-tree old; set none2 v=x; get missing");
    s.get("kv/<p>?recurse");
    s.get("kv/<p>missing");
    s.txn("check-not-exists m; lock m s=<A>; get m; delete m");
    s.get("kv/<p>?recurse");
}

fn txn_fences(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.txn("check-not-exists F; check-not-exists k; lock k s=<A> v=v f=1");
    s.txn("check-not-exists F; check-not-exists k; lock k s=<A> v=v f=1");
    s.keep_index("K", "k");
    s.txn("check-session k s=<A>; delete-cas k i=<K>");
    s.txn("cas F v=raised");
    s.keep_index("F", "F");
    s.txn("check-not-exists F; check-not-exists k; lock k s=<A> v=v f=1");
    s.txn("check-index F i=<F>; check-not-exists k; lock k s=<A> v=v f=1");
    s.txn("cas F v=again i=<F>");
    s.txn("cas F v=again i=<F>");
    s.txn("check-index F i=<F>; check-index k i=<K>; lock k s=<A> v=v f=1");
    s.keep_index("K", "k");
    s.txn("check-session k s=<A>; unlock k s=<A>; lock k2 s=<B>");
    s.txn("check-index k i=<K>; unlock k s=<A>");
    s.keep_index("K", "k");
    s.txn("check-index k i=<K>; lock k s=<B> v=w f=1");
    s.get("kv/<p>?recurse");
}

/// The transactions by which this crate raises the fence entry of a session.
fn txn_raises(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.txn("check-not-exists F; lock F s=<A> v=0");
    s.txn("check-not-exists F; lock F s=<A> v=0");
    s.keep_index("F", "F");
    s.txn("check-index F i=<F>; check-not-exists k; lock k s=<A> v=x f=3");
    s.keep_index("K", "k");
    s.txn("check-index F i=<F>; lock F s=<A> v=1");
    s.keep_index("G", "F");
    // A late raise, and a late lock.
    s.txn("check-index F i=<F>; lock F s=<A> v=1");
    s.txn("check-index F i=<F>; check-index k i=<K>; lock k s=<A> v=y f=3");
    s.txn("check-index F i=<G>; check-index k i=<K>; lock k s=<A> v=y f=3");
    s.get("kv/<p>F?consistent");
    s.put("session/destroy/<A>", "");
    s.get("kv/<p>?recurse");
    s.txn("check-index F i=<G>; lock F s=<A> v=2");
    s.keep_index("H", "F");
    s.txn("check-index F i=<H>; lock F s=<A> v=2");
    s.txn("check-index F i=<H>; check-not-exists k; lock k s=<A> v=x f=3");
    s.txn("delete F");
    s.txn("check-not-exists F; lock F s=<A> v=0");
    s.get("kv/<p>?recurse");
}

fn txn_owner_writes(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    let value = "check-session k s=<A>; check-index k i=<I>; lock k s=<A> v=new f=3";
    let entries = "check-session k s=<A>; check-index k i=<I>; check-not-exists r; set d v=1 f=9; \
                   delete e";
    s.txn("lock k s=<A> v=x f=3");
    s.keep_index("I", "k");
    s.txn(entries);
    s.txn(entries);
    s.get("kv/<p>d");
    // A new value moves the index and keeps the lock's count.
    s.txn(value);
    s.txn(value);
    s.txn(entries);
    s.keep_index("I", "k");
    s.txn(value);
    s.put("kv/<p>r", "x");
    s.txn(entries);
    s.txn("check-session k s=<A>; check-index k i=<I>; check-index r i=1; delete d");
    s.delete("kv/<p>r");
    // The next ownership of the same session.
    s.txn("unlock k s=<A>");
    s.txn(entries);
    s.txn("lock k s=<A> v=x f=3");
    s.txn(entries);
    s.keep_index("I", "k");
    s.txn(entries);
    // Another session takes the lock over.
    s.txn("check-session k s=<A>; check-index k i=<I>; unlock k s=<A>; lock k s=<B> v=y f=3");
    s.txn(entries);
    s.txn(value);
    s.get("kv/<p>k");
    s.delete("kv/<p>k");
    s.txn(entries);
    s.get("kv/<p>?recurse");
}

fn txn_records(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.txn("check-session k s=<A>; cas r v=1 i=0");
    s.txn("lock k s=<A> v=x");
    s.txn("check-session k s=<A>; cas r v=1 i=0");
    s.txn("check-session k s=<A>; cas r v=1 i=0");
    s.txn("check-session k s=<B>; cas r v=1 i=0");
    s.keep_index("R", "r");
    s.txn("check-session k s=<B>; cas r v=2 i=<R>");
    s.txn("check-session k s=<A>; cas r v=2 i=<R>");
    s.txn("check-session k s=<A>; cas r v=2 i=<R>");
    s.get("kv/<p>r");
    s.delete("kv/<p>r");
    s.txn("check-session k s=<A>; cas r v=3 i=<R>");
    s.txn("unlock k s=<A>");
    s.txn("check-session k s=<A>; cas r v=3 i=0");
}

/// The transactions by which this crate takes and returns permits, and removes the dead.
fn txn_permits(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    let join = |id: &str, index: &str, value: &str| {
        format!(
            "check-not-exists fence; lock s/{id} s=<{id}> v=x f=3; cas s/.lock v={value} i={index} f=3"
        )
    };
    s.txn(&join("A", "0", "a"));
    s.txn(&join("B", "0", "b"));
    s.keep_index("I", "s/.lock");
    s.txn(&join("B", "<I>", "ab"));
    s.txn(&join("B", "<I>", "abc"));
    s.keep_index("J", "s/.lock");
    // An unchanged value keeps the index.
    s.txn(&join("A", "<J>", "ab"));
    s.keep_index("K", "s/.lock");
    s.txn("lock s/A s=<B> v=x f=3; cas s/.lock v=c i=<K> f=3");
    s.get("kv/<p>s/?recurse");
    // Leaving, twice, and the last one.
    s.txn("cas s/.lock v=b i=<K> f=3; delete s/A");
    s.txn("cas s/.lock v=b i=<K> f=3; delete s/A");
    s.keep_index("L", "s/.lock");
    s.txn("check-index s/.lock i=1; delete s/.lock; delete s/B");
    // B has ended: its entry is unlocked, and is removed with it.
    s.keep_index("B0", "s/B");
    s.txn("cas s/.lock v=c i=<L> f=3; delete-cas s/B i=1");
    s.txn("cas s/.lock v=c i=<L> f=3; check-not-exists s/B");
    s.txn("cas s/.lock v=c i=<L> f=3; delete-cas s/B i=<B0>; check-not-exists s/A");
    s.keep_index("M", "s/.lock");
    s.txn("check-index s/.lock i=<M>; delete s/.lock; delete s/B");
    s.txn("check-index s/.lock i=<M>; delete s/.lock; delete s/B");
    s.get("kv/<p>s/?recurse");
}

/// The transactions that this crate sends for many keys at once.
fn txn_many_locks(s: &mut Script) {
    s.session("A", NO_DELAY);
    s.session("B", NO_DELAY);
    s.put("kv/<p>held?acquire=<B>", "b");
    s.put("kv/<p>old", "o");
    s.keep_index("O", "old");
    let lock = |key: &str| format!("check-not-exists {key}; lock {key} s=<A> v=x f=3");
    let old = |index: &str| format!("check-index old i={index}; lock old s=<A> v=x f=3");
    let all = |locks: &[String]| format!("check-not-exists fence; {}", locks.join("; "));
    s.txn(&all(&[lock("a"), lock("held"), old("1"), lock("b")]));
    s.get("kv/<p>?keys");
    s.txn(&all(&[lock("a"), old("<O>"), lock("b")]));
    s.txn(&all(&[lock("a"), lock("c")]));
    s.put("kv/<p>fence", "");
    s.txn(&all(&[lock("c"), lock("d")]));
    s.txn("lock c s=abc; lock d s=abc");
    let most: Vec<String> = (0..31).map(|n| lock(&format!("n{n}"))).collect();
    s.txn(&most.join("; "));
    s.txn(&format!("check-index old i=1; {}; check-not-exists e", most.join("; ")));
}

fn txn_keys(s: &mut Script) {
    for key in ["/lead", "a//b", "..", "with\\\"quote", "new\\nline", "nul\\u0000", "größe", " "]
    {
        let body = |verb: &str| format!(r#"[{{"KV":{{"Verb":"{verb}","Key":"<p>{key}"}}}}]"#);
        s.put_filled("txn", &body("set"));
        s.put_filled("txn", &body("get"));
        s.put_filled("txn", &body("check-not-exists"));
        s.put_filled("txn", &body("delete"));
        s.put_filled("txn", &body("get"));
    }
}

fn limits(s: &mut Script) {
    let value = |length| "v".repeat(length);
    s.put("kv/<p>k", &value(524_288));
    s.put("kv/<p>k", &value(524_289));
    s.get("kv/<p>k?keys");
    let txn = |length| {
        format!(r#"[{{"KV":{{"Verb":"set","Key":"k","Value":"{}"}}}}]"#, "eHh4".repeat(length))
    };
    s.put("txn", &txn(120_000));
    s.put("txn", &txn(140_000));
    s.put("kv/<p>small", "x");
    s.txn(&vec!["get small"; 64].join(";"));
    s.txn(&vec!["get small"; 65].join(";"));
    let long = "k".repeat(5000);
    s.put(&format!("kv/<p>{long}"), "x");
    s.get(&format!("kv/<p>{long}?raw"));
    s.delete("kv/k");
}

fn delay_first(s: &mut Script) {
    s.session("A", r#"{"LockDelay":"30s"}"#);
    s.session("B", NO_DELAY);
    s.txn("lock k s=<A> v=x");
    s.put("session/destroy/<A>", "");
    s.txn("get none; lock k s=<B>");
    s.txn("lock k s=abc");
    s.txn(&format!("lock k s={NO_SESSION}"));
    s.txn("lock k");
    s.txn("check-not-exists k; lock k s=<B>; lock k s=<B>; set");
    s.put(&format!("kv/<p>k?acquire={NO_SESSION}"), "");
    s.put("kv/<p>k?acquire=abc", "");
    s.put("kv/<p>k?acquire=<B>", "");
    s.put("kv/<p>k?acquire=", "");
    s.txn("unlock k s=<B>");
    s.txn("set k v=written");
    s.delete("kv/<p>k");
    s.put("kv/<p>k?acquire=<B>", "");
    s.get("kv/<p>k");
    s.session("C", r#"{"LockDelay":"-5s"}"#);
    s.txn("lock j s=<C>");
    s.put("session/destroy/<C>", "");
    s.txn("lock j s=<B>");
}
