//! Which connection a request takes.
//!
//! A lane owns a bounded number of lines. A line is one awc `Client` and is used
//! so that it never has more than one connection: one request at a time on
//! HTTP/1.1, many streams on HTTP/2. awc's own pool cannot be held to a number of
//! connections on HTTP/2, where its limit counts streams.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use awc::{Client, http::Version};
use tokio::sync::{Mutex, Notify};

use super::trouble;
use crate::consul::fact::Trouble;

/// Consul allows 250 streams on a connection.
pub(super) const MOST_STREAMS: usize = 240;

/// The longest time that a new line may take to show which protocol it speaks.
const WARM_UP: Duration = Duration::from_secs(5);

pub(super) struct Lane {
    make: Box<dyn Fn() -> Client>,
    /// A path to ask when a line must show its protocol; none on plain HTTP,
    /// where it is known.
    probe: Option<String>,
    lines: RefCell<Vec<Rc<Line>>>,
    most_lines: usize,
    most_streams: usize,
    /// How many requests a line takes at once, as far as that is known: what the
    /// last one that showed its protocol takes.
    room: Cell<Option<usize>>,
    /// Whether all lines are to be open before they are needed, and whether the
    /// last request opened one.
    eager: bool,
    opened_last: Cell<bool>,
    /// Who comes first is served first: only who has the turn waits for `freed`.
    turn: Mutex<()>,
    freed: Notify,
}

struct Line {
    client: Client,
    /// How many requests it takes at once; 0 until its protocol is known.
    room: Cell<usize>,
    taken: Cell<usize>,
    /// It had trouble, and ends with the requests that are on it.
    retired: Cell<bool>,
    /// It has answered a request.
    proven: Cell<bool>,
}

/// A place on a line, given back when dropped.
pub(super) struct Seat<'a> {
    lane: &'a Lane,
    line: Rc<Line>,
}

impl Lane {
    /// `most_streams` bounds the requests on one connection, beside what the
    /// protocol allows.
    pub(super) fn new(
        most_lines: usize,
        most_streams: usize,
        probe: Option<String>,
        make: impl Fn() -> Client + 'static,
    ) -> Self {
        // With one request a connection, the protocol makes no difference.
        let probe = probe.filter(|_| most_streams > 1);
        Self {
            make: Box::new(make),
            room: Cell::new(probe.is_none().then_some(1)),
            probe,
            lines: RefCell::default(),
            most_lines: most_lines.max(1),
            most_streams: most_streams.clamp(1, MOST_STREAMS),
            eager: false,
            opened_last: Cell::new(false),
            turn: Mutex::new(()),
            freed: Notify::new(),
        }
    }

    /// Opens a missing line at every second request although others are free.
    ///
    /// A spare is thus ready when a line hangs, and where the agent takes no more
    /// connections every other request still goes over a line that works.
    pub(super) fn eager(self) -> Self {
        Self { eager: true, ..self }
    }

    /// How many requests there are places for, if that is known yet.
    pub(super) fn room(&self) -> Option<usize> {
        self.room.get().map(|room| room * self.most_lines)
    }

    /// Waits for a place.
    ///
    /// # Cancel safety
    /// Nothing is kept when the future is dropped.
    pub(super) async fn seat(&self) -> Result<Seat<'_>, Trouble> {
        let turn = self.turn.lock().await;
        let seat = loop {
            match self.offer() {
                Some(seat) => break seat,
                None => self.freed.notified().await,
            }
        };
        drop(turn);
        if seat.line.room.get() == 0 {
            // Boxed, since it is large and rare.
            match Box::pin(self.warm_up(&seat)).await {
                Ok(()) => self.freed.notify_one(),
                Err(trouble) => {
                    seat.retire();
                    return Err(trouble);
                }
            }
        }
        Ok(seat)
    }

    fn offer(&self) -> Option<Seat<'_>> {
        let mut lines = self.lines.borrow_mut();
        let free = lines
            .iter()
            .filter(|line| !line.retired.get() && line.taken.get() < line.room.get())
            .min_by_key(|line| line.taken.get());
        // Among equals the one that rested longest, so that every line is tried
        // in turn and none grows stale unseen.
        let warming = lines.iter().any(|line| line.room.get() == 0 && !line.retired.get());
        let spare =
            self.eager && !warming && !self.opened_last.get() && lines.len() < self.most_lines;
        if let Some(line) = free.cloned().filter(|_| !spare) {
            self.opened_last.set(false);
            if let Some(at) = lines.iter().position(|other| Rc::ptr_eq(other, &line)) {
                let line = lines.remove(at);
                lines.push(line);
            }
            return Some(Seat::take(self, line));
        }
        // One line at a time: it may have room for all who wait.
        if warming || lines.len() >= self.most_lines {
            return None;
        }
        let line = Rc::new(Line {
            client: (self.make)(),
            room: Cell::new(usize::from(self.probe.is_none())),
            taken: Cell::new(0),
            retired: Cell::new(false),
            proven: Cell::new(false),
        });
        lines.push(Rc::clone(&line));
        self.opened_last.set(true);
        drop(lines);
        Some(Seat::take(self, line))
    }

    async fn warm_up(&self, seat: &Seat<'_>) -> Result<(), Trouble> {
        let Some(probe) = &self.probe else { return Ok(()) };
        let version = tokio::time::timeout(WARM_UP, async {
            let request = seat.line.client.get(probe.as_str()).no_decompress();
            let mut response = request.send().await.map_err(trouble::of_sending)?;
            response.body().await.map_err(trouble::of_receiving)?;
            Ok(response.version())
        });
        let version = version.await.map_err(|_| Trouble::Timeout(WARM_UP))??;
        let room = if version == Version::HTTP_2 { self.most_streams } else { 1 };
        seat.line.room.set(room);
        self.room.set(Some(room));
        Ok(())
    }
}

impl<'a> Seat<'a> {
    fn take(lane: &'a Lane, line: Rc<Line>) -> Self {
        line.taken.set(line.taken.get() + 1);
        Self { lane, line }
    }

    pub(super) fn client(&self) -> &Client {
        &self.line.client
    }

    /// The line has answered.
    pub(super) fn proven(&self) {
        self.line.proven.set(true);
    }

    /// Whether the line has ever answered a request.
    pub(super) fn is_proven(&self) -> bool {
        self.line.proven.get()
    }

    /// Gives the place back and lets the line take no other request: what is
    /// wrong with one stream of a connection may be wrong with all.
    pub(super) fn retire(self) {
        self.line.retired.set(true);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let line = &self.line;
        line.taken.set(line.taken.get() - 1);
        if line.room.get() == 0 {
            // Dropped while it was being warmed up.
            line.retired.set(true);
        }
        if line.retired.get() && line.taken.get() == 0 {
            self.lane.lines.borrow_mut().retain(|other| !Rc::ptr_eq(other, line));
        }
        self.lane.freed.notify_one();
    }
}
