use proptest::prelude::*;

use super::*;
use crate::units::Span;

const ADAPTIVE: RechunkSettings = RechunkSettings::Adaptive(Adaptive {
    target: Span::millis(50),
    min: 1,
    max: 15,
});

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An event that adds this text.
fn token(text: &str) -> String {
    let event = serde_json::json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] });
    format!("data: {event}\n\n")
}

const ROLE: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const FINISH: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn text(chunks: Vec<Bytes>) -> Vec<String> {
    chunks
        .into_iter()
        .map(|chunk| String::from_utf8(chunk.to_vec()).unwrap())
        .collect()
}

/// Pushes pieces `gap` apart, keeping deadlines in between, and says what was written when, in ms.
fn play(
    settings: &RechunkSettings,
    is_event_stream: bool,
    pieces: &[&str],
    gap: Duration,
) -> Vec<(u128, String)> {
    let mut rechunk = Rechunk::new(settings, is_event_stream, Dialect::OpenAi);
    let mut written = Vec::new();
    let mut out = Vec::new();
    let mut now = Duration::ZERO;
    let mut note = |now: Duration, out: &mut Vec<Bytes>| {
        let chunks = text(std::mem::take(out));
        written.extend(chunks.into_iter().map(|chunk| (now.as_millis(), chunk)));
    };
    for piece in pieces {
        while let Some(deadline) = rechunk.deadline().filter(|deadline| *deadline < now) {
            rechunk.tick(deadline, &mut out);
            note(deadline, &mut out);
        }
        rechunk.push(now, Bytes::copy_from_slice(piece.as_bytes()), &mut out);
        note(now, &mut out);
        now += gap;
    }
    rechunk.finish(&mut out);
    note(now, &mut out);
    written
}

/// What events with these texts are written as, each list of texts being one write.
fn check_events(settings: &RechunkSettings, texts: &[&str], expected: &[&[&str]]) {
    let events: Vec<_> = texts.iter().map(|text| token(text)).collect();
    let pieces: Vec<_> = [ROLE]
        .into_iter()
        .chain(events.iter().map(String::as_str))
        .chain([FINISH, DONE])
        .collect();
    let written: Vec<_> = play(settings, true, &pieces, millis(20))
        .into_iter()
        .map(|(_, chunk)| chunk)
        .collect();
    let mut wanted = vec![ROLE.to_owned()];
    wanted.extend(
        expected
            .iter()
            .map(|texts| texts.iter().map(|text| token(text)).collect::<String>()),
    );
    // The finish takes along what is held.
    if expected.last().is_some_and(|last| last.is_empty()) {
        wanted.pop();
        wanted.push(FINISH.to_owned());
    } else {
        wanted.last_mut().unwrap().push_str(FINISH);
    }
    wanted.push(DONE.to_owned());
    assert_eq!(written, wanted, "{settings:?}");
}

fn check_text(settings: &RechunkSettings, pieces: &[&str], expected: &[&str]) {
    let written: Vec<_> = play(settings, false, pieces, millis(10))
        .into_iter()
        .map(|(_, chunk)| chunk)
        .collect();
    assert_eq!(written, expected, "{settings:?} {pieces:?}");
}

#[test]
fn as_recorded_every_piece_goes_as_it_came() {
    let pieces = ["da", "ta: a\n", "\ndata", ": b\n\n"];
    for is_event_stream in [true, false] {
        let written = play(
            &RechunkSettings::AsRecorded,
            is_event_stream,
            &pieces,
            millis(10),
        );
        let chunks: Vec<_> = written.iter().map(|(_, chunk)| chunk.as_str()).collect();
        assert_eq!(chunks, pieces);
    }
    let mut rechunk = Rechunk::new(&RechunkSettings::AsRecorded, true, Dialect::OpenAi);
    assert!(rechunk.is_through());
    rechunk.note_blocked(true);
    assert_eq!(rechunk.deadline(), None);
}

#[test]
fn an_event_stream_is_cut_after_units_of_its_text() {
    let texts = ["Hel", "lo", " big", " ", "world", ".", " The", " end"];
    check_events(
        &RechunkSettings::Word,
        &texts,
        &[
            &["Hel", "lo"],
            &[" big"],
            &[" ", "world", "."],
            &[" The"],
            &[" end"],
        ],
    );
    check_events(
        &RechunkSettings::Sentence,
        &texts,
        &[&["Hel", "lo", " big", " ", "world", "."], &[" The", " end"]],
    );
    for settings in [RechunkSettings::Event, RechunkSettings::Token] {
        let each: Vec<Vec<&str>> = texts
            .iter()
            .map(|text| vec![*text])
            .chain([vec![]])
            .collect();
        let each: Vec<&[&str]> = each.iter().map(Vec::as_slice).collect();
        check_events(&settings, &texts, &each);
    }
}

#[test]
fn a_unit_that_ends_inside_an_event_is_cut_after_the_event() {
    check_events(
        &RechunkSettings::Word,
        &["One two", "x", " y"],
        &[&["One two"], &["x"], &[" y"]],
    );
    check_events(
        &RechunkSettings::Sentence,
        &["A. B", "c.", " D"],
        &[&["A. B"], &["c."], &[" D"]],
    );
    check_events(
        &RechunkSettings::Word,
        &["你", "好"],
        &[&["你"], &["好"], &[]],
    );
}

#[test]
fn events_are_cut_after_so_many_bytes_and_not_inside() {
    let events = [
        "data: 1\n\n",
        "data: 2\n\n",
        "data: a long one\n\n",
        "data: 3\n\n",
    ];
    let whole = events.concat();
    for pieces in [
        vec![whole.as_str()],
        whole.split_inclusive('\n').collect::<Vec<_>>(),
    ] {
        let written = play(&RechunkSettings::Bytes(12), true, &pieces, millis(1));
        let chunks: Vec<_> = written.into_iter().map(|(_, chunk)| chunk).collect();
        assert_eq!(
            chunks,
            [
                "data: 1\n\ndata: 2\n\n",
                "data: a long one\n\n",
                "data: 3\n\n"
            ]
        );
    }
}

#[test]
fn events_without_text_are_never_held() {
    for settings in [RechunkSettings::Word, RechunkSettings::Sentence, ADAPTIVE] {
        let held = token("a");
        let mut rechunk = Rechunk::new(&settings, true, Dialect::OpenAi);
        let mut out = Vec::new();
        for (at, piece) in [
            (0, ROLE),
            (1, held.as_str()),
            (2, held.as_str()),
            (3, ": ping\n\n"),
        ] {
            rechunk.push(
                millis(at),
                Bytes::copy_from_slice(piece.as_bytes()),
                &mut out,
            );
        }
        assert_eq!(rechunk.deadline(), None, "{settings:?}");
        assert_eq!(text(out).concat(), format!("{ROLE}{held}{held}: ping\n\n"));
    }
}

#[test]
fn plain_text_is_cut_between_characters() {
    check_text(
        &RechunkSettings::Bytes(4),
        &["abcdefghij"],
        &["abcd", "efgh", "ij"],
    );
    check_text(
        &RechunkSettings::Bytes(4),
        &["abcüdef", "g"],
        &["abcü", "defg"],
    );
    check_text(&RechunkSettings::Bytes(1), &["aü🙂"], &["a", "ü", "🙂"]);
    check_text(
        &RechunkSettings::Word,
        &["One tw", "o thr", "ee"],
        &["One", " two", " three"],
    );
    check_text(
        &RechunkSettings::Sentence,
        &["A b. C", " d!\nE"],
        &["A b.", " C d!\n", "E"],
    );
    check_text(
        &RechunkSettings::Token,
        &["hello world"],
        &["hello", " world"],
    );
    check_text(&RechunkSettings::Event, &["a b", "c"], &["a b", "c"]);
}

#[test]
fn a_character_over_two_pieces_is_put_together() {
    let smile = "🙂".as_bytes();
    for settings in [
        RechunkSettings::Bytes(1),
        RechunkSettings::Token,
        RechunkSettings::Word,
        ADAPTIVE,
    ] {
        let mut rechunk = Rechunk::new(&settings, false, Dialect::Plain);
        let mut out = Vec::new();
        rechunk.push(millis(0), Bytes::copy_from_slice(&smile[..2]), &mut out);
        assert_eq!((out.len(), rechunk.deadline()), (0, None), "{settings:?}");
        rechunk.push(millis(1), Bytes::copy_from_slice(&smile[2..]), &mut out);
        rechunk.finish(&mut out);
        assert_eq!(text(out), ["🙂"]);
    }
}

#[test]
fn what_is_no_text_goes_as_it_came() {
    for settings in [RechunkSettings::Token, RechunkSettings::Sentence, ADAPTIVE] {
        let mut rechunk = Rechunk::new(&settings, false, Dialect::Plain);
        let mut out = Vec::new();
        for piece in [&b"\x1f\x8b\xff"[..], b"\x00\xc3", b"a b"] {
            rechunk.push(millis(0), Bytes::from_static(piece), &mut out);
        }
        assert_eq!(out, [&b"\x1f\x8b\xff"[..], b"\x00\xc3", b"a b"]);
    }
}

#[test]
fn adaptive_chunks_hold_as_many_tokens_as_come_within_the_target() {
    let events: Vec<_> = (0..40).map(|index| token(&format!(" {index}"))).collect();
    let pieces: Vec<_> = events.iter().map(String::as_str).collect();
    let sizes = |gap| -> Vec<usize> {
        play(&ADAPTIVE, true, &pieces, gap)
            .iter()
            .map(|(_, chunk)| chunk.matches("data").count())
            .collect()
    };
    let fast = sizes(millis(10));
    assert_eq!(fast[0], 1, "the first token is never held");
    assert!(
        fast[1..fast.len() - 1].iter().all(|size| *size == 5),
        "{fast:?}"
    );
    assert_eq!(sizes(millis(100)), vec![1; 40]);
    let flood = sizes(millis(2));
    assert!(flood.contains(&15), "{flood:?}");
}

#[test]
fn an_adaptive_chunk_waits_no_longer_than_the_target() {
    let mut rechunk = Rechunk::new(&ADAPTIVE, true, Dialect::OpenAi);
    let mut out = Vec::new();
    for at in 0..13 {
        rechunk.push(millis(at * 10), token("x").into(), &mut out);
    }
    // The first, two chunks of five, and two tokens that wait.
    out.clear();
    assert_eq!(rechunk.deadline(), Some(millis(110 + 50)));
    rechunk.tick(millis(159), &mut out);
    assert!(out.is_empty());
    rechunk.tick(millis(160), &mut out);
    assert_eq!(text(out), [token("x").repeat(2)]);
    assert_eq!(rechunk.deadline(), None);
}

#[test]
fn a_client_that_is_slow_gets_larger_chunks() {
    let mut rechunk = Rechunk::new(&ADAPTIVE, true, Dialect::OpenAi);
    let mut sizes = Vec::new();
    for at in 0..100 {
        let mut out = Vec::new();
        rechunk.push(millis(at * 25), token("x").into(), &mut out);
        for chunk in text(out) {
            rechunk.note_blocked(true);
            sizes.push(chunk.matches("data").count());
        }
        while rechunk
            .deadline()
            .is_some_and(|deadline| deadline < millis(at * 25 + 25))
        {
            let mut out = Vec::new();
            rechunk.tick(millis(at * 25 + 25), &mut out);
            sizes.extend(text(out).iter().map(|chunk| chunk.matches("data").count()));
        }
    }
    assert_eq!(sizes[0], 1);
    assert!(sizes.iter().any(|size| *size > 2), "{sizes:?}");
}

#[test]
fn what_is_held_goes_after_a_silence() {
    for settings in [
        RechunkSettings::Word,
        RechunkSettings::Sentence,
        RechunkSettings::Bytes(9999),
    ] {
        let first = token("Hel");
        let second = token("lo");
        let mut rechunk = Rechunk::new(&settings, true, Dialect::OpenAi);
        let mut out = Vec::new();
        rechunk.push(millis(0), first.clone().into(), &mut out);
        rechunk.push(millis(900), second.clone().into(), &mut out);
        assert!(out.is_empty());
        assert_eq!(rechunk.deadline(), Some(millis(1900)), "{settings:?}");
        rechunk.tick(millis(1900), &mut out);
        assert_eq!(text(out), [first + &second]);
    }
}

#[test]
fn a_frame_that_waits_for_half_a_line_end_goes_after_a_silence() {
    let mut rechunk = Rechunk::new(&RechunkSettings::Event, true, Dialect::Plain);
    let mut out = Vec::new();
    rechunk.push(millis(0), Bytes::from_static(b"data: a\r\r"), &mut out);
    assert!(out.is_empty());
    let deadline = rechunk.deadline().unwrap();
    rechunk.tick(deadline, &mut out);
    assert_eq!(text(std::mem::take(&mut out)), ["data: a\r\r"]);
    rechunk.push(millis(5000), Bytes::from_static(b"\ndata: b\n\n"), &mut out);
    assert_eq!(text(out), ["\ndata: b\n\n"]);
}

#[test]
fn no_more_is_held_than_the_bound() {
    let event = token(&"x".repeat(1000));
    for settings in [RechunkSettings::Sentence, RechunkSettings::Word] {
        for is_event_stream in [true, false] {
            let mut rechunk = Rechunk::new(&settings, is_event_stream, Dialect::OpenAi);
            let mut out = Vec::new();
            let mut pushed = 0;
            for _ in 0..200 {
                let piece = if is_event_stream {
                    event.clone()
                } else {
                    "x".repeat(1000)
                };
                pushed += piece.len();
                rechunk.push(millis(0), piece.into(), &mut out);
                let written: usize = out.iter().map(Bytes::len).sum();
                assert!(pushed - written <= HELD_MAX);
            }
        }
    }
}

fn settings() -> impl Strategy<Value = RechunkSettings> {
    prop_oneof![
        Just(RechunkSettings::AsRecorded),
        Just(RechunkSettings::Token),
        Just(RechunkSettings::Word),
        Just(RechunkSettings::Sentence),
        Just(RechunkSettings::Event),
        (1_usize..40).prop_map(RechunkSettings::Bytes),
        (1_u64..100, 1_u32..4, 0_u32..4).prop_map(|(target, min, more)| {
            RechunkSettings::Adaptive(Adaptive {
                target: Span::millis(target),
                min,
                max: min + more,
            })
        }),
    ]
}

/// Bytes of any kind, and such as look like streams.
fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        "(data: ?|:|a|ü|🙂|你|\\. |\r|\n|\r\n|\n\n){0,60}".prop_map(String::into_bytes),
        proptest::collection::vec("[a-z .ü🙂你]{0,6}", 0..20).prop_map(|texts| {
            let events: String = texts.iter().map(|text| token(text)).collect();
            format!("{ROLE}{events}{FINISH}{DONE}").into_bytes()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_out_is_what_went_in(
        settings in settings(),
        is_event_stream in any::<bool>(),
        body in body(),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0_u64..2000, any::<bool>()), 0..12),
    ) {
        let mut at: Vec<_> = cuts.iter().map(|(cut, ..)| cut.index(body.len() + 1)).collect();
        at.sort_unstable();
        at.push(body.len());
        let mut rechunk = Rechunk::new(&settings, is_event_stream, Dialect::OpenAi);
        let (mut out, mut now, mut start) = (Vec::new(), Duration::ZERO, 0);
        for (index, end) in at.into_iter().enumerate() {
            if let Some((_, later, is_blocked)) = cuts.get(index) {
                now += millis(*later);
                rechunk.note_blocked(*is_blocked);
                rechunk.tick(now, &mut out);
            }
            if end > start {
                rechunk.push(now, Bytes::copy_from_slice(&body[start..end]), &mut out);
            }
            start = end;
        }
        rechunk.finish(&mut out);
        prop_assert_eq!(rechunk.deadline(), None);
        prop_assert!(out.iter().all(|chunk| !chunk.is_empty()));
        prop_assert_eq!(out.concat(), body);
    }

    #[test]
    fn text_stays_whole_characters_however_it_came(
        settings in settings(),
        text in "[a-z .ü🙂你\n]{1,80}",
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        prop_assume!(settings != RechunkSettings::AsRecorded && settings != RechunkSettings::Event);
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        at.extend([0, text.len()]);
        at.sort_unstable();
        let mut rechunk = Rechunk::new(&settings, false, Dialect::Plain);
        let mut out = Vec::new();
        for pair in at.windows(2) {
            if pair[0] < pair[1] {
                rechunk.push(Duration::ZERO, Bytes::copy_from_slice(&text.as_bytes()[pair[0]..pair[1]]), &mut out);
            }
        }
        rechunk.finish(&mut out);
        for chunk in &out {
            prop_assert!(std::str::from_utf8(chunk).is_ok(), "{:?}", chunk);
        }
    }

    #[test]
    fn events_stay_whole_however_they_came(
        settings in settings(),
        texts in proptest::collection::vec("[a-z .ü🙂你]{0,6}", 0..20),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        prop_assume!(settings != RechunkSettings::AsRecorded);
        let body: String = texts.iter().map(|text| token(text)).collect();
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        at.extend([0, body.len()]);
        at.sort_unstable();
        let mut rechunk = Rechunk::new(&settings, true, Dialect::OpenAi);
        let mut out = Vec::new();
        for pair in at.windows(2) {
            if pair[0] < pair[1] {
                rechunk.push(Duration::ZERO, Bytes::copy_from_slice(&body.as_bytes()[pair[0]..pair[1]]), &mut out);
            }
        }
        rechunk.finish(&mut out);
        for chunk in &out {
            prop_assert!(chunk.ends_with(b"\n\n") && chunk.starts_with(b"data: "), "{:?}", chunk);
        }
    }
}
