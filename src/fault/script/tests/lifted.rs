//! Faults that answer in the place of the source, and are ended before or while their answer goes out.

use super::*;

/// A latency of 60 s, and what answers behind it.
fn slow_and(kind: Kind, stand_in: Option<&'static str>) -> Script {
    let latency = Kind::Latency {
        time: fixed(60_000),
        basis: Basis::Add,
    };
    let mut script = script(vec![latency, kind]);
    script.effects[1].stand_in =
        stand_in.map(|text| (head(429), Bytes::from_static(text.as_bytes())));
    script
}

fn standing_in() -> Script {
    slow_and(Kind::Html200, Some("no"))
}

fn head(status: u16) -> ResponseHead {
    ResponseHead {
        status,
        reason: None,
        headers: Headers::new(),
    }
}

fn at(millis: u64) -> Moment {
    Moment {
        at: ms(millis),
        is_live: true,
    }
}

/// The status of the head that is next, and when it is due.
fn next_head(script: &mut Script) -> Option<(u16, Option<Duration>)> {
    let timed = script.next(ms(20))?;
    match &timed.cue {
        Cue::Head(head, _) => Some((head.status, timed.due)),
        _ => None,
    }
}

#[test]
fn what_was_not_begun_gives_way_to_the_source() {
    for (lifted, due) in [(&[0, 1][..], None), (&[1], Some(ms(60_010)))] {
        for (kind, stand_in) in [
            (Kind::Html200, Some("no")),
            (Kind::Empty, None),
            (Kind::Blackhole, None),
            (Kind::Garbage(10), None),
            (
                Kind::Cut {
                    after: Position::BeforeHead,
                    how: How::Reset,
                },
                None,
            ),
        ] {
            let what = format!("{kind:?}");
            let mut script = slow_and(kind, stand_in);
            script.feed(at(10), Cue::Head(Box::new(head(200)), None));
            assert!(script.is_over());
            script.next(ms(20));
            script.lift(lifted);
            assert!(!script.is_over(), "{what}");
            assert_eq!(next_head(&mut script), Some((200, due)), "{what}");
            script.feed(at(30), Cue::Send(Bytes::from_static(b"yes")));
            script.feed(at(30), Cue::End(Ending::Complete));
            let told = drain(&mut script);
            assert!(told[1].ends_with("\"yes\""), "{what} {told:?}");
            assert_eq!(told.len(), 3, "{what} {told:?}");
            assert_eq!(script.fates().nth(1), Some(Fate::Lifted), "{what}");
        }
    }
}

#[test]
fn without_its_latency_it_goes_at_once() {
    let mut script = standing_in();
    script.feed(at(10), Cue::Head(Box::new(head(200)), None));
    script.lift(&[0]);
    assert_eq!(next_head(&mut script), Some((429, None)));
}

#[test]
fn half_of_it_is_not_taken_back() {
    let mut script = standing_in();
    script.feed(at(10), Cue::Head(Box::new(head(200)), None));
    script.next(ms(60_010));
    script.take();
    script.lift(&[0, 1]);
    assert_eq!(drain(&mut script), ["0 \"no\"", "0 end complete"]);
    assert_eq!(script.fates().nth(1), Some(Fate::Injected));
}

#[test]
fn the_next_that_answers_takes_its_place() {
    let mut script = script(vec![Kind::Html200, Kind::Html200]);
    script.effects[0].stand_in = Some((head(429), Bytes::new()));
    script.effects[1].stand_in = Some((head(503), Bytes::new()));
    script.feed(at(10), Cue::Head(Box::new(head(200)), None));
    assert_eq!(next_head(&mut script), Some((429, None)));
    script.lift(&[0]);
    assert_eq!(next_head(&mut script), Some((503, None)));
}

#[test]
fn where_there_is_no_source_one_is_asked_for_and_a_latency_that_stays_counts_once() {
    let mut script = standing_in();
    script.answer_alone();
    script.feed(at(10), Cue::Head(Box::new(head(0)), None));
    assert!(!script.is_unanswered());
    script.lift(&[1]);
    assert!(script.is_unanswered() && script.next(ms(20)).is_none());
    script.begin_again();
    assert!(!script.is_unanswered() && !script.is_over());
    script.feed(at(40), Cue::Head(Box::new(head(200)), None));
    assert_eq!(next_head(&mut script), Some((200, Some(ms(60_040)))));
}

#[test]
fn what_was_ended_before_the_answer_does_not_begin() {
    let mut script = standing_in();
    script.lift(&[0, 1]);
    script.feed(at(10), Cue::Head(Box::new(head(200)), None));
    assert_eq!(next_head(&mut script), Some((200, None)));
    let mut alone = standing_in();
    alone.answer_alone();
    alone.lift(&[0, 1]);
    alone.feed(at(10), Cue::Head(Box::new(head(0)), None));
    assert!(alone.is_unanswered(), "an empty answer is nobody's");
}
