//! The pump under a paused clock: a client that notes what it gets and when.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::*;
use crate::board::Board;
use crate::cassette::{
    Direction, Item, ItemBody, ItemKind, Matching, Play, RecordedBody, Recording,
};
use crate::dialect::Dialect;
use crate::dialect::asked::Asked;
use crate::dice::Draw;
use crate::fault::kind::{Basis, Kind};
use crate::fault::script::{Armed, Scene, Script};
use crate::message::{RequestHead, ResponseHead};
use crate::shape::pacer::Pacer;
use crate::shape::schedule::Timing;
use crate::source::{Replay, Step, Synth, What};
use crate::synth::Answer;

mod heard;
mod times;

/// What reached the client, and how long after the start.
#[derive(Debug, PartialEq)]
enum Got {
    Head(u16, Vec<String>),
    Bytes(&'static str),
    Trailers(Vec<String>),
    End,
    Cut(Cut),
}

struct Listener {
    start: Instant,
    got: Vec<(u64, Got)>,
    leaves_after: Option<Duration>,
    /// When it says a piece of its request, all faults being ended in the same moment.
    kills_after: Option<(Duration, Arc<Board>)>,
    write_takes: Duration,
    /// Of the head and each write: whether more was to follow at once.
    more: Vec<bool>,
}

impl Listener {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            got: Vec::new(),
            leaves_after: None,
            kills_after: None,
            write_takes: Duration::ZERO,
            more: Vec::new(),
        }
    }

    fn note(&mut self, got: Got) {
        self.got.push((
            u64::try_from(self.start.elapsed().as_millis()).unwrap(),
            got,
        ));
    }
}

impl Client for Listener {
    async fn interim(&mut self, _: &ResponseHead) -> Result<(), Left> {
        Ok(())
    }

    async fn head(&mut self, head: &ResponseHead, more: bool) -> Result<(), Left> {
        self.more.push(more);
        let names = head
            .headers
            .iter()
            .map(|(name, _)| name.to_owned())
            .collect();
        self.note(Got::Head(head.status, names));
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes, more: bool) -> Result<(), Left> {
        self.more.push(more);
        sleep(self.write_takes).await;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.note(Got::Bytes(text.leak()));
        Ok(())
    }

    fn hold_back(&mut self) -> bool {
        false
    }

    async fn let_out(&mut self, _: usize) -> Result<bool, Left> {
        Ok(true)
    }

    async fn trailers(&mut self, trailers: &Headers) -> Result<(), Left> {
        let names = trailers.iter().map(|(name, _)| name.to_owned()).collect();
        self.note(Got::Trailers(names));
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Left> {
        self.note(Got::End);
        Ok(())
    }

    async fn cut(&mut self, how: Cut) {
        self.note(Got::Cut(how));
    }

    async fn hear(&mut self) -> Result<Option<Bytes>, Left> {
        if let Some((after, board)) = &self.kills_after {
            sleep_until(self.start + *after).await;
            board.kill(true);
            self.kills_after = None;
            return Ok(Some(Bytes::from_static(b"x")));
        }
        match self.leaves_after {
            Some(after) => {
                sleep_until(self.start + after).await;
                Err(Left)
            }
            None => std::future::pending().await,
        }
    }
}

fn answer(chunks: &[(u64, &'static str)]) -> Answer {
    Answer {
        head: ResponseHead {
            status: 200,
            reason: None,
            headers: Headers::new(),
        },
        chunks: chunks
            .iter()
            .map(|(at, text)| {
                (
                    Duration::from_millis(*at),
                    Bytes::from_static(text.as_bytes()),
                )
            })
            .collect(),
        tokens: None,
    }
}

async fn play(
    client: &mut Listener,
    chunks: &[(u64, &'static str)],
    timing: Timing,
) -> (Outcome, Tally) {
    let pacer = Pacer::new(&timing, false, Dialect::Plain, Draw::from_bits(0));
    let mut source = Source::Synth(Synth::new(answer(chunks), pacer));
    let mut tally = Tally::default();
    let upload = Upload {
        read: None,
        is_through: true,
    };
    let marks: Headers = [("x-mark", "1")].into_iter().collect();
    let outcome = run(
        client,
        &mut source,
        upload,
        Instant::now(),
        &marks,
        &mut Stages::default(),
        &mut tally,
    )
    .await;
    (outcome, tally)
}

#[tokio::test(start_paused = true)]
async fn what_is_due_together_leaves_together() {
    let mut client = Listener::new();
    let (outcome, tally) = play(
        &mut client,
        &[(0, "a"), (0, "b"), (100, "c")],
        Timing::Recorded { speed: 1.0 },
    )
    .await;
    assert_eq!(outcome, Outcome::Completed);
    // The head, and each chunk; the end comes with the last.
    assert_eq!(client.more, [true, true, false, true]);
    assert_eq!(tally.first_byte, Some(Duration::ZERO));
    assert!(tally.request_is_through);
}

#[tokio::test(start_paused = true)]
async fn chunks_are_written_when_they_are_due() {
    let mut client = Listener::new();
    let (outcome, tally) = play(
        &mut client,
        &[(100, "a"), (100, "b"), (250, "c")],
        Timing::Recorded { speed: 1.0 },
    )
    .await;
    assert_eq!(outcome, Outcome::Completed);
    assert_eq!((tally.chunks, tally.bytes, tally.status), (3, 3, Some(200)));
    assert_eq!(
        client.got,
        [
            (0, Got::Head(200, vec!["x-mark".to_owned()])),
            (100, Got::Bytes("a")),
            (100, Got::Bytes("b")),
            (250, Got::Bytes("c")),
            (250, Got::End),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_speed_divides_the_times() {
    let mut client = Listener::new();
    play(
        &mut client,
        &[(100, "a"), (300, "b")],
        Timing::Recorded { speed: 2.0 },
    )
    .await;
    let times: Vec<_> = client.got.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 50, 150, 150]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_write_does_not_add_up() {
    let mut client = Listener::new();
    client.write_takes = Duration::from_millis(30);
    let chunks: Vec<_> = (1..=20).map(|index| (index * 50, "x")).collect();
    play(&mut client, &chunks, Timing::Recorded { speed: 1.0 }).await;
    assert_eq!(
        client.got.last(),
        Some(&(1030, Got::End)),
        "20 x 50 ms and one write"
    );
}

#[tokio::test(start_paused = true)]
async fn instant_means_no_waiting_at_all() {
    let mut client = Listener::new();
    play(&mut client, &[(1000, "a"), (5000, "b")], Timing::Instant).await;
    assert!(
        client.got.iter().all(|(at, _)| *at == 0),
        "{:?}",
        client.got
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_during_a_pause_ends_the_exchange_at_once() {
    let mut client = Listener::new();
    client.leaves_after = Some(Duration::from_millis(120));
    let (outcome, tally) = play(
        &mut client,
        &[(100, "a"), (60_000, "b")],
        Timing::Recorded { speed: 1.0 },
    )
    .await;
    assert_eq!(outcome, Outcome::ClientLeft);
    assert_eq!(tally.chunks, 1);
    assert_eq!(client.start.elapsed(), Duration::from_millis(120));
}

fn recording(items: &[(u64, &'static str)], trailers: Option<Headers>) -> Recording {
    let item = |(at, text): &(u64, &'static str)| Item {
        at: Duration::from_millis(*at),
        direction: Direction::Down,
        kind: ItemKind::Bytes,
        body: ItemBody::Inline(Bytes::from_static(text.as_bytes())),
        held: false,
    };
    Recording {
        name: "r.json".to_owned(),
        at: SystemTime::UNIX_EPOCH,
        upstream: "http://a.test".to_owned(),
        protocol: "h2".to_owned(),
        request: RequestHead {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            query: None,
            headers: Headers::new(),
        },
        request_body: RecordedBody::Inline(Bytes::new()),
        head: answer(&[]).head,
        head_after: Duration::ZERO,
        items: items.iter().map(item).collect(),
        side: None,
        trailers,
        ending: Ending::Complete,
        redacted: Vec::new(),
        key: String::new(),
        matching: Matching::default(),
        encoded: None,
        playback: None,
        play: Play::default(),
        notes: serde_json::Map::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_are_replayed_between_the_last_chunk_and_the_end() {
    let trailers: Headers = [("grpc-status", "0")].into_iter().collect();
    for (items, after) in [(&[(100, "a")][..], 100), (&[], 0)] {
        let recording = Arc::new(recording(items, Some(trailers.clone())));
        let replay = Replay::new(
            recording,
            Pacer::new(
                &Timing::Recorded { speed: 1.0 },
                false,
                Dialect::Plain,
                Draw::from_bits(0),
            ),
        )
        .unwrap();
        let mut client = Listener::new();
        let outcome = run(
            &mut client,
            &mut Source::Replay(replay),
            Upload {
                read: None,
                is_through: true,
            },
            Instant::now(),
            &Headers::new(),
            &mut Stages::default(),
            &mut Tally::default(),
        )
        .await;
        assert_eq!(outcome, Outcome::Completed);
        let end = client.got.len() - 2;
        assert_eq!(
            client.got[end..],
            [
                (after, Got::Trailers(vec!["grpc-status".to_owned()])),
                (after, Got::End)
            ]
        );
    }
}

/// A latency at work.
fn late() -> Stages {
    broken(vec![Kind::Latency {
        time: "50ms".parse().unwrap(),
        basis: Basis::Add,
    }])
}

/// These faults at work.
fn broken(kinds: Vec<Kind>) -> Stages {
    let armed = |kind| Armed {
        kind,
        chance: Draw::from_bits(7).stream(),
        stand_in: None,
        is_for_connection: false,
    };
    let armed = kinds.into_iter().map(armed).collect();
    let request = RequestHead {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        query: None,
        headers: Headers::new(),
    };
    let scene = Scene {
        asked: Asked::read(None, &request, b""),
        limits: Headers::new(),
        is_head_asked: false,
        counts_tokens: false,
        seed: 7,
        now: SystemTime::UNIX_EPOCH,
    };
    Stages {
        faults: Some(Faults::new(
            Box::new(Script::new(armed, scene)),
            Arc::new(Board::new()).watch(Vec::new()),
        )),
        shape: None,
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_goes_before_a_rest_that_cannot_be_read() {
    let mut stages = late();
    let start = Instant::now();
    let mut line = Line::new(&mut stages, start);
    let step = |what| Step {
        due: None,
        came: Some(start),
        what,
    };
    let head = answer(&[]).head;
    line.take(step(What::Head(Box::new(head))));
    let act = line.take(step(What::Unreadable("torn".to_owned())));
    assert!(matches!(act, Act::Nothing) && line.is_ahead());
    assert!(!line.is_open(true), "nothing comes behind it");
    assert!(matches!(line.play(), Act::Carry(_)), "the head");
    let nothing = Pacer::instant();
    let mut source = Source::Synth(Synth::new(answer(&[]), nothing));
    let step = line.at_hand(&mut source).await.unwrap();
    assert!(matches!(line.take(step), Act::BreakOff(_)));
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_leaves_together_under_a_fault_too() {
    let mut stages = late();
    let answer = answer(&[(0, "a"), (0, "b"), (30, "c")]);
    let timing = Timing::Recorded { speed: 1.0 };
    let pacer = Pacer::new(&timing, false, Dialect::Plain, Draw::from_bits(0));
    let upload = Upload {
        read: None,
        is_through: true,
    };
    let mut client = Listener::new();
    let outcome = run(
        &mut client,
        &mut Source::Synth(Synth::new(answer, pacer)),
        upload,
        Instant::now(),
        &Headers::new(),
        &mut stages,
        &mut Tally::default(),
    )
    .await;
    assert_eq!(outcome, Outcome::Completed);
    assert_eq!(client.more, [true, true, false, true]);
}
