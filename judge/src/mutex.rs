//! A mutex whose owners may lose it, and whose tokens grow.

use stateright::semantics::SequentialSpec;

/// A process and the token of its ownership.
pub(crate) type Owner = (usize, u64);

/// The model: who owns the key, and the largest token so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mutex {
    owner: Option<Owner>,
    largest: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Becomes the owner with this token.
    Acquire(Owner),
    /// Asks whether this is still the owner.
    Check(Owner),
    /// Gives the key back.
    Release(Owner),
}

impl Act {
    pub(crate) fn owner(self) -> Owner {
        match self {
            Self::Acquire(owner) | Self::Check(owner) | Self::Release(owner) => owner,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Yes,
    No,
}

impl SequentialSpec for Mutex {
    type Op = Act;
    type Ret = Said;

    /// What the mutex answers to an operation whose answer nobody learned.
    fn invoke(&mut self, act: &Act) -> Said {
        if self.is_valid_step(act, &Said::Yes) { Said::Yes } else { Said::No }
    }

    fn is_valid_step(&mut self, act: &Act, said: &Said) -> bool {
        match (*act, said) {
            // A new owner needs no farewell of the last one: a lease may have run out. From here on
            // no check of the last one may say yes.
            (Act::Acquire(owner), Said::Yes) => {
                let grows = owner.1 > self.largest;
                if grows {
                    *self = Self { owner: Some(owner), largest: owner.1 };
                }
                grows
            }
            (Act::Acquire(_), Said::No) => true,
            (Act::Check(owner), Said::Yes) => self.owner == Some(owner),
            (Act::Release(owner), Said::Yes) => {
                let owned = self.owner == Some(owner);
                if owned {
                    self.owner = None;
                }
                owned
            }
            // A lease may run out at any time, and then for ever.
            (Act::Check(owner) | Act::Release(owner), Said::No) => {
                if self.owner == Some(owner) {
                    self.owner = None;
                }
                true
            }
        }
    }
}
