//! The HTTP transport to an agent.
//!
//! Renewals and calls have their own lanes of connections, some of which stay open while
//! idle. Blocking reads wait until those are open. If no more connections can be opened, other
//! lanes give up spare ones for renewals and calls.

mod address;
mod config;
mod dial;
mod lane;
mod line;
mod tls;
mod trouble;

use std::{cell::Cell, pin::pin, rc::Rc, time::Duration};

use futures::future::{Either, select};

use hyper::header::HeaderValue;
use tokio::time::Instant;

pub(crate) use address::Address;
pub(crate) use config::HttpConfig;
use dial::Dialer;
use lane::{Lane, Seat};
use line::MOST_STREAMS;
use trouble::Fault;

use super::{
    fact::Trouble,
    limit::Limit,
    wire::{Method, WireReply, WireRequest},
};

/// The longest body that is read, except for listings, in bytes. All expected answers are
/// shorter.
const LONGEST_BODY: usize = 2 * 1024 * 1024;

/// The longest listing that is read, in bytes: about fifteen thousand locks.
const LONGEST_LISTING: usize = 4 * 1024 * 1024;

/// Connections that are opened in advance. If one renewal hangs, the next uses the other
/// connection.
const RENEWALS_KEPT: usize = 2;
const CALLS_KEPT: usize = 1;

/// The most connections on which one request is tried.
const MOST_TRIES: usize = 4;

/// Connections whose last answers are less than this apart have the same age: if one was
/// dropped silently, so were the others.
const SAME_AGE: Duration = Duration::from_secs(1);

/// How long a refused connection shows that the agent is full.
const REFUSAL_LASTS: Duration = Duration::from_secs(20);

/// The purpose of a request. Purposes use separate connections, so that none waits for
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Renewal,
    Call,
    Watch,
    /// A read of all keys under a prefix, over the connections of the blocking reads.
    List,
}

/// How the connections to the agent are protected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protection {
    pub(crate) https: bool,
    /// Whether HTTP/2 is spoken, once known.
    pub(crate) is_http2: Option<bool>,
    /// Whether the agent is on this host, by its address.
    pub(crate) is_local: bool,
}

/// The transport to one agent. It belongs to the thread that made it.
pub(crate) struct Http {
    dialer: Rc<Dialer>,
    renewals: Rc<Lane>,
    calls: Rc<Lane>,
    watches: Rc<Lane>,
    most_calls: usize,
    protection: Protection,
}

impl Http {
    /// Creates a transport that is not connected yet.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(crate) fn new(config: &HttpConfig) -> Result<Self, String> {
        Ok(Self::over(Dialer::new(config)?, config))
    }

    fn over(dialer: Dialer, config: &HttpConfig) -> Self {
        let dialer = Rc::new(dialer);
        let lane = |most, kept, streams| Lane::new(Rc::clone(&dialer), most, kept, streams);
        Self {
            renewals: lane(config.renewals, RENEWALS_KEPT, 1),
            calls: lane(config.calls, CALLS_KEPT, MOST_STREAMS),
            watches: lane(config.watches, 0, MOST_STREAMS),
            most_calls: config.calls,
            protection: Protection {
                https: config.address.is_https(),
                is_http2: None,
                is_local: config.address.is_local(),
            },
            dialer,
        }
    }

    /// Sends a request with an ACL token and reads the complete reply within the limit. A request
    /// that was certainly not processed is sent again over another connection. So is a
    /// repeatable request whose connection was closed without an answer. A request that has
    /// waited for a connection for most of the limit is not sent.
    ///
    /// # Cancel safety
    /// The agent may still act on a request whose future was dropped.
    pub(crate) async fn exchange(
        &self,
        purpose: Purpose,
        request: &WireRequest,
        token: Option<&HeaderValue>,
        limit: impl Into<Limit>,
    ) -> Result<WireReply, Trouble> {
        let limit: Limit = limit.into();
        let asked_at = Instant::now();
        let sent_at = Cell::new(asked_at);
        let seat = Cell::new(None);
        let exchange = async {
            let mut tries = 1;
            loop {
                let taken = self.seat(purpose, request).await?;
                sent_at.set(Instant::now());
                if sent_at.get() - asked_at >= limit.time_to_send() {
                    return Err(self.no_connection(purpose, limit.whole()));
                }
                let line = taken.line();
                seat.set(Some(taken));
                let longest = if purpose == Purpose::List { LONGEST_LISTING } else { LONGEST_BODY };
                let asked = async {
                    let asked = pin!(line.ask(request, token, longest));
                    match select(asked, pin!(line.silent.notified())).await {
                        Either::Left((reply, _)) => reply,
                        Either::Right(_) => Err(Fault::Other(Trouble::Timeout(limit.whole()))),
                    }
                };
                // Boxed because it is large, and thousands of requests may wait for a seat.
                let fault = match Box::pin(asked).await {
                    Ok(reply) => return overloaded(purpose, reply),
                    Err(fault) => fault,
                };
                seat.take().into_iter().for_each(Seat::retire);
                let goes_on = match &fault {
                    Fault::Unsent(_) => true,
                    Fault::Closed(_) => is_repeatable(purpose, request),
                    Fault::Other(_) | Fault::Tls(_) => false,
                };
                if !goes_on || tries == MOST_TRIES {
                    return Err(fault.into_trouble());
                }
                tries += 1;
            }
        };
        let result = tokio::time::timeout(limit.left(), exchange).await;
        let whole = limit.whole();
        let seat: Option<Seat<'_>> = seat.take();
        match (result, seat) {
            (Ok(result), _) => result,
            // Do not use a connection again that did not answer in time.
            (Err(_), Some(seat)) => {
                let (sent_at, answered_at) = (sent_at.get(), seat.line().answered_at.get());
                seat.retire();
                // A request that waited for its connection does not show that it is silent.
                if answered_at <= sent_at && limit.shows_silence(sent_at.elapsed()) {
                    let silent_since = sent_at.min(answered_at + SAME_AGE);
                    self.lanes().into_iter().for_each(|lane| lane.suspect(silent_since));
                }
                self.tend();
                Err(self.too_far(whole).unwrap_or(Trouble::Timeout(whole)))
            }
            (Err(_), None) => {
                Err(self.too_far(whole).unwrap_or_else(|| self.no_connection(purpose, whole)))
            }
        }
    }

    fn no_connection(&self, purpose: Purpose, limit: Duration) -> Trouble {
        let why = self.lane(purpose).why().map(|why| format!(": {why}")).unwrap_or_default();
        Trouble::Connect(format!("none could be had within {limit:.1?}{why}"))
    }

    /// Why no request can be answered within `limit`, if that is so on this path.
    fn too_far(&self, limit: Duration) -> Option<Trouble> {
        let round_trip = self.dialer.round_trip().filter(|round_trip| *round_trip > limit)?;
        Some(Trouble::TooFar { limit, round_trip })
    }

    /// How the connections are protected.
    pub(crate) fn describe(&self) -> Protection {
        let streams = self.calls.streams().or_else(|| self.watches.streams());
        Protection { is_http2: streams.map(|streams| streams > 1), ..self.protection }
    }

    /// The number of reads that one connection carries for [`Purpose::Watch`] and
    /// [`Purpose::List`], once the agent's protocol is known.
    pub(crate) fn reads_per_connection(&self) -> Option<usize> {
        self.watches.streams()
    }

    /// Limits blocking reads to `allowed` of `most` connections, and calls to the same
    /// share of theirs.
    pub(crate) fn bound(&self, allowed: usize, most: usize) {
        self.watches.bound(allowed);
        self.calls.bound((self.most_calls * allowed).div_ceil(most.max(1)).max(CALLS_KEPT));
    }

    /// Opens one more connection, to learn whether the agent accepts it.
    pub(crate) async fn probe(&self) -> Result<(), Trouble> {
        // The new connection replaces an older idle one.
        let line = self.dialer.dial().await?;
        if self.watches.give().is_some() {
            self.watches.adopt(Rc::new(line));
        }
        Ok(())
    }

    /// Returns whether the agent has lately refused a connection of any lane, and resets that.
    pub(crate) fn take_refused(&self) -> bool {
        self.dialer.refused_at.take().is_some_and(|at| at.elapsed() < REFUSAL_LASTS)
    }

    fn lane(&self, purpose: Purpose) -> &Rc<Lane> {
        match purpose {
            Purpose::Renewal => &self.renewals,
            Purpose::Call => &self.calls,
            Purpose::Watch | Purpose::List => &self.watches,
        }
    }

    fn lanes(&self) -> [&Rc<Lane>; 3] {
        [&self.renewals, &self.calls, &self.watches]
    }

    /// Reopens the connections that lanes keep open, and closes those not needed.
    fn tend(&self) {
        for lane in [&self.renewals, &self.calls] {
            if lane.is_starved() {
                self.spare(lane);
            }
        }
        self.lanes().into_iter().for_each(Lane::tend);
    }

    /// Moves a spare line of another lane to this one.
    fn spare(&self, to: &Rc<Lane>) -> bool {
        let others = [&self.watches, &self.calls, &self.renewals];
        let mut others = others.into_iter().filter(|lane| !Rc::ptr_eq(lane, to));
        let line = others.find_map(|lane| lane.give());
        line.map(|line| to.adopt(line)).is_some()
    }

    async fn seat(&self, purpose: Purpose, request: &WireRequest) -> Result<Seat<'_>, Trouble> {
        self.tend();
        // A request that does not block can use the lane for calls.
        let is_short = !request.blocks;
        let is_read = matches!(purpose, Purpose::Watch | Purpose::List);
        let purpose = if is_read && is_short && self.watches.has_one_place() {
            Purpose::Call
        } else {
            purpose
        };
        match self.own_seat(purpose).await {
            Err(_) if is_short && purpose != Purpose::Call => self.calls.seat().await,
            other => other,
        }
    }

    /// A seat in the lane of the purpose, on a line of another lane if necessary.
    async fn own_seat(&self, purpose: Purpose) -> Result<Seat<'_>, Trouble> {
        let lane = self.lane(purpose);
        if Rc::ptr_eq(lane, &self.watches) {
            self.renewals.core().await?;
            self.calls.core().await?;
        }
        match lane.seat().await {
            Err(_) if self.spare(lane) => lane.seat().await,
            other => other,
        }
    }
}

/// Whether the request may be processed twice and its answer may be late.
fn is_repeatable(purpose: Purpose, request: &WireRequest) -> bool {
    match purpose {
        Purpose::Renewal => true,
        Purpose::Call => request.method == Method::Get,
        Purpose::Watch | Purpose::List => false,
    }
}

/// Returns a read's reply, or [`Trouble::Refused`] if the server is overloaded.
fn overloaded(purpose: Purpose, reply: WireReply) -> Result<WireReply, Trouble> {
    let is_read = matches!(purpose, Purpose::Watch | Purpose::List);
    if is_read && matches!(reply.status, 429 | 502 | 503) {
        return Err(Trouble::Refused(format!("a read was answered {}", reply.status)));
    }
    Ok(reply)
}

#[cfg(test)]
pub(crate) mod tests;
