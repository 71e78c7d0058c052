//! A request is heard to its end before its answer is looked at: who has said all keeps its connection.

use super::*;
use crate::board::{Configured, Name};
use crate::call::Said;
use crate::fault::kind::KeepAlive;
use crate::fault::position::Position;
use crate::message::Chunk;
use crate::units::{ByteSize, Span};
use crate::upstream::Exchange;

/// A client whose request ends as soon as so many writes of the answer went out.
struct Uploader {
    ends_after: usize,
    writes: usize,
    has_ended: bool,
}

impl Client for Uploader {
    async fn interim(&mut self, _: &ResponseHead) -> Result<(), Left> {
        Ok(())
    }

    async fn head(&mut self, _: &ResponseHead, _: bool) -> Result<(), Left> {
        self.writes += 1;
        Ok(())
    }

    async fn write(&mut self, _: Bytes, _: bool) -> Result<(), Left> {
        self.writes += 1;
        Ok(())
    }

    fn hold_back(&mut self) -> bool {
        false
    }

    async fn let_out(&mut self, _: usize) -> Result<bool, Left> {
        Ok(true)
    }

    async fn trailers(&mut self, _: &Headers) -> Result<(), Left> {
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Left> {
        Ok(())
    }

    async fn cut(&mut self, _: Cut) {}

    async fn hear(&mut self) -> Result<Option<Bytes>, Left> {
        if self.has_ended || self.writes < self.ends_after {
            std::future::pending::<()>().await;
        }
        self.has_ended = true;
        Ok(None)
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_ends_with_its_answer_is_heard_to_its_end() {
    // Before the head, after it, and when only the end of the answer is left: what the upstream says is all there from the start.
    for ends_after in [0, 1, 2] {
        let (up, said) = mpsc::unbounded_channel();
        let (body, mut pieces) = mpsc::channel(4);
        let chunk = Chunk {
            at: Duration::ZERO,
            bytes: Bytes::from_static(b"x"),
            held: false,
        };
        up.send(Said::Head(answer(&[]).head)).unwrap();
        up.send(Said::Chunk(chunk, None)).unwrap();
        up.send(Said::End(Ending::Complete)).unwrap();
        let mut client = Uploader {
            ends_after,
            writes: 0,
            has_ended: false,
        };
        let mut tally = Tally::default();
        let outcome = run(
            &mut client,
            &mut Source::Upstream(Exchange::scripted(said, body)),
            Upload::default(),
            Instant::now(),
            &Headers::new(),
            &mut Stages::default(),
            &mut tally,
        )
        .await;
        assert_eq!(outcome, Outcome::Completed);
        assert_eq!(client.writes, 2);
        assert!(tally.request_is_through, "{ends_after}");
        assert!(matches!(pieces.try_recv(), Ok(Piece::End)), "{ends_after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_ends_as_the_client_is_heard_ends_what_it_has_begun() {
    let kinds = vec![
        Kind::Bandwidth {
            up: Some(ByteSize(1)),
            down: None,
        },
        Kind::Stall {
            after: Position::Bytes(ByteSize(1)),
            time: None,
            keepalive: KeepAlive::None,
            every: Span::secs(1),
        },
    ];
    let board = Arc::new(Board::new());
    let names = ["slow", "silent"];
    board.set_rules(names.map(|rule| Configured {
        name: Name {
            route: "chat".to_owned(),
            rule: rule.to_owned(),
        },
        kind: "any",
        is_on: true,
        ttl: None,
    }));
    let held = board.lives("chat", names.into_iter());
    let held = held.iter().map(|live| live.enter(None).unwrap());
    let mut stages = broken(kinds);
    stages.faults.as_mut().unwrap().watch = board.watch(held.collect());

    let (up, said) = mpsc::unbounded_channel();
    let (body, _pieces) = mpsc::channel(4);
    up.send(Said::Head(answer(&[]).head)).unwrap();
    for text in ["a", "b"] {
        let chunk = Chunk {
            at: Duration::ZERO,
            bytes: Bytes::from_static(text.as_bytes()),
            held: false,
        };
        up.send(Said::Chunk(chunk, None)).unwrap();
    }
    up.send(Said::End(Ending::Complete)).unwrap();
    let mut client = Listener::new();
    client.kills_after = Some((Duration::from_secs(1), board));
    let (mut source, marks) = (
        Source::Upstream(Exchange::scripted(said, body)),
        Headers::new(),
    );
    let mut tally = Tally::default();
    let run = run(
        &mut client,
        &mut source,
        Upload::default(),
        Instant::now(),
        &marks,
        &mut stages,
        &mut tally,
    );
    let outcome = tokio::time::timeout(Duration::from_secs(60), run).await;
    assert_eq!(outcome, Ok(Outcome::Completed), "the silence goes on");
    assert!(client.got.contains(&(1000, Got::Bytes("b"))));
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_keeps_its_rate_however_late_each_wait_ends() {
    let mut stages = broken(vec![Kind::SlowRead(ByteSize(3000))]);
    let faults = stages.faults.as_mut().unwrap();
    let start = Instant::now();
    // The runtime's timer has whole milliseconds, and a piece takes three and a third.
    for _ in 0..300 {
        let due = faults.slow_down(10).unwrap();
        sleep_until(due).await;
    }
    let took = start.elapsed();
    assert!((1000..=1002).contains(&took.as_millis()), "{took:?}");

    // Who was slower than the rate gets nothing back for it.
    sleep(Duration::from_secs(1)).await;
    let due = faults.slow_down(30).unwrap();
    assert_eq!(due - Instant::now(), Duration::from_millis(10));
}
