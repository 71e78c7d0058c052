//! What a chunk costs on its way through the pump to a client that costs nothing: of a known answer, which has a shorter way,
//! of an answer as if it were a live one, and with a fault that does nothing, beside a loop without stages: `cargo bench --bench pump`. The bound is asserted;
//! the clock is not looked at where nothing is configured, so that nothing is to be taken off for it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may panic, and prints figures"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use common::median;
use criterion::{BatchSize, Criterion, Throughput};
use rehearsal::board::{Board, Configured, Name};
use rehearsal::dialect::Dialect;
use rehearsal::dialect::asked::Asked;
use rehearsal::dice::Draw;
use rehearsal::fault::kind::{Basis, Kind};
use rehearsal::fault::script::{Armed, Scene, Script};
use rehearsal::message::{Headers, RequestHead, ResponseHead};
use rehearsal::pump::{Client, Cut, Faults, Left, Outcome, Stages, Tally, Upload, run};
use rehearsal::shape::pacer::Pacer;
use rehearsal::source::{Source, Synth, What};
use rehearsal::synth::Answer;
use tokio::runtime::Runtime;
use tokio::time::Instant;

mod common;

const CHUNKS: usize = 1000;

/// What the stages may cost per chunk where nothing is configured, without reading the clock, in ns.
const BOUND: f64 = 100.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut criterion = Criterion::default().configure_from_args();
    let answer = answer();
    let mut group = criterion.benchmark_group("pump, 1000 chunks");
    group.throughput(Throughput::Elements(CHUNKS as u64));
    group.bench_function("a loop without stages", |bencher| {
        bencher.iter_batched(
            || source(&answer),
            |source| runtime.block_on(passed(source)),
            BatchSize::SmallInput,
        );
    });
    let all = [
        ("a known answer", Stages::default as fn() -> Stages, true),
        ("nothing configured", Stages::default, false),
        ("an idle fault", idle_fault, false),
    ];
    for (name, stages, is_known) in all {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (source(&answer), stages()),
                |(source, stages)| runtime.block_on(pumped(source, stages, is_known)),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
    bound(&runtime, &answer);
}

/// What the stages add to a chunk, in the median of many answers.
fn bound(runtime: &Runtime, answer: &Answer) {
    let per_chunk = |one: &dyn Fn()| {
        let times = (0..301).map(|_| {
            let start = std::time::Instant::now();
            one();
            start.elapsed().as_nanos() as f64 / CHUNKS as f64
        });
        median(times.collect())
    };
    let alone = per_chunk(&|| runtime.block_on(passed(source(answer))));
    let way = |stages: fn() -> Stages, is_known| {
        per_chunk(&|| runtime.block_on(pumped(source(answer), stages(), is_known)))
    };
    let known = way(Stages::default, true);
    let nothing = way(Stages::default, false);
    let idle = way(idle_fault, false);
    let added = nothing - alone;
    println!(
        "per chunk: a loop without stages {alone:.0} ns, the pump {nothing:.0} ns, with an idle fault {idle:.0} ns, \
         with a known answer {known:.0} ns; the stages add {added:.0} ns"
    );
    assert!(
        added <= BOUND,
        "the stages cost too much with nothing to do: {added:.0} ns"
    );
}

/// The least that a pump has to do: hear its client, and write what the source says.
async fn passed(mut source: Source) {
    let start = Instant::now();
    let mut client = Nobody {
        writes: 0,
        is_through: true,
    };
    loop {
        let step = tokio::select! {
            step = source.next(start) => step,
            heard = client.hear() => panic!("{heard:?}"),
        };
        let went = match step.what {
            What::Head(head) => client.head(&head, source.is_ready(start)).await,
            What::Chunk(bytes, _) => client.write(bytes, source.is_ready(start)).await,
            What::End(_) => break,
            what => panic!("{what:?}"),
        };
        assert_eq!(went, Ok(()));
    }
    assert_eq!(client.writes, CHUNKS);
}

/// Only an answer to a request that is through when it begins goes the way of known ones.
async fn pumped(mut source: Source, mut stages: Stages, is_known: bool) {
    let upload = Upload {
        read: None,
        is_through: is_known,
    };
    let mut client = Nobody {
        writes: 0,
        is_through: is_known,
    };
    let outcome = run(
        &mut client,
        &mut source,
        upload,
        Instant::now(),
        &Headers::new(),
        &mut stages,
        &mut Tally::default(),
    )
    .await;
    assert_eq!(outcome, Outcome::Completed);
    assert_eq!(client.writes, CHUNKS);
}

/// Takes everything at once.
struct Nobody {
    writes: usize,
    /// Whether it has said that it said all.
    is_through: bool,
}

impl Client for Nobody {
    async fn interim(&mut self, _: &ResponseHead) -> Result<(), Left> {
        Ok(())
    }

    async fn head(&mut self, _: &ResponseHead, _: bool) -> Result<(), Left> {
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes, _: bool) -> Result<(), Left> {
        black_box(bytes);
        self.writes += 1;
        Ok(())
    }

    async fn let_out(&mut self, _: usize) -> Result<bool, Left> {
        Ok(true)
    }

    fn hold_back(&mut self) -> bool {
        false
    }

    async fn trailers(&mut self, _: &Headers) -> Result<(), Left> {
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Left> {
        Ok(())
    }

    async fn cut(&mut self, _: Cut) {}

    /// It said all, and stays.
    async fn hear(&mut self) -> Result<Option<Bytes>, Left> {
        if !self.is_through {
            self.is_through = true;
            return Ok(None);
        }
        std::future::pending().await
    }
}

fn source(answer: &Answer) -> Source {
    Source::Synth(Synth::new(answer.clone(), Pacer::instant()))
}

/// A stream of events that are all there from the beginning.
fn answer() -> Answer {
    let event = |index: usize| {
        Bytes::from(format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
             \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" w{index}\"}},\"finish_reason\":null}}]}}\n\n"
        ))
    };
    Answer {
        head: ResponseHead {
            status: 200,
            reason: None,
            headers: [("content-type", "text/event-stream")]
                .into_iter()
                .collect(),
        },
        chunks: (0..CHUNKS)
            .map(|index| (Duration::ZERO, event(index)))
            .collect(),
        tokens: None,
    }
}

/// A latency of nothing, armed as one that hit.
fn idle_fault() -> Stages {
    let board = Arc::new(Board::new());
    let name = Name {
        route: "all".to_owned(),
        rule: "idle".to_owned(),
    };
    board.set_rules([Configured {
        name,
        kind: "latency",
        is_on: true,
        ttl: None,
    }]);
    let lives = board.lives("all", ["idle"].into_iter());
    let held = lives.iter().filter_map(|live| live.enter(None)).collect();
    let armed = Armed {
        kind: Kind::Latency {
            time: "0s".parse().unwrap(),
            basis: Basis::Add,
        },
        chance: Draw::from_bits(7).stream(),
        stand_in: None,
        is_for_connection: false,
    };
    let request = RequestHead {
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        query: None,
        headers: Headers::new(),
    };
    let scene = Scene {
        asked: Asked::read(Some(Dialect::OpenAi), &request, b""),
        limits: Headers::new(),
        is_head_asked: false,
        counts_tokens: false,
        seed: 7,
        now: SystemTime::UNIX_EPOCH,
    };
    Stages {
        faults: Some(Faults::new(
            Box::new(Script::new(vec![armed], scene)),
            board.watch(held),
        )),
        shape: None,
    }
}
