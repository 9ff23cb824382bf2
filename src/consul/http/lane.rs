//! Assigns requests to connections.
//!
//! A lane owns a bounded number of lines. A line carries one request at a time on HTTP/1.1
//! and many on HTTP/2. Separate tasks open lines, so that a slow one serves the next
//! caller even if the first caller has given up.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    pin::pin,
    rc::Rc,
    time::Duration,
};

use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, timeout},
};

use super::{dial::Dialer, line::Line};
use crate::consul::fact::Trouble;

/// How long a lane that has lines waits after a failure before it dials again.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a surplus line may be idle before it is closed.
const REST: Duration = Duration::from_secs(10);
/// How long the opening of a line may take before it counts as silent: as long as a request to an
/// agent that is not far away.
const OVERDUE: Duration = Duration::from_secs(2);

pub(super) struct Lane {
    dialer: Rc<Dialer>,
    /// The newest last.
    lines: RefCell<Vec<Rc<Line>>>,
    /// Idle lines that may be silent, in a lane that keeps lines. They are closed once others
    /// stand in their places, and used again if those cannot be opened.
    suspects: RefCell<Vec<Rc<Line>>>,
    most: Cell<usize>,
    /// The number of lines that stay open while idle.
    kept: usize,
    /// The most requests on one line, in addition to the protocol's limit.
    most_streams: usize,
    /// How many requests a line carries at once; over TLS, unknown until one is open.
    streams: Cell<Option<usize>>,
    /// Whether waiting requests fail as soon as no further line can be opened.
    impatient: bool,
    dialing: Cell<usize>,
    /// The number of silent dials beside which others are tried.
    overdue: Cell<usize>,
    waiting: Cell<usize>,
    /// The number of failed dials, and the error and time of the last.
    failures: Cell<u64>,
    failed: RefCell<Option<(Trouble, Instant)>>,
    /// Whether a dial has failed since all lines that the lane keeps were open.
    is_failing: Cell<bool>,
    /// Serves requests in order: only the one with the turn waits for `freed`.
    turn: Mutex<()>,
    freed: Notify,
    /// A dial has ended.
    settled: Notify,
}

/// A place on a line. Dropping it frees the place.
pub(super) struct Seat<'a> {
    lane: &'a Lane,
    line: Rc<Line>,
}

impl Lane {
    /// Creates a lane of at most `most` lines with at most `most_streams` requests each.
    /// `kept` lines are opened in advance.
    pub(super) fn new(
        dialer: Rc<Dialer>,
        most: usize,
        kept: usize,
        most_streams: usize,
    ) -> Rc<Self> {
        let most = most.max(1);
        // With one request per connection, the protocol makes no difference.
        let streams = dialer.streams().or((most_streams == 1).then_some(1));
        Rc::new(Self {
            dialer,
            lines: RefCell::default(),
            suspects: RefCell::default(),
            most: Cell::new(most),
            kept: kept.min(most),
            most_streams,
            streams: Cell::new(streams),
            impatient: kept == 0,
            dialing: Cell::new(0),
            overdue: Cell::new(0),
            waiting: Cell::new(0),
            failures: Cell::new(0),
            failed: RefCell::default(),
            is_failing: Cell::new(false),
            turn: Mutex::new(()),
            freed: Notify::new(),
            settled: Notify::new(),
        })
    }

    /// How many requests a line carries at once, if known yet.
    pub(super) fn streams(&self) -> Option<usize> {
        self.streams.get()
    }

    /// Whether one request occupies all that the lane may open.
    pub(super) fn has_one_place(&self) -> bool {
        self.most.get() == 1 && self.streams.get() == Some(1)
    }

    /// Why the last connection could not be opened; `None` if it could.
    pub(super) fn why(&self) -> Option<String> {
        let failed = self.failed.borrow();
        failed.as_ref().filter(|_| self.is_failing.get()).map(|(trouble, _)| match trouble {
            Trouble::Connect(why) | Trouble::Refused(why) => why.clone(),
            other => other.to_string(),
        })
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// The error of the last dial, if the lane has no line; in a lane that keeps none, also
    /// if all lines are in use.
    ///
    /// # Cancel safety
    /// Dropping the future leaves no place taken.
    pub(super) async fn seat(self: &Rc<Self>) -> Result<Seat<'_>, Trouble> {
        let failures = self.failures.get();
        let _waits = Waits::new(&self.waiting);
        if !self.has_place() {
            self.open();
        }
        let _turn = self.turn.lock().await;
        loop {
            if let Some(seat) = self.offer() {
                return Ok(seat);
            }
            let has_none = self.standing() == 0 && self.dialing.get() == 0;
            if (has_none || self.impatient)
                && self.failures.get() != failures
                && let Some((trouble, _)) = &*self.failed.borrow()
            {
                return Err(trouble.clone());
            }
            self.open();
            self.freed.notified().await;
        }
    }

    /// Opens the lines that the lane keeps, and closes idle ones that it does not need.
    pub(super) fn tend(self: &Rc<Self>) {
        self.close_surplus();
        let missing = self.kept.saturating_sub(self.standing() + self.dialing.get());
        if missing > 0 && !self.has_failed_lately() {
            (0..missing).for_each(|_| self.dial());
        }
        let now = Instant::now();
        let mut surplus = self.standing().saturating_sub(self.kept);
        // The oldest first.
        self.lines.borrow_mut().retain(|line| {
            let rests = line.is_idle() && now - line.answered_at.get() > REST;
            let goes = surplus > 0 && rests;
            surplus -= usize::from(goes);
            !goes
        });
    }

    /// Waits until the lines that the lane keeps are open.
    ///
    /// # Errors
    /// The error of the last dial, if one is missing and none is being opened.
    pub(super) async fn core(&self) -> Result<(), Trouble> {
        while self.standing() < self.kept {
            if self.dialing.get() + self.overdue.get() == 0 {
                let failed = self.failed.borrow();
                let why = failed.as_ref().filter(|_| self.is_failing.get());
                let why = why.map(|(trouble, _)| trouble.clone());
                return Err(why.unwrap_or_else(|| Trouble::Connect("not open yet".into())));
            }
            self.settled.notified().await;
        }
        Ok(())
    }

    /// Limits the lane to `most` lines. Surplus lines are closed when idle.
    pub(super) fn bound(&self, most: usize) {
        self.most.set(most.max(1));
        self.close_surplus();
    }

    /// Closes idle lines that are beyond the limit, or are over.
    fn close_surplus(&self) {
        let mut standing = 0;
        self.lines.borrow_mut().retain(|line| {
            let is_surplus = standing >= self.most.get() || line.is_over();
            let goes = is_surplus && line.is_idle();
            standing += usize::from(!goes && !line.is_over());
            !goes
        });
    }

    /// Removes and returns an idle line that the lane does not need to keep.
    pub(super) fn give(&self) -> Option<Rc<Line>> {
        self.close_surplus();
        if self.standing() <= self.kept {
            return None;
        }
        let mut lines = self.lines.borrow_mut();
        let place = lines.iter().rposition(|line| line.is_idle())?;
        Some(lines.remove(place))
    }

    /// Whether the lane lacks a line that it keeps because none can be opened.
    pub(super) fn is_starved(&self) -> bool {
        self.is_failing.get() && self.standing() < self.kept
    }

    pub(super) fn adopt(&self, line: Rc<Line>) {
        self.streams.set(Some(self.room(&line)));
        self.lines.borrow_mut().push(line);
        if self.standing() >= self.kept {
            self.suspects.borrow_mut().clear();
            self.is_failing.set(false);
        }
        self.freed.notify_one();
        self.settled.notify_waiters();
    }

    /// Replaces the lines that have not answered since `moment`: a line of their age is
    /// silent. A blocking read over HTTP/1.1 is given up, too, since nothing else would show
    /// for its whole wait that the line is dead. HTTP/2 has pings, and other requests end by
    /// their own time limits.
    pub(super) fn suspect(&self, moment: Instant) {
        let blocks = |line: &Line| self.kept == 0 && line.streams() == 1;
        let is_suspect = |line: &mut Rc<Line>| {
            line.answered_at.get() <= moment && (line.is_idle() || blocks(line))
        };
        for line in self.lines.borrow_mut().extract_if(.., is_suspect) {
            line.silent.notify_waiters();
            if self.kept > 0 {
                self.suspects.borrow_mut().push(line);
            }
        }
    }

    /// Uses a suspect line again, where no other can be opened. The agent itself may have been
    /// silent.
    fn reinstate(&self) {
        let line = self.suspects.borrow_mut().pop();
        self.lines.borrow_mut().extend(line);
    }

    /// The number of lines that can carry requests. One that is over, and stays until its last
    /// requests have ended, takes the place of no other.
    pub(super) fn standing(&self) -> usize {
        self.lines.borrow().iter().filter(|line| !line.is_over()).count()
    }

    fn room(&self, line: &Line) -> usize {
        line.streams().min(self.most_streams)
    }

    fn has_room(&self, line: &Line) -> bool {
        !line.is_over() && line.taken.get() < self.room(line)
    }

    fn has_place(&self) -> bool {
        self.lines.borrow().iter().any(|line| self.has_room(line))
    }

    /// Takes a place on the line with the fewest requests. Among equals, it takes the
    /// newest line, which is the least likely to have been dropped silently.
    fn offer(&self) -> Option<Seat<'_>> {
        self.close_surplus();
        let lines = self.lines.borrow();
        let standing = lines.iter().filter(|line| !line.is_over());
        let allowed = standing.take(self.most.get()).enumerate();
        let with_room = allowed.filter(|(_, line)| self.has_room(line));
        let (_, line) =
            with_room.min_by_key(|(place, line)| (line.taken.get(), Reverse(*place)))?;
        line.taken.set(line.taken.get() + 1);
        Some(Seat { lane: self, line: Rc::clone(line) })
    }

    fn has_failed_lately(&self) -> bool {
        self.failed.borrow().as_ref().is_some_and(|(_, at)| at.elapsed() < PAUSE)
    }

    /// Starts to open a line for waiting requests, if the limits allow one.
    fn open(self: &Rc<Self>) {
        let (standing, dialing) = (self.standing(), self.dialing.get());
        let most = self.most.get();
        // Lines that are over take no place, but there must not be many of them.
        let is_allowed =
            standing + dialing < most && self.lines.borrow().len() + dialing < 2 * most;
        // One line may have room for all waiting requests.
        let at_once = if self.streams.get() == Some(1) { self.waiting.get() } else { 1 };
        let has_pause = standing > 0 && self.has_failed_lately();
        if is_allowed && dialing < at_once && !has_pause {
            self.dial();
        }
    }

    fn dial(self: &Rc<Self>) {
        self.dialing.set(self.dialing.get() + 1);
        let mut dial = Dial { lane: Rc::clone(self), has_place: true, result: None };
        actix_rt::spawn(async move { dial.run().await });
    }
}

/// A line that is being opened.
struct Dial {
    lane: Rc<Lane>,
    /// It counts as one of the lane's lines.
    has_place: bool,
    result: Option<Result<Line, Trouble>>,
}

impl Dial {
    async fn run(&mut self) {
        let dialer = Rc::clone(&self.lane.dialer);
        let mut opening = pin!(dialer.dial());
        self.result = Some(match timeout(OVERDUE, &mut opening).await {
            Ok(line) => line,
            Err(_) => {
                self.give_way();
                opening.await
            }
        });
    }

    /// Lets the lane dial again: the agent may answer others by now. Only lanes that keep lines
    /// do so, a few times.
    fn give_way(&mut self) {
        let lane = &self.lane;
        if lane.overdue.get() < 2 * lane.kept {
            self.has_place = false;
            lane.overdue.set(lane.overdue.get() + 1);
            lane.dialing.set(lane.dialing.get() - 1);
            lane.freed.notify_one();
            lane.settled.notify_waiters();
        }
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        let lane = &self.lane;
        let counted = if self.has_place { &lane.dialing } else { &lane.overdue };
        counted.set(counted.get() - 1);
        // A service's own certificate verifier can panic.
        let ended = || Err(Trouble::Connect("the attempt was dropped or has panicked".into()));
        match self.result.take().unwrap_or_else(ended) {
            Ok(line) => lane.adopt(Rc::new(line)),
            Err(trouble) => {
                lane.reinstate();
                lane.failures.set(lane.failures.get() + 1);
                *lane.failed.borrow_mut() = Some((trouble, Instant::now()));
                lane.is_failing.set(true);
                lane.freed.notify_one();
                lane.settled.notify_waiters();
            }
        }
    }
}

/// Counts a waiting request until dropped.
struct Waits<'a>(&'a Cell<usize>);

impl<'a> Waits<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Seat<'_> {
    pub(super) fn line(&self) -> Rc<Line> {
        Rc::clone(&self.line)
    }

    /// Frees the place and stops the line from taking other requests: a fault of one stream
    /// may affect the whole connection.
    pub(super) fn retire(self) {
        self.line.retired.set(true);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.line.taken.set(self.line.taken.get() - 1);
        self.lane.close_surplus();
        self.lane.freed.notify_one();
    }
}
