//! What happens at a time happens then, whatever waits for a later one.

use tokio::time::timeout;

use super::*;
use crate::call::Said;
use crate::fault::kind::{ErrorName, EventStyle, How, KeepAlive, Then};
use crate::fault::position::Position;
use crate::message::Chunk;
use crate::shape::rechunk::RechunkSettings;
use crate::units::{ByteSize, Span};
use crate::upstream::Exchange;

/// What a client gets of an answer, and when, in ms.
async fn get(mut source: Source, mut stages: Stages) -> Vec<(u64, String)> {
    let mut client = Listener::new();
    let request_end = Instant::now();
    let (marks, mut tally) = (Headers::new(), Tally::default());
    let run = run(
        &mut client,
        &mut source,
        Upload::through(),
        request_end,
        &marks,
        &mut stages,
        &mut tally,
    );
    timeout(Duration::from_secs(60), run).await.unwrap();
    let told = client.got.into_iter().map(|(at, got)| {
        let what = match got {
            Got::Head(..) => "head".to_owned(),
            Got::Bytes(bytes) => bytes.to_owned(),
            Got::Trailers(_) => "trailers".to_owned(),
            Got::End => "end".to_owned(),
            Got::Cut(cut) => format!("{cut:?}"),
        };
        (at, what)
    });
    told.collect()
}

fn replayed(media_type: &str, chunks: &[(u64, &'static str)]) -> Source {
    let mut answer = answer(chunks);
    answer
        .head
        .headers
        .push("content-type", media_type.to_owned());
    let timing = Timing::Recorded { speed: 1.0 };
    let pacer = Pacer::new(&timing, false, Dialect::OpenAi, Draw::from_bits(0));
    Source::Synth(Synth::new(answer, pacer))
}

/// All of it is there from the beginning.
fn live(media_type: &str, chunks: &[&'static str]) -> Source {
    let (up, said) = mpsc::unbounded_channel();
    let mut head = answer(&[]).head;
    head.headers.push("content-type", media_type.to_owned());
    up.send(Said::Head(head)).unwrap();
    for chunk in chunks {
        let chunk = Chunk {
            at: Duration::ZERO,
            bytes: Bytes::from_static(chunk.as_bytes()),
            held: false,
        };
        up.send(Said::Chunk(chunk, None)).unwrap();
    }
    up.send(Said::End(Ending::Complete)).unwrap();
    Source::Upstream(Exchange::scripted(said, mpsc::channel(1).0))
}

fn cut(after: Position) -> Kind {
    Kind::Cut {
        after,
        how: How::Reset,
    }
}

fn cut_at(millis: u64) -> Kind {
    cut(Position::Time(Span::millis(millis)))
}

fn dribble(pieces: u32, millis: u64) -> Kind {
    Kind::Dribble {
        pieces,
        over: Span::millis(millis),
    }
}

fn stall(after: Position, time: Option<Span>) -> Kind {
    Kind::Stall {
        after,
        time,
        keepalive: KeepAlive::None,
        every: Span::secs(1),
    }
}

fn told(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    let told = expected.iter().map(|(at, what)| (*at, (*what).to_owned()));
    told.collect()
}

#[tokio::test(start_paused = true)]
async fn a_timed_cut_comes_while_a_slower_fault_still_holds_the_answer_back() {
    let bandwidth = Kind::Bandwidth {
        down: Some(ByteSize(1)),
        up: None,
    };
    for (kind, first, second) in [(dribble(5, 4000), "ab", "cd"), (bandwidth, "a", "b")] {
        let expected = told(&[(0, "head"), (0, first), (1000, second), (1500, "Reset")]);
        for source in [
            live("text/plain", &["abcdefghij"]),
            replayed("text/plain", &[(0, "abcdefghij")]),
        ] {
            let got = get(source, broken(vec![kind.clone(), cut_at(1500)])).await;
            assert_eq!(got, expected, "{kind:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_timed_cut_comes_between_two_events_that_a_gap_holds_apart() {
    let gap = Kind::Gap {
        each: "1s".parse().unwrap(),
        correlation: 0.0,
    };
    let events = ["data: a\n\n", "data: b\n\n", "data: c\n\n", "data: d\n\n"];
    let got = get(
        live("text/event-stream", &events),
        broken(vec![gap, cut_at(2500)]),
    )
    .await;
    let expected = told(&[
        (0, "head"),
        (0, events[0]),
        (1000, events[1]),
        (2000, events[2]),
        (2500, "Reset"),
    ]);
    assert_eq!(got, expected);
}

#[tokio::test(start_paused = true)]
async fn a_timed_cut_ends_a_silence_and_waits_for_nothing_that_comes_later_by_itself() {
    for time in [None, Some(Span::secs(9))] {
        let stages = broken(vec![
            stall(Position::Bytes(ByteSize(1)), time),
            cut_at(2000),
        ]);
        let got = get(live("text/plain", &["a", "b"]), stages).await;
        assert_eq!(
            got,
            told(&[(0, "head"), (0, "a"), (2000, "Reset")]),
            "{time:?}"
        );
    }
    // The end of a recording is known long before.
    let got = get(
        replayed("text/plain", &[(0, "a"), (1000, "b"), (5000, "c")]),
        broken(vec![cut_at(2000)]),
    )
    .await;
    let expected = told(&[(0, "head"), (0, "a"), (1000, "b"), (2000, "Reset")]);
    assert_eq!(got, expected);
}

#[tokio::test(start_paused = true)]
async fn a_timed_cut_counts_from_the_head_though_that_is_late() {
    let stages = broken(vec![
        stall(Position::BeforeHead, Some(Span::secs(3))),
        cut_at(1000),
    ]);
    let got = get(live("text/plain", &["a"]), stages).await;
    assert_eq!(
        got[0],
        (3000, "head".to_owned()),
        "nothing is cut off before it"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_due_before_a_timed_fault_goes_before_it() {
    let stages = broken(vec![
        dribble(3, 4000),
        stall(Position::Time(Span::millis(2100)), Some(Span::secs(3))),
    ]);
    let got = get(live("text/plain", &["abcdef"]), stages).await;
    let expected = told(&[
        (0, "head"),
        (0, "ab"),
        (2000, "cd"),
        (5100, "ef"),
        (5100, "end"),
    ]);
    assert_eq!(got, expected);
}

#[tokio::test(start_paused = true)]
async fn a_timed_error_never_goes_into_another_event() {
    let error = Kind::ErrorEvent {
        after: Position::Time(Span::millis(500)),
        error: ErrorName::Internal,
        style: EventStyle::Captured,
        then: Then::End,
    };
    let events = ["data: 0123456789\n\n", "data: b\n\n"];
    let got = get(
        live("text/event-stream", &events),
        broken(vec![dribble(9, 8000), error]),
    )
    .await;
    let bytes: String = got.iter().map(|(_, what)| &what[..]).collect();
    let rest = bytes.strip_prefix("headdata: 0123456789\n\n").unwrap();
    assert!(rest.starts_with("event: error\ndata: {"), "{rest}");
    assert!(rest.ends_with("}}\n\nend"), "{rest}");
}

#[tokio::test(start_paused = true)]
async fn a_timed_corruption_reaches_what_waits() {
    let corrupt = Kind::Corrupt {
        after: Position::Time(Span::millis(500)),
        count: 1000,
        unit: crate::fault::kind::Unit::Bits,
    };
    let body = "a".repeat(1000);
    let source = replayed("text/plain", &[(0, body.leak())]);
    let stages = broken(vec![dribble(2, 1000), corrupt]);
    let got = get(source, stages).await;
    let [_, (_, first), (_, second), _] = &got[..] else {
        panic!("{got:?}");
    };
    assert_eq!(first, &"a".repeat(500));
    assert!(second.contains(|letter| letter != 'a'), "{second}");
}

#[tokio::test(start_paused = true)]
async fn held_text_goes_after_a_second_of_silence_though_what_follows_is_known() {
    let stages = || Stages {
        faults: None,
        shape: Some(Shape::new(&RechunkSettings::Word, Dialect::Plain, None)),
    };
    // Less than a second of silence ends nothing.
    let source = replayed("text/plain", &[(0, "on"), (900, "e tw"), (4000, "o")]);
    let expected = told(&[
        (0, "head"),
        (900, "one"),
        (1900, " tw"),
        (4000, "o"),
        (4000, "end"),
    ]);
    assert_eq!(get(source, stages()).await, expected);
}
