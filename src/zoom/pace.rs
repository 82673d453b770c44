//! Paces requests: as fast as Zoom allows, and never faster. Every request passes through the pacer.
//!
//! Zoom counts a request when it arrives. That is some time between sending it and receiving its answer; the exact moment is unknown. A delay that
//! all requests share shifts all of them equally, so it does not matter to a sliding window. What matters is how much longer a request was under
//! way than the fastest one. This is at most how much longer its answer took than the quickest answer. So a request counts for that difference plus
//! one window. The next request is sent only while fewer requests count than the share of the limit. Then no sliding second (or minute) contains
//! more than the share, however Zoom counts.
//!
//! If the quickest answer is not known, nothing is assumed: a request counts until its own answer plus one window. This applies to the first
//! requests, which also open connections, and to the requests of a label whose window is a minute.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use super::Error;
use crate::model::Label;

/// Zoom's plans, grouped by their limits. Source: Zoom's rate-limits page, 2026-02.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Pro.
    Pro,
    /// Business, Education, Enterprise and Partners.
    Business,
}

impl Plan {
    /// Requests per window: per minute for Resource-intensive, per second for the rest.
    pub fn limit(self, label: Label) -> u32 {
        match (self, label) {
            (Self::Pro, Label::Light) => 30,
            (Self::Pro, Label::Medium) => 20,
            (Self::Pro, Label::Heavy | Label::ResourceIntensive) => 10,
            (Self::Business, Label::Light) => 80,
            (Self::Business, Label::Medium) => 60,
            (Self::Business, Label::Heavy) => 40,
            (Self::Business, Label::ResourceIntensive) => 20,
        }
    }

    /// Heavy and Resource-intensive requests per day, together.
    pub fn daily_quota(self) -> u64 {
        match self {
            Self::Pro => 30_000,
            Self::Business => 60_000,
        }
    }

    /// The number of requests that a share (0 to 1) of the daily quota allows.
    pub fn daily_share(self, share: f64) -> u64 {
        (self.daily_quota() as f64 * share) as u64
    }

    fn share(self, label: Label, share: f64) -> u32 {
        ((f64::from(self.limit(label)) * share) as u32).max(1)
    }
}

/// The most that a request of a per-second label arrives later than the fastest one. A longer wait for the answer is Zoom's work, not the network.
/// Counting it too would halve the rate when Zoom is slow.
const DELAY_AT_MOST: Duration = Duration::from_millis(40);

/// The tolerance for the quickest answer, which need not have had both the fastest way there and the fastest way back.
const SLACK: Duration = Duration::from_millis(2);

/// How long a round trip is remembered at least, and at most twice as long: routes through the network change.
const REMEMBERED: Duration = Duration::from_secs(60);

fn window(label: Label) -> Duration {
    match label {
        Label::ResourceIntensive => Duration::from_secs(60),
        Label::Light | Label::Medium | Label::Heavy => Duration::from_secs(1),
    }
}

/// Asks the run, which keeps the daily count, whether more requests of this label may be made.
#[derive(Debug)]
pub struct GrantRequest {
    /// The label of the requests.
    pub label: Label,
    /// Where to send the answer.
    pub reply: oneshot::Sender<Grant>,
}

/// The answer to a [`GrantRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// This many requests are counted and may be sent.
    Granted {
        /// The number of requests.
        requests: u32,
        /// How long the grant lasts: until the end of the day on which the requests were counted.
        lasts: Duration,
    },
    /// The day's share is used up.
    Spent {
        /// When the next day begins.
        resets_at: DateTime<Utc>,
    },
}

/// How long recent answers took.
#[derive(Debug, Default)]
struct RoundTrips {
    /// At most two periods, the older first.
    periods: VecDeque<Period>,
}

#[derive(Debug)]
struct Period {
    begun: Instant,
    answers: usize,
    least: Duration,
}

impl RoundTrips {
    fn add_at(&mut self, took: Duration, now: Instant) {
        match self
            .periods
            .back_mut()
            .filter(|last| now < last.begun + REMEMBERED)
        {
            Some(last) => {
                last.answers += 1;
                last.least = last.least.min(took);
            }
            None => self.periods.push_back(Period {
                begun: now,
                answers: 1,
                least: took,
            }),
        }
        self.forget_at(now);
    }

    fn forget_at(&mut self, now: Instant) {
        self.periods.retain(|period| now < period.begun + 2 * REMEMBERED);
    }

    fn answers(&self) -> usize {
        self.periods.iter().map(|period| period.answers).sum()
    }

    fn least(&self) -> Option<Duration> {
        self.periods.iter().map(|period| period.least).min()
    }
}

/// The requests that count at a given moment. Pure: the caller passes the time.
#[derive(Debug)]
struct Slots {
    limit: usize,
    window: Duration,
    /// The most that a request arrives later than the fastest one. `None`: it may arrive any time before its answer.
    delay_at_most: Option<Duration>,
    round_trips: RoundTrips,
    counting: VecDeque<Slot>,
    next_id: u64,
}

#[derive(Debug)]
struct Slot {
    id: u64,
    sent: Instant,
    answered: Option<Instant>,
    /// As in [`Slots`], but `None` for the first requests.
    delay_at_most: Option<Duration>,
}

impl Slot {
    /// Until when the request counts; `least` is how long the quickest answer took. `None`: at least until its own answer.
    fn counts_until(&self, window: Duration, least: Option<Duration>) -> Option<Instant> {
        let Some(most) = self.delay_at_most else {
            return self.answered.map(|answered| answered + window);
        };
        // Without an answer, the longest delay is still possible.
        let delay = match (self.answered, least) {
            (Some(answered), Some(least)) => (answered - self.sent).saturating_sub(least) + SLACK,
            _ => most,
        };
        Some(self.sent + delay.min(most) + window)
    }
}

/// Whether a request may go out.
#[derive(Debug, PartialEq, Eq)]
enum Room {
    Now,
    /// At this time, or earlier if an answer makes room.
    At(Instant),
    /// Only once an answer arrives.
    AfterAnswer,
}

impl Slots {
    fn new(limit: u32, window: Duration, delay_at_most: Option<Duration>) -> Self {
        Self {
            limit: limit as usize,
            window,
            delay_at_most,
            round_trips: RoundTrips::default(),
            counting: VecDeque::new(),
            next_id: 0,
        }
    }

    fn room_at(&mut self, now: Instant) -> Room {
        if self.counting.len() < self.limit {
            return Room::Now;
        }
        self.round_trips.forget_at(now);
        let (window, least) = (self.window, self.round_trips.least());
        let mut next = None::<Instant>;
        self.counting
            .retain(|slot| match slot.counts_until(window, least) {
                Some(until) if until <= now => false,
                Some(until) => {
                    next = Some(next.map_or(until, |next| next.min(until)));
                    true
                }
                None => true,
            });
        if self.counting.len() < self.limit {
            return Room::Now;
        }
        next.map_or(Room::AfterAnswer, Room::At)
    }

    fn send_at(&mut self, now: Instant) -> u64 {
        self.round_trips.forget_at(now);
        // The first requests open connections, and may be delayed by more than is allowed for.
        let unanswered = self.counting.iter().filter(|slot| slot.answered.is_none());
        let first = self.round_trips.answers() + unanswered.count() < self.limit;
        self.next_id += 1;
        self.counting.push_back(Slot {
            id: self.next_id,
            sent: now,
            answered: None,
            delay_at_most: self.delay_at_most.filter(|_| !first),
        });
        self.next_id
    }

    /// Counts a request of an earlier process.
    fn remember_at(&mut self, at: Instant) {
        self.next_id += 1;
        self.counting.push_back(Slot {
            id: self.next_id,
            sent: at,
            answered: Some(at),
            delay_at_most: None,
        });
    }

    fn answer_at(&mut self, id: u64, sent: Instant, now: Instant) {
        // Recorded also for a request that no longer counts: a slow answer must not be forgotten because it is slow.
        self.round_trips.add_at(now - sent, now);
        if let Some(slot) = self.counting.iter_mut().find(|slot| slot.id == id) {
            slot.answered = Some(now);
        }
    }
}

#[derive(Debug)]
struct Lane {
    /// Held by the next request; the others queue here in order.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<LaneState>,
    answered: Notify,
}

#[derive(Debug)]
struct LaneState {
    slots: Slots,
    not_before: Option<Instant>,
    balance: u32,
    /// The end of the day on which the balance was counted. The rest of the balance may not be used on the next day.
    balance_ends: Option<Instant>,
    made: u64,
}

impl LaneState {
    fn room_at(&mut self, now: Instant) -> Room {
        match self.not_before {
            Some(at) if at > now => Room::At(at),
            _ => self.slots.room_at(now),
        }
    }

    fn balance_at(&mut self, now: Instant) -> u32 {
        if self.balance_ends.is_some_and(|ends| ends <= now) {
            self.balance = 0;
        }
        self.balance
    }
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, LaneState> {
        // Nothing panics while holding this lock, and the numbers inside are valid at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Paces all requests of one account.
#[derive(Debug)]
pub struct Pacer {
    plan: Plan,
    share: f64,
    lanes: [Lane; 4],
    grants: Option<mpsc::Sender<GrantRequest>>,
}

/// The right to send one request. Dropping it reports that the answer has arrived or never will.
#[derive(Debug)]
pub struct Permit {
    pacer: Arc<Pacer>,
    label: Label,
    id: u64,
    sent: Instant,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let lane = self.pacer.lane(self.label);
        let now = Instant::now();
        lane.state().slots.answer_at(self.id, self.sent, now);
        lane.answered.notify_one();
    }
}

impl Pacer {
    /// Paces at a share (0 to 1) of the plan's limits, but at least one request per window. With `grants`, every request must be granted there
    /// before it is sent.
    pub fn new(plan: Plan, share: f64, grants: Option<mpsc::Sender<GrantRequest>>) -> Arc<Self> {
        let lanes = Label::ALL.map(|label| {
            // The time until an answer is a small part of a minute, so assuming a shorter delay would gain nothing.
            let delay_at_most = (label != Label::ResourceIntensive).then_some(DELAY_AT_MOST);
            Lane {
                turn: tokio::sync::Mutex::new(()),
                state: Mutex::new(LaneState {
                    slots: Slots::new(plan.share(label, share), window(label), delay_at_most),
                    not_before: None,
                    balance: 0,
                    balance_ends: None,
                    made: 0,
                }),
                answered: Notify::new(),
            }
        });
        Arc::new(Self {
            plan,
            share,
            lanes,
            grants,
        })
    }

    fn lane(&self, label: Label) -> &Lane {
        let [light, medium, heavy, intensive] = &self.lanes;
        match label {
            Label::Light => light,
            Label::Medium => medium,
            Label::Heavy => heavy,
            Label::ResourceIntensive => intensive,
        }
    }

    /// Requests per window that the pacer allows for a label.
    pub fn per_window(&self, label: Label) -> u32 {
        self.plan.share(label, self.share)
    }

    /// Requests per day that the pacer allows, of those that Zoom's daily quota counts.
    pub fn daily_share(&self) -> u64 {
        self.plan.daily_share(self.share)
    }

    /// Whether a request is waiting for this label's limit.
    pub fn waits(&self, label: Label) -> bool {
        let lane = self.lane(label);
        // True if a request has its turn and there is no room. If there is room, it is waiting for the catalog, which counts the daily quota.
        lane.turn.try_lock().is_err() && lane.state().room_at(Instant::now()) != Room::Now
    }

    /// Waits until a request may be sent.
    ///
    /// # Errors
    /// [`Error::ShareSpent`] if the day's share is used up.
    pub async fn acquire(self: &Arc<Self>, label: Label) -> Result<Permit, Error> {
        let lane = self.lane(label);
        let _turn = lane.turn.lock().await;
        loop {
            // Registered before the check, so that an answer between the check and the wait is not missed.
            let answered = lane.answered.notified();
            let (room, needs_grant) = {
                let mut state = lane.state();
                let now = Instant::now();
                let room = state.room_at(now);
                let balance = state.balance_at(now);
                if room == Room::Now && (balance > 0 || self.grants.is_none()) {
                    state.balance = balance.saturating_sub(1);
                    state.made += 1;
                    let id = state.slots.send_at(now);
                    return Ok(Permit {
                        pacer: Arc::clone(self),
                        label,
                        id,
                        sent: now,
                    });
                }
                (room, balance == 0)
            };
            match room {
                Room::At(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = answered => {}
                },
                Room::AfterAnswer => answered.await,
                Room::Now if needs_grant => {
                    let (requests, ends) = self.ask(label).await?;
                    let mut state = lane.state();
                    (state.balance, state.balance_ends) = (requests, ends);
                }
                Room::Now => {}
            }
        }
    }

    async fn ask(&self, label: Label) -> Result<(u32, Option<Instant>), Error> {
        let Some(grants) = &self.grants else {
            return Ok((u32::MAX, None));
        };
        let (reply, answer) = oneshot::channel();
        // Both fail only if the run is already over.
        grants
            .send(GrantRequest { label, reply })
            .await
            .map_err(|_| Error::RunOver)?;
        match answer.await.map_err(|_| Error::RunOver)? {
            Grant::Granted { requests, lasts } => Ok((requests, Instant::now().checked_add(lasts))),
            Grant::Spent { resets_at } => Err(Error::ShareSpent { resets_at }),
        }
    }

    /// Records a 429 from Zoom: no request of this label is sent before `wait` is over. Other labels are not affected. Returns whether this is the
    /// label's first 429 in a minute, which is reported to the user.
    pub fn throttled(&self, label: Label, wait: Duration) -> bool {
        let mut state = self.lane(label).state();
        let now = Instant::now();
        let (before, until) = (state.not_before, now + wait);
        state.not_before = Some(before.map_or(until, |before| before.max(until)));
        before.is_none_or(|before| before + Duration::from_secs(60) < now)
    }

    /// Counts requests of an earlier process. For Resource-intensive, each time is one request. For the other labels, each time is when a block of
    /// requests was last counted. Any number of them may have been sent within the second after it.
    pub fn remember(&self, label: Label, recent: &[DateTime<Utc>], now: DateTime<Utc>) {
        let mut state = self.lane(label).state();
        let here = Instant::now();
        let (copies, lag) = match label {
            Label::ResourceIntensive => (1, Duration::ZERO),
            Label::Light | Label::Medium | Label::Heavy => (self.per_window(label), Duration::from_secs(1)),
        };
        for at in recent {
            let ago = (now - *at).to_std().unwrap_or_default().saturating_sub(lag);
            let Some(over) = here.checked_sub(ago) else {
                continue;
            };
            for _ in 0..copies {
                state.slots.remember_at(over);
            }
        }
    }

    /// Requests that were granted but not made, by label.
    pub fn unused(&self) -> Vec<(Label, u32)> {
        if self.grants.is_none() {
            return Vec::new();
        }
        Label::ALL
            .into_iter()
            .map(|label| (label, self.lane(label).state().balance_at(Instant::now())))
            .collect()
    }

    /// Requests made, by label.
    pub fn counts(&self) -> Vec<(Label, u64)> {
        Label::ALL
            .into_iter()
            .map(|label| (label, self.lane(label).state().made))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the naive model knows of one request.
    #[derive(Clone, Debug)]
    struct Trip {
        pause: Duration,
        /// How much later than the fastest it arrives, as a fraction of what is possible.
        lateness: f64,
        /// How long Zoom works on it, beyond the minimum.
        work: Duration,
    }

    fn trip() -> impl Strategy<Value = Trip> {
        // Many requests are sent without a pause, and some meet a slow Zoom.
        let pause = prop_oneof![Just(0), 0_u64..400];
        let work = prop_oneof![0_u64..30, 0_u64..1_500];
        (pause, 0.0_f64..=1.0, work).prop_map(|(pause, lateness, work)| Trip {
            pause: Duration::from_millis(pause),
            lateness,
            work: Duration::from_millis(work),
        })
    }

    /// Sends requests one after the other, each as soon as there is room. Returns when each was sent and when Zoom counted it. `travel` gets each
    /// request and whether only its answer bounds its arrival. It returns how long the request takes to arrive and how long until its answer.
    fn counted(
        slots: &mut Slots,
        trips: &[Trip],
        travel: impl Fn(usize, &Trip, bool) -> (Duration, Duration),
    ) -> Vec<(Instant, Instant)> {
        let mut now = Instant::now();
        let mut open: Vec<(Instant, u64, Instant)> = Vec::new();
        let mut counted = Vec::new();
        for (index, trip) in trips.iter().enumerate() {
            now += trip.pause;
            loop {
                open.sort();
                let arrived = open.iter().take_while(|(answer, ..)| *answer <= now).count();
                for (answer, id, sent) in open.drain(..arrived) {
                    slots.answer_at(id, sent, answer);
                }
                let next_answer = open.first().map(|(answer, ..)| *answer);
                now = match slots.room_at(now) {
                    Room::Now => break,
                    Room::At(at) => {
                        assert!(at > now);
                        next_answer.map_or(at, |answer| answer.min(at))
                    }
                    Room::AfterAnswer => next_answer.unwrap(),
                };
            }
            let id = slots.send_at(now);
            let bounded_by_answer = slots.delay_at_most.is_none() || index < slots.limit;
            let (there, answered) = travel(index, trip, bounded_by_answer);
            counted.push((now, now + there));
            open.push((now + answered, id, now));
        }
        counted
    }

    proptest! {
        // The naive model: every request counts at one unknown moment. This is its sending plus a shared time plus its own delay; one in ten is
        // among the fastest. Requests of which nothing is assumed count at any moment before their answer. Whatever these moments are, no sliding
        // window contains more than the limit.
        #[test]
        fn no_sliding_window_holds_more_than_the_limit(
            limit in 1_u32..6,
            trips in prop::collection::vec(trip(), 1..80),
            capped in any::<bool>(),
            (there_at_least, back_at_least) in (0_u64..1_200, 0_u64..1_200),
            slack in 0.0_f64..=1.0,
        ) {
            let window = Duration::from_secs(1);
            let mut slots = Slots::new(limit, window, capped.then_some(DELAY_AT_MOST));
            let (there, back) = (Duration::from_millis(there_at_least), Duration::from_millis(back_at_least));
            let counted = counted(&mut slots, &trips, |index, trip, bounded_by_answer| {
                if index % 10 == 0 {
                    let there = there + SLACK.mul_f64(slack);
                    (there, there + back)
                } else if bounded_by_answer {
                    let answered = there + trip.work + back;
                    (answered.mul_f64(trip.lateness).max(there), answered)
                } else {
                    let there = there + DELAY_AT_MOST.mul_f64(trip.lateness);
                    (there, there + trip.work + back)
                }
            });
            let mut arrived: Vec<Instant> = counted.into_iter().map(|(_, arrived)| arrived).collect();
            arrived.sort();
            for pair in arrived.windows(limit as usize + 1) {
                prop_assert!(pair[limit as usize] - pair[0] >= window, "{:?}", pair[limit as usize] - pair[0]);
            }
        }
    }

    /// The time that a thousand requests take at 40 per second, divided by the shortest possible time.
    fn thousand_over_possible(latency: Duration, work: impl Fn(usize) -> Duration) -> f64 {
        let at_once = Trip {
            pause: Duration::ZERO,
            lateness: 0.0,
            work: Duration::ZERO,
        };
        let mut slots = Slots::new(40, Duration::from_secs(1), Some(DELAY_AT_MOST));
        let counted = counted(&mut slots, &vec![at_once; 1_000], |index, _, _| {
            (Duration::ZERO, latency + work(index))
        });
        (counted[999].0 - counted[0].0).as_secs_f64() / 24.0
    }

    #[test]
    fn latency_shared_by_all_requests_costs_no_throughput() {
        for ms in [0, 1, 100, 300] {
            let latency = Duration::from_millis(ms);
            let over = thousand_over_possible(latency, |_| Duration::ZERO);
            let first = latency.as_secs_f64() / 24.0;
            assert!(over <= 1.0021 + first, "{ms} ms: {over}");
            let jittered =
                thousand_over_possible(latency, |index| Duration::from_millis(index as u64 * 7 % 10));
            assert!(jittered <= 1.01 + first, "{ms} ms: {jittered}");
        }
    }

    #[test]
    fn slow_answers_delay_by_the_longest_latency_only() {
        let over = thousand_over_possible(Duration::from_millis(20), |index| {
            Duration::from_millis(index as u64 * 997 % 3_000)
        });
        // The first forty count until their answers.
        assert!(over <= 1.04 + 3.0 / 24.0, "{over}");
    }

    #[test]
    fn the_shortest_latency_expires() {
        let (start, mut trips) = (Instant::now(), RoundTrips::default());
        let at = |s| start + Duration::from_secs(s);
        let ms = Duration::from_millis;
        trips.add_at(ms(10), at(0));
        for s in 1..200 {
            trips.add_at(ms(100), at(s));
            let (remembered, forgotten) = (s < 60, s >= 120);
            assert!(!remembered || trips.least() == Some(ms(10)), "{s} s");
            assert!(!forgotten || trips.least() == Some(ms(100)), "{s} s");
            assert!(trips.periods.len() <= 2);
        }
        assert!(trips.answers() >= 60);
        trips.forget_at(at(400));
        assert_eq!((trips.least(), trips.answers()), (None, 0));
    }

    #[tokio::test]
    async fn an_answer_shortens_the_wait_of_waiting_requests() {
        let pacer = Pacer::new(Plan::Pro, 0.1, None);
        // All other answers are compared with the first one.
        drop(pacer.acquire(Label::Heavy).await.unwrap());
        let longest = Duration::from_secs(1) + DELAY_AT_MOST;
        let mut waits = Vec::new();
        for _ in 0..5 {
            let permit = pacer.acquire(Label::Heavy).await.unwrap();
            let sent = permit.sent;
            let waiting = tokio::spawn({
                let pacer = Arc::clone(&pacer);
                async move { pacer.acquire(Label::Heavy).await.unwrap().sent }
            });
            tokio::time::sleep(Duration::from_millis(1)).await;
            drop(permit);
            let wait = waiting.await.unwrap() - sent;
            assert!(wait >= Duration::from_secs(1));
            if wait < longest {
                return;
            }
            // The machine was busy: try again.
            waits.push(wait);
        }
        panic!("{waits:?}");
    }

    #[test]
    fn shares_of_the_limits_round_down_but_never_to_nothing() {
        assert_eq!(Plan::Business.share(Label::Heavy, 0.8), 32);
        assert_eq!(Plan::Business.share(Label::ResourceIntensive, 0.8), 16);
        assert_eq!(Plan::Pro.share(Label::ResourceIntensive, 0.01), 1);
        assert_eq!(Plan::Pro.daily_share(0.5), 15_000);
    }

    #[tokio::test]
    async fn requests_of_an_earlier_process_count() {
        let pacer = Pacer::new(Plan::Pro, 0.1, None);
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        pacer.remember(
            Label::ResourceIntensive,
            &[now - chrono::TimeDelta::seconds(20)],
            now,
        );
        let room = pacer
            .lane(Label::ResourceIntensive)
            .state()
            .slots
            .room_at(Instant::now());
        let Room::At(at) = room else { panic!("{room:?}") };
        let wait = at - Instant::now();
        assert!(
            wait > Duration::from_secs(39) && wait <= Duration::from_secs(40),
            "{wait:?}"
        );
    }

    fn granted(requests: u32, lasts_s: u64) -> Grant {
        Grant::Granted {
            requests,
            lasts: Duration::from_secs(lasts_s),
        }
    }

    #[tokio::test]
    async fn waiting_for_the_limit_is_reported_apart_from_waiting_for_the_quota() {
        let (sender, mut receiver) = mpsc::channel::<GrantRequest>(1);
        let pacer = Pacer::new(Plan::Pro, 0.1, Some(sender));
        let acquire = |pacer: &Arc<Pacer>| {
            let pacer = Arc::clone(pacer);
            tokio::spawn(async move { pacer.acquire(Label::Heavy).await })
        };
        let first = acquire(&pacer);
        let asked = receiver.recv().await.unwrap();
        assert!(!pacer.waits(Label::Heavy), "only the grant is missing");
        asked.reply.send(granted(5, 3600)).unwrap();
        let permit = first.await.unwrap().unwrap();

        let second = acquire(&pacer);
        tokio::task::yield_now().await;
        assert!(pacer.waits(Label::Heavy) && !pacer.waits(Label::Light));
        drop(permit);
        second.await.unwrap().unwrap();
        assert!(!pacer.waits(Label::Heavy));
    }

    #[tokio::test]
    async fn quota_granted_for_one_day_expires_with_it() {
        let (sender, mut receiver) = mpsc::channel(1);
        let pacer = Pacer::new(Plan::Business, 1.0, Some(sender));
        let granter = tokio::spawn(async move {
            let mut asked = 0;
            while let Some(request) = receiver.recv().await {
                let request: GrantRequest = request;
                asked += 1;
                // Midnight comes right after the first grant.
                request
                    .reply
                    .send(granted(5, if asked == 1 { 0 } else { 3600 }))
                    .unwrap();
                if asked == 2 {
                    break;
                }
            }
            asked
        });
        drop(pacer.acquire(Label::Heavy).await.unwrap());
        assert_eq!(
            granter.await.unwrap(),
            2,
            "the first grant was of no use any more"
        );
        assert!(pacer.unused().contains(&(Label::Heavy, 4)));
    }

    #[tokio::test]
    async fn every_request_is_reserved_first_and_unused_reservations_are_counted() {
        let (sender, mut receiver) = mpsc::channel(1);
        let pacer = Pacer::new(Plan::Business, 1.0, Some(sender));
        let granter = tokio::spawn(async move {
            for grant in [
                granted(3, 3600),
                Grant::Spent {
                    resets_at: DateTime::UNIX_EPOCH,
                },
            ] {
                let request: GrantRequest = receiver.recv().await.unwrap();
                assert_eq!(request.label, Label::Heavy);
                request.reply.send(grant).unwrap();
            }
        });
        for left in [2, 1, 0] {
            drop(pacer.acquire(Label::Heavy).await.unwrap());
            assert!(pacer.unused().contains(&(Label::Heavy, left)));
        }
        assert!(matches!(
            pacer.acquire(Label::Heavy).await,
            Err(Error::ShareSpent { .. })
        ));
        granter.await.unwrap();
        assert!(matches!(pacer.acquire(Label::Heavy).await, Err(Error::RunOver)));
        assert!(pacer.counts().contains(&(Label::Heavy, 3)));
    }
}
