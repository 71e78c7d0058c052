//! What rechunking and pacing cost per chunk, without the clock: `cargo bench --bench shape`. The bound for a stage that has
//! nothing to do is asserted.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros make undocumented items, and a bench may panic"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rehearsal::dialect::Dialect;
use rehearsal::dice::Draw;
use rehearsal::shape::pace::TokenPace;
use rehearsal::shape::rechunk::{Adaptive, Rechunk, RechunkSettings};
use rehearsal::shape::schedule::{ChunkFacts, Schedule, Timing};

fn token(index: usize) -> Bytes {
    Bytes::from(format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
         \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" w{index}\"}},\"finish_reason\":null}}]}}\n\n"
    ))
}

fn stream(settings: &RechunkSettings, tokens: &[Bytes], out: &mut Vec<Bytes>) {
    let mut rechunk = Rechunk::new(settings, true, Dialect::OpenAi);
    let mut now = Duration::ZERO;
    for token in tokens {
        rechunk.push(now, token.clone(), out);
        out.clear();
        now += Duration::from_millis(5);
    }
    rechunk.finish(out);
    out.clear();
}

fn rechunk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rechunk");
    for (name, settings) in [
        ("nothing configured", RechunkSettings::AsRecorded),
        ("event", RechunkSettings::Event),
        ("word", RechunkSettings::Word),
        ("sentence", RechunkSettings::Sentence),
        ("bytes", RechunkSettings::Bytes(512)),
        ("adaptive", RechunkSettings::Adaptive(Adaptive::default())),
    ] {
        // The time for one token is the same in a short and in a long stream.
        for count in [100, 10_000] {
            let tokens: Vec<_> = (0..count).map(token).collect();
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(format!("{name}, {count} tokens"), |bencher| {
                let mut out = Vec::new();
                bencher.iter(|| stream(&settings, black_box(&tokens), &mut out));
            });
        }
    }
    group.finish();
}

fn schedule(criterion: &mut Criterion) {
    let pace = Arc::new(TokenPace {
        ttft: "200ms ± 40ms".parse().unwrap(),
        gap: "12ms ± 2ms".parse().unwrap(),
    });
    let mut group = criterion.benchmark_group("schedule, 1000 chunks");
    group.throughput(Throughput::Elements(1000));
    for (name, timing) in [
        ("instant", Timing::Instant),
        ("recorded", Timing::Recorded { speed: 2.0 }),
        ("tokens", Timing::Tokens(pace)),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || Schedule::new(&timing, false, Draw::from_bits(1)),
                |mut schedule| {
                    for index in 0..1000 {
                        let came = Duration::from_millis(index);
                        black_box(schedule.due(ChunkFacts { came, tokens: 1 }));
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// With nothing configured both stages together cost at most 100 ns per chunk.
fn bound(_: &mut Criterion) {
    let tokens: Vec<_> = (0..1000).map(token).collect();
    let mut out = Vec::new();
    let round = |out: &mut Vec<Bytes>| {
        let mut rechunk = Rechunk::new(&RechunkSettings::AsRecorded, true, Dialect::OpenAi);
        let mut schedule = Schedule::new(&Timing::default(), true, Draw::from_bits(1));
        let start = Instant::now();
        for token in &tokens {
            rechunk.push(Duration::ZERO, token.clone(), out);
            let facts = ChunkFacts {
                came: Duration::ZERO,
                tokens: 0,
            };
            black_box((schedule.due(facts), rechunk.deadline()));
            black_box(&out).len();
            out.clear();
        }
        start.elapsed() / 1000
    };
    let mut times: Vec<_> = (0..101).map(|_| round(&mut out)).collect();
    times.sort_unstable();
    let median = times[times.len() / 2];
    assert!(
        median <= Duration::from_nanos(100),
        "the shape stages cost {median:?} per chunk with nothing to do"
    );
}

criterion_group!(benches, rechunk, schedule, bound);
criterion_main!(benches);
