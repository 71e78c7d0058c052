//! Faults at the very ends of an answer.

use super::*;

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
        script.head(
            moment,
            Box::new(ResponseHead {
                status: 200,
                reason: None,
                headers: [("content-type", "text/event-stream")]
                    .into_iter()
                    .collect(),
            }),
        );
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
