//! What the waiting callers want of the lock machine.

/// The callers' demand: what the lock machine must do in Consul.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Keep the ownership: a caller has it, or will be granted it.
    pub(crate) keep: bool,
    /// At least one waiting caller waits for another holder.
    pub(crate) patient: bool,
    /// At least one waiting caller does not wait for another holder.
    pub(crate) impatient: bool,
    /// The waiting callers all want the key only with other keys.
    pub(crate) sets_only: bool,
    /// Follow the key's holder, whether or not anybody contends.
    pub(crate) follow: bool,
    /// Bumped when following restarts, since new followers know nothing.
    pub(crate) followings: u64,
    /// The owner has a write to send.
    pub(crate) write: bool,
}

impl Demand {
    /// Whether callers wait for the key.
    pub(crate) fn wants(self) -> bool {
        self.patient || self.impatient
    }
}
