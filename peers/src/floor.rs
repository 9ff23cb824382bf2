//! The raw calls that any lock needs, over connections that stay open.

use std::time::Instant;

use crate::drive::{SETTLE, took};
use crate::raw::Raw;

fn raw(url: &str) -> Raw {
    let address = url.strip_prefix("http://").and_then(|it| it.parse().ok());
    Raw::new(address.expect("an address"))
}

pub(crate) fn cycle(url: &str, prefix: &str, count: usize) {
    let mut raw = raw(url);
    let session = raw.session("1s");
    let key = format!("{prefix}/0");
    for _ in 0..count {
        let began = Instant::now();
        assert!(raw.acquire(&session, &key));
        raw.release(&session, &key);
        took(began);
    }
    raw.destroy(&session);
}

pub(crate) fn handover(url: &str, prefix: &str, count: usize) {
    let [mut reads, mut one, mut other] = [(); 3].map(|()| raw(url));
    let (mut former, mut latter) = (one.session("1s"), one.session("1s"));
    let key = format!("{prefix}/0");
    assert!(one.acquire(&former, &key));
    for _ in 0..count {
        reads.watch(&key);
        std::thread::sleep(SETTLE);
        let began = Instant::now();
        one.release(&former, &key);
        reads.receive();
        assert!(other.acquire(&latter, &key));
        took(began);
        std::mem::swap(&mut one, &mut other);
        std::mem::swap(&mut former, &mut latter);
    }
    one.destroy(&former);
    one.destroy(&latter);
}
