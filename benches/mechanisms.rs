//! What the pure mechanisms on the request path cost: `cargo bench --bench mechanisms`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros make undocumented items, and a bench may panic"
)]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rehearsal::key::{KeyBody, KeyRules, KeySettings};
use rehearsal::limits::{HeadLimits, check_head};
use rehearsal::lru::Lru;
use rehearsal::message::RequestHead;
use rehearsal::sanitize::redact::{RedactRules, RedactSettings};
use rehearsal::units::ByteSize;

fn request() -> (RequestHead, Bytes) {
    let headers = [
        ("Host", "api.example.com"),
        (
            "Authorization",
            "Bearer sk-0123456789abcdef0123456789abcdef",
        ),
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
        ("User-Agent", "bench/1.0"),
        ("X-Stainless-Retry-Count", "0"),
    ];
    let head = RequestHead {
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        query: None,
        headers: headers.into_iter().collect(),
    };
    let question = "Tell me about the weather in a town by the sea, in one paragraph. ".repeat(12);
    let body = serde_json::json!({
        "model": "gpt-4o-mini",
        "messages": [
            { "role": "system", "content": "You are a helpful assistant." },
            { "role": "user", "content": question },
        ],
        "temperature": 0.2,
        "stream": true,
    });
    (head, serde_json::to_vec(&body).unwrap().into())
}

fn keys(criterion: &mut Criterion) {
    let (head, body) = request();
    let rules = KeyRules::compile(&KeySettings::default()).unwrap();
    let ignoring = KeySettings {
        ignore: vec!["$.temperature".to_owned()],
        ..KeySettings::default()
    };
    let ignoring = KeyRules::compile(&ignoring).unwrap();
    let mut group = criterion.benchmark_group("key");
    group.bench_function("by path", |bencher| {
        bencher.iter(|| rules.canonical(black_box(&head), KeyBody::Whole(b"")).key());
    });
    group.bench_function("by a JSON body of 1 KiB", |bencher| {
        bencher.iter(|| {
            rules
                .canonical(black_box(&head), KeyBody::Whole(&body))
                .key()
        });
    });
    group.bench_function("by a JSON body of 1 KiB, one path ignored", |bencher| {
        bencher.iter(|| {
            ignoring
                .canonical(black_box(&head), KeyBody::Whole(&body))
                .key()
        });
    });
    group.finish();
}

fn redaction(criterion: &mut Criterion) {
    let (head, body) = request();
    let rules = RedactRules::compile(&RedactSettings::default()).unwrap();
    let mut group = criterion.benchmark_group("redact");
    group.bench_function("a request of 1 KiB", |bencher| {
        bencher.iter(|| {
            let mut redactor = rules.exchange(black_box(&head));
            (
                redactor.request_head(&head),
                redactor.request_body(&head, &body),
            )
        });
    });
    let chunk = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word\"}}]}\n\n";
    group.throughput(Throughput::Bytes(chunk.len() as u64 * 100));
    group.bench_function("a stream of 100 chunks", |bencher| {
        let redactor = rules.exchange(&head);
        bencher.iter_batched(
            || redactor.stream::<u64>(),
            |mut stream| {
                for at in 0..100 {
                    black_box(stream.push(at, chunk));
                }
                stream.finish()
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn heads(criterion: &mut Criterion) {
    let raw = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer sk-0123456789abcdef\r\n\
        Content-Type: application/json\r\nAccept: application/json\r\nUser-Agent: bench/1.0\r\nContent-Length: 1024\r\n\r\n";
    let limits = HeadLimits {
        head: ByteSize::kib(64),
        url: ByteSize::kib(16),
        headers: 200,
    };
    criterion.bench_function("head check", |bencher| {
        bencher.iter(|| check_head(black_box(raw), &limits));
    });
}

fn lru(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lru hit");
    for entries in [128_usize, 10_000, 1_000_000] {
        let mut lru = Lru::new(entries, usize::MAX);
        for key in 0..entries {
            lru.insert(key, key, 1);
        }
        let mut key = 0;
        group.bench_function(entries.to_string(), |bencher| {
            bencher.iter(|| {
                key = (key + 7919) % entries;
                lru.get(black_box(&key)).copied()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, keys, redaction, heads, lru);
criterion_main!(benches);
