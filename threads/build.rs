//! The sources that this crate shares with the library use loom's atomics here.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(dsync_loom)");
    println!("cargo::rustc-cfg=dsync_loom");
}
