//! How many requests an address may make: a bucket of tokens each, filled by the clock.
//!
//! Pure but for its lock: times are handed in. Addresses that have not been seen for long are
//! forgotten, and the number remembered is bounded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A burst may be so many times the average of a second.
const BURST: f64 = 10.0;

/// Addresses remembered at most.
const REMEMBERED: usize = 10_000;

struct Bucket {
    tokens: f64,
    at: Instant,
}

/// The buckets of all addresses.
pub struct Rates {
    per_second: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

impl Rates {
    /// So many a second, on average.
    pub fn new(per_second: u32) -> Self {
        Self {
            per_second: f64::from(per_second.max(1)),
            buckets: Mutex::default(),
        }
    }

    /// Whether an address may make a request now, which costs it `cost` of its tokens.
    pub fn take(&self, who: IpAddr, now: Instant, cost: f64) -> bool {
        let most = self.per_second * BURST;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= REMEMBERED && !buckets.contains_key(&who) {
            // Full buckets say nothing: a new one would be full too.
            let rate = self.per_second;
            buckets.retain(|_, b| {
                b.tokens + now.saturating_duration_since(b.at).as_secs_f64() * rate < most
            });
            if buckets.len() >= REMEMBERED {
                return false;
            }
        }
        let bucket = buckets.entry(who).or_insert(Bucket {
            tokens: most,
            at: now,
        });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.per_second).min(most);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= cost;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bursts_pass_floods_do_not_and_time_heals() {
        let rates = Rates::new(2);
        let (one, other): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let start = Instant::now();
        let passed = (0..50).filter(|_| rates.take(one, start, 1.0)).count();
        assert_eq!(passed, 20);
        assert!(rates.take(other, start, 1.0));
        let later = start + Duration::from_secs(3);
        let passed = (0..50).filter(|_| rates.take(one, later, 1.0)).count();
        assert_eq!(passed, 6);
        // What costs nothing passes while anything is left.
        assert!(!rates.take(one, later, 0.0));
        assert!((0..500).all(|_| rates.take(other, later, 0.0)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let rates = Rates::new(1);
        let start = Instant::now();
        for n in 0..REMEMBERED as u32 + 5 {
            let later = start + Duration::from_millis(u64::from(n) * 10);
            assert!(
                rates.take(std::net::Ipv4Addr::from_bits(n).into(), later, 1.0),
                "{n}"
            );
        }
        assert!(rates.buckets.lock().unwrap().len() <= REMEMBERED);
    }
}
