use super::*;
use crate::dialect::Dialect;
use crate::dice::Draw;
use crate::fault::distribution::Distribution;
use crate::fault::kind::{Basis, ErrorName, EventStyle, How, KeepAlive, Then};
use crate::fault::position::Position;
use crate::message::RequestHead;
use crate::units::{ByteSize, Span};

mod edges;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn script(kinds: Vec<Kind>) -> Script {
    let armed = kinds
        .into_iter()
        .map(|kind| Armed {
            kind,
            chance: Draw::from_bits(7).stream(),
            stand_in: None,
            is_for_connection: false,
        })
        .collect();
    let request = RequestHead {
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        query: None,
        headers: Headers::new(),
    };
    Script::new(
        armed,
        Scene {
            asked: Asked::read(Some(Dialect::OpenAi), &request, b""),
            is_head_asked: false,
            limits: Headers::new(),
            counts_tokens: false,
            seed: 7,
            now: SystemTime::UNIX_EPOCH,
        },
    )
}

/// What a client gets of a stream whose head comes after 10 ms and whose events come every 10 ms after it.
fn play(kinds: Vec<Kind>, events: &[&'static str]) -> (Vec<String>, Vec<Fate>) {
    let mut script = script(kinds);
    let headers = [
        ("content-type", "text/event-stream"),
        ("content-length", "99"),
    ]
    .into_iter()
    .collect();
    let at = |millis| Moment {
        at: ms(millis),
        is_live: false,
    };
    script.head(
        at(10),
        Box::new(ResponseHead {
            status: 200,
            reason: None,
            headers,
        }),
    );
    let mut time = 10;
    for event in events {
        time += 10;
        script.chunk(at(time), Bytes::from_static(event.as_bytes()));
    }
    script.end(at(time), Ending::Complete);
    let told = drain(&mut script);
    (told, script.fates().collect())
}

fn drain(script: &mut Script) -> Vec<String> {
    let mut told = Vec::new();
    let mut now = Duration::ZERO;
    while let Some(due) = script.next(now).map(|timed| timed.due) {
        // As the pump does: what a time comes for goes first.
        if let Some(deadline) = script.deadline()
            && due.is_some_and(|due| deadline < due)
        {
            script.tick(deadline);
            continue;
        }
        let Some(timed) = script.take() else { break };
        now = now.max(timed.due.unwrap_or(now));
        let what = match timed.cue {
            Cue::Head(head, drip) => {
                let framing = if head.headers.contains("transfer-encoding") {
                    " chunked"
                } else {
                    ""
                };
                format!(
                    "head{framing}{}",
                    if drip.is_some() { " in drips" } else { "" }
                )
            }
            Cue::Send(bytes) => format!("{:?}", String::from_utf8_lossy(&bytes)),
            Cue::Hold(silence) => {
                now += silence.time.unwrap_or_default();
                format!(
                    "silence of {:?}{}",
                    silence.time,
                    if silence.noise.is_some() {
                        " with noise"
                    } else {
                        ""
                    }
                )
            }
            Cue::Trailers(_) => "trailers".to_owned(),
            Cue::End(ending) => format!("end {ending}"),
            Cue::Cut(cut) => format!("cut {cut:?}"),
        };
        told.push(format!("{} {what}", now.as_millis()));
    }
    told
}

const THREE: [&str; 3] = ["data: a\n\n", "data: b\n\n", "data: [DONE]\n\n"];

fn fixed(millis: u64) -> Distribution {
    Distribution::Fixed(Span::millis(millis))
}

#[test]
fn without_faults_all_passes_as_it_came() {
    let (told, _) = play(vec![], &THREE);
    assert_eq!(
        told,
        [
            "10 head",
            "20 \"data: a\\n\\n\"",
            "30 \"data: b\\n\\n\"",
            "40 \"data: [DONE]\\n\\n\"",
            "40 end complete"
        ]
    );
}

#[test]
fn a_latency_moves_all_and_keeps_the_distances() {
    for (basis, head) in [
        (Basis::Add, 110),
        (Basis::Total, 100),
        (Basis::Replace, 100),
    ] {
        let (told, fates) = play(
            vec![Kind::Latency {
                time: fixed(100),
                basis,
            }],
            &THREE[..1],
        );
        assert_eq!(
            told,
            [
                format!("{head} head"),
                format!("{} \"data: a\\n\\n\"", head + 10),
                format!("{} end complete", head + 10)
            ],
            "{basis:?}"
        );
        assert_eq!(fates, [Fate::Injected]);
    }
}

#[test]
fn gaps_are_kept_on_absolute_deadlines() {
    let (told, _) = play(
        vec![Kind::Gap {
            each: fixed(50),
            correlation: 0.0,
        }],
        &THREE,
    );
    assert_eq!(
        told[1..4],
        [
            "20 \"data: a\\n\\n\"",
            "70 \"data: b\\n\\n\"",
            "120 \"data: [DONE]\\n\\n\""
        ]
    );
}

#[test]
fn a_stall_comes_at_its_place_and_what_came_meanwhile_follows_at_once() {
    let stall = |after| Kind::Stall {
        after,
        time: Some(Span::millis(500)),
        keepalive: KeepAlive::None,
        every: Span::millis(100),
    };
    let (told, fates) = play(vec![stall(Position::Events(1))], &THREE);
    assert_eq!(
        told,
        [
            "10 head chunked",
            "20 \"data: a\\n\\n\"",
            "520 silence of Some(500ms)",
            "520 \"data: b\\n\\n\"",
            "520 \"data: [DONE]\\n\\n\"",
            "520 end complete"
        ]
    );
    assert_eq!(fates, [Fate::Injected]);
    let (told, _) = play(vec![stall(Position::Bytes(ByteSize(4)))], &THREE[..1]);
    assert_eq!(
        told,
        [
            "10 head",
            "20 \"data\"",
            "520 silence of Some(500ms)",
            "520 \": a\\n\\n\"",
            "520 end complete"
        ]
    );
    let (told, _) = play(vec![stall(Position::Time(Span::millis(15)))], &THREE);
    assert_eq!(told[2], "525 silence of Some(500ms)");
    let (_, fates) = play(vec![stall(Position::Events(9))], &THREE);
    assert_eq!(fates, [Fate::Waiting], "its place was never reached");
}

#[test]
fn a_cut_ends_the_answer_in_the_way_asked_for() {
    let cases = [
        (How::CleanEnd, "head chunked", "end complete"),
        (How::MissingLastChunk, "head chunked", "cut Close"),
        (How::CloseFramed, "head", "cut Fin"),
        (How::ShortBody, "head", "cut Fin"),
        (How::Reset, "head chunked", "cut Reset"),
        (How::H2Reset(8), "head", "cut H2Reset(8)"),
        (How::GoAway(0), "head", "cut GoAway(0)"),
    ];
    for (how, head, end) in cases {
        let (told, _) = play(
            vec![Kind::Cut {
                after: Position::Events(1),
                how,
            }],
            &THREE,
        );
        assert_eq!(
            told,
            [
                format!("10 {head}"),
                "20 \"data: a\\n\\n\"".to_owned(),
                format!("20 {end}")
            ],
            "{how:?}"
        );
    }
    let missing = Kind::Cut {
        after: Position::End,
        how: How::MissingTerminator,
    };
    let (told, fates) = play(vec![missing], &THREE);
    assert_eq!(told[2..], ["30 \"data: b\\n\\n\"", "40 end complete"]);
    assert_eq!(fates, [Fate::Injected]);
    let (told, _) = play(
        vec![Kind::Cut {
            after: Position::BeforeHead,
            how: How::Reset,
        }],
        &THREE,
    );
    assert_eq!(told, ["10 cut Reset"]);
}

#[test]
fn a_bandwidth_is_kept_from_the_first_byte_to_the_last() {
    let rate = ByteSize(200);
    let (told, _) = play(
        vec![Kind::Bandwidth {
            down: Some(rate),
            up: None,
        }],
        &THREE[..1],
    );
    // One byte every 5 ms.
    assert_eq!(told.len(), 1 + 9 + 1);
    assert_eq!(told[1], "20 \"d\"");
    assert_eq!(told[9], "60 \"\\n\"");
}

#[test]
fn a_lifted_fault_does_nothing_more() {
    let mut script = script(vec![
        Kind::Latency {
            time: fixed(60_000),
            basis: Basis::Add,
        },
        Kind::Cut {
            after: Position::Events(1),
            how: How::Reset,
        },
        Kind::Stall {
            after: Position::Head,
            time: None,
            keepalive: KeepAlive::None,
            every: Span::millis(1),
        },
    ]);
    let at = |millis| Moment {
        at: ms(millis),
        is_live: true,
    };
    script.head(
        at(10),
        Box::new(ResponseHead {
            status: 200,
            reason: None,
            headers: Headers::new(),
        }),
    );
    assert_eq!(script.next(ms(10)).unwrap().due, Some(ms(60_010)));
    for fault in 0..3 {
        script.lift(&[fault]);
    }
    script.chunk(at(20), Bytes::from_static(b"x"));
    script.end(at(30), Ending::Complete);
    assert_eq!(drain(&mut script), ["0 head", "0 \"x\"", "0 end complete"]);
}

#[test]
fn an_error_in_a_stream_has_the_shape_that_was_asked_for() {
    for (style, end) in [
        (EventStyle::Captured, "\"code\":null}}\n\n"),
        (
            EventStyle::Terminated,
            "\"code\":null}}\n\ndata: [DONE]\n\n",
        ),
    ] {
        let (told, fates) = play(
            vec![Kind::ErrorEvent {
                after: Position::Events(1),
                error: ErrorName::Internal,
                style,
                then: Then::End,
            }],
            &THREE,
        );
        assert!(told[2].ends_with(&format!("{end:?}")[1..]), "{told:?}");
        assert_eq!(told[3], "20 end complete", "{style:?}");
        assert_eq!(fates, [Fate::Injected]);
    }
}

/// The head of an event stream.
fn event_stream() -> ResponseHead {
    ResponseHead {
        status: 200,
        reason: None,
        headers: [("content-type", "text/event-stream")]
            .into_iter()
            .collect(),
    }
}

/// What a client gets whose faults are all ended once `seen` cues went out, of a stream that came in one piece.
fn play_and_lift(kinds: Vec<Kind>, seen: usize) -> Vec<String> {
    let all: Vec<usize> = (0..kinds.len()).collect();
    let mut script = script(kinds);
    let at = |millis| Moment {
        at: ms(millis),
        is_live: true,
    };
    script.head(at(10), Box::new(event_stream()));
    script.chunk(at(20), Bytes::from(THREE.concat()));
    script.end(at(20), Ending::Complete);
    let mut bytes = Vec::new();
    for _ in 0..seen {
        script.next(ms(20));
        if let Some(Cue::Send(sent)) = script.take().map(|timed| timed.cue) {
            bytes.extend_from_slice(&sent);
        }
    }
    script.lift(&all);
    while script.next(ms(60_000)).is_some() {
        match script.take().map(|timed| timed.cue) {
            Some(Cue::Send(sent)) => bytes.extend_from_slice(&sent),
            Some(Cue::End(Ending::Complete)) => bytes.extend_from_slice(b"END"),
            _ => {}
        }
    }
    String::from_utf8(bytes)
        .unwrap()
        .split_inclusive("\n\n")
        .map(str::to_owned)
        .collect()
}

#[test]
fn faults_that_end_together_leave_no_trace_of_each_other() {
    let told = play_and_lift(
        vec![
            Kind::Cut {
                after: Position::Events(1),
                how: How::Reset,
            },
            Kind::Cut {
                after: Position::BeforeTerminator,
                how: How::MissingTerminator,
            },
            Kind::Duplicate(crate::fault::position::Events::At(vec![2])),
        ],
        1,
    );
    assert_eq!(
        told,
        ["data: a\n\n", "data: b\n\n", "data: [DONE]\n\n", "END"]
    );
}

#[test]
fn an_error_that_has_begun_to_go_out_goes_out_whole() {
    let told = play_and_lift(
        vec![
            Kind::Bandwidth {
                down: Some(ByteSize(1000)),
                up: None,
            },
            Kind::ErrorEvent {
                after: Position::Events(1),
                error: ErrorName::Internal,
                style: EventStyle::Captured,
                then: Then::Continue,
            },
        ],
        5,
    );
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told[1].starts_with("data: {\"error\""), "{told:?}");
    assert!(told[1].ends_with("}}\n\n"), "{told:?}");
    assert_eq!(told[2..], ["data: b\n\n", "data: [DONE]\n\n", "END"]);
}

mod lifted;
