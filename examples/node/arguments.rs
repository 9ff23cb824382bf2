//! Parses the command line.

use std::{path::PathBuf, str::FromStr};

use actix_dsync::Config;

pub(crate) const USAGE: &str = "\
usage: node run     [--consul URL] --prefix P --keys N [--ttl 15s] [--lock-delay 15s]
                    [--fast-failover] [--tick] [--log FILE]
       node campaign [--consul URL] --prefix P [--ttl 15s] [--lock-delay 15s] [--fast-failover]
                    [--log FILE]
       node cycle   [--consul URL] --prefix P [--n 2000]
       node handoff [--consul URL] --prefix P [--n 200]
       node preflight [--consul URL] --prefix P [--ttl 15s] [--lock-delay 15s] [--fast-failover]

run      contends for the keys P/0 to P/N-1, holds each until it is lost, and contends again,
         until SIGTERM. --tick: asks every 10 ms whether each lease is valid, and tells how that
         went after a pause of more than 1 s. --log FILE: appends \"<unix ns> <pid> <key> <token>\"
         for each lease that is valid, at its grant and every 100 ms.
campaign contends for the leadership of P/leader, with a job that only the leader does, until
         SIGTERM, at which it hands over. SIGUSR1: it resigns for 5 s. --log FILE: the job appends
         \"<unix ns> <pid> <key> <token>\" every 20 ms.
cycle    times acquire + release of P/0.
handoff  times the way of P/0 from one runtime's release call to its grant at another.
preflight checks the agent and the token's rights for keys below P, prints what it found and the
         policy that is needed, and fails if something is missing.

Without --consul, the connection comes from CONSUL_HTTP_ADDR and Consul's other variables.
cycle and handoff take --ttl, --lock-delay and --fast-failover, too.";

pub(crate) struct Arguments {
    pub(crate) command: Command,
    pub(crate) config: Config,
    pub(crate) prefix: String,
}

pub(crate) enum Command {
    Run { keys: usize, tick: bool, log: Option<PathBuf> },
    Campaign { log: Option<PathBuf> },
    Cycle { n: usize },
    Handoff { n: usize },
    Preflight,
}

impl Arguments {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let command = words.next().ok_or("no command")?;
        if !["run", "campaign", "cycle", "handoff", "preflight"].contains(&command.as_str()) {
            return Err(format!("{command:?} is no command"));
        }
        let (runs, campaigns) = (command == "run", command == "campaign");
        let measures = ["cycle", "handoff"].contains(&command.as_str());
        let mut config = Config::default();
        let (mut consul, mut prefix, mut keys, mut n) = (None, None, None, None);
        let (mut tick, mut log) = (false, None);
        while let Some(name) = words.next() {
            let mut value = || words.next().ok_or(format!("{name} needs a value"));
            match name.as_str() {
                "--consul" => consul = Some(value()?),
                "--prefix" => prefix = Some(value()?),
                "--keys" if runs => keys = Some(number(&name, &value()?)?),
                "--n" if measures => n = Some(number(&name, &value()?)?),
                "--ttl" => config.timing.session_ttl = duration(&name, &value()?)?,
                "--lock-delay" => config.timing.lock_delay = duration(&name, &value()?)?,
                "--fast-failover" => config.timing.fast_failover = true,
                "--tick" if runs => tick = true,
                "--log" if runs || campaigns => log = Some(value()?.into()),
                other => return Err(format!("node {command} does not know {other:?}")),
            }
        }
        match consul {
            Some(address) => config.address = address,
            None => {
                let timing = config.timing;
                config = Config::from_env().map_err(|error| error.to_string())?;
                config.timing = timing;
            }
        }
        let command = match command.as_str() {
            "run" => Command::Run { keys: keys.ok_or("--keys is missing")?, tick, log },
            "campaign" => Command::Campaign { log },
            "cycle" => Command::Cycle { n: n.unwrap_or(2000) },
            "preflight" => Command::Preflight,
            _ => Command::Handoff { n: n.unwrap_or(200) },
        };
        Ok(Self { command, config, prefix: prefix.ok_or("--prefix is missing")? })
    }
}

fn number(name: &str, text: &str) -> Result<usize, String> {
    match usize::from_str(text) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{name} is {text:?}; it must be a number from 1 on")),
    }
}

fn duration(name: &str, text: &str) -> Result<std::time::Duration, String> {
    humantime_serde::re::humantime::parse_duration(text)
        .map_err(|error| format!("{name} is {text:?}; it must be a duration such as 15s: {error}"))
}
