//! The circuit breaker of a provider.
//!
//! The states are failsafe's. Added here: one request at a time is the trial of a half-open breaker, and requests that began
//! before do not count then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use failsafe::backoff::{self, Constant};
use failsafe::failure_policy::{self, ConsecutiveFailures};
use failsafe::{Instrument, StateMachine};

/// When to come back while another request is trying, of which nobody knows how long it takes.
const WHILE_TRYING: Duration = Duration::from_secs(1);

/// The longest that a breaker stays open, so that the clock can represent its end.
const MAX_BREAK: Duration = Duration::from_secs(24 * 3600);

/// The circuit breaker of one provider.
pub(super) struct Breaker {
    inner: Mutex<Inner>,
    break_for: Duration,
}

struct Inner {
    machine: StateMachine<ConsecutiveFailures<Constant>, Watch>,
    phase: Arc<Mutex<Phase>>,
    /// Whether a request is trying.
    trying: bool,
}

#[derive(Clone, Copy)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen,
}

/// Learns the state, which the machine does not show.
struct Watch {
    /// The provider's name.
    name: String,
    phase: Arc<Mutex<Phase>>,
    break_for: Duration,
}

impl Watch {
    /// Enters a phase; the one before it.
    fn enter(&self, phase: Phase) -> Phase {
        std::mem::replace(&mut *lock(&self.phase), phase)
    }
}

impl Instrument for Watch {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        let until = Instant::now() + self.break_for;
        // A trial that failed is no news.
        if matches!(self.enter(Phase::Open { until }), Phase::Closed) {
            let (provider, seconds) = (&self.name, self.break_for.as_secs_f64());
            tracing::warn!(
                "the AI provider {provider:?} failed repeatedly; next request in {seconds} s"
            );
        }
    }

    fn on_half_open(&self) {
        self.enter(Phase::HalfOpen);
    }

    fn on_closed(&self) {
        if !matches!(self.enter(Phase::Closed), Phase::Closed) {
            tracing::info!("the AI provider {:?} answers again", self.name);
        }
    }
}

impl Breaker {
    /// Opens after this many failures in a row, for this long.
    pub(super) fn new(name: &str, failures: u32, break_for: Duration) -> Arc<Self> {
        let break_for = break_for.min(MAX_BREAK);
        let phase = Arc::new(Mutex::new(Phase::Closed));
        let policy = failure_policy::consecutive_failures(failures, backoff::constant(break_for));
        let watch = Watch {
            name: name.to_owned(),
            phase: Arc::clone(&phase),
            break_for,
        };
        Arc::new(Self {
            inner: Mutex::new(Inner {
                machine: StateMachine::new(policy, watch),
                phase,
                trying: false,
            }),
            break_for,
        })
    }

    /// Whether a request could be sent now; otherwise, when to come back.
    pub(super) fn check(&self) -> Result<(), Duration> {
        self.refusal(&lock(&self.inner)).map_or(Ok(()), Err)
    }

    /// Begins a request; otherwise, when to come back.
    pub(super) fn begin(self: &Arc<Self>) -> Result<Attempt, Duration> {
        let mut inner = lock(&self.inner);
        if let Some(wait) = self.refusal(&inner) {
            return Err(wait);
        }
        if !inner.machine.is_call_permitted() {
            return Err(Duration::ZERO);
        }
        let tries = matches!(inner.phase(), Phase::HalfOpen);
        inner.trying |= tries;
        Ok(Attempt {
            breaker: Some(Arc::clone(self)),
            tries,
        })
    }

    /// Whether nobody may be asked. When its time is over it is not open: somebody has to try.
    pub(super) fn is_open(&self) -> bool {
        self.check().is_err()
    }

    fn refusal(&self, inner: &Inner) -> Option<Duration> {
        match inner.phase() {
            Phase::Closed => None,
            Phase::Open { until } => {
                let left = until.saturating_duration_since(Instant::now());
                (!left.is_zero()).then_some(left)
            }
            Phase::HalfOpen => inner.trying.then_some(self.break_for.min(WHILE_TRYING)),
        }
    }

    fn settle(&self, tries: bool, outcome: Option<bool>) {
        let mut inner = lock(&self.inner);
        if tries {
            inner.trying = false;
        } else if matches!(inner.phase(), Phase::HalfOpen) {
            return;
        }
        match outcome {
            Some(true) => inner.machine.on_success(),
            Some(false) => inner.machine.on_error(),
            None => {}
        }
    }
}

impl Inner {
    fn phase(&self) -> Phase {
        *lock(&self.phase)
    }
}

/// One request. Dropped without an outcome it counts as neither.
pub(super) struct Attempt {
    breaker: Option<Arc<Breaker>>,
    tries: bool,
}

impl Attempt {
    /// One of a provider without a breaker.
    pub(super) fn uncounted() -> Self {
        Self {
            breaker: None,
            tries: false,
        }
    }

    /// The answer has begun: enough to ask the provider again, and too little to forget how others ended.
    pub(super) fn began(&mut self) {
        if let Some(breaker) = self.breaker.as_ref().filter(|_| self.tries) {
            breaker.settle(true, Some(true));
            self.tries = false;
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.end(Some(true));
    }

    pub(super) fn failed(&mut self) {
        self.end(Some(false));
    }

    fn end(&mut self, outcome: Option<bool>) {
        if let Some(breaker) = self.breaker.take() {
            breaker.settle(self.tries, outcome);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end(None);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
