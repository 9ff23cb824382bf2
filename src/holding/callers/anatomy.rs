//! The whole state of a key's callers as text, for explorations.

use super::Callers;

impl Callers {
    /// Everything that decides what happens next.
    pub(crate) fn anatomy(&self) -> String {
        let inner = self.lock();
        let mut waiting: Vec<_> =
            inner.waiting.iter().map(|(call, it)| (call, &it.value)).collect();
        waiting.sort();
        let mut releasing: Vec<_> = inner.releasing.keys().collect();
        releasing.sort();
        let resigning = inner.resigning.as_ref().map(|(call, _)| call);
        format!(
            "{:?} {waiting:?} {:?} {releasing:?} {resigning:?} {:?}",
            inner.contest, inner.lease, inner.campaign_value
        )
    }
}
