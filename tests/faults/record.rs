//! The log of a process: one line per event, with times of a clock that all processes share.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

/// A key and the token of one ownership of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Own {
    pub(crate) key: String,
    pub(crate) token: u64,
}

/// An event and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A lease on this key is requested.
    Asks(String),
    /// That request ended without a lease.
    Gone(String),
    /// A lease was granted.
    Granted(Own),
    /// A check found that a lease had ended; its last known deadline was `deadline`.
    Invalid { own: Own, deadline: u64 },
    /// A `LockLost` arrived; `valid` if the lease was still valid at that moment.
    Lost { own: Own, reason: String, valid: bool },
    /// The owner releases the lease.
    Releases(Own),
    /// The lease is released; `lost` if the reply was that it had already been lost.
    Released { own: Own, lost: bool },
    /// Nothing is wanted any more, and nothing held.
    Rests,
    /// An orderly end.
    Finished,
    /// A request failed.
    Failed(String),
}

impl Event {
    pub(crate) fn line(&self) -> String {
        let own = |own: &Own| format!("{} {}", own.key, own.token);
        let what = match &self.what {
            What::Asks(key) => format!("asks {key}"),
            What::Gone(key) => format!("gone {key}"),
            What::Granted(it) => format!("granted {}", own(it)),
            What::Invalid { own: it, deadline } => format!("invalid {} {deadline}", own(it)),
            What::Lost { own: it, reason, valid } => format!("lost {} {reason} {valid}", own(it)),
            What::Releases(it) => format!("releases {}", own(it)),
            What::Released { own: it, lost } => format!("released {} {lost}", own(it)),
            What::Rests => "rests".into(),
            What::Finished => "finished".into(),
            What::Failed(why) => format!("failed {}", why.replace('\n', " ")),
        };
        format!("{} {what}\n", self.at)
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (at, rest) = line.split_once(' ')?;
        let mut words = rest.split(' ');
        let kind = words.next()?;
        let mut own =
            || Some(Own { key: words.next()?.to_owned(), token: words.next()?.parse().ok()? });
        let what = match kind {
            "asks" => What::Asks(words.next()?.to_owned()),
            "gone" => What::Gone(words.next()?.to_owned()),
            "granted" => What::Granted(own()?),
            "releases" => What::Releases(own()?),
            "invalid" => What::Invalid { own: own()?, deadline: words.next()?.parse().ok()? },
            "lost" => What::Lost {
                own: own()?,
                reason: words.next()?.to_owned(),
                valid: words.next()?.parse().ok()?,
            },
            "released" => What::Released { own: own()?, lost: words.next()?.parse().ok()? },
            "rests" => What::Rests,
            "finished" => What::Finished,
            "failed" => What::Failed(rest.split_once(' ')?.1.to_owned()),
            _ => return None,
        };
        Some(Self { at: at.parse().ok()?, what })
    }
}

/// A line of the protected resource: a write after a lease was found valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    /// Read before the lease was checked: the lease was valid then or later.
    pub(crate) at: u64,
    /// Read after the lease was checked: it was valid then or earlier.
    pub(crate) until: u64,
    pub(crate) process: String,
    pub(crate) own: Own,
}

impl Write {
    /// A line about a check that began at `at` and has just ended.
    pub(crate) fn line(at: u64, process: &str, own: &Own) -> String {
        format!("{at} {} {process} {} {}\n", boot_nanos(), own.key, own.token)
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let write = Self {
            at: words.next()?.parse().ok()?,
            until: words.next()?.parse().ok()?,
            process: words.next()?.to_owned(),
            own: Own { key: words.next()?.to_owned(), token: words.next()?.parse().ok()? },
        };
        words.next().is_none().then_some(write)
    }
}

/// A file to which several processes may append; each call writes whole lines at once.
#[derive(Debug)]
pub(crate) struct Log(File);

impl Log {
    pub(crate) fn append_to(path: &Path) -> Self {
        let file = File::options().create(true).append(true).open(path);
        Self(file.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    pub(crate) fn write(&self, lines: &str) {
        (&self.0).write_all(lines.as_bytes()).expect("room for a log");
    }

    pub(crate) fn event(&self, what: What) {
        self.write(&Event { at: boot_nanos(), what }.line());
    }
}

/// Reads a clock that all processes of the machine share, in nanoseconds.
pub(crate) fn boot_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
