//! The numbers that order the owners of a key.

use std::{fmt, num::ParseIntError, str::FromStr};

use serde::{Deserialize, Serialize};

/// A number that grows with every new owner of a key, in whatever process.
///
/// Pass it to the protected resource with each write, and let the resource refuse
/// a write whose token is smaller than the largest it has seen. This stops an owner
/// that was paused and has not yet checked whether it still owns the lock.
///
/// The token is the Consul index at which the key was locked, shifted left by 16
/// bits, plus the number of hand-overs inside the owning process since then. It
/// fits a signed 64-bit column. Only tokens of the same key are comparable. They
/// grow within one history of Consul's store: an operator who restores a snapshot
/// can make them start lower again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct FencingToken(u64);

impl FencingToken {
    const SEQUENCE_BITS: u32 = 16;

    /// The token of the `sequence`-th caller under the ownership won at `index`.
    ///
    /// `None` for an index of 2^47 or more, since the token would not fit a signed
    /// column. No store reaches such an index by counting.
    pub(crate) const fn new(index: u64, sequence: u16) -> Option<Self> {
        if index >= 1 << (63 - Self::SEQUENCE_BITS) {
            return None;
        }
        Some(Self(index << Self::SEQUENCE_BITS | sequence as u64))
    }

    /// The index at which the ownership was won.
    pub(crate) const fn index(self) -> u64 {
        self.0 >> Self::SEQUENCE_BITS
    }

    /// Whether this caller got the ownership from another caller of its process.
    pub(crate) fn is_handed_over(self) -> bool {
        self.0 & u64::from(u16::MAX) > 0
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
        write!(
            f,
            "FencingToken({} = {}:{})",
            self.0,
            self.0 >> Self::SEQUENCE_BITS,
            self.0 & u64::from(u16::MAX)
        )
    }
}

#[cfg(test)]
mod tests;
