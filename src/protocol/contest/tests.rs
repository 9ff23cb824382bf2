use super::*;
use crate::{consul::stand_back::StandBack, ownership::Released};

const SECOND: Duration = Duration::from_secs(1);

fn at(second: u64) -> Moment {
    Moment::from_nanos(second * 1_000_000_000)
}

fn token(index: u64) -> FencingToken {
    FencingToken::new(index, 0).unwrap()
}

fn holder(session: &str) -> Box<Holder> {
    Box::new(Holder {
        session: session.to_owned(),
        session_name: None,
        node: None,
        value: [].into(),
        index: 7,
    })
}

/// A contest, with everything that it did since it was last asked.
#[derive(Default)]
struct Table {
    contest: Contest,
    effects: Vec<Effect>,
}

impl Table {
    /// Takes one step at that second, and returns its effects other than pokes.
    fn step<T>(
        &mut self,
        second: u64,
        step: impl FnOnce(&mut Contest, Moment, &mut Vec<Effect>) -> T,
    ) -> T {
        step(&mut self.contest, at(second), &mut self.effects)
    }

    fn effects(&mut self) -> Vec<Effect> {
        self.effects.drain(..).filter(|effect| *effect != Effect::Poke).collect()
    }

    fn owned(&mut self, second: u64, index: u64, until: u64) -> Option<FencingToken> {
        let cell = Arc::new(DeadlineCell::new(at(until)));
        self.step(second, |contest, now, effects| {
            contest.owned(now, index, cell, holder("ours"), None, effects)
        })
    }

    /// All that there is to report, in order, and then the demand.
    fn reports(&mut self, second: u64) -> (Vec<News>, Demand) {
        let mut news = Vec::new();
        loop {
            match self.step(second, Contest::report) {
                Ok(demand) => return (news, demand),
                Err(next) => news.push(next),
            }
        }
    }

    fn enter(&mut self, second: u64) -> CallId {
        self.step(second, |contest, now, effects| contest.enter(now, Patience::Unlimited, effects))
    }

    fn campaign(&mut self, second: u64) -> (u64, bool) {
        self.step(second, Contest::campaign_for)
    }
}

fn lost(reason: LossReason) -> Ending {
    Ending::Lost(reason)
}

fn nobody_leads() -> News {
    News::LeaderChanged { leader: None }
}

fn we_lead() -> News {
    News::LeaderChanged { leader: Some(holder("ours")) }
}

#[test]
fn an_election_is_reported_as_acquired_then_elected_then_leader_changed() {
    let mut table = Table::default();
    assert_eq!(table.campaign(1), (1, true));
    assert_eq!(table.owned(2, 7, 100), Some(token(7)));
    let [Effect::Grant { leads: true, .. }] = table.effects()[..] else { panic!("no grant") };
    assert_eq!(table.contest.reported_term(), None, "not before it was reported");
    let (news, demand) = table.reports(2);
    let acquired = News::Acquired { token: token(7) };
    assert_eq!(news, [acquired, News::Elected { token: token(7) }, we_lead()]);
    assert!(demand.keep && demand.follow);
    assert_eq!(table.contest.reported_term(), Some(token(7)));
}

#[test]
fn a_lost_term_is_reported_to_the_end_before_the_campaign_enters_again() {
    let mut table = Table::default();
    table.campaign(1);
    table.owned(2, 7, 100);
    table.reports(2);
    table.effects();
    let reason = LossReason::SessionGone;
    table.step(3, |contest, now, effects| contest.lost(now, reason, effects));
    let [Effect::End { how, .. }] = table.effects()[..] else { panic!("its lease goes on") };
    assert_eq!(how, lost(reason));
    for expected in [
        News::Lost { token: token(7), reason },
        News::Deposed { token: token(7), reason },
        nobody_leads(),
    ] {
        assert_eq!(table.contest.queue().waiting(), 0, "it entered before {expected:?}");
        assert_eq!(table.step(3, Contest::report), Err(expected));
    }
    let demand = table.step(3, Contest::report).unwrap();
    assert!(demand.patient);
}

#[test]
fn a_term_ends_with_its_resignation_and_the_release_is_confirmed_when_consul_has_the_key() {
    let mut table = Table::default();
    let (campaign, _) = table.campaign(1);
    table.owned(2, 7, 100);
    table.reports(2);
    table.effects();
    let call = table
        .step(3, |contest, now, effects| contest.resign(now, campaign, None, effects))
        .expect("it led");
    let resigned = Effect::End { call, how: lost(LossReason::Resigned) };
    assert_eq!(table.effects().first(), Some(&resigned));
    let (news, demand) = table.reports(3);
    assert_eq!(news, [News::Deposed { token: token(7), reason: LossReason::Resigned }]);
    assert!(!demand.keep);
    table.step(4, Contest::released);
    let confirmed = Effect::Confirm { call, released: Released::Confirmed };
    assert_eq!(table.effects(), [confirmed]);
    let (news, _) = table.reports(4);
    assert_eq!(news, [News::Released { token: token(7) }, nobody_leads()]);
    assert!(table.contest.is_vacant());
}

#[test]
fn the_resignation_of_a_term_that_has_expired_reports_a_loss_and_releases_nothing() {
    let mut table = Table::default();
    let (campaign, _) = table.campaign(1);
    table.owned(2, 7, 10);
    table.reports(2);
    let call = table
        .step(11, |contest, now, effects| contest.resign(now, campaign, Some(SECOND), effects));
    assert_eq!(call, None);
    let reason = LossReason::DeadlinePassed;
    let (news, _) = table.reports(11);
    assert_eq!(
        news[..2],
        [News::Lost { token: token(7), reason }, News::Deposed { token: token(7), reason },]
    );
}

#[test]
fn a_second_campaign_joins_the_first() {
    let mut table = Table::default();
    assert_eq!(table.campaign(1), (1, true));
    assert_eq!(table.campaign(1), (1, false));
    assert_eq!(table.contest.queue().waiting(), 1);
}

#[test]
fn a_lease_that_passes_from_a_caller_to_the_campaign_is_an_election_without_a_new_ownership() {
    let mut table = Table::default();
    let caller = table.enter(1);
    table.campaign(1);
    table.owned(2, 7, 100);
    assert_eq!(table.reports(2).0, [News::Acquired { token: token(7) }, we_lead()]);
    table.effects();
    table.step(2, |contest, now, effects| contest.end(now, caller, true, effects));
    let next = FencingToken::new(7, 1).unwrap();
    assert_eq!(table.reports(2).0, [News::Elected { token: next }]);
    assert!(matches!(
        table.effects()[..],
        [
            Effect::End { how: Ending::Returned, .. },
            Effect::Grant { leads: true, .. },
            Effect::Confirm { released: Released::Confirmed, .. },
        ]
    ));
}

#[test]
fn stopping_ends_a_lease_as_lost_and_refuses_who_waits() {
    let mut table = Table::default();
    let (first, second) = (table.enter(1), table.enter(1));
    table.owned(2, 7, 100);
    table.reports(2);
    table.effects();
    table.step(3, Contest::stop);
    assert_eq!(
        table.effects(),
        [
            Effect::Refuse { call: second, obstacle: Obstacle::Trouble(Error::Stopped) },
            Effect::End { call: first, how: lost(LossReason::Shutdown) },
        ]
    );
    let (news, demand) = table.reports(3);
    assert_eq!(news, [News::Lost { token: token(7), reason: LossReason::Shutdown }]);
    assert!(!demand.keep && !demand.wants());
    table.step(4, Contest::released);
    assert_eq!(table.reports(4).0, [], "its end was reported");
    assert!(table.contest.is_vacant() && table.contest.is_stopped());
}

#[test]
fn a_campaign_that_is_refused_rests_before_it_enters_again() {
    let mut table = Table::default();
    table.campaign(1);
    let denied = Obstacle::Trouble(Error::Denied { right: "key:write".into() });
    table.step(1, |contest, now, effects| contest.failed(now, &denied, effects));
    assert!(!table.reports(1).1.wants());
    let due = table.contest.next_wakeup().expect("it goes on some time");
    assert_eq!(due, at(2));
    assert!(table.reports(2).1.wants());
}

#[test]
fn the_last_index_counts_only_under_the_present_session() {
    let mut table = Table::default();
    table.enter(1);
    table.owned(2, 7, 10);
    assert_eq!(table.contest.last_index(), 7);
    table.contest.cell.as_ref().unwrap().latch(LossReason::SessionGone);
    assert_eq!(table.contest.last_index(), 0);
}

fn kept(session: &str, demands_from: &str) -> Obstacle {
    let value = StandBack::value(demands_from, SECOND).into();
    Obstacle::Held(Box::new(Holder { value, ..*holder(session) }))
}

#[test]
fn a_campaign_whose_leader_was_made_to_step_down_pauses_and_one_that_was_not_waits() {
    for (demands_from, pauses) in [("ours", true), ("another", false)] {
        let mut table = Table::default();
        table.campaign(1);
        table.owned(2, 7, 100);
        table.reports(2);
        let reason = LossReason::ForceReleased;
        table.step(3, |contest, now, effects| contest.lost(now, reason, effects));
        let keeper = kept("keeper", demands_from);
        table.step(3, |contest, now, effects| contest.obstructed(now, keeper, effects));
        let (news, demand) = table.reports(3);
        let stood_back = news.iter().find(|news| matches!(news, News::StoodBack { .. }));
        let pause = 3 * SECOND;
        assert_eq!(stood_back, pauses.then_some(&News::StoodBack { pause }));
        assert_eq!(demand.wants(), !pauses);
        assert_eq!(table.contest.next_wakeup(), pauses.then_some(at(3) + pause));
        assert!(table.reports(6).1.wants(), "it contends after the pause");
    }
}

#[test]
fn a_waiting_campaign_leaves_the_queue_when_its_process_is_told_to_stand_back() {
    let mut table = Table::default();
    let lease = table.enter(1);
    table.owned(2, 7, 100);
    table.campaign(2);
    table.reports(2);
    table.step(3, |contest, now, effects| {
        contest.lost(now, LossReason::ForceReleased, effects);
        contest.obstructed(now, kept("keeper", "ours"), effects);
    });
    let how = lost(LossReason::ForceReleased);
    assert_eq!(table.effects()[1..], [Effect::End { call: lease, how }]);
    assert!(!table.reports(3).1.wants());
    assert!(table.reports(6).1.wants());
}

#[test]
fn a_demand_to_stand_back_that_nobody_campaigns_under_is_no_news() {
    let mut table = Table::default();
    table.step(1, Contest::observe);
    table.enter(1);
    table.owned(2, 7, 100);
    table.step(3, |contest, now, effects| {
        contest.lost(now, LossReason::ForceReleased, effects);
        contest.obstructed(now, kept("keeper", "ours"), effects);
    });
    let (news, _) = table.reports(3);
    assert!(!news.iter().any(|news| matches!(news, News::StoodBack { .. })), "{news:?}");
}
