//! `dsync`: locks on Consul from the command line.

mod child;
mod show;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use actix_dsync::{
    Acquire, AcquirePermit, ConfigError, Dsync, Error, Holder, Inspect, Key, Lease, LossReason,
    Observe, Release, Released, Reply, Request, TryAcquire, TryAcquirePermit,
    admin::{ForceRelease, Holders, StepDown},
};
use clap::{
    Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, parser::ValueSource,
};
use rustix::process::Signal;
use show::Reader;

/// Locks on Consul that fence themselves.
///
/// The agent and the token come from the environment, as for Consul's own tools:
/// CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, CONSUL_HTTP_TOKEN_FILE.
///
/// Exit codes: 0 success; 1 there is nothing to show or to do, or a preflight failed; 2 a wrong
/// argument; 69 Consul is unavailable; 71 the operating system refused something; 74 the output
/// cannot be written; 75 another holder has the lock; 76 the lock was lost; 77 a right is missing;
/// 78 the configuration is invalid. `dsync lock` otherwise exits as its command does: with its
/// code, or 128 and the number of the signal that ended it; 126 or 127 if the command cannot be
/// started or found; 128 and the number of the signal that ended dsync while it waited.
#[derive(Parser)]
#[command(name = "dsync", version)]
struct Cli {
    /// The prefix of the keys, as the services configure it.
    #[arg(long, global = true, env = "DSYNC_PREFIX")]
    prefix: Option<String>,
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs a command while holding a lock.
    ///
    /// The command finds the key and the fencing token in DSYNC_KEY and DSYNC_TOKEN. If the lock
    /// is about to be lost, it gets SIGTERM, and SIGKILL before anybody else can have the lock.
    /// dsync passes the usual signals on to it, unless a terminal sends them to both, or they are
    /// ignored; docs/command-line.md lists them. SIGTSTP stops the command first, because nothing
    /// renews the lock while dsync is stopped. Signals that are not passed on, such as SIGKILL
    /// and SIGSTOP, do not stop the command, and a command of another user gets no signal: it can
    /// then outlive the lock. On a terminal, so can what the command has started, and after
    /// Ctrl-Z and `fg` the command runs for a moment before dsync sees that the lock is over.
    Lock(Lock),
    /// Lists who holds what, in all processes.
    List {
        /// Only keys that begin with this.
        #[arg(default_value = "")]
        below: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows who holds a key.
    Explain {
        key: Key,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Checks the agent, its limits, the token's rights and the timing, and says what is
    /// missing, with the ACL policy to paste. It changes no key.
    Preflight {
        /// Also checks these keys, besides those below the prefix.
        keys: Vec<Key>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows who leads, or holds a key, line by line, until it is interrupted.
    Watch { key: Key },
    /// Takes a lock away from its holder.
    ///
    /// The key is kept for the holder's lease, up to a minute, so that the holder does not
    /// overlap with the next owner even if it is cut off.
    ForceRelease {
        key: Key,
        /// Only from the ownership with this index, which `explain` shows.
        #[arg(long)]
        index: Option<u64>,
        /// Frees the key at once. Waives the guarantee that the holder knows first: use it
        /// only if its process has ended.
        #[arg(long)]
        immediate: bool,
    },
    /// Makes a leader step down, so that another candidate is elected.
    ///
    /// Nobody leads while the old leader's lease may last, up to a minute. Its process then
    /// leaves the key to others for two seconds.
    StepDown {
        key: Key,
        /// Only from the leadership with this index, which `explain` shows.
        #[arg(long)]
        index: Option<u64>,
    },
}

#[derive(Args)]
struct Lock {
    key: Key,
    /// Takes one of this many permits of a semaphore instead, as `consul lock -n` does.
    #[arg(short = 'n', long, value_name = "LIMIT")]
    permits: Option<u32>,
    /// Waits for another holder at most this many seconds; 0 does not wait.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    within: Option<Duration>,
    /// The key's value while the command runs.
    #[arg(long)]
    value: Option<String>,
    /// How many seconds the command has between SIGTERM and SIGKILL; at most half the lease.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    grace: Duration,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "is no number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Why the tool fails.
pub(crate) enum Failure {
    Lock(Error),
    Config(ConfigError),
    /// There is nothing to show or to do.
    Nothing(String),
    /// The command could not be started.
    Command(std::io::Error),
    /// The operating system refused something else.
    System(std::io::Error),
    /// The output could not be written, for another reason than that its reader has left.
    Output(std::io::Error),
    /// A signal came while it waited for the lock, or for what it shows.
    Signal(Signal),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Lock(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Nothing(_) => 1,
            Self::Command(error) if error.kind() == std::io::ErrorKind::NotFound => 127,
            Self::Command(_) => 126,
            Self::System(_) | Self::Config(ConfigError::Thread(_)) => 71,
            Self::Output(_) => 74,
            Self::Config(_) => 78,
            Self::Signal(signal) => u8::try_from(128 + signal.as_raw()).unwrap_or(1),
            Self::Lock(error) => match error {
                Error::Held { .. }
                | Error::LockDelay { .. }
                | Error::WaitedTooLong { .. }
                | Error::NoPermit { .. } => 75,
                Error::Conflict { .. } => 1,
                Error::Denied { .. } => 77,
                Error::Invalid { .. }
                | Error::FlagConflict { .. }
                | Error::LimitConflict { .. }
                | Error::NameRefused { .. }
                | Error::NoSemaphore { .. } => 78,
                _ => 69,
            },
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Lock(error) => error.to_string(),
            Self::Config(error) => error.to_string(),
            Self::Nothing(text) => text.clone(),
            Self::Command(error) => format!("the command cannot be started: {error}"),
            Self::System(error) => format!("the operating system refused: {error}"),
            Self::Output(error) => format!("the output cannot be written: {error}"),
            Self::Signal(signal) => format!("ended by signal {} while it waited", signal.as_raw()),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut matches = Cli::command().get_matches();
    // An empty variable counts as unset, as those of Consul do.
    let is_variable = matches.value_source("prefix") == Some(ValueSource::EnvVariable);
    let mut cli = Cli::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit());
    cli.prefix = cli.prefix.filter(|prefix| !(is_variable && prefix.is_empty()));
    match run(cli).await {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            show::failure(&failure.text());
            ExitCode::from(failure.code())
        }
    }
}

async fn run(Cli { prefix, command }: Cli) -> Result<u8, Failure> {
    let mut builder = Dsync::from_env("dsync")?;
    if let Some(prefix) = prefix {
        builder = builder.prefix(prefix);
    }
    let dsync = builder.start()?;
    // The runtime is shut down however the task ends: a failure leaves no session and no login behind.
    let done = perform(&dsync, command).await;
    if let Err(error) = dsync.shutdown(Duration::from_secs(5)).await {
        show::failure(&error.to_string());
    }
    done
}

async fn perform(dsync: &Dsync, command: Task) -> Result<u8, Failure> {
    match command {
        Task::Lock(lock) => run_locked(dsync, lock).await,
        Task::List { below, json } => unless_signalled(list(dsync, below, json)).await,
        Task::Explain { key, json } => unless_signalled(explain(dsync, key, json)).await,
        Task::Preflight { keys, json } => unless_signalled(preflight(dsync, keys, json)).await,
        Task::Watch { key } => match unless_signalled(watch(dsync, key)).await {
            Err(Failure::Signal(_)) => Ok(0),
            ended => ended,
        },
        // These catch no signal: docs/command-line.md says what an interruption leaves behind.
        Task::ForceRelease { key, index, immediate } => {
            force_release(dsync, key, index, immediate).await
        }
        Task::StepDown { key, index } => step_down(dsync, key, index).await,
    }
}

/// Runs a task that changes nothing, until a signal comes.
async fn unless_signalled(task: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    let mut signals = child::Signals::new().map_err(Failure::System)?;
    tokio::select! {
        done = task => done,
        signal = signals.next() => Err(Failure::Signal(signal)),
    }
}

async fn list(dsync: &Dsync, below: String, json: bool) -> Result<u8, Failure> {
    let held = dsync.send(Holders::below(below)).await?;
    show::print(show::table(&held, json)?).await?;
    Ok(0)
}

async fn explain(dsync: &Dsync, key: Key, json: bool) -> Result<u8, Failure> {
    let holder = holder_of(dsync, &key).await?;
    show::print(show::holder(&key, &holder, json)?).await?;
    Ok(0)
}

async fn preflight(dsync: &Dsync, keys: Vec<Key>, json: bool) -> Result<u8, Failure> {
    let found = dsync.preflight_for(keys).await?;
    show::print(show::preflight(&found, json)?).await?;
    Ok(u8::from(!found.passed))
}

async fn holder_of(dsync: &Dsync, key: &Key) -> Result<Holder, Failure> {
    let holder = dsync.send(Inspect(key.clone())).await?;
    holder.ok_or_else(|| Failure::Nothing(format!("nobody holds {key}")))
}

async fn run_locked(dsync: &Dsync, asked: Lock) -> Result<u8, Failure> {
    let Lock { key, permits, within, value, grace, command } = asked;
    let mut signals = child::Signals::new().map_err(Failure::System)?;
    let lease = tokio::select! {
        lease = lease_of(dsync, key, permits, within, value) => lease?,
        signal = signals.next() => return Err(Failure::Signal(signal)),
    };
    let grace = grace.min(dsync.timing().lease() / 2);
    let key = lease.key().clone();
    let code = child::run(&lease, grace, &command, &mut signals).await?;
    match dsync.send(Release(lease)).await? {
        // Not confirmed in time; the lock lasted until the command had ended.
        Released::Confirmed
        | Released::AlreadyLost(LossReason::DeadlinePassed | LossReason::RuntimeFailed) => Ok(code),
        Released::AlreadyLost(reason) => {
            show::failure(&format!("the lock {key} was lost: {reason}"));
            Ok(child::LOST)
        }
    }
}

async fn lease_of(
    dsync: &Dsync,
    key: Key,
    permits: Option<u32>,
    within: Option<Duration>,
    value: Option<String>,
) -> Result<Lease, Error> {
    let waits = within != Some(Duration::ZERO);
    match (permits, waits) {
        (None, false) => {
            let ask = TryAcquire::new(key);
            dsync.send(value.into_iter().fold(ask, |ask, value| ask.value(&*value))).await
        }
        (Some(limit), false) => {
            let ask = TryAcquirePermit::new(key, limit);
            dsync.send(value.into_iter().fold(ask, |ask, value| ask.value(&*value))).await
        }
        (None, true) => {
            let ask = within.into_iter().fold(Acquire::new(key.clone()), Acquire::within);
            let ask = value.into_iter().fold(ask, |ask, value| ask.value(&*value));
            granted(&key, dsync.send(ask)).await
        }
        (Some(limit), true) => {
            let ask = AcquirePermit::new(key.clone(), limit);
            let ask = within.into_iter().fold(ask, AcquirePermit::within);
            let ask = value.into_iter().fold(ask, |ask, value| ask.value(&*value));
            granted(&key, dsync.send(ask)).await
        }
    }
}

/// Waits for a lease; a long wait is shown.
async fn granted<M: Request<Reply = Lease>>(key: &Key, asked: Reply<M>) -> Result<Lease, Error> {
    let mut asked = std::pin::pin!(asked);
    // A short wait needs no notice.
    match tokio::time::timeout(Duration::from_secs(1), &mut asked).await {
        Ok(granted) => granted,
        Err(_) => {
            show::progress(&format!("waiting for {key}"));
            let granted = asked.await;
            show::progress("");
            granted
        }
    }
}

async fn watch(dsync: &Dsync, key: Key) -> Result<u8, Failure> {
    // Without the right to read, an observer waits silently.
    if let Err(error @ Error::Denied { .. }) = dsync.send(Inspect(key.clone())).await {
        return Err(error.into());
    }
    let observer = dsync.send(Observe(key.clone())).await?;
    loop {
        let leader = observer.changed().await.leader;
        let leader = named(dsync, &key, leader).await;
        if show::print(show::change(&key, leader.as_ref())).await? == Reader::Left {
            return Ok(0);
        }
    }
}

/// The holder with the names of its session, which an observer learns later.
async fn named(dsync: &Dsync, key: &Key, leader: Option<Holder>) -> Option<Holder> {
    let leader = leader?;
    let read = match leader.session_name {
        Some(_) => None,
        None => dsync.send(Inspect(key.clone())).await.ok().flatten(),
    };
    Some(read.filter(|read| read.session == leader.session).unwrap_or(leader))
}

/// The holder, if it holds the key at that index.
async fn victim_of(dsync: &Dsync, key: &Key, index: Option<u64>) -> Result<Holder, Failure> {
    let holder = holder_of(dsync, key).await?;
    if index.is_some_and(|index| index != holder.index) {
        let text = format!("{key} is held at index {} by {holder}", holder.index);
        return Err(Failure::Nothing(text));
    }
    Ok(holder)
}

async fn force_release(
    dsync: &Dsync,
    key: Key,
    index: Option<u64>,
    immediate: bool,
) -> Result<u8, Failure> {
    let holder = victim_of(dsync, &key, index).await?;
    let ask = ForceRelease::of(key.clone(), &holder);
    let ask = if immediate { ask.immediate() } else { ask };
    if !immediate {
        show::progress(&format!("keeping {key} while the lease of its holder may last"));
    }
    let released = dsync.send(ask).await;
    show::progress("");
    let released = released?;
    show::print(format!("{key} was taken away from {}\n", released.holder)).await?;
    Ok(0)
}

async fn step_down(dsync: &Dsync, key: Key, index: Option<u64>) -> Result<u8, Failure> {
    let leader = victim_of(dsync, &key, index).await?;
    show::progress(&format!("keeping {key} while the lease of its leader may last"));
    let stepped_down = dsync.send(StepDown::of(key.clone(), &leader)).await;
    show::progress("");
    let leader = stepped_down?.leader;
    show::print(format!("{leader} no longer leads {key}\n")).await?;
    Ok(0)
}
