//! Faults at the very ends of an answer.

use super::*;
use crate::fault::position::Events;

const STREAM: [&str; 2] = ["data: {\"choices\":[]}\n\n", "data: [DONE]\n\n"];

#[test]
fn an_error_can_stand_behind_all_that_the_stream_says() {
    let error = Kind::ErrorEvent {
        after: Position::End,
        error: ErrorName::Internal,
        style: EventStyle::Captured,
        then: Then::End,
    };
    let (cues, fates) = play(vec![error], &STREAM);
    assert_eq!(fates, [Fate::Injected]);
    assert!(cues[cues.len() - 2].contains("server_error"), "{cues:?}");
    assert!(cues[cues.len() - 3].contains("[DONE]"), "{cues:?}");
}

#[test]
fn a_silence_at_the_end_of_a_stream_has_its_noise() {
    for after in [Position::End, Position::BeforeTerminator] {
        let mut script = script(vec![Kind::Stall {
            after: after.clone(),
            time: Some(Span::secs(1)),
            keepalive: KeepAlive::Comment,
            every: Span::millis(100),
        }]);
        let moment = Moment {
            at: ms(10),
            is_live: true,
        };
        script.head(moment, Box::new(event_stream()));
        // A stream without a terminator: its end is where one would stand.
        script.chunk(moment, Bytes::from_static(STREAM[0].as_bytes()));
        script.end(moment, Ending::Complete);
        let silence = std::iter::from_fn(|| {
            script.next(ms(10))?;
            script.take()
        })
        .find_map(|timed| match timed.cue {
            Cue::Hold(silence) => Some(silence),
            _ => None,
        })
        .expect("there is a silence");
        assert!(silence.noise.is_some(), "{after:?}");
    }
}

#[test]
fn a_cut_that_the_head_promises_comes_at_the_end_at_the_latest() {
    for how in [How::ShortBody, How::CloseFramed] {
        let cut = Kind::Cut {
            after: Position::Events(99),
            how,
        };
        let (cues, fates) = play(vec![cut], &STREAM);
        assert_eq!(fates, [Fate::Injected], "{how:?}");
        assert!(cues.last().unwrap().contains("cut Fin"), "{cues:?}");
    }
}

#[test]
fn a_silence_at_the_end_is_not_hidden_by_a_length() {
    for after in [Position::BeforeTerminator, Position::End] {
        let stall = Kind::Stall {
            after,
            time: None,
            keepalive: KeepAlive::None,
            every: Span::secs(1),
        };
        let (cues, _) = play(vec![stall], &STREAM);
        assert!(cues[0].contains("chunked"), "{cues:?}");
    }
}

fn bandwidth(rate: u64) -> Kind {
    Kind::Bandwidth {
        down: Some(ByteSize(rate)),
        up: None,
    }
}

fn dribble(pieces: u32, millis: u64) -> Kind {
    Kind::Dribble {
        pieces,
        over: Span::millis(millis),
    }
}

fn gap(millis: u64) -> Kind {
    Kind::Gap {
        each: fixed(millis),
        correlation: 0.0,
    }
}

#[test]
fn of_two_faults_on_speed_the_slower_one_is_seen() {
    let alone = play(vec![bandwidth(200)], &STREAM).0;
    for two in [[200, 10_000], [10_000, 200]] {
        assert_eq!(play(two.map(bandwidth).to_vec(), &STREAM).0, alone);
    }
    let alone = play(vec![gap(90)], &THREE).0;
    for two in [[90, 20], [20, 90]] {
        assert_eq!(play(two.map(gap).to_vec(), &THREE).0, alone);
    }
    let alone = play(vec![bandwidth(200)], &STREAM).0;
    let (both, fates) = play(vec![dribble(2, 1), bandwidth(200)], &STREAM);
    assert_eq!(both.last(), alone.last());
    assert_eq!(fates, [Fate::Injected; 2]);
}

/// When the pieces of a body of so many bytes go, and how long each is. Each is seen as the pump sees it: as soon as it is
/// due.
fn dribbled(length: Option<usize>, chunks: &[usize]) -> Vec<(u128, usize)> {
    let mut script = script(vec![dribble(4, 300)]);
    let moment = Moment {
        at: ms(10),
        is_live: true,
    };
    let mut headers = Headers::new();
    headers.push("content-type", "application/json");
    if let Some(length) = length {
        headers.push("content-length", length.to_string());
    }
    script.head(
        moment,
        Box::new(ResponseHead {
            status: 200,
            reason: None,
            headers,
        }),
    );
    let mut chunks = chunks.iter();
    let (mut now, mut told) = (ms(10), Vec::new());
    loop {
        let idle = script.next(now).is_none();
        if !script.is_over() && (idle || script.looks_ahead()) {
            match chunks.next() {
                Some(chunk) => script.chunk(moment, Bytes::from(vec![b'x'; *chunk])),
                None => script.end(moment, Ending::Complete),
            }
            continue;
        }
        let Some(timed) = script.take() else { break };
        now = now.max(timed.due.unwrap_or(now));
        if let Cue::Send(bytes) = timed.cue {
            let at = now.as_millis();
            match told.last_mut() {
                Some((last, size)) if *last == at => *size += bytes.len(),
                _ => told.push((at, bytes.len())),
            }
        }
    }
    told
}

#[test]
fn a_dribble_has_its_pieces_and_its_time_whatever_the_chunks_are() {
    let even = [(10, 10), (110, 10), (210, 10), (310, 10)];
    assert_eq!(dribbled(Some(40), &[40]), even);
    assert_eq!(dribbled(Some(40), &[5; 8]), even);
    assert_eq!(dribbled(None, &[40]), even, "one chunk of unknown length");
    // What has not come can't be counted; all of it is there at the second piece.
    let shares = [(10, 2), (110, 13), (210, 13), (310, 12)];
    assert_eq!(dribbled(None, &[5; 8]), shares);
}

#[test]
fn an_event_without_a_next_one_is_not_counted_as_late_or_merged() {
    let all = play(vec![], &THREE).0;
    for kind in [Kind::Reorder, Kind::Merge] {
        let (cues, fates) = play(vec![kind(Events::At(vec![3]))], &THREE);
        assert_eq!(cues.len(), all.len());
        assert_eq!(fates, [Fate::Waiting]);
        let (_, fates) = play(vec![kind(Events::At(vec![2]))], &THREE);
        assert_eq!(fates, [Fate::Injected]);
    }
}

#[test]
fn a_fault_on_events_goes_on_when_another_one_is_switched_off() {
    let mut script = script(vec![
        Kind::Drop(Events::At(vec![1])),
        Kind::Duplicate(Events::At(vec![2])),
    ]);
    let moment = Moment {
        at: ms(10),
        is_live: true,
    };
    script.head(moment, Box::new(event_stream()));
    script.lift(&[0]);
    for event in THREE {
        script.chunk(moment, Bytes::from_static(event.as_bytes()));
    }
    script.end(moment, Ending::Complete);
    let told = drain(&mut script).concat();
    assert_eq!(told.matches("data: a").count(), 1, "{told}");
    assert_eq!(told.matches("data: b").count(), 2, "{told}");
    assert_eq!(
        script.fates().collect::<Vec<_>>(),
        [Fate::Lifted, Fate::Injected]
    );
}
