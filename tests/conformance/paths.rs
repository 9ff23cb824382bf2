//! Keys in paths, and options of requests.

use super::{Case, NO_DELAY, script::Script};

pub(crate) const CASES: &[Case] = &[
    ("keys in paths", key_paths),
    ("redirected keys", key_redirects),
    ("unprintable keys", key_unprintable),
    ("reads of keys", reads),
    ("options of reads", read_options),
    ("conflicting and malformed options of writes", write_options),
];

fn key_paths(s: &mut Script) {
    for key in [
        "a",
        "a/",
        "a/b",
        "a%2Fc",
        "a%20b",
        "a+b",
        "a%2Bc",
        "q%3Fx",
        "h%23x",
        "p%25x",
        "a;b",
        "gr%C3%B6%C3%9Fe",
        "%E6%97%A5",
        "%ff",
        "a%ffb%fe",
        "...",
        "a..b",
        "a,b:c@d&e=f$g'(h)*!~",
        "%22quoted%22",
        "back%5Cslash",
        "%3Ctag%3E",
    ] {
        s.put(&format!("kv/<p>{key}"), "v");
        s.get(&format!("kv/<p>{key}"));
    }
    s.get("kv/<p>?keys");
    s.get("kv/<p>a?keys");
    s.get("kv/<p>?recurse");
}

fn key_redirects(s: &mut Script) {
    s.session("A", NO_DELAY);
    for target in [
        "/v1/kv//lead",
        "/v1/kv/%2Flead",
        "/v1/kv/a//b",
        "/v1/kv/a%2F%2Fb",
        "/v1/kv/a/./b",
        "/v1/kv/a/../b",
        "/v1/kv/%2e%2e",
        "/v1/kv/..",
        "/v1/kv/.",
        "/v1/kv/a/.",
        "/v1/kv//",
        "//v1/kv/a",
        "/v1/kv",
        "/v1/kv/x//a%20b%3Fc%25d%22e'f%3Cg&h+i;j?x=%41&y=a+b",
        "/v1/./txn",
    ] {
        s.get(target);
        s.put(target, "v");
        s.delete(target);
    }
    s.put("/v1/kv/a//b?acquire=<A>", "v");
    s.get("/v1/kv/");
    s.put("/v1/kv/", "v");
    s.delete("/v1/kv/");
}

fn key_unprintable(s: &mut Script) {
    for key in
        ["%00", "%0a", "%09", "%7f", "%c2%85", "%c2%a0", "%e2%80%8b", "%ef%bb%bf", "%zz", "%"]
    {
        s.put(&format!("kv/<p>x{key}"), "v");
        s.get(&format!("kv/<p>x{key}"));
    }
}

fn reads(s: &mut Script) {
    s.put("kv/<p>r/1?flags=7", "hello");
    s.put("kv/<p>r/2", "");
    s.put("kv/<p>r/d/3", "x");
    s.put("kv/<p>r/d/4", "x");
    s.put("kv/<p>rr", "x");
    for target in [
        "r/1",
        "r/1?raw",
        "r/1?raw=false",
        "r/1?raw&recurse",
        "r/2",
        "r/2?raw",
        "r?recurse",
        "r/?recurse",
        "r/?recurse&raw",
        "r/?keys",
        "r/?keys&separator=/",
        "r/?keys&separator=",
        "r?keys&separator=/",
        "?keys&separator=/",
        "r?keys&separator=d/",
        "nope",
        "nope?recurse",
        "nope?keys",
        "nope?raw",
        "r/1?keys&recurse",
    ] {
        s.get(&format!("kv/<p>{target}"));
    }
    s.put("kv/<p>a?recurse", "q");
    s.put("kv/<p>a?keys", "q");
    s.get("kv/<p>a");
}

fn read_options(s: &mut Script) {
    s.put("kv/<p>k", "v");
    for options in [
        "index=0",
        "index=-1",
        "index=abc",
        "index=",
        "index=1",
        "index=1&wait=5",
        "wait=abc",
        "index=1&wait=",
        "index=1&wait=-5s",
        "index=99999999999999999999",
        "stale",
        "consistent",
        "stale&consistent",
        "dc=dc1",
        "dc=",
        "dc=nope",
        "near=_agent",
        "max_stale=5",
        "wait=0",
        "index=1&wait=%zz",
        "a=%zz",
        "index=abc&wait=abc",
        "index=1;wait=5",
        "unknown=1",
        "&&",
    ] {
        s.get(&format!("kv/<p>k?{options}"));
        s.get(&format!("kv/<p>missing?{options}"));
    }
}

fn write_options(s: &mut Script) {
    s.session("A", NO_DELAY);
    for options in [
        "acquire=<A>&cas=1",
        "acquire=<A>&release=<A>",
        "release=<A>&cas=1&acquire=<A>",
        "acquire=a+b&cas=%2F%41~%22",
        "cas=",
        "cas=x",
        "cas=-1",
        "flags=",
        "flags=abc",
        "flags=-1",
        "flags=+5",
        "flags=%2B5",
        "flags=0x10",
        "flags=1_0",
        "flags=18446744073709551616",
        "acquire=<A>&flags=x",
        "index=abc",
        "wait=abc",
        "stale&consistent",
        "dc=nope",
        "dc=nope&flags=x",
        "acquire=abc&dc=nope",
    ] {
        s.put(&format!("kv/<p>k?{options}"), "v");
    }
    for options in ["cas=1&recurse", "cas=abc", "cas=", "dc=nope", "index=abc", "stale&consistent"]
    {
        s.delete(&format!("kv/<p>k?{options}"));
    }
    s.get("kv/<p>k");
}
