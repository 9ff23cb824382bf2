use super::*;
use crate::{
    report::{HealthReport, KeyReport, Report},
    web::{HeldLease, Leader, LeaderConfig, LeaderOnly, LockPath},
};

static_assertions::assert_impl_all!(Dsync: FromRequest);
static_assertions::assert_impl_all!(HeldLease: FromRequest, Clone, Send, Sync);
static_assertions::assert_impl_all!(Leader: FromRequest, Clone, Send, Sync);
// What an app's factory takes along to every worker.
static_assertions::assert_impl_all!(LeaderConfig: Clone, Send, Sync);
static_assertions::assert_impl_all!(LockPath: Clone, Send, Sync);
static_assertions::assert_impl_all!(LeaderOnly: Clone, Send, Sync);
static_assertions::assert_impl_all!(Report: serde::Serialize, Send, Sync);
static_assertions::assert_impl_all!(HealthReport: serde::Serialize);
static_assertions::assert_impl_all!(KeyReport: serde::Serialize);
// A lease belongs to its caller: none comes out of a request by itself.
static_assertions::assert_not_impl_any!(crate::Lease: FromRequest);
