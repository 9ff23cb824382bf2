//! The numbers that order the owners of a key.

use std::{fmt, num::ParseIntError, str::FromStr};

use serde::{Deserialize, Serialize};

/// A number that grows with every new owner of a key, in whatever process.
///
/// Pass it to the protected resource with each write, and let the resource refuse
/// a write whose token is smaller than the largest it has seen. This stops an owner
/// that was paused and has not yet checked whether it still owns the lock.
///
/// The token consists of the [era](crate::Config::era) (7 bits), the Consul index at
/// which the key was locked (40 bits) and the number of hand-overs inside the owning
/// process since then (16 bits). It fits a signed 64-bit column. Only tokens of the same
/// key are comparable. They grow within one history of Consul's store. When servers
/// start with an older snapshot or an empty store, indexes start lower again, until the
/// operator sets the next era.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct FencingToken(u64);

impl FencingToken {
    const SEQUENCE_BITS: u32 = 16;
    const INDEX_BITS: u32 = 40;

    /// The token, in the first era, of the `sequence`-th caller under the ownership won at
    /// `index`.
    ///
    /// `None` for an index of 2^40 or more, which would reach into the next era. A store
    /// with 1,000 writes a second gets there in 34 years.
    pub(crate) const fn new(index: u64, sequence: u16) -> Option<Self> {
        if index >= 1 << Self::INDEX_BITS {
            return None;
        }
        Some(Self(index << Self::SEQUENCE_BITS | sequence as u64))
    }

    /// The index at which the ownership was won.
    pub(crate) fn index(self) -> u64 {
        self.parts().1
    }

    /// The token of the same ownership in this era.
    pub(crate) fn in_era(self, era: Era) -> Self {
        Self(u64::from(era.0) << (Self::INDEX_BITS + Self::SEQUENCE_BITS) | self.0)
    }

    /// The era, the index and the sequence number.
    fn parts(self) -> (u64, u64, u64) {
        let place = self.0 >> Self::SEQUENCE_BITS;
        let index = place & ((1 << Self::INDEX_BITS) - 1);
        (place >> Self::INDEX_BITS, index, self.0 & u64::from(u16::MAX))
    }

    /// Whether this caller got the ownership from another caller of its process.
    pub(crate) fn is_handed_over(self) -> bool {
        self.parts().2 > 0
    }

    /// The token as a signed number, for a database column. Never negative.
    #[must_use]
    pub const fn as_i64(self) -> i64 {
        self.0.cast_signed()
    }

    /// The token as an unsigned number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// A number that orders the tokens of successive histories of Consul's store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Era(u8);

impl Era {
    pub(crate) const LAST: u8 =
        (1 << (63 - FencingToken::SEQUENCE_BITS - FencingToken::INDEX_BITS)) - 1;

    /// `None` above [`LAST`](Self::LAST).
    pub(crate) fn new(number: u8) -> Option<Self> {
        (number <= Self::LAST).then_some(Self(number))
    }
}

/// The error of a conversion from a number or text that is not a [`FencingToken`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fencing token is a whole number from 0 to 9223372036854775807")]
#[non_exhaustive]
pub struct InvalidToken;

/// Reads a stored token.
impl TryFrom<i64> for FencingToken {
    type Error = InvalidToken;

    fn try_from(token: i64) -> Result<Self, InvalidToken> {
        u64::try_from(token).map(Self).map_err(|_| InvalidToken)
    }
}

/// Reads a stored token.
impl TryFrom<u64> for FencingToken {
    type Error = InvalidToken;

    fn try_from(token: u64) -> Result<Self, InvalidToken> {
        i64::try_from(token).map_err(|_| InvalidToken)?.try_into()
    }
}

/// Parses the decimal number that `Display` writes, for instance from a header.
impl FromStr for FencingToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let token: u64 = text.parse().map_err(|_: ParseIntError| InvalidToken)?;
        token.try_into()
    }
}

impl From<FencingToken> for u64 {
    fn from(token: FencingToken) -> Self {
        token.as_u64()
    }
}

impl From<FencingToken> for i64 {
    fn from(token: FencingToken) -> Self {
        token.as_i64()
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (0, index, sequence) => write!(f, "FencingToken({} = {index}:{sequence})", self.0),
            (era, index, sequence) => {
                write!(f, "FencingToken({} = {era}:{index}:{sequence})", self.0)
            }
        }
    }
}

#[cfg(test)]
mod tests;
