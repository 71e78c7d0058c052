//! The kill switch: what a fault holds back goes on in the moment in which it is thrown, under a clock that only the test moves.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use rehearsal::board::{Board, Configured, Name};
use rehearsal::dialect::Dialect;
use rehearsal::dialect::asked::Asked;
use rehearsal::dice::Draw;
use rehearsal::fault::rule::Rule;
use rehearsal::fault::script::{Armed, Scene, Script};
use rehearsal::fault::settings::FaultSettings;
use rehearsal::message::{Headers, RequestHead, ResponseHead};
use rehearsal::pump::{Client, Cut, Faults, Left, Outcome, Stages, Tally, Upload, run};
use rehearsal::shape::pacer::Pacer;
use rehearsal::shape::schedule::Timing;
use rehearsal::source::{Source, Synth};
use rehearsal::synth::Answer;

/// When the switch is thrown, after the end of the request.
const KILL: Duration = Duration::from_secs(1);

/// A client that notes when each byte came.
struct Listener {
    start: Instant,
    body: Vec<u8>,
    head_at: Option<Duration>,
    /// Whether a head that comes in drips is not out yet.
    is_dripping: bool,
    end: Option<(Duration, Option<Cut>)>,
}

impl Listener {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            body: Vec::new(),
            head_at: None,
            is_dripping: false,
            end: None,
        }
    }
}

impl Client for Listener {
    async fn interim(&mut self, _: &ResponseHead) -> Result<(), Left> {
        Ok(())
    }

    async fn head(&mut self, _: &ResponseHead, _: bool) -> Result<(), Left> {
        if !self.is_dripping {
            self.head_at = Some(self.start.elapsed());
        }
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes, _: bool) -> Result<(), Left> {
        assert!(!self.is_dripping, "the body came before the head was out");
        self.body.extend_from_slice(&bytes);
        Ok(())
    }

    fn hold_back(&mut self) -> bool {
        self.is_dripping = true;
        true
    }

    async fn let_out(&mut self, bytes: usize) -> Result<bool, Left> {
        if bytes == usize::MAX {
            self.is_dripping = false;
            self.head_at = Some(self.start.elapsed());
        }
        Ok(!self.is_dripping)
    }

    async fn trailers(&mut self, _: &Headers) -> Result<(), Left> {
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Left> {
        self.end = Some((self.start.elapsed(), None));
        Ok(())
    }

    async fn cut(&mut self, how: Cut) {
        self.end = Some((self.start.elapsed(), Some(how)));
    }

    async fn hear(&mut self) -> Result<Option<Bytes>, Left> {
        std::future::pending().await
    }
}

fn event(text: &str) -> String {
    format!(
        "data: {{\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"
    )
}

fn events() -> Vec<String> {
    let mut events: Vec<_> = ["one", " two", " three", " four"].map(event).into();
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// A stream of which a piece comes every 10 ms.
fn source() -> Source {
    let head = ResponseHead {
        status: 200,
        reason: None,
        headers: [("content-type", "text/event-stream")]
            .into_iter()
            .collect(),
    };
    let chunks = (1..)
        .map(|index| Duration::from_millis(10) * index)
        .zip(events().into_iter().map(Bytes::from))
        .collect();
    let timing = Timing::Recorded { speed: 1.0 };
    let pacer = Pacer::new(&timing, false, Dialect::OpenAi, Draw::from_bits(0));
    Source::Synth(Synth::new(
        Answer {
            head,
            chunks,
            tokens: None,
        },
        pacer,
    ))
}

/// One rule at work in one exchange.
fn stages(board: &Arc<Board>, text: &str) -> Stages {
    let settings: FaultSettings = toml::from_str(text).unwrap();
    let rule = Rule::compile("chat", &[settings]).unwrap().remove(0);
    let name = Name {
        route: "chat".to_owned(),
        rule: rule.name.clone(),
    };
    board.set_rules([Configured {
        name,
        kind: rule.kind.word(),
        is_on: true,
        ttl: rule.ttl,
    }]);
    let live = board
        .lives("chat", [rule.name.as_str()].into_iter())
        .remove(0);
    let request = RequestHead {
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        query: None,
        headers: Headers::new(),
    };
    let scene = Scene {
        asked: Asked::read(None, &request, br#"{"model":"gpt-4o","stream":true}"#),
        limits: Headers::new(),
        is_head_asked: false,
        counts_tokens: false,
        seed: 0,
        now: SystemTime::UNIX_EPOCH,
    };
    let armed = Armed {
        kind: rule.kind,
        chance: Draw::from_bits(7).stream(),
        stand_in: None,
        is_for_connection: false,
    };
    Stages {
        faults: Some(Faults::new(
            Box::new(Script::new(vec![armed], scene)),
            board.watch(vec![live.enter(None).unwrap()]),
        )),
        shape: None,
    }
}

/// What a client saw of an answer under this fault, while something is done to the board after a second.
async fn see(text: &str, act: impl FnOnce(&Board)) -> (Listener, Option<Outcome>) {
    see_at(text, KILL, act).await
}

async fn see_at(
    text: &str,
    moment: Duration,
    act: impl FnOnce(&Board),
) -> (Listener, Option<Outcome>) {
    let board = Arc::new(Board::new());
    let mut stages = stages(&board, text);
    let mut client = Listener::new();
    let upload = Upload {
        read: None,
        is_through: true,
    };
    let (mut source, marks, mut tally) = (source(), Headers::new(), Tally::default());
    let pump = run(
        &mut client,
        &mut source,
        upload,
        Instant::now(),
        &marks,
        &mut stages,
        &mut tally,
    );
    let acting = async {
        sleep(moment).await;
        act(&board);
        std::future::pending::<()>().await;
    };
    let outcome = tokio::select! {
        outcome = timeout(Duration::from_secs(60), pump) => outcome.ok(),
        () = acting => None,
    };
    (client, outcome)
}

/// All that holds an answer back, and would for longer than a test lasts.
const HOLDING: [&str; 12] = [
    "latency = '1h'",
    "first_token = '1h'",
    "gap = '1h'",
    "gap = { each = '1h', correlation = 0.5 }",
    "bandwidth = { down = '1B' }",
    "dribble = { pieces = 3, over = '10h' }",
    "slow_head = { bytes = 1, every = '1h' }",
    "stall = { after = { events = 2 } }",
    "stall = { after = { events = 2 }, for = '1h' }",
    "stall = { after = 'first-token', keepalive = 'comment', every = '700ms' }",
    "stall = { after = '30ms', keepalive = 'ping', every = '700ms' }",
    "hold_open = 'forever'",
];

fn without_noise(body: &[u8]) -> String {
    String::from_utf8_lossy(body).replace(": keep-alive\n\n", "")
}

#[tokio::test(start_paused = true)]
async fn what_was_held_back_goes_in_the_moment_of_the_kill() {
    for text in HOLDING {
        let (client, outcome) = see(text, |board| board.kill(true)).await;
        assert_eq!(outcome, Some(Outcome::Completed), "{text}");
        assert_eq!(client.end, Some((KILL, None)), "{text}");
        assert_eq!(without_noise(&client.body), events().concat(), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_answers_are_held_back_without_it() {
    for text in HOLDING {
        let (client, outcome) = see(text, |_| {}).await;
        assert_eq!((outcome, client.end), (None, None), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_is_switched_off_ends_in_the_same_moment() {
    for text in HOLDING {
        let off = |board: &Board| {
            let name = board.standings().remove(0).name;
            assert!(board.switch(&name, false, None));
        };
        let (client, outcome) = see(text, off).await;
        assert_eq!(outcome, Some(Outcome::Completed), "{text}");
        assert_eq!(client.end, Some((KILL, None)), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_to_live_ends_a_fault_at_its_moment() {
    for text in HOLDING {
        let (client, outcome) = see(&format!("{text}\nttl = '3s'"), |_| {}).await;
        assert_eq!(outcome, Some(Outcome::Completed), "{text}");
        assert_eq!(client.end, Some((Duration::from_secs(3), None)), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_swallowed_comes_in_the_moment_of_the_kill() {
    let (client, outcome) = see("blackhole = true", |board| board.kill(true)).await;
    assert_eq!(outcome, Some(Outcome::Completed));
    assert_eq!(client.end, Some((KILL, None)));
    assert_eq!(without_noise(&client.body), events().concat());
    assert_eq!(client.head_at, Some(KILL));
}

#[tokio::test(start_paused = true)]
async fn a_fault_whose_place_is_yet_to_come_does_not_happen_after_the_kill() {
    // Each piece comes at a multiple of 10 ms.
    let early = Duration::from_millis(25);
    for text in [
        "cut = { after = '30ms', how = 'reset' }",
        "cut = { after = { events = 4 }, how = 'clean-end' }",
        "error_event = { after = { events = 4 }, error = 'internal' }",
        "stall = { after = { events = 3 } }",
        "drop = 'terminator'",
        "duplicate = 5",
        "invalid_json = 4",
    ] {
        let (client, outcome) = see_at(text, early, |board| board.kill(true)).await;
        assert_eq!(outcome, Some(Outcome::Completed), "{text}");
        assert_eq!(
            client.end,
            Some((Duration::from_millis(50), None)),
            "{text}"
        );
        assert_eq!(without_noise(&client.body), events().concat(), "{text}");
        let (hit, _) = see_at(text, KILL, |_| {}).await;
        assert_ne!((hit.end, hit.body), (client.end, client.body), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_at_a_time_comes_at_that_time() {
    for (after, at, pieces) in [
        ("35ms", 35, 3),
        ("30ms", 30, 2),
        ("5ms", 5, 0),
        ("48ms", 48, 4),
    ] {
        let text = format!("cut = {{ after = '{after}', how = 'reset' }}");
        let (client, _) = see(&text, |_| {}).await;
        let at = Duration::from_millis(at);
        assert_eq!(client.end, Some((at, Some(Cut::Reset))), "{after}");
        // A piece that is due in the same moment comes too late.
        let before = events().into_iter().take(pieces).collect::<String>();
        assert_eq!(String::from_utf8_lossy(&client.body), before, "{after}");
    }
}
