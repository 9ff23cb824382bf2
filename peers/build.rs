//! The tests' agents keep their logs in a folder that Cargo names for tests only.

fn main() {
    println!("cargo:rustc-env=CARGO_TARGET_TMPDIR={}", std::env::var("OUT_DIR").expect("Cargo"));
    println!("cargo:rerun-if-changed=build.rs");
}
