//! The canonical form of a state: equal for states that differ only in names.
//!
//! It is made of the debug text of everything that decides what happens next. Moments
//! become relative to now. Tickets, calls, indexes and tokens become ranks, which keep
//! their order; sessions are numbered as they appear. Equal forms must have equal futures,
//! whichever of two such states is searched on: so nothing that a form leaves out (the
//! generators, the numbers of exchanges, the order of messages that may be received in any
//! order) decides anything. What lies further in the future
//! than any exploration lasts becomes `far`.

use std::{collections::hash_map::DefaultHasher, hash::Hasher as _, time::Duration};

use crate::{clock::Moment, protocol::series::RANGE};

/// Further in the future than any exploration lasts.
const FAR: Duration = Duration::from_secs(100);
/// The indexes of an exploration's store lie in this range, so that no other number is
/// taken for one.
pub(super) const FIRST_INDEX: u64 = 1_000_000;
const INDEXES: std::ops::Range<u64> = FIRST_INDEX..2 * FIRST_INDEX;

/// The text of a state, in parts.
#[derive(Default)]
pub(super) struct Text {
    parts: Vec<Part>,
    /// Parts whose order does not matter.
    unordered: Vec<Part>,
}

struct Part {
    /// The calls with this number belong together.
    calls: u8,
    /// The origin of its moments.
    now: Moment,
    text: String,
}

/// A name or number that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    Ticket(u64),
    Call(u8, u64),
    Index(u64),
}

enum Token<'a> {
    Text(&'a [u8]),
    /// Nanoseconds since the part's now; `None` if that is far, or never.
    Moment(Option<i64>),
    Name(Name),
    /// A fencing token: an index, shifted, and a sequence number.
    Fencing(Name, u64),
    Session(&'a [u8]),
}

impl Text {
    /// Adds a part whose calls belong to the group `calls`.
    pub(super) fn add(&mut self, calls: u8, now: Moment, text: String) {
        self.parts.push(Part { calls, now, text });
    }

    /// Adds a part without calls, whose place among the other unordered ones does not matter.
    pub(super) fn add_unordered(&mut self, now: Moment, text: String) {
        self.unordered.push(Part { calls: 255, now, text });
    }

    /// The hash of the canonical form.
    pub(super) fn hash(&self) -> u128 {
        let tokens = |part| {
            let mut tokens = Vec::with_capacity(64);
            scan(part, &mut tokens);
            tokens
        };
        let parts: Vec<_> = self.parts.iter().map(tokens).collect();
        let mut unordered: Vec<_> = self.unordered.iter().map(tokens).collect();
        let mut names = Names::default();
        names.all.extend(parts.iter().chain(&unordered).flatten().filter_map(Token::name));
        names.all.sort_unstable();
        names.all.dedup();
        let mut sink = Sink::default();
        for part in &parts {
            sink.write(&names.encode(part, true));
        }
        // Sorted by what does not depend on their order.
        unordered.sort_by_cached_key(|part| names.encode(part, false));
        for part in &unordered {
            sink.write(&names.encode(part, true));
        }
        sink.finish()
    }
}

/// The names of a state.
#[derive(Default)]
struct Names<'a> {
    /// Without sessions, in order.
    all: Vec<Name>,
    /// The sessions that have a number.
    sessions: Vec<&'a [u8]>,
    /// The machines whose tickets have a number.
    machines: Vec<u64>,
}

impl<'a> Names<'a> {
    /// The canonical form of a part. If `numbers`, sessions and machines that have no number
    /// get the next one.
    fn encode(&mut self, part: &[Token<'a>], numbers: bool) -> Vec<u8> {
        let mut form = Vec::with_capacity(256);
        let number = |form: &mut Vec<u8>, kind: u8, number: i64| {
            form.push(kind);
            form.extend(number.to_le_bytes());
        };
        for token in part {
            match token {
                Token::Text(text) => form.extend(*text),
                Token::Moment(since) => number(&mut form, b'm', since.unwrap_or(i64::MAX)),
                Token::Name(name) => {
                    if let Name::Ticket(of) = name {
                        let machine = place(&mut self.machines, of / RANGE, numbers);
                        number(&mut form, b't', machine);
                    }
                    number(&mut form, b'n', self.rank(name));
                }
                Token::Fencing(name, sequence) => {
                    number(&mut form, b'f', self.rank(name));
                    number(&mut form, b's', *sequence as i64);
                }
                Token::Session(id) => {
                    number(&mut form, b'i', place(&mut self.sessions, *id, numbers));
                }
            }
        }
        form.push(b'\n');
        form
    }

    /// The place of a name within its group.
    fn rank(&self, name: &Name) -> i64 {
        let first = self.all.partition_point(|other| other.group() < name.group());
        let place = self.all.partition_point(|other| other < name);
        (place - first) as i64
    }
}

/// The number of a name among those known.
fn place<T: PartialEq>(known: &mut Vec<T>, name: T, adds: bool) -> i64 {
    let place = known.iter().position(|it| *it == name).unwrap_or(known.len());
    if adds && place == known.len() {
        known.push(name);
    }
    place as i64
}

impl Token<'_> {
    fn name(&self) -> Option<Name> {
        match self {
            Token::Name(name) | Token::Fencing(name, _) => Some(*name),
            _ => None,
        }
    }
}

impl Name {
    /// Names are ranked within their group.
    fn group(self) -> (u8, u64) {
        match self {
            Self::Ticket(number) => (0, number / RANGE),
            Self::Call(group, _) => (1, group.into()),
            Self::Index(_) => (2, 0),
        }
    }
}

/// Splits a part into tokens.
fn scan<'a>(part: &'a Part, tokens: &mut Vec<Token<'a>>) {
    let bytes = part.text.as_bytes();
    let (mut at, mut plain) = (0, 0);
    while at < bytes.len() {
        let byte = bytes[at];
        let is_inside = at > 0 && bytes[at - 1].is_ascii_alphanumeric();
        if is_inside || !byte.is_ascii_hexdigit() {
            at += 1;
            continue;
        }
        if bytes.get(at + 8) == Some(&b'-')
            && let Some(id) = bytes.get(at..at + 36).filter(|id| is_session(id))
        {
            tokens.extend([Token::Text(&bytes[plain..at]), Token::Session(id)]);
            (at, plain) = (at + 36, at + 36);
            continue;
        }
        let end = at + bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if end == at {
            at += 1;
            continue;
        }
        let digits = &bytes[at..end];
        let number = digits
            .iter()
            .fold(0_u64, |sum, it| sum.wrapping_mul(10).wrapping_add(u64::from(it - b'0')));
        if let Some(token) = name(part, &bytes[..at], number) {
            tokens.extend([Token::Text(&bytes[plain..at]), token]);
            plain = end;
        }
        at = end;
    }
    tokens.push(Token::Text(&bytes[plain..]));
}

/// The token for a number after this text; `None` if the number stands for itself.
fn name<'a>(part: &Part, before: &[u8], number: u64) -> Option<Token<'a>> {
    if before.last() == Some(&b'(') {
        let from = before.len().saturating_sub(16);
        let word = before[from..before.len() - 1].rsplit(|byte| !byte.is_ascii_alphabetic());
        match word.into_iter().next().unwrap_or_default() {
            b"Moment" => return Some(moment(part, number)),
            // Smaller numbers are reasons.
            b"DeadlineCell" if number > 1_000_000 => return Some(moment(part, number)),
            b"Ticket" => return Some(Token::Name(Name::Ticket(number))),
            b"CallId" => return Some(Token::Name(Name::Call(part.calls, number))),
            // The next ticket is greater than all others; a clock shows now.
            b"Tickets" | b"Simulated" => return Some(Token::Text(b"")),
            _ => {}
        }
    }
    if INDEXES.contains(&number) {
        return Some(Token::Name(Name::Index(number)));
    }
    let is_token = INDEXES.contains(&(number >> 16));
    is_token.then_some(Token::Fencing(Name::Index(number >> 16), number & 0xFFFF))
}

fn moment<'a>(part: &Part, nanos: u64) -> Token<'a> {
    let since = i128::from(nanos) - i128::from(part.now.as_nanos());
    let is_far = nanos == 0 || since > FAR.as_nanos() as i128;
    Token::Moment((!is_far).then_some(since as i64))
}

fn is_session(id: &[u8]) -> bool {
    id.iter().enumerate().all(|(place, byte)| match place {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

/// Two independent hashes of the same bytes.
#[derive(Default)]
struct Sink(DefaultHasher, u64);

impl Sink {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
        let mut mix = |word: [u8; 8]| {
            self.1 = (self.1.rotate_left(5) ^ u64::from_le_bytes(word))
                .wrapping_mul(0x517c_c1b7_2722_0a95);
        };
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().copied().for_each(&mut mix);
        let mut last = [0xFF; 8];
        last[..rest.len()].copy_from_slice(rest);
        mix(last);
    }

    fn finish(&self) -> u128 {
        u128::from(self.0.finish()) << 64 | u128::from(self.1)
    }
}
