//! The canonical form of a state: equal for states that differ only in names.
//!
//! It is made of the debug text of everything that decides what happens next. Moments
//! become relative to now. Tickets, calls, indexes and tokens become ranks, which keep
//! their order; sessions are numbered as they appear. What lies further in the future
//! than any exploration lasts becomes `far`.

use std::{collections::hash_map::DefaultHasher, hash::Hasher as _, time::Duration};

use crate::clock::Moment;

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
}

struct Part {
    /// The tickets with this number belong together.
    tickets: u8,
    /// Where its moments are counted from.
    now: Moment,
    text: String,
}

/// A name or number that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    Ticket(u8, u64),
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
    /// Adds a part whose tickets and calls belong to the group `tickets`.
    pub(super) fn add(&mut self, tickets: u8, now: Moment, text: String) {
        self.parts.push(Part { tickets, now, text });
    }

    /// The hash of the canonical form.
    pub(super) fn hash(&self) -> u128 {
        let mut tokens = Vec::with_capacity(512);
        for part in &self.parts {
            scan(part, &mut tokens);
            tokens.push(Token::Text(b"\n"));
        }
        let mut names: Vec<Name> = Vec::with_capacity(64);
        names.extend(tokens.iter().filter_map(|token| match token {
            Token::Name(name) | Token::Fencing(name, _) => Some(*name),
            _ => None,
        }));
        names.sort_unstable();
        names.dedup();
        let rank = |name: &Name| {
            let first = names.partition_point(|other| other.group() < name.group());
            let place = names.partition_point(|other| other < name);
            (place - first) as i64
        };
        let mut sessions: Vec<&[u8]> = Vec::new();
        let mut sink = Sink::default();
        for token in &tokens {
            match token {
                Token::Text(text) => sink.write(text),
                Token::Moment(since) => sink.number(b'm', since.unwrap_or(i64::MAX)),
                Token::Name(name) => sink.number(b'n', rank(name)),
                Token::Fencing(name, sequence) => {
                    sink.number(b'f', rank(name));
                    sink.number(b's', *sequence as i64);
                }
                Token::Session(id) => {
                    let place = sessions.iter().position(|it| it == id).unwrap_or_else(|| {
                        sessions.push(*id);
                        sessions.len() - 1
                    });
                    sink.number(b'i', place as i64);
                }
            }
        }
        sink.finish()
    }
}

impl Name {
    /// Names are ranked within their group.
    fn group(self) -> (u8, u8) {
        match self {
            Self::Ticket(group, _) => (0, group),
            Self::Call(group, _) => (1, group),
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
        let number = digits.iter().take(18).fold(0, |sum, it| sum * 10 + u64::from(it - b'0'));
        if let Some(token) = name(part, &bytes[..at], number) {
            tokens.extend([Token::Text(&bytes[plain..at]), token]);
            plain = end;
        }
        at = end;
    }
    tokens.push(Token::Text(&bytes[plain..]));
}

/// What a number is that follows this text, unless it stands for itself.
fn name<'a>(part: &Part, before: &[u8], number: u64) -> Option<Token<'a>> {
    if before.last() == Some(&b'(') {
        let from = before.len().saturating_sub(16);
        let word = before[from..before.len() - 1].rsplit(|byte| !byte.is_ascii_alphabetic());
        match word.into_iter().next().unwrap_or_default() {
            b"Moment" => return Some(moment(part, number)),
            // Smaller numbers are reasons.
            b"DeadlineCell" if number > 1_000_000 => return Some(moment(part, number)),
            b"Ticket" => return Some(Token::Name(Name::Ticket(part.tickets, number))),
            b"CallId" => return Some(Token::Name(Name::Call(part.tickets, number))),
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

    fn number(&mut self, kind: u8, number: i64) {
        self.write(&[kind]);
        self.write(&number.to_le_bytes());
    }

    fn finish(&self) -> u128 {
        u128::from(self.0.finish()) << 64 | u128::from(self.1)
    }
}
