//! Events: what happens, in order, and to which process.

use std::rc::Rc;

use super::{operator::Act, parts::Part, server::Exchange};
use crate::{
    consul::{fact::Trouble, wire::WireReply},
    protocol::Ticket,
};

/// A scheduled event.
pub(super) enum Event {
    Arrive(Rc<Exchange>),
    Answer(Rc<Exchange>, WireReply),
    Break(Rc<Exchange>, Trouble),
    Timeout(Rc<Exchange>),
    /// The request was never sent.
    Unsent(Rc<Exchange>),
    Tick {
        process: usize,
        life: u64,
    },
    Work {
        process: usize,
        life: u64,
    },
    /// A probe reaches the agent.
    Probe {
        process: usize,
        life: u64,
        read: Ticket,
        part: Part,
    },
    Call {
        process: usize,
        life: u64,
    },
    Muster {
        process: usize,
        life: u64,
    },
    Enlist {
        process: usize,
        life: u64,
    },
    Stand {
        process: usize,
        life: u64,
    },
    Caller {
        process: usize,
        life: u64,
        caller: u64,
    },
    Continue {
        process: usize,
    },
    Restart {
        process: usize,
        life: u64,
    },
    Recheck,
    Fault,
    Operator(Act),
    ElectionEnds,
    Heal,
    Watchdog,
}

impl Event {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Arrive(exchange) => format!("arrive {}", exchange.question),
            Self::Tick { process, .. } => format!("tick p{process}"),
            Self::Work { process, .. } => format!("work p{process}"),
            Self::Call { process, .. } => format!("call p{process}"),
            Self::Caller { process, caller, .. } => format!("caller {caller} p{process}"),
            Self::Probe { process, read, .. } => format!("probe {read:?} p{process}"),
            Self::Recheck => "recheck".into(),
            Self::Fault => "fault".into(),
            _ => "other".into(),
        }
    }

    /// The process that must be running to receive it.
    pub(super) fn process(&self) -> Option<(usize, u64)> {
        match self {
            Self::Answer(exchange, _)
            | Self::Break(exchange, _)
            | Self::Timeout(exchange)
            | Self::Unsent(exchange) => Some((exchange.process, exchange.life)),
            Self::Tick { process, life }
            | Self::Work { process, life }
            | Self::Call { process, life }
            | Self::Probe { process, life, .. }
            | Self::Stand { process, life }
            | Self::Muster { process, life }
            | Self::Enlist { process, life }
            | Self::Caller { process, life, .. } => Some((*process, *life)),
            _ => None,
        }
    }
}
