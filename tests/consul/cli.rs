//! The command-line tool `dsync`.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::{ffi::OsStrExt as _, process::CommandExt as _};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use actix_dsync::{
    Campaign, Error, Holder, LossReason, Release, TryAcquire,
    events::{Filter, LockLost},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::certificates::Folder;
use crate::credentials::{ask, auth_method, jwt, logins, policy, text};
use crate::locks::{acquire, agent, at, key, next, runtime};
use crate::support::consul::Agent;
use crate::support::proxy::{Mode, Proxy};

/// The tool, if it was built: with the feature `cli`.
fn tool(url: &str, prefix: &str) -> Option<Command> {
    let Some(program) = option_env!("CARGO_BIN_EXE_dsync") else {
        eprintln!("SKIPPED: without the feature `cli`");
        return None;
    };
    let mut tool = Command::new(program);
    tool.env("CONSUL_HTTP_ADDR", url).env("DSYNC_PREFIX", prefix).stdin(Stdio::null());
    Some(tool)
}

fn output(tool: &mut Command, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = tool.args(arguments).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

/// A command under a lock that says when it runs, and when it gets SIGTERM. Its shell prints what
/// the signal ends, so it has a standard error of its own.
const STUBBORN: &str =
    "exec 2>/dev/null; trap 'echo term' TERM; echo runs; while :; do sleep 0.05; done";

fn start(mut tool: Command, arguments: &[&str]) -> (Child, impl Iterator<Item = String> + use<>) {
    let tool = tool.args(arguments).stdout(Stdio::piped()).spawn();
    let mut tool = tool.expect("it runs");
    let lines = BufReader::new(tool.stdout.take().expect("piped")).lines();
    (tool, lines.map_while(Result::ok))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tool_runs_a_command_under_a_lock_and_exits_as_it_does() {
    let Some(mut tool) = tool(&agent().url(), "cli-run") else { return };
    let shell = "echo $DSYNC_KEY $DSYNC_TOKEN; exit 7";
    let (code, told, errors) = output(&mut tool, &["lock", "k", "--", "sh", "-c", shell]);
    assert_eq!(code, Some(7), "{told}{errors}");
    let token = told.trim().strip_prefix("k ").expect("the key comes first");
    let token: u64 = token.parse().expect("a number");
    let dsync = runtime("cli-run");
    let lease = dsync.send(TryAcquire::new(key("k"))).await.expect("it was released");
    assert!(lease.token().as_u64() > token);
    let _ = dsync.send(Release(lease)).await.expect("a release");
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_has_its_arguments_as_they_are_and_its_exit_code_whatever_the_parent_ignores() {
    let Some(mut tool) = tool(&agent().url(), "cli-odd") else { return };
    let program = tool.get_program().to_owned();
    let (shell, name) = ("trap '' CHLD; exec \"$@\"", OsStr::from_bytes(b"caf\xe9"));
    let ignoring = ["-c", shell, "sh"].map(OsStr::new);
    let locked = ["lock", "k", "--", "sh", "-c", "printf %s \"$1\"; exit 7", "sh"].map(OsStr::new);
    let mut started = Command::new("sh");
    started.args(ignoring).arg(&program).args(locked).arg(name);
    for (key, value) in tool.get_envs() {
        started.env(key, value.expect("it is set"));
    }
    let Output { status, stdout, stderr } = started.stdin(Stdio::null()).output().expect("it runs");
    assert_eq!((status.code(), stdout), (Some(7), name.as_bytes().to_vec()), "{stderr:?}");
    let (code, _, errors) = output(tool.env("DSYNC_PREFIX", ""), &["list"]);
    assert_eq!(code, Some(0), "an empty variable counts as unset: {errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_stopped_ends_when_the_tool_gets_a_signal() {
    let Some(tool) = tool(&agent().url(), "cli-frozen") else { return };
    let shell = "echo $$; kill -STOP $$; echo goes on";
    let (mut tool, mut lines) = start(tool, &["lock", "k", "--", "sh", "-c", shell]);
    let pid = lines.next().and_then(|pid| pid.parse().ok()).expect("its process id");
    until(|| status_of(pid, "State:").contains('T')).await;
    kill_process(Pid::from_child(&tool), Signal::TERM).expect("our own child");
    assert_eq!(tool.wait().expect("our own child").code(), Some(128 + 15));
    assert_eq!(agent().operator().kv_get("cli-frozen/k"), None, "it was released");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tool_runs_as_many_commands_as_a_semaphore_has_permits() {
    let url = agent().url();
    let Some(first) = tool(&url, "cli-permits") else { return };
    let second = tool(&url, "cli-permits").expect("it was built");
    let hold = ["lock", "-n", "2", "s", "--", "sh", "-c", "echo $DSYNC_KEY; read x"];
    let mut held: Vec<_> = [first, second]
        .into_iter()
        .map(|mut tool| {
            tool.stdin(Stdio::piped());
            let (child, mut said) = start(tool, &hold);
            assert_eq!(said.next().as_deref(), Some("s/.lock"));
            child
        })
        .collect();
    let ask = |limit| {
        let mut tool = tool(&url, "cli-permits").expect("it was built");
        output(&mut tool, &["lock", "-n", limit, "--within", "0", "s", "--", "true"])
    };
    let (code, _, errors) = ask("2");
    assert!(code == Some(75) && errors.contains("limit 2"), "{errors}");
    let (code, _, errors) = ask("3");
    assert!(code == Some(78) && errors.contains("has the limit 2, not 3"), "{errors}");
    for child in &mut held {
        drop(child.stdin.take());
        child.wait().expect("our own child");
    }
    assert_eq!(ask("2").0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tool_says_whether_locks_can_work_here() {
    let Some(mut here) = tool(&agent().url(), "cli-preflight") else { return };
    let (code, told, errors) = output(&mut here, &["preflight", "k"]);
    assert!(code == Some(0) && told.starts_with("preflight: passed\n"), "{told}{errors}");
    let mut nowhere = tool("http://127.0.0.1:1", "cli-preflight").expect("it was built");
    let (code, told, errors) = output(&mut nowhere, &["preflight", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert!(code == Some(1) && found["passed"] == false, "{told}{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tool_shows_the_holder_and_refuses_a_held_lock() {
    let url = agent().url();
    let ask = |arguments: &[&str]| tool(&url, "cli-held").map(|mut it| output(&mut it, arguments));
    let dsync = runtime("cli-held");
    let lease = acquire(&dsync, "jobs/a").await;
    let Some((code, _, errors)) = ask(&["lock", "--within", "0", "jobs/a", "--", "true"]) else {
        return;
    };
    assert_eq!(code, Some(75), "{errors}");
    let within = ask(&["lock", "--within", "0.3", "jobs/a", "--", "true"]).expect("it runs");
    assert_eq!(within.0, Some(75), "{within:?}");

    let (code, told, _) = ask(&["list"]).expect("it runs");
    assert_eq!(code, Some(0));
    assert!(told.lines().any(|line| line.starts_with("jobs/a  test")), "{told}");
    let (_, told, _) = ask(&["list", "jobs/", "--json"]).expect("it runs");
    let listed: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(listed[0]["key"], "jobs/a", "{told}");
    assert_eq!(ask(&["list", "other", "--json"]).expect("it runs").1.trim(), "[]");

    let (code, told, _) = ask(&["explain", "jobs/a"]).expect("it runs");
    assert!(code == Some(0) && told.contains("session name  test"), "{told}");
    assert_eq!(ask(&["explain", "jobs/free"]).expect("it runs").0, Some(1));
    for wrong in [&["lock", "k"][..], &["lock", "a//b", "--", "true"], &["unknown"]] {
        assert_eq!(ask(wrong).expect("it runs").0, Some(2), "{wrong:?}");
    }
    let missing = ask(&["lock", "free", "--", "/no/such/command"]).expect("it runs");
    assert_eq!(missing.0, Some(127), "{missing:?}");
    assert!(lease.is_valid());
    drop(lease);
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    let nobody = tool("http://127.0.0.1:1", "cli-held").map(|mut it| output(&mut it, &["list"]));
    assert_eq!(nobody.expect("it runs").0, Some(69));
}

/// Cuts the tool off, and checks that its command is stopped before the lock is free.
async fn stops_the_command_in_time(prefix: &str, errors: Stdio) {
    let proxy = Proxy::to(agent().http_addr());
    let Some(mut tool) = tool(&proxy.url(), prefix) else { return };
    tool.stderr(errors);
    let dsync = runtime(prefix);
    let (mut tool, mut lines) = start(tool, &["lock", "k", "--", "sh", "-c", STUBBORN]);
    assert_eq!(lines.next().as_deref(), Some("runs"));
    proxy.set(Mode::BlackHole);
    assert_eq!(lines.next().as_deref(), Some("term"), "it is asked first");
    // The end of its output is the end of its process.
    assert_eq!(lines.next(), None);
    let refused = dsync.send(TryAcquire::new(key("k"))).await;
    assert!(matches!(refused, Err(Error::Held { .. } | Error::LockDelay { .. })), "{refused:?}");
    proxy.set(Mode::Forward);
    assert_eq!(tool.wait().expect("our own child").code(), Some(76));
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_stopped_before_anybody_else_can_have_its_lock() {
    stops_the_command_in_time("cli-lost", Stdio::inherit()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_stopped_in_time_although_the_tool_cannot_print() {
    let (reader, mut full) = std::io::pipe().expect("a pipe");
    // As much as a pipe takes.
    full.write_all(&[0; 64 * 1024]).expect("room");
    stops_the_command_in_time("cli-full", full.into()).await;
    drop(reader);
    let (reader, broken) = std::io::pipe().expect("a pipe");
    drop(reader);
    stops_the_command_in_time("cli-broken", broken.into()).await;
}

/// A line of `/proc/<pid>/status`.
fn status_of(pid: i32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().trim().to_owned()
}

async fn until(what: impl Fn() -> bool) {
    let met = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), met).await.expect("soon");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_is_stopped_stops_its_command_and_goes_on_with_it() {
    let Some(mut tool) = tool(&agent().url(), "cli-stop") else { return };
    // As an interactive shell does; in a group that nobody could continue, nothing stops.
    tool.process_group(0);
    // One process: a shell that waits for its child to begin shows no stop.
    let shell = "echo $$; exec sleep 600";
    let (mut tool, mut lines) = start(tool, &["lock", "k", "--", "sh", "-c", shell]);
    let command: i32 = lines.next().expect("its number").parse().expect("a number");
    let pid = Pid::from_child(&tool);
    let is_stopped = |pid| status_of(pid, "State:").starts_with('T');
    kill_process(pid, Signal::TSTP).expect("our own child");
    until(|| is_stopped(pid.as_raw_nonzero().get()) && is_stopped(command)).await;
    kill_process(pid, Signal::CONT).expect("our own child");
    until(|| !is_stopped(command)).await;
    kill_process(pid, Signal::USR1).expect("our own child");
    let ended = tool.wait().expect("our own child").code();
    assert_eq!(ended, Some(128 + Signal::USR1.as_raw()), "the signal reached the command");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_shell_could_continue_it_the_tool_is_not_stopped() {
    let Some(tool) = tool(&agent().url(), "cli-orphan") else { return };
    // Leads a session of its own.
    let mut alone = Command::new("setsid");
    alone.arg(tool.get_program());
    for (key, value) in tool.get_envs() {
        alone.env(key, value.expect("it is set"));
    }
    alone.stdin(Stdio::null());
    let shell = "echo runs; sleep 1; echo ends";
    let (mut tool, mut lines) = start(alone, &["lock", "k", "--", "sh", "-c", shell]);
    assert_eq!(lines.next().as_deref(), Some("runs"));
    kill_process(Pid::from_child(&tool), Signal::TSTP).expect("our own child");
    assert_eq!(lines.next().as_deref(), Some("ends"));
    assert_eq!(tool.wait().expect("our own child").code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_gets_a_signal_while_it_waits_leaves_in_good_order() {
    let Some(tool) = tool(&agent().url(), "cli-waits") else { return };
    let dsync = runtime("cli-waits");
    let lease = acquire(&dsync, "k").await;
    let (mut tool, _) = start(tool, &["lock", "k", "--", "true"]);
    catches_sigterm(&tool).await;
    kill_process(Pid::from_child(&tool), Signal::TERM).expect("our own child");
    assert_eq!(tool.wait().expect("our own child").code(), Some(128 + 15));
    drop(lease);
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_stopped_as_soon_as_its_lock_is_lost() {
    let Some(tool) = tool(&agent().url(), "cli-destroyed") else { return };
    let dsync = runtime("cli-destroyed");
    let (mut tool, mut lines) = start(tool, &["lock", "k", "--", "sh", "-c", STUBBORN]);
    assert_eq!(lines.next().as_deref(), Some("runs"));
    let operator = agent().operator();
    let session = operator.kv_get("cli-destroyed/k").and_then(|entry| entry.session);
    operator.destroy_session(&session.expect("it is held"));
    assert_eq!(tool.wait().expect("our own child").code(), Some(76));
    let refused = dsync.send(TryAcquire::new(key("k"))).await;
    assert!(matches!(refused, Err(Error::LockDelay { .. })), "{refused:?}");
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_the_release_finds_lost_is_reported() {
    let Some(mut tool) = tool(&agent().url(), "cli-taken") else { return };
    let program = tool.get_program().to_string_lossy().into_owned();
    let takes_it_away = ["lock", "k", "--", &*program, "force-release", "k", "--immediate"];
    let (code, told, errors) = output(&mut tool, &takes_it_away);
    assert_eq!(code, Some(76), "{told}{errors}");
    assert!(errors.contains("the lock k was lost: "), "{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_ended_under_its_lock_gives_the_exit_code_although_no_release_is_confirmed()
{
    let proxy = Proxy::to(agent().http_addr());
    let Some(tool) = tool(&proxy.url(), "cli-unconfirmed") else { return };
    let (mut tool, mut lines) =
        start(tool, &["lock", "k", "--", "sh", "-c", "echo runs; sleep 0.5; exit 3"]);
    assert_eq!(lines.next().as_deref(), Some("runs"));
    proxy.set(Mode::BlackHole);
    assert_eq!(tool.wait().expect("our own child").code(), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_to_the_tool_reaches_the_command() {
    let Some(tool) = tool(&agent().url(), "cli-signal") else { return };
    let shell = "trap 'echo bye; exit 3' TERM; echo runs; while :; do sleep 0.05; done";
    let (mut tool, mut lines) = start(tool, &["lock", "k", "--", "sh", "-c", shell]);
    assert_eq!(lines.next().as_deref(), Some("runs"));
    kill_process(Pid::from_child(&tool), Signal::TERM).expect("our own child");
    assert_eq!(lines.next().as_deref(), Some("bye"));
    assert_eq!(tool.wait().expect("our own child").code(), Some(3));
    assert_eq!(agent().operator().kv_get("cli-signal/k"), None, "it was released");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tool_watches_a_key_and_takes_a_lock_away() {
    let url = agent().url();
    let Some(watch) = tool(&url, "cli-admin") else { return };
    let dsync = runtime("cli-admin");
    let mut lost = dsync.events::<LockLost>(Filter::All);
    let (mut watch, mut lines) = start(watch, &["watch", "k"]);
    let lease = acquire(&dsync, "k").await;
    let line = lines.find(|line| !line.ends_with('-')).expect("a holder");
    assert!(line.starts_with("k  test  "), "{line}");
    let holder: Holder =
        dsync.send(actix_dsync::Inspect(key("k"))).await.expect("an answer").expect("it is held");

    let ask = |arguments: &[&str]| {
        let mut tool = tool(&url, "cli-admin").expect("it was built");
        output(&mut tool, arguments)
    };
    let other = (holder.index + 1).to_string();
    let refused = ask(&["force-release", "k", "--immediate", "--index", &other]);
    assert_eq!(refused.0, Some(1), "{refused:?}");
    assert!(lease.is_valid());
    let index = holder.index.to_string();
    let done = ask(&["force-release", "k", "--immediate", "--index", &index]);
    assert!(done.0 == Some(0) && done.1.contains("taken away"), "{done:?}");
    let told = next(&mut lost, Duration::from_secs(30)).await;
    assert_eq!((told.token, told.reason), (lease.token(), LossReason::ForceReleased));
    assert!(lines.any(|line| line == "k  -"), "the watch shows that nobody holds it");
    kill_process(Pid::from_child(&watch), Signal::TERM).expect("our own child");
    assert_eq!(watch.wait().expect("our own child").code(), Some(0));
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tool_makes_a_leader_step_down_and_another_candidate_is_elected() {
    let url = agent().url();
    let Some(mut step_down) = tool(&url, "cli-step") else { return };
    let timing = actix_dsync::Timing::default().with_session_ttl(Duration::from_secs(10));
    let candidate = || at(agent().url(), "cli-step").timing(timing.clone()).start();
    let (first, second) = (candidate().expect("valid"), candidate().expect("valid"));
    let leads = first.send(Campaign::on(key("lead"))).await.expect("a tenure");
    let term = leads.elected().await;
    let follows = second.send(Campaign::on(key("lead"))).await.expect("a tenure");
    let ask = first.send(actix_dsync::Inspect(key("lead"))).await.expect("an answer");
    let index = ask.expect("it is held").index;
    let other = (index + 1).to_string();
    let refused = tool(&url, "cli-step")
        .map(|mut it| output(&mut it, &["step-down", "lead", "--index", &other]));
    assert_eq!(refused.expect("it was built").0, Some(1));
    assert!(term.is_valid());
    // The agent may be slow to tell the first that it no longer leads.
    let (code, told, errors) =
        output(&mut step_down, &["step-down", "lead", "--index", &index.to_string()]);
    assert!(code == Some(0) && told.contains("no longer leads lead"), "{told}{errors}");
    assert!(!term.is_valid());
    let next = tokio::time::timeout(Duration::from_secs(30), follows.elected()).await;
    assert!(next.expect("elected").token() > term.token());
    for dsync in [first, second] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_taken_away_from_a_cut_off_holder_is_free_only_after_its_lease() {
    let proxy = Proxy::to(agent().http_addr());
    let holder = at(proxy.url(), "taken").start().expect("valid settings");
    let admin = runtime("taken");
    let lease = acquire(&holder, "k").await;
    let ask = admin.send(actix_dsync::Inspect(key("k"))).await.expect("an answer");
    let victim = ask.expect("it is held");
    proxy.set(Mode::BlackHole);
    let released = admin.send(actix_dsync::admin::ForceRelease::of(key("k"), &victim));
    let next = acquire(&admin, "k").await;
    assert!(!lease.is_valid(), "two owners");
    assert!(next.token() > lease.token());
    assert_eq!(released.await.expect("it is free").keeps, Duration::from_secs(15));
    proxy.set(Mode::Forward);
    drop(next);
    for dsync in [holder, admin] {
        dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
    }
}

/// A pipe that nobody reads.
fn broken_pipe() -> Stdio {
    let (reader, broken) = std::io::pipe().expect("a pipe");
    drop(reader);
    broken.into()
}

/// The sessions that the tool left on this agent.
fn left(agent: &Agent) -> Vec<String> {
    let sessions = agent.operator().sessions().into_iter().map(|session| session.name);
    sessions.filter(|name| name.starts_with("dsync")).collect()
}

/// Waits until the process catches SIGTERM.
async fn catches_sigterm(process: &Child) {
    let pid = Pid::from_child(process).as_raw_nonzero().get();
    let bit = 1 << (Signal::TERM.as_raw() - 1);
    let caught = || u64::from_str_radix(&status_of(pid, "SigCgt:"), 16);
    until(|| caught().is_ok_and(|caught| caught & bit != 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_fails_leaves_no_session_and_no_token() {
    const MANAGEMENT: &str = "5f1c6b0e-8d0b-4c68-9d35-0d8f6f0f6a02";
    // Otherwise, a list without rights is an empty list.
    let listing = "acl { enable_key_list_policy = true }";
    let agent = Agent::builder().acl(MANAGEMENT).config(listing).start();
    policy(&agent);
    let (own, folder) = (auth_method(&agent, "tool"), Folder::new());
    let bearer = folder.write("bearer", &jwt(&own));
    let start = |prefix: &str| {
        let mut tool = tool(&agent.url(), prefix)?;
        tool.env("CONSUL_LOGIN_AUTH_METHOD", "tool");
        tool.env("CONSUL_LOGIN_BEARER_TOKEN_FILE", &bearer);
        Some(tool)
    };
    // Nobody holds `k`, and no entry below the other prefix may be read.
    let rules = r#"key_prefix "" { policy = "write" } key_prefix "denied" { policy = "deny" }
        session_prefix "" { policy = "write" }"#;
    let old = ask(&agent, "GET", "/v1/acl/policy/name/locks", &json!(null));
    let path = format!("/v1/acl/policy/{}", text(&old["ID"]));
    ask(&agent, "PUT", &path, &json!({ "Name": "locks", "Rules": rules }));
    for (prefix, code, arguments) in [
        ("free", 1, &["explain", "k"][..]),
        ("free", 1, &["force-release", "k"]),
        ("free", 1, &["step-down", "k"]),
        ("denied", 77, &["list"]),
        ("denied", 77, &["explain", "k"]),
        ("denied", 77, &["watch", "k"]),
        ("denied", 1, &["preflight"]),
        ("denied", 77, &["lock", "k", "--", "true"]),
        ("free", 127, &["lock", "k", "--", "/no/such/command"]),
    ] {
        let Some(mut tool) = start(prefix) else { return };
        let ended = output(&mut tool, arguments);
        assert_eq!(ended.0, Some(code), "{arguments:?}: {ended:?}");
        assert_eq!(left(&agent), Vec::<String>::new(), "{arguments:?}");
        assert_eq!(logins(&agent, "tool"), Vec::<String>::new(), "{arguments:?}");
    }
    // A watch goes on.
    let mut watch = start("free").expect("it was built");
    let mut watch = watch.args(["watch", "k"]).spawn().expect("it runs");
    catches_sigterm(&watch).await;
    kill_process(Pid::from_child(&watch), Signal::TERM).expect("our own child");
    assert_eq!(watch.wait().expect("our own child").code(), Some(0));
    assert_eq!(left(&agent), Vec::<String>::new());
    assert_eq!(logins(&agent, "tool"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_gets_a_signal_while_it_asks_leaves_in_good_order() {
    let proxy = Proxy::to(agent().http_addr());
    proxy.set(Mode::BlackHole);
    for arguments in [&["list"][..], &["explain", "k"], &["preflight"]] {
        loop {
            let Some(tool) = tool(&proxy.url(), "cli-asks") else { return };
            let (mut tool, _lines) = start(tool, arguments);
            catches_sigterm(&tool).await;
            kill_process(Pid::from_child(&tool), Signal::TERM).expect("our own child");
            let ended = tool.wait().expect("our own child").code();
            // On a machine that is slow, its question fails before the signal comes.
            if ended != Some(69) {
                assert_eq!(ended, Some(128 + 15), "{arguments:?}");
                break;
            }
        }
    }
    // Nobody reads what a watch prints, and the pipe takes no more.
    let (reader, mut full) = std::io::pipe().expect("a pipe");
    full.write_all(&[0; 64 * 1024]).expect("room");
    let mut watch = tool(&agent().url(), "cli-asks").expect("it was built");
    let mut watch = watch.args(["watch", "k"]).stdout(full).spawn().expect("it runs");
    catches_sigterm(&watch).await;
    // Its writing begins.
    tokio::time::sleep(Duration::from_millis(500)).await;
    kill_process(Pid::from_child(&watch), Signal::TERM).expect("our own child");
    assert_eq!(watch.wait().expect("our own child").code(), Some(0));
    drop(reader);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_whose_output_cannot_be_written_leaves_in_good_order() {
    let own = Agent::start();
    let dsync = at(own.url(), "cli-output").start().expect("valid settings");
    let lease = acquire(&dsync, "k").await;
    let run = |arguments: &[&str], stdout: Stdio| {
        let tool = tool(&own.url(), "cli-output").map(|mut tool| {
            tool.args(arguments).stdout(stdout).stderr(Stdio::piped());
            tool.spawn().expect("it runs").wait_with_output().expect("our own child")
        })?;
        Some((tool.status.code(), String::from_utf8_lossy(&tool.stderr).into_owned()))
    };
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    for arguments in [
        &["list"][..],
        &["list", "--json"],
        &["explain", "k"],
        &["explain", "k", "--json"],
        &["preflight"],
        &["preflight", "--json"],
        &["watch", "k"],
        &["force-release", "k", "--immediate"],
    ] {
        let Some(ended) = run(arguments, broken_pipe()) else { return };
        assert_eq!(ended, (Some(0), String::new()), "{arguments:?}, a pipe that nobody reads");
        assert_eq!(left(&own), Vec::<String>::new(), "{arguments:?}");
        let (code, errors) = run(arguments, full().into()).expect("it was built");
        // The lock is taken away once.
        if arguments[0] != "force-release" {
            assert!(code == Some(74) && errors.contains("cannot be written"), "{errors}");
        }
        assert_eq!(left(&own), Vec::<String>::new(), "{arguments:?}");
    }
    // Nor does it need its standard error.
    let mut tool = tool(&own.url(), "cli-output").expect("it was built");
    let ended = tool.args(["explain", "free"]).stderr(broken_pipe()).status().expect("it runs");
    assert_eq!(ended.code(), Some(1));
    assert_eq!(left(&own), Vec::<String>::new());
    lease.lost().await;
    dsync.shutdown(Duration::from_secs(5)).await.expect("an orderly end");
}
