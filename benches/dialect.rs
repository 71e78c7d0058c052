//! What it costs to know what an event means: `cargo bench --bench dialect`.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rehearsal::dialect::Dialect;
use rehearsal::frames::sse::SseEvent;

const EVENTS: &[(&str, Dialect, &str)] = &[
    (
        "chat",
        Dialect::OpenAi,
        "data: {\"id\":\"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWx\",\"object\":\"chat.completion.chunk\",\"created\":1795507200,\
         \"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0123456789\",\"choices\":\
         [{\"index\":0,\"delta\":{\"content\":\" word\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null,\
         \"obfuscation\":\"a1b2c3d4\"}\n\n",
    ),
    (
        "chat, text with escapes",
        Dialect::OpenAi,
        "data: {\"id\":\"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWx\",\"object\":\"chat.completion.chunk\",\"created\":1795507200,\
         \"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\n\\u00e9\"},\"finish_reason\":null}]}\n\n",
    ),
    (
        "responses",
        Dialect::OpenAi,
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":41,\
         \"item_id\":\"msg_0123456789abcdef0123456789abcdef\",\"output_index\":0,\"content_index\":0,\"delta\":\" word\",\
         \"logprobs\":[],\"obfuscation\":\"a1b2c3d4\"}\n\n",
    ),
    (
        "anthropic",
        Dialect::Anthropic,
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\
         \"text\":\" word\"}}\n\n",
    ),
    (
        "gemini",
        Dialect::Gemini,
        "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \" word\"}],\"role\": \"model\"},\"index\": 0}],\
         \"usageMetadata\": {\"promptTokenCount\": 8,\"totalTokenCount\": 8},\"modelVersion\": \"gemini-2.5-flash\",\
         \"responseId\": \"AbCdEfGhIjKlMnOp\"}\n\n",
    ),
];

fn meaning(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("meaning");
    for (name, dialect, frame) in EVENTS {
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function(*name, |bencher| {
            let event = SseEvent::parse(frame.as_bytes());
            bencher.iter(|| dialect.meaning(black_box(&event)));
        });
    }
    group.bench_function("chat, with the lines of the frame", |bencher| {
        let frame = EVENTS[0].2.as_bytes();
        bencher.iter(|| {
            let event = SseEvent::parse(black_box(frame));
            Dialect::OpenAi.meaning(&event).text.map(|text| text.len())
        });
    });
    group.finish();
}

criterion_group!(benches, meaning);
criterion_main!(benches);
