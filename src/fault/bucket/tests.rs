use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn limiter(requests: Option<u64>, tokens: Option<u64>) -> RateLimiter {
    let limits = RateLimits {
        requests,
        tokens,
        per: 60 * SECOND,
        is_shared: false,
    };
    RateLimiter::new(limits, 100)
}

fn charge(verdict: Verdict) -> Charge {
    match verdict {
        Verdict::Allowed { charge, .. } => charge,
        Verdict::Refused { .. } => panic!("{verdict:?}"),
    }
}

fn refusal(verdict: &Verdict) -> (Limit, Option<Duration>) {
    match verdict {
        Verdict::Refused {
            limit, retry_after, ..
        } => (*limit, *retry_after),
        Verdict::Allowed { .. } => panic!("{verdict:?}"),
    }
}

#[test]
fn it_refills_without_steps() {
    let mut limiter = limiter(Some(60), None);
    for _ in 0..60 {
        charge(limiter.ask("a", 0, SECOND));
    }
    let refused = limiter.ask("a", 0, SECOND);
    assert_eq!(refusal(&refused), (Limit::Requests, Some(SECOND)));
    let refused = limiter.ask("a", 0, SECOND + SECOND / 4);
    assert_eq!(refusal(&refused).1, Some(SECOND * 3 / 4));
    charge(limiter.ask("a", 0, 2 * SECOND));
    refusal(&limiter.ask("a", 0, 2 * SECOND));
    charge(limiter.ask("b", 0, 2 * SECOND));
}

#[test]
fn a_refused_request_costs_nothing() {
    let mut limiter = limiter(Some(10), Some(100));
    charge(limiter.ask("a", 90, SECOND));
    for _ in 0..50 {
        let refused = limiter.ask("a", 20, SECOND);
        assert_eq!(refusal(&refused), (Limit::Tokens, Some(6 * SECOND)));
    }
    let Verdict::Allowed { standings, .. } = limiter.ask("a", 10, SECOND) else {
        panic!("ten tokens were left")
    };
    assert_eq!(standings.requests.unwrap().remaining, 8);
    assert_eq!(standings.tokens.unwrap().remaining, 0);
    assert_eq!(standings.tokens.unwrap().reset, 60 * SECOND);
}

#[test]
fn what_never_fits_is_not_told_to_come_back() {
    let mut limiter = limiter(Some(1), Some(100));
    charge(limiter.ask("a", 1, SECOND));
    // It hits both, and waiting helps against one of them only.
    assert_eq!(
        refusal(&limiter.ask("a", 101, SECOND)),
        (Limit::Tokens, None)
    );
    assert_eq!(refusal(&limiter.ask("a", 100, SECOND)).0, Limit::Requests);
    let mut shut = self::limiter(Some(0), None);
    assert_eq!(refusal(&shut.ask("a", 0, SECOND)), (Limit::Requests, None));
}

#[test]
fn an_answer_pays_what_it_used() {
    let mut limiter = limiter(None, Some(100));
    let charged = charge(limiter.ask("a", 80, SECOND));
    limiter.settle(charged, 10, SECOND);
    let charged = charge(limiter.ask("a", 90, SECOND));
    // More than was thought: the next has to wait for that too.
    limiter.settle(charged, 150, SECOND);
    assert_eq!(refusal(&limiter.ask("a", 10, SECOND)).1, Some(42 * SECOND));
    let charged = charge(limiter.ask("a", 10, 43 * SECOND));
    limiter.settle(charged, 0, 10_000 * SECOND);
    charge(limiter.ask("a", 100, 10_000 * SECOND));
}

#[test]
fn clients_are_bounded_and_may_share() {
    let limits = RateLimits {
        requests: Some(1),
        tokens: None,
        per: SECOND,
        is_shared: true,
    };
    let mut shared = RateLimiter::new(limits, 10);
    charge(shared.ask("a", 0, SECOND));
    refusal(&shared.ask("b", 0, SECOND));
    assert_eq!(shared.clients(), 1);
    let mut many = limiter(Some(1), None);
    for client in 0..1000 {
        charge(many.ask(&client.to_string(), 0, SECOND));
    }
    assert_eq!(many.clients(), 100);
}

#[test]
fn an_estimate_is_the_input_and_all_that_may_come() {
    assert_eq!(estimate(0, None), 0);
    assert_eq!(estimate(401, Some(50)), 151);
    assert_eq!(estimate(usize::MAX, Some(u64::MAX)), u64::MAX);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_numbers_panic(
        requests in proptest::option::of(any::<u64>()),
        tokens in proptest::option::of(any::<u64>()),
        per in any::<u64>(),
        asked in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..8),
    ) {
        let limits = RateLimits { requests, tokens, per: Duration::from_nanos(per), is_shared: false };
        let mut limiter = RateLimiter::new(limits, 2);
        for (count, used, now) in asked {
            let now = Duration::from_millis(now);
            if let Verdict::Allowed { charge, standings } = limiter.ask("a", count, now) {
                for standing in [standings.requests, standings.tokens].into_iter().flatten() {
                    prop_assert!(standing.remaining <= standing.limit);
                }
                limiter.settle(charge, used, now);
            }
        }
    }

    #[test]
    fn who_comes_when_told_passes(gaps in proptest::collection::vec(0_u64..2_000, 1..40), limit in 1_u64..50) {
        let mut limiter = limiter(Some(limit), Some(limit * 10));
        let mut now = Duration::ZERO;
        for gap in gaps {
            now += Duration::from_millis(gap);
            if let Verdict::Refused { retry_after, .. } = limiter.ask("a", 7.min(limit * 10), now) {
                now += retry_after.unwrap();
                charge(limiter.ask("a", 7.min(limit * 10), now));
            }
        }
    }
}
