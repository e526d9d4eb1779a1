//! Whose turn it is: calls that wait for a worker, by client.
//!
//! Clients that are known to call shortly are next, and of these, or if there is none, the one that had least of the
//! workers' time lately: who has just come had nothing yet, and there may be many.
//!
//! One that holds a worker for long while another waits, who had less or whose calls are short, gives way
//! ([`Turns::overdue`]): its call is stopped, rolled back and put in line again, with twice the time and after a pause of
//! [`PAUSE`] times what it took. So a long call costs others a fraction of their time, and still gets through, if it can;
//! while nobody else calls, there are no pauses.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How long a client may hold a worker, at first, while others wait.
const TURN: Duration = Duration::from_millis(60);
/// The longest that it may, however often it gave way before.
const LONGEST_TURN: Duration = Duration::from_secs(1);
/// Who has waited that long is waited for no longer.
const PATIENCE: Duration = Duration::from_millis(20);
/// How often the time that a turn took has to pass before the next one of a client that gave way.
const PAUSE: u32 = 20;
/// After which a client that did not call is no other client any more.
const RECENT: Duration = Duration::from_millis(200);
/// In which half of a client's use is forgotten.
const HALF_LIFE: Duration = Duration::from_secs(2);
/// What the use of a client comes to that has three quarters of a worker's time all the while: `HALF_LIFE * 3 / (4 ln 2)`.
const MOST_OF_THE_TIME: Duration = Duration::from_millis(2160);
/// A client that calls often and shortly has more use than one that has just come. It does not wait for a call that
/// has taken so many times as long as its own do.
const SHORT: u32 = 8;

/// Calls that a client has to make, of which none gives way, until it is known to call shortly.
const SHORT_CALLS: u32 = 3;
/// How long those wait who are not known to, while there are others, before one of them is next.
const TURN_OF_OTHERS: Duration = Duration::from_millis(150);

/// Bounds on what waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Calls of all clients together.
    pub(super) calls: usize,
    /// Bytes of their arguments.
    pub(super) bytes: usize,
}

/// Calls that wait, of clients `C`.
#[derive(Debug)]
pub(super) struct Turns<C, T> {
    clients: HashMap<C, Client<T>>,
    bounds: Bounds,
    /// Workers that one client may hold while there are others.
    share: usize,
    calls: usize,
    bytes: usize,
    arrivals: u64,
    /// The two clients that called last, and when.
    recent: [Option<(C, Instant)>; 2],
    /// When a client was last next that is not known to call shortly.
    other: Option<Instant>,
}

#[derive(Debug)]
struct Client<T> {
    waiting: VecDeque<Waiting<T>>,
    bytes: usize,
    running: usize,
    used: Duration,
    used_at: Instant,
    /// What a call of its takes, on average of the last ones.
    typical: Duration,
    /// Calls since one gave way.
    short_calls: u32,
    turn: Duration,
    pause_until: Option<Instant>,
}

#[derive(Debug)]
struct Waiting<T> {
    call: T,
    bytes: usize,
    since: Instant,
    arrival: u64,
}

impl<T> Client<T> {
    fn new(now: Instant) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            running: 0,
            used: Duration::ZERO,
            used_at: now,
            typical: Duration::ZERO,
            short_calls: 0,
            turn: TURN,
            pause_until: None,
        }
    }

    /// The time that it had, of which half is forgotten every two seconds.
    fn used(&self, now: Instant) -> Duration {
        let halves =
            now.saturating_duration_since(self.used_at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.used.mul_f64((-halves).exp2())
    }

    fn charge(&mut self, time: Duration, now: Instant) {
        self.used = self.used(now) + time;
        self.used_at = now;
        self.typical = (self.typical * 7 + time) / 8;
    }

    /// Whether it is known to call shortly, and does not take most of the time.
    fn is_brief(&self, now: Instant) -> bool {
        self.short_calls >= SHORT_CALLS && self.typical < TURN && self.used(now) < MOST_OF_THE_TIME
    }

    /// How long another's call may take before this one, which waits since then, no longer waits for it, whoever had
    /// more.
    fn waits_for(&self, since: Instant) -> Duration {
        match self.used(since) < MOST_OF_THE_TIME {
            true => self.typical * SHORT,
            false => Duration::MAX,
        }
    }

    /// Whether its next call is to wait although nothing runs, because one gave way.
    fn is_paused(&self, now: Instant) -> bool {
        self.pause_until.is_some_and(|until| now < until)
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.waiting.is_empty()
            && self.running == 0
            && !self.is_paused(now)
            && self.used(now) < Duration::from_millis(1)
    }
}

impl<C: Copy + Eq + Hash, T> Turns<C, T> {
    pub(super) fn new(bounds: Bounds, workers: usize) -> Self {
        Self {
            clients: HashMap::new(),
            bounds,
            share: workers.saturating_sub(1).max(1),
            calls: 0,
            bytes: 0,
            arrivals: 0,
            recent: [None, None],
            other: None,
        }
    }

    /// Takes all that wait.
    pub(super) fn drain(&mut self) -> Vec<T> {
        (self.calls, self.bytes) = (0, 0);
        let clients = self.clients.values_mut();
        let waiting = clients.flat_map(|client| {
            client.bytes = 0;
            client.waiting.drain(..)
        });
        waiting.map(|waiting| waiting.call).collect()
    }

    /// How many calls wait.
    pub(super) const fn waiting(&self) -> usize {
        self.calls
    }

    /// A client calls: it counts as there for some time.
    pub(super) fn seen(&mut self, client: C, now: Instant) {
        let [last, other] = &mut self.recent;
        match last {
            Some((known, at)) if *known == client => *at = now,
            _ => {
                *other = last.take();
                *last = Some((client, now));
            }
        }
    }

    /// Puts a call in line. Returns the call that has no place: this one, or the last one of a client of whom more
    /// waits.
    pub(super) fn push(&mut self, client: C, call: T, bytes: usize, now: Instant) -> Option<T> {
        self.arrivals += 1;
        let waiting = Waiting {
            call,
            bytes,
            since: now,
            arrival: self.arrivals,
        };
        self.put(client, now, waiting, false);
        let over = self.calls > self.bounds.calls || self.bytes > self.bounds.bytes;
        over.then(|| self.displace()).flatten()
    }

    /// Puts a call that gave way in line again, before its client's others.
    pub(super) fn push_again(&mut self, client: C, call: T, bytes: usize, now: Instant) {
        self.arrivals += 1;
        let waiting = Waiting {
            call,
            bytes,
            since: now,
            arrival: self.arrivals,
        };
        self.put(client, now, waiting, true);
    }

    fn put(&mut self, client: C, now: Instant, waiting: Waiting<T>, first: bool) {
        self.calls += 1;
        self.bytes += waiting.bytes;
        let entry = self.entry(client, now);
        entry.bytes += waiting.bytes;
        match first {
            true => entry.waiting.push_front(waiting),
            false => entry.waiting.push_back(waiting),
        }
    }

    fn entry(&mut self, client: C, now: Instant) -> &mut Client<T> {
        self.clients
            .entry(client)
            .or_insert_with(|| Client::new(now))
    }

    /// Takes the last call of the client of whom most waits.
    fn displace(&mut self) -> Option<T> {
        let calls = self.bounds.calls.max(1) as f64;
        let bytes = self.bounds.bytes.max(1) as f64;
        let share = |client: &Client<T>| {
            (client.waiting.len() as f64 / calls).max(client.bytes as f64 / bytes)
        };
        let clients = self.clients.values_mut();
        let most = clients.max_by(|a, b| share(a).total_cmp(&share(b)))?;
        let last = most.waiting.pop_back()?;
        most.bytes -= last.bytes;
        self.calls -= 1;
        self.bytes -= last.bytes;
        Some(last.call)
    }

    /// Whether other clients than this one called of late, or wait and need not pause.
    fn has_others(&self, client: C, now: Instant) -> bool {
        let recent = self.recent.iter().flatten();
        let mut recent = recent.filter(|(other, _)| *other != client);
        recent.any(|(_, at)| now.saturating_duration_since(*at) < RECENT)
            || (self.calls > 0 && self.others_wait(client, now))
    }

    fn others_wait(&self, client: C, now: Instant) -> bool {
        self.clients.iter().any(|(other, state)| {
            *other != client && !state.waiting.is_empty() && !state.is_paused(now)
        })
    }

    /// Whether the client's next call may run now.
    fn may_run(&self, id: C, client: &Client<T>, now: Instant) -> bool {
        let alone = !self.has_others(id, now);
        alone || (!client.is_paused(now) && client.running < self.share)
    }

    /// The next call, if one may run; it then counts as running.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(C, T)> {
        let others_turn = self
            .other
            .is_none_or(|last| now.saturating_duration_since(last) >= TURN_OF_OTHERS);
        let candidates = self.clients.iter().filter_map(|(id, client)| {
            let first = client.waiting.front()?;
            let later = client.is_brief(now) == others_turn;
            let key = (later, client.used(now), first.arrival);
            self.may_run(*id, client, now).then_some((key, *id))
        });
        let (_, id) = candidates.min_by_key(|(key, _)| *key)?;
        if self
            .clients
            .get(&id)
            .is_some_and(|client| !client.is_brief(now))
        {
            self.other = Some(now);
        }
        let client = self.clients.get_mut(&id)?;
        let first = client.waiting.pop_front()?;
        client.bytes -= first.bytes;
        client.running += 1;
        self.calls -= 1;
        self.bytes -= first.bytes;
        Some((id, first.call))
    }

    /// Lets a call run that need not wait: whether it may.
    pub(super) fn start(&mut self, id: C, now: Instant) -> bool {
        self.entry(id, now);
        let may = self
            .clients
            .get(&id)
            .is_some_and(|client| client.waiting.is_empty() && self.may_run(id, client, now));
        if may {
            self.entry(id, now).running += 1;
        }
        may
    }

    /// A call of the client does not run any more, after so long a time. `gave_way`: because others waited.
    pub(super) fn end(&mut self, id: C, time: Duration, gave_way: bool, now: Instant) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.running = client.running.saturating_sub(1);
        client.charge(time, now);
        client.short_calls = match gave_way {
            true => 0,
            false => client.short_calls.saturating_add(1),
        };
        if gave_way {
            client.turn = (client.turn * 2).min(LONGEST_TURN);
            client.pause_until = now.checked_add(time * PAUSE);
        } else if client.pause_until.is_none_or(|until| now >= until) && time < TURN {
            client.turn = TURN;
            client.pause_until = None;
        }
        if self.clients.len() > 64 {
            self.clients.retain(|_, client| !client.is_idle(now));
        }
    }

    /// Which of the calls that run, of these clients and since these moments, is to give way to one that waits.
    pub(super) fn overdue(&self, running: &[(C, Instant)], now: Instant) -> Option<usize> {
        let waits = |(id, client): (&C, &Client<T>)| {
            let first = client.waiting.front()?;
            let long = now.saturating_duration_since(first.since) >= PATIENCE;
            let waits = long && !client.is_paused(now) && client.running < self.share;
            waits.then(|| (*id, client.used(now), client.waits_for(first.since)))
        };
        let waiting: Vec<_> = self.clients.iter().filter_map(waits).collect();
        let overdue = running.iter().enumerate().filter_map(|(at, (id, since))| {
            let time = now.saturating_duration_since(*since);
            let client = self.clients.get(id)?;
            let used = client.used(now) + time;
            let gives_way = waiting.iter().any(|(waiter, had, waits_for)| {
                waiter != id && (used > *had * 2 || time > *waits_for)
            });
            (time >= client.turn && gives_way).then_some((used, at))
        });
        overdue.max_by_key(|(used, _)| *used).map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn turns(workers: usize) -> Turns<char, u32> {
        let bounds = Bounds {
            calls: 8,
            bytes: 100,
        };
        Turns::new(bounds, workers)
    }

    #[test]
    fn who_had_least_is_next_and_calls_of_one_client_keep_their_order() {
        let now = Instant::now();
        let mut turns = turns(1);
        turns.seen('a', now);
        turns.seen('b', now);
        turns.start('a', now);
        turns.end('a', MS * 50, false, now);
        for (client, call) in [('a', 1), ('a', 2), ('b', 3), ('b', 4)] {
            assert_eq!(turns.push(client, call, 0, now), None);
        }
        let mut order = Vec::new();
        while let Some((client, call)) = turns.pop(now) {
            order.push((client, call));
            turns.end(client, MS * 20, false, now);
        }
        assert_eq!(order, [('b', 3), ('b', 4), ('a', 1), ('a', 2)]);
        assert_eq!(turns.waiting(), 0);
    }

    #[test]
    fn a_client_leaves_a_worker_to_others_unless_it_is_alone() {
        let now = Instant::now();
        let mut turns = turns(4);
        turns.seen('g', now);
        for _ in 0..4 {
            assert!(turns.start('g', now), "alone, it may have all");
        }
        for _ in 0..4 {
            turns.end('g', MS, false, now);
        }
        turns.seen('h', now);
        turns.seen('g', now);
        let started = (0..4).filter(|_| turns.start('g', now)).count();
        assert_eq!(started, 3);
        assert!(turns.start('h', now));
    }

    #[test]
    fn who_is_refused_has_most_waiting() {
        let now = Instant::now();
        let mut turns = turns(1);
        for call in 0..8 {
            assert_eq!(turns.push('g', call, 0, now), None);
        }
        assert_eq!(
            turns.push('h', 100, 0, now),
            Some(7),
            "the last of the greedy"
        );
        assert_eq!(turns.push('g', 8, 0, now), Some(8));
        // By bytes as well.
        let mut turns = self::turns(1);
        assert_eq!(turns.push('g', 1, 90, now), None);
        assert_eq!(turns.push('h', 2, 20, now), Some(1));
        assert_eq!(turns.push('h', 3, 200, now), Some(3), "larger than all");
        assert_eq!(turns.waiting(), 1);
    }

    #[test]
    fn a_long_call_gives_way_and_comes_back_after_a_pause_with_more_time() {
        let start = Instant::now();
        let mut turns = turns(1);
        turns.seen('g', start);
        assert!(turns.start('g', start));
        turns.seen('h', start);
        turns.push('h', 1, 0, start);
        let running = [('g', start)];
        assert_eq!(turns.overdue(&running, start + MS * 19), None);
        assert_eq!(turns.overdue(&running, start + MS * 59), None);
        let now = start + TURN;
        assert_eq!(turns.overdue(&running, now), Some(0));
        turns.end('g', TURN, true, now);
        turns.push_again('g', 0, 0, now);
        assert_eq!(turns.pop(now), Some(('h', 1)));
        turns.end('h', MS, false, now);
        turns.seen('h', now);
        assert_eq!(
            turns.pop(now),
            None,
            "it has a pause while there are others"
        );
        let now = now + TURN * PAUSE;
        turns.seen('h', now);
        assert_eq!(turns.pop(now), Some(('g', 0)));
        turns.push('h', 2, 0, now);
        let running = [('g', now)];
        assert_eq!(
            turns.overdue(&running, now + TURN),
            None,
            "it has more time"
        );
        assert_eq!(turns.overdue(&running, now + TURN * 2), Some(0));
    }

    #[test]
    fn without_others_there_is_no_pause() {
        let now = Instant::now();
        let mut turns = turns(1);
        turns.seen('h', now);
        turns.seen('g', now);
        assert!(turns.start('g', now));
        turns.end('g', TURN, true, now);
        turns.push_again('g', 0, 0, now);
        assert_eq!(turns.pop(now), None);
        assert_eq!(turns.pop(now + RECENT), Some(('g', 0)));
    }

    #[test]
    fn who_waits_for_long_is_there_all_the_while() {
        let now = Instant::now();
        let mut turns = turns(2);
        for client in ['g', 'h'] {
            turns.seen(client, now);
        }
        assert!(turns.start('g', now) && turns.start('h', now));
        turns.push('g', 1, 0, now);
        turns.push('h', 2, 0, now);
        let later = now + RECENT * 10;
        turns.end('h', MS, false, later);
        turns.end('g', MS, false, later);
        assert!(turns.pop(later).is_some() && turns.pop(later).is_some());
        turns.push('g', 3, 0, later);
        turns.push('h', 4, 0, later);
        let later = later + RECENT * 10;
        assert_eq!(turns.pop(later), None, "each leaves a worker to the other");
        // Two who have to pause do not keep workers idle.
        turns.end('g', TURN, true, later);
        turns.end('h', TURN, true, later);
        let later = later + RECENT;
        assert!(turns.pop(later).is_some() && turns.pop(later).is_some());
    }

    #[test]
    fn two_that_are_alike_do_not_stop_each_other() {
        let now = Instant::now();
        let mut turns = turns(1);
        turns.seen('a', now);
        turns.seen('b', now);
        for client in ['a', 'b'] {
            turns.start(client, now);
            turns.end(client, MS * 500, false, now);
        }
        assert!(turns.start('a', now));
        turns.push('b', 1, 0, now);
        let running = [('a', now)];
        assert_eq!(turns.overdue(&running, now + MS * 300), None);
    }

    #[test]
    fn a_call_of_one_who_has_just_come_gives_way_to_one_who_calls_often_and_shortly() {
        let start = Instant::now();
        let mut turns = turns(1);
        let mut now = start;
        for _ in 0..200 {
            turns.seen('h', now);
            assert!(turns.start('h', now));
            turns.end('h', MS * 5, false, now);
            now += MS * 20;
        }
        turns.seen('g', now);
        assert!(turns.start('g', now));
        turns.push('h', 1, 0, now);
        let running = [('g', now)];
        assert_eq!(turns.overdue(&running, now + TURN - MS), None);
        assert_eq!(turns.overdue(&running, now + TURN), Some(0));
    }

    #[test]
    fn a_long_call_does_not_give_way_to_short_ones_that_take_most_of_the_time() {
        let start = Instant::now();
        let mut turns = turns(1);
        let mut now = start;
        for _ in 0..2000 {
            turns.seen('g', now);
            assert!(turns.start('g', now));
            turns.end('g', MS * 5, false, now);
            now += MS * 6;
        }
        turns.seen('h', now);
        assert!(turns.start('h', now));
        turns.push('g', 1, 0, now);
        let running = [('h', now)];
        assert_eq!(turns.overdue(&running, now + MS * 500), None);
    }

    #[test]
    fn many_who_have_just_come_do_not_keep_one_waiting_who_calls_shortly() {
        let mut now = Instant::now();
        let mut turns = turns(1);
        for _ in 0..200 {
            turns.seen('h', now);
            assert!(turns.start('h', now));
            turns.end('h', MS * 5, false, now);
            now += MS * 20;
        }
        for client in ['a', 'b', 'c', 'd'] {
            turns.seen(client, now);
            turns.push(client, 0, 0, now);
        }
        // One of them is next, since none was for long; then whoever calls shortly, as often as it does.
        let (first, _) = turns.pop(now).unwrap();
        assert_ne!(first, 'h');
        turns.push('h', 1, 0, now);
        now += TURN;
        turns.end(first, TURN, true, now);
        turns.push_again(first, 0, 0, now);
        for _ in 0..3 {
            turns.seen('h', now);
            assert_eq!(turns.pop(now), Some(('h', 1)));
            turns.end('h', MS * 5, false, now);
            turns.push('h', 1, 0, now);
            now += MS * 20;
        }
        now += TURN_OF_OTHERS;
        turns.seen('h', now);
        let (next, _) = turns.pop(now).unwrap();
        assert!(next != 'h' && next != first, "{next}");
    }
}
