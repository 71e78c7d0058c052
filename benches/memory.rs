//! What the memory of recordings costs beside `std`'s `HashMap`, and whether finding a recording depends on how many there
//! are: `cargo bench --bench memory`; about two minutes. The bounds are asserted.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints figures"
)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use rehearsal::cassette::{Access, Cassette, Keying};
use rehearsal::key::{Canonical, KeyBody, KeyRules, KeySettings};
use rehearsal::lru::Lru;
use rehearsal::message::{Headers, RequestHead};

const SIZES: [usize; 3] = [128, 10_000, 1_000_000];

/// How many times a `HashMap` of the same size the memory may cost.
const LRU_RATIO: f64 = 3.0;

/// How much longer a look-up may take among 10,000 times as many; caches are missed, nothing is scanned.
const INDEX_RATIO: f64 = 8.0;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
        .configure_from_args();
    let mut worst: f64 = 0.0;
    for size in SIZES {
        let found = [
            ("hit", hit(&mut criterion, size)),
            ("insert", insert(&mut criterion, size)),
            ("evict", evict(&mut criterion, size)),
        ];
        for (what, (lru, map)) in found {
            let ratio = lru / map;
            println!("{what} at {size}: {lru:.0} ns, HashMap {map:.0} ns, {ratio:.2} times");
            worst = worst.max(ratio);
        }
    }
    let few = finding(&mut criterion, 10);
    let many = finding(&mut criterion, 100_000);
    for (what, few, many) in [
        ("look-up", few.0, many.0),
        ("names of what is near", few.1, many.1),
    ] {
        println!("{what}: {few:.0} ns among 10, {many:.0} ns among 100,000");
    }
    assert!(
        worst <= LRU_RATIO,
        "the memory costs {worst:.2} times a HashMap"
    );
    assert!(
        many.0 <= few.0 * INDEX_RATIO,
        "a look-up depends on how many there are"
    );
}

/// Runs what does so many operations and says how long they took; gives back the median per operation in ns.
fn measure(criterion: &mut Criterion, name: &str, mut run: impl FnMut(u64) -> Duration) -> f64 {
    let seen = RefCell::new(Vec::new());
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|count| {
            let took = run(count);
            seen.borrow_mut()
                .push(took.as_nanos() as f64 / count as f64);
            took
        });
    });
    let mut seen = seen.into_inner();
    // The first ones run while caches warm up; a bench that was left out by a filter has none.
    seen.sort_by(f64::total_cmp);
    seen.get(seen.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Numbers in an order that no cache foresees: each below `size` once, if that is no multiple of the step.
fn jump(at: usize, size: usize) -> usize {
    at.wrapping_mul(7_368_787) % size
}

fn timed(count: u64, mut one: impl FnMut(usize)) -> Duration {
    let start = Instant::now();
    for at in 0..usize::try_from(count).unwrap() {
        one(at);
    }
    start.elapsed()
}

fn hit(criterion: &mut Criterion, size: usize) -> (f64, f64) {
    let mut lru = Lru::new(size, usize::MAX);
    let mut map = HashMap::new();
    for at in 0..size {
        lru.insert(at, at, 1);
        map.insert(at, at);
    }
    let lru = measure(criterion, &format!("lru/hit/{size}"), |count| {
        timed(count, |at| {
            black_box(lru.get(&black_box(jump(at, size))));
        })
    });
    let map = measure(criterion, &format!("map/hit/{size}"), |count| {
        timed(count, |at| {
            black_box(map.get(&black_box(jump(at, size))));
        })
    });
    (lru, map)
}

/// From none to so many.
fn insert(criterion: &mut Criterion, size: usize) -> (f64, f64) {
    let rounds = |count: u64, mut fill: Box<dyn FnMut(usize) -> Duration>| {
        let mut left = usize::try_from(count).unwrap();
        let mut took = Duration::ZERO;
        while left > 0 {
            let now = left.min(size);
            took += fill(now);
            left -= now;
        }
        took
    };
    // Whole fills only count the same on both sides if both grow alike; dropping is left out.
    let lru = measure(criterion, &format!("lru/insert/{size}"), |count| {
        let whole = count.max(size as u64);
        let took = rounds(
            whole,
            Box::new(move |now| {
                let mut lru = Lru::new(size, usize::MAX);
                timed(now as u64, |at| {
                    lru.insert(jump(at, size), at, 1);
                })
            }),
        );
        took.mul_f64(count as f64 / whole as f64)
    });
    let map = measure(criterion, &format!("map/insert/{size}"), |count| {
        let whole = count.max(size as u64);
        let took = rounds(
            whole,
            Box::new(move |now| {
                let mut map = HashMap::new();
                timed(now as u64, |at| {
                    map.insert(jump(at, size), at);
                })
            }),
        );
        took.mul_f64(count as f64 / whole as f64)
    });
    (lru, map)
}

/// One more than there is room for. What a map has to do then is to insert one and to remove one.
fn evict(criterion: &mut Criterion, size: usize) -> (f64, f64) {
    let spread = |at: usize| at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut lru = Lru::new(size, usize::MAX);
    let mut map = HashMap::new();
    for at in 0..size {
        lru.insert(spread(at), at, 1);
        map.insert(spread(at), at);
    }
    let mut next = size;
    let lru = measure(criterion, &format!("lru/evict/{size}"), |count| {
        timed(count, |_| {
            lru.insert(spread(next), next, 1);
            next += 1;
        })
    });
    let mut next = size;
    let map = measure(criterion, &format!("map/evict/{size}"), |count| {
        timed(count, |_| {
            map.remove(&spread(next - size));
            map.insert(spread(next), next);
            next += 1;
        })
    });
    (lru, map)
}

fn canonical(path: &str) -> Canonical {
    let head = RequestHead {
        method: "GET".to_owned(),
        path: path.to_owned(),
        query: None,
        headers: Headers::new(),
    };
    let rules = KeyRules::compile(&KeySettings::default()).unwrap();
    rules.canonical(&head, KeyBody::Whole(b""))
}

/// To find one among so many, and to explain a miss; the files that are read for that are the same in number.
fn finding(criterion: &mut Criterion, count: usize) -> (f64, f64) {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), count);
    let cassette = Cassette::open(home.path(), Access::Read).unwrap();
    let rules = Arc::new(KeyRules::compile(&KeySettings::default()).unwrap());
    cassette.index(move |_| {
        Some(Keying {
            route: 0,
            rules: Arc::clone(&rules),
            redact: None,
        })
    });
    let keys: Vec<_> = (0..count)
        .map(|index| canonical(&format!("/v1/items/{index}")).key())
        .collect();
    let lookup = measure(criterion, &format!("index/look-up/{count}"), |times| {
        timed(times, |at| {
            let id = cassette.nth(0, &keys[jump(at, count)], 0);
            assert!(black_box(id).is_some());
        })
    });
    let missed = canonical("/v1/items/x");
    let near = measure(criterion, &format!("index/near/{count}"), |times| {
        timed(times, |_| {
            // One file, so that the rest is the index.
            assert_eq!(black_box(cassette.near(&missed, 1)).len(), 1);
        })
    });
    (lookup, near)
}

fn write(folder: &Path, count: usize) {
    for index in 0..count {
        let text = format!(
            r#"{{"version":1,"recorded":{{"at":"2026-01-31T12:00:00Z","upstream":"http://127.0.0.1:4010","protocol":"http/1.1",
"request":{{"method":"GET","path":"/v1/items/{index}","headers":[]}},
"response":{{"status":200,"head_us":1,"headers":[],"items":[[1,"x"]]}},"ending":"complete"}}}}"#
        );
        fs::write(folder.join(format!("GET-v1-items-{index}.json")), text).unwrap();
    }
}
