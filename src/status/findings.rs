//! What a runtime finds out about its agent and its rights.

use std::fmt;

use serde::Serialize;

use crate::escape::Escaped;

/// What [`Dsync::preflight`](crate::Dsync::preflight) found out. `Display` prints it as
/// lines for a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Preflight {
    /// Whether no check failed; warnings do not count.
    pub passed: bool,
    /// The agent's version, if the token may read it (`agent:read`).
    pub version: Option<String>,
    /// The name of the agent's node, to which the session is bound; also needs
    /// `agent:read`.
    pub node: Option<String>,
    /// The findings, in the order of the checks.
    pub findings: Vec<Finding>,
    /// The smallest ACL policy for the keys that were checked. It is set if a right is
    /// missing.
    pub policy: Option<String>,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What was checked.
    pub check: Check,
    /// Whether it is as it must be.
    pub verdict: Verdict,
    /// What was found, and what to do.
    pub detail: String,
}

/// What a preflight checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Check {
    /// The agent answers and knows a leader.
    Agent,
    /// How the connections are protected.
    Connection,
    /// The agent's version and limits.
    Limits,
    /// The right to create and destroy a session.
    Session,
    /// The right to write and read keys.
    Keys,
    /// The right to list keys, which some agents demand.
    List,
    /// The right to write fence entries.
    Fences,
    /// What the timing means.
    Timing,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// It is as it must be.
    Good,
    /// Locks work, with the limitation that the detail names.
    Warning,
    /// Locks do not work.
    Failed,
}

impl Preflight {
    pub(crate) fn add(&mut self, check: Check, verdict: Verdict, detail: impl Into<String>) {
        self.passed &= verdict != Verdict::Failed;
        self.findings.push(Finding { check, verdict, detail: detail.into() });
    }

    /// A preflight without a finding.
    pub(crate) fn new() -> Self {
        Self { passed: true, version: None, node: None, findings: Vec::new(), policy: None }
    }
}

impl fmt::Display for Preflight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "preflight: {}", if self.passed { "passed" } else { "FAILED" })?;
        for finding in &self.findings {
            writeln!(f, "  {finding}")?;
        }
        if let Some(policy) = &self.policy {
            writeln!(f, "the policy that is needed:")?;
            for line in policy.lines() {
                writeln!(f, "  {}", Escaped(line))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, verdict, detail } = self;
        write!(f, "{verdict:<8} {check}: {}", Escaped(detail))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Agent => "agent",
            Self::Connection => "connection",
            Self::Limits => "limits",
            Self::Session => "session",
            Self::Keys => "keys",
            Self::List => "list",
            Self::Fences => "fences",
            Self::Timing => "timing",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Failed => "FAILED",
        })
    }
}
