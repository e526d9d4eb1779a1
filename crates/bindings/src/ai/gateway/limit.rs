//! How often a gateway may be asked.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::ai::options::GatewayOptions;

/// A gateway's rate limit.
///
/// Cloudflare has windows, fixed or sliding. This one has none (GCRA): as many requests at once as a window has, each
/// of them given back when its share of the window has passed. So a burst of the whole limit passes, and after that
/// the average rate holds; over any one window at most twice the limit passes, as with Cloudflare's fixed ones.
pub(in crate::ai) struct RateLimit<C: Clock = DefaultClock>(Option<Limited<C>>);

struct Limited<C: Clock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    clock: C,
}

impl RateLimit {
    /// The limit of a gateway, of which nothing is used yet.
    pub(in crate::ai) fn new(options: &GatewayOptions) -> Self {
        Self::with_clock(options, DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimit<C> {
    fn with_clock(options: &GatewayOptions, clock: C) -> Self {
        let limited = quota(options.rate_limit, options.rate_window).map(|quota| Limited {
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
            clock,
        });
        Self(limited)
    }

    /// Takes one request's share.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub(in crate::ai) fn check(&self) -> Result<(), Duration> {
        let Some(Limited { limiter, clock }) = &self.0 else {
            return Ok(());
        };
        limiter
            .check()
            .map_err(|refused| refused.wait_time_from(clock.now()))
    }
}

fn quota(limit: u32, window: Duration) -> Option<Quota> {
    let limit = NonZeroU32::new(limit)?;
    let share = (window / limit.get()).max(Duration::from_nanos(1));
    Quota::with_period(share).map(|quota| quota.allow_burst(limit))
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn options(limit: u32, window: Duration) -> GatewayOptions {
        GatewayOptions {
            rate_limit: limit,
            rate_window: window,
            ..GatewayOptions::new("test")
        }
    }

    #[test]
    fn a_window_has_its_limit_and_gives_back_evenly() {
        let clock = FakeRelativeClock::default();
        let options = options(10, Duration::from_secs(60));
        let limit = RateLimit::with_clock(&options, clock.clone());
        for _ in 0..10 {
            limit.check().unwrap();
        }
        let wait = limit.check().unwrap_err();
        assert_eq!(wait, Duration::from_secs(6));
        clock.advance(wait - Duration::from_millis(1));
        limit.check().unwrap_err();
        clock.advance(Duration::from_millis(1));
        limit.check().unwrap();
        limit.check().unwrap_err();
    }

    #[test]
    fn a_window_after_a_burst_has_no_more_than_its_limit() {
        let clock = FakeRelativeClock::default();
        let options = options(5, Duration::from_secs(10));
        let limit = RateLimit::with_clock(&options, clock.clone());
        while limit.check().is_ok() {}
        let mut passed = 0;
        for _ in 0..100 {
            clock.advance(Duration::from_millis(100));
            passed += u32::from(limit.check().is_ok());
        }
        assert_eq!(passed, 5);
    }

    #[test]
    fn no_limit_refuses_nothing() {
        let limit = RateLimit::new(&options(0, Duration::from_secs(60)));
        for _ in 0..10_000 {
            limit.check().unwrap();
        }
    }

    #[test]
    fn a_window_of_no_length_does_not_divide_by_it() {
        let limit = RateLimit::new(&options(3, Duration::ZERO));
        limit.check().unwrap();
    }

    #[test]
    fn real_time_passes() {
        let limit = RateLimit::new(&options(1, Duration::from_millis(500)));
        limit.check().unwrap();
        let wait = limit.check().unwrap_err();
        assert!(wait <= Duration::from_millis(500), "{wait:?}");
        std::thread::sleep(wait);
        limit.check().unwrap();
    }
}
