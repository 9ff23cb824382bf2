//! The resource that the lock protects.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use actix_dsync::FencingToken;
use serde::Serialize;

/// The resource that the lock protects. It remembers the newest token and refuses older
/// ones, so a caller that has lost the lock cannot write.
///
/// In a real service, it is a table:
/// `UPDATE orders SET charges = charges + 1, fence = $1 WHERE id = $2 AND fence < $1`.
#[derive(Default)]
pub(crate) struct Bank(Mutex<HashMap<String, Account>>);

/// The state of one order.
#[derive(Clone, Copy, Default, Serialize)]
pub(crate) struct Account {
    charges: u64,
    fence: Option<FencingToken>,
}

impl Bank {
    pub(crate) async fn charge(
        &self,
        order: &str,
        token: FencingToken,
        took: Duration,
    ) -> Result<u64, Stale> {
        actix_web::rt::time::sleep(took).await;
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let account = accounts.entry(order.to_owned()).or_default();
        if let Some(newest) = account.fence.filter(|fence| *fence >= token) {
            return Err(Stale { token, newest });
        }
        account.fence = Some(token);
        account.charges += 1;
        Ok(account.charges)
    }

    pub(crate) fn account(&self, order: &str) -> Option<Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(order).copied()
    }
}

/// The bank has seen a newer token.
#[derive(Debug)]
pub(crate) struct Stale {
    pub(crate) token: FencingToken,
    pub(crate) newest: FencingToken,
}
