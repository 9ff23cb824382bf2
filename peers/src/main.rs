//! Other clients of Consul's locks beside this crate: `peers/run` builds and runs this.
//!
//! Each client has a driver that understands three commands (see [`drive`]); those in Rust are part of
//! this program, the one in Go is `go/main.go`.

#[path = "../../benches/support/raw.rs"]
#[allow(dead_code, reason = "shared with the benches, which use more of it")]
mod raw;
#[path = "../../tests/support/mod.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod support;

mod drive;
mod fault;
mod floor;
mod log;
mod ours;
mod rs;
mod speed;

use std::path::PathBuf;
use std::process::Command;

const USAGE: &str = "usage: peers speed agent|cluster ROUNDS CLIENT... | hole FOLDER SECONDS CLIENT... | \
    reset FOLDER SECONDS CLIENT... | drive CLIENT URL PREFIX COMMAND NUMBER";

/// A command that runs the driver of a client.
fn driver(client: &str) -> Command {
    match client {
        "go" | "go-shared" => {
            let mut command = Command::new(std::env::var_os("PEERS_GO").expect("PEERS_GO"));
            command.arg(client);
            command
        }
        _ => {
            let mut command = Command::new(std::env::current_exe().expect("a path"));
            command.args(["drive", client]);
            command
        }
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse().unwrap_or_else(|_| panic!("{word}: {USAGE}"));
    match words[..] {
        ["speed", place, rounds, ref clients @ ..] => {
            speed::compare(place, number(rounds), clients);
        }
        [fault @ ("hole" | "reset"), folder, seconds, ref clients @ ..] => {
            let folder = PathBuf::from(folder);
            for client in clients {
                fault::play(fault, client, number(seconds) as u64, &folder);
            }
        }
        ["drive", client, url, prefix, command, count] => {
            drive::run(client, url, prefix, command, number(count));
        }
        _ => panic!("{USAGE}"),
    }
}
