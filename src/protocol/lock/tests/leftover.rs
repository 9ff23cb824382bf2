//! Every answer that ends an attempt, in every state in which our session may hold
//! the key: no unwanted lock remains.

use super::*;

/// The key in Consul and our session's fence, as a server stores them.
#[derive(Debug)]
struct Store {
    /// The index at which our session holds the key.
    ours: Option<u64>,
    index: u64,
    /// The number of requests of each kind that get [`Store::bad`] first.
    bad_answers: u32,
    bad: Bad,
    /// What the callers still want.
    demand: Demand,
}

/// An answer that is inconclusive or negative.
#[derive(Clone, Debug, PartialEq)]
enum Bad {
    Lock(Locked),
    Read(Seen),
    Release(Released),
    /// The fence cannot be raised.
    Fence,
}

impl Store {
    /// The event that answers a request.
    fn answer(&mut self, effect: &Effect) -> Option<Event> {
        let is_bad = |bad: &Bad| {
            matches!(
                (bad, effect),
                (Bad::Lock(_), Effect::Lock { .. })
                    | (Bad::Read(_), Effect::Read { .. })
                    | (Bad::Release(_), Effect::Release { .. })
                    | (Bad::Fence, Effect::Request(Request::RaiseFence { .. }))
            )
        };
        let bad = (self.bad_answers > 0 && is_bad(&self.bad)).then(|| {
            self.bad_answers -= 1;
            self.bad.clone()
        });
        Some(match *effect {
            Effect::Lock { ticket, expect, .. } => {
                let answer = match (bad, expect, self.ours) {
                    (Some(Bad::Lock(answer)), _, _) => answer,
                    (_, Expect::Missing, None) => {
                        self.index += 1;
                        self.ours = Some(self.index);
                        Locked::At(self.index)
                    }
                    (_, Expect::Index(index), Some(ours)) if index == ours => Locked::At(ours),
                    _ => Locked::Changed,
                };
                Event::Locked { ticket, answer }
            }
            Effect::Read { ticket } => {
                let answer = match (bad, self.ours) {
                    (Some(Bad::Read(answer)), _) => answer,
                    (_, Some(index)) => found(Some("ours-1"), index),
                    (_, None) => Seen::Missing { index: self.index },
                };
                Event::Read { ticket, answer }
            }
            Effect::Release { ticket, index, .. } => {
                let answer = match bad {
                    Some(Bad::Release(answer)) => answer,
                    _ if self.ours == Some(index) => {
                        self.ours = None;
                        Released::Done
                    }
                    _ => Released::FenceFailed,
                };
                Event::Released { ticket, answer }
            }
            Effect::Request(Request::RaiseFence { generation, .. }) => {
                self.index += 1;
                let fence = if bad.is_some() { Fence::Unusable } else { Fence::At(self.index) };
                Event::Session(Notice::Fenced { generation, fence })
            }
            _ => return None,
        })
    }
}

/// How a machine came to have a possible lock that no caller owns.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// The first attempt is in flight.
    Trying,
    /// The leftover of an attempt of unknown outcome is being taken over.
    TakingOver,
    /// The same, after one take-over was never sent.
    TakingOverAgain,
    /// The key had changed, perhaps by a duplicate of the attempt that arrived first.
    ReadingAfterChange,
    /// The attempt lacked a right, which a duplicate that arrived first may have had.
    ReadingAfterDenial,
    /// An attempt of unknown outcome waits for the fence.
    Fencing,
    /// It is void, and a read shows its effect.
    ReadingAfterFence,
    /// Nobody wants the key any more, and it is being released.
    GivingBack,
}

const STATES: [State; 8] = [
    State::Trying,
    State::TakingOver,
    State::TakingOverAgain,
    State::ReadingAfterChange,
    State::ReadingAfterDenial,
    State::Fencing,
    State::ReadingAfterFence,
    State::GivingBack,
];

/// Brings a machine into the state. Returns its requests.
fn brought_into(state: State) -> (Bench, Vec<Effect>) {
    let (mut bench, ticket) = Bench::contending();
    if state == State::Trying {
        let (session, fence) = ("ours-1".into(), Fence::At(1));
        return (bench, vec![Effect::Lock { ticket, session, fence, expect: Expect::Missing }]);
    }
    let refusal = match state {
        State::ReadingAfterChange => Some(Locked::Changed),
        State::ReadingAfterDenial => Some(Locked::Denied("key:write on \"k\"".into())),
        _ => None,
    };
    if let Some(answer) = refusal {
        let asked = bench.step(Event::Locked { ticket, answer });
        return (bench, asked);
    }
    let asked = bench.step(Event::Locked { ticket, answer: Locked::Unknown(unknown()) });
    if state == State::Fencing {
        return (bench, asked);
    }
    let asked = bench.step(Event::Session(Notice::Fenced { generation: 1, fence: Fence::At(60) }));
    if state == State::ReadingAfterFence {
        return (bench, asked);
    }
    if state == State::GivingBack {
        bench.step(Event::Demand(Demand::default()));
    }
    let ticket = read_ticket(&asked);
    let mut asked = bench.step(Event::Read { ticket, answer: found(Some("ours-1"), 41) });
    if state == State::TakingOverAgain {
        let ticket = lock_ticket(&asked);
        let answer = Locked::Unsent(Trouble::InLine(Duration::from_secs(2)));
        bench.step(Event::Locked { ticket, answer });
        asked = bench.wake();
    }
    (bench, asked)
}

fn bad_answers() -> Vec<Bad> {
    let right = || "key:write on \"k\"".to_owned();
    let broken = || Trouble::Broken("reset".into());
    let locks = [
        Locked::Changed,
        Locked::Held,
        Locked::Delayed,
        Locked::Fenced,
        Locked::Denied(right()),
        Locked::FenceDenied(right()),
        Locked::Refused("too large".into()),
        Locked::Aside,
        Locked::AsideUnsent(Trouble::InLine(Duration::from_secs(2))),
        Locked::Withdrawn,
        Locked::Unsent(Trouble::InLine(Duration::from_secs(2))),
        Locked::Unsent(Trouble::Connect("refused".into())),
        Locked::Unknown(unknown()),
    ];
    let Seen::Found { entry, index } = found(Some("ours-1"), 41) else { unreachable!() };
    let foreign = Seen::Found { entry: Entry { flags: 99, ..entry }, index };
    let refused = Seen::NameRefused("status 400".into());
    let reads = [Seen::Denied(right()), refused, Seen::Unknown(broken()), foreign];
    let releases = [Released::Denied(right()), Released::Unknown(broken()), Released::FenceFailed];
    let locks = locks.into_iter().map(Bad::Lock);
    let reads = reads.into_iter().map(Bad::Read);
    let releases = releases.into_iter().map(Bad::Release);
    locks.chain(reads).chain(releases).chain([Bad::Fence]).collect()
}

/// What the callers want of a machine in such a state: nothing once they have left, or what
/// others want that have come instead.
fn demands() -> [(&'static str, Demand); 7] {
    let (nobody, patient) = (Demand::default(), waiting());
    [
        ("nobody", nobody),
        ("patient ones", patient),
        ("sets", Demand { sets_only: true, ..patient }),
        ("impatient ones", trying()),
        ("impatient and patient ones", Demand { impatient: true, ..patient }),
        ("followers", Demand { follow: true, ..nobody }),
        ("followers and patient ones", Demand { follow: true, ..patient }),
    ]
}

/// Runs a machine against a store until it is quiet or nothing is due. The callers want this for
/// a while. Whoever gets the key releases it at once, and whoever has an answer wants no more.
fn played(state: State, bad: &Bad, times: u32, demand: Demand) -> (Bench, Store, bool) {
    let (mut bench, mut asked) = brought_into(state);
    let left = state != State::Trying || matches!(bad, Bad::Lock(Locked::Unknown(_)));
    let mut store = Store {
        ours: left.then_some(41),
        index: 100,
        bad_answers: times,
        bad: bad.clone(),
        demand,
    };
    let mut suspected = false;
    asked.extend(bench.step(Event::Demand(demand)));
    for round in 0..200 {
        if round == 100 {
            store.demand = Demand::default();
            asked.extend(bench.step(Event::Demand(store.demand)));
        }
        let mut next = Vec::new();
        for effect in asked.drain(..) {
            suspected |= matches!(effect, Effect::Request(Request::Suspect { .. }));
            let is_answer = match effect {
                Effect::Own { .. } | Effect::Failed(_) => {
                    store.demand = Demand { follow: store.demand.follow, ..Demand::default() };
                    true
                }
                Effect::Obstructed(_) => std::mem::take(&mut store.demand.impatient),
                _ => false,
            };
            if is_answer {
                next.extend(bench.step(Event::Demand(store.demand)));
            }
            if let Some(event) = store.answer(&effect) {
                next.extend(bench.step(event));
            }
        }
        asked = next;
        if asked.is_empty() {
            if bench.lock.is_quiet() {
                break;
            }
            if bench.lock.next_wakeup().is_some() {
                asked = bench.wake();
            }
        }
    }
    (bench, store, suspected)
}

/// Whether neither the attempt nor a read is allowed any more, so that nothing shows whether a
/// duplicate was.
fn is_beyond_knowledge(state: State, bad: &Bad) -> bool {
    let unreadable = matches!(bad, Bad::Read(Seen::Denied(_) | Seen::NameRefused(_)));
    state == State::ReadingAfterDenial && unreadable
}

#[test]
fn whatever_an_attempt_is_answered_the_key_does_not_stay_locked() {
    for state in STATES {
        for bad in bad_answers() {
            if is_beyond_knowledge(state, &bad) {
                continue;
            }
            for (who, demand) in demands() {
                for times in [1, 3] {
                    let (bench, store, suspected) = played(state, &bad, times, demand);
                    let what = format!("{state:?}, {bad:?} {times} times, wanted by {who}");
                    assert_eq!(store.ours, None, "{what}: left locked by {:?}", bench.lock);
                    // An attempt that cannot be voided or read keeps the slot until the session
                    // ends.
                    assert!(bench.lock.is_quiet() || suspected, "{what}: {:?}", bench.lock);
                }
            }
        }
    }
}

#[test]
fn a_machine_is_not_quiet_while_its_session_may_have_the_key() {
    for state in STATES {
        for bad in bad_answers() {
            if is_beyond_knowledge(state, &bad) {
                continue;
            }
            for (who, demand) in demands() {
                let (mut bench, store, suspected) = played(state, &bad, u32::MAX, demand);
                let what = format!("{state:?}, {bad:?} for ever, wanted by {who}");
                assert!(store.ours.is_none() || !bench.lock.is_quiet(), "{what}");
                // Nothing else waits for what only the session's end can undo.
                let denied = matches!(
                    bad,
                    Bad::Read(Seen::Denied(_) | Seen::NameRefused(_))
                        | Bad::Release(Released::Denied(_))
                );
                assert!(store.ours.is_none() || !denied || suspected, "{what}");
                bench.step(Event::Demand(Demand::default()));
                bench.step(Event::Session(Notice::Closed {
                    generation: 1,
                    reason: LossReason::SessionGone,
                }));
                for _ in 0..5 {
                    if let Some(event) = bench.lock.next_wakeup().map(|_| bench.wake()) {
                        drop(event);
                    }
                }
                let reading = matches!(bench.lock.phase, Phase::Reading { .. });
                assert!(bench.lock.is_quiet() || reading, "{what}: {:?}", bench.lock);
            }
        }
    }
}
