//! Who asks Consul for a machine: an actor in the runtime, a network in the simulation.

use crate::consul::ask::Ask;

/// Asks Consul, so that a machine gets the event of the answer.
pub(crate) trait Asker<Event> {
    /// What asking returns.
    type Asked;

    /// Asks; `event` makes the machine's event of the answer.
    fn ask<A: Ask<Fact: 'static> + 'static>(
        self,
        ask: A,
        event: impl Fn(A::Fact) -> Event + 'static,
    ) -> Self::Asked;
}
