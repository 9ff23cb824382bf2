//! Changes to inputs.

use crate::simulation::random::Random;

/// The longest input, in bytes.
const LONGEST: usize = 64 * 1024;

/// Pieces that parsers may read wrongly.
const PIECES: [&[u8]; 28] = [
    b"18446744073709551615",
    b"18446744073709551616",
    b"-1",
    b"1e999",
    b"0",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"\"\"",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":{\"a\":",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"\xc3\x28",
    b"\0",
    b"\r\n",
    b"\r\n\r\n",
    b"\x1b[2J",
    b"\xe2\x80\xae",
    b"%00",
    b"%2F..%2F",
    b"//",
    b"://",
    b"Permission denied",
    b"ACL not found",
    b"ffffffff\r\n",
];

/// Returns an entry of the corpus with some changes.
pub(super) fn changed(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..random.skewed(1..=12) {
        change(&mut input, corpus, random);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let until = at + random.below((input.len() - at).min(64) + 1);
    match random.below(10) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.next() as u8,
        2 => input.insert(at, random.next() as u8),
        3 => drop(input.drain(at..until)),
        4 => {
            let piece = random.pick(&PIECES);
            input.splice(at..until, piece.iter().copied());
        }
        5 => {
            let piece = random.pick(&PIECES);
            input.splice(at..at, piece.iter().copied());
        }
        6 => {
            // Repeats a part, up to thousands of times.
            let part = input[at..until].to_vec();
            let times = random.skewed(1..=4_000) as usize;
            let most = LONGEST / part.len().max(1);
            input.splice(at..at, part.repeat(times.min(most)));
        }
        7 => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        8 => input.truncate(at),
        _ => {
            // A number that is a little, or much, larger.
            let digits = input.iter().skip(at).position(u8::is_ascii_digit);
            if let Some(digit) = digits {
                input[at + digit] = b'0' + random.below(10) as u8;
            }
        }
    }
}
