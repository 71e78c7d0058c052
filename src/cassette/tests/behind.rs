//! Two handles on one cassette, as two processes have them while one takes the other's place.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::{Stage, answers, begin, chunk, get, index, names, ok, settle};
use crate::cassette::{Access, Cassette, CassetteError};
use crate::message::Ending;
use crate::mode::RecordPolicy::{self, Append, Once, Replace};

/// The next process, behind the one of the stage, which may take the cassette when it can.
fn behind(stage: &Stage) -> Cassette {
    let (_, turn) = channel();
    let cassette = Cassette::open_behind(&stage.folder, stage.cassette.since(), turn).unwrap();
    index(&cassette);
    cassette
}

fn record(cassette: &Cassette, path: &str, answer: &str, policy: RecordPolicy) {
    let mut ticket = begin(cassette, get(path), policy).unwrap();
    ticket.head(
        ok(&[("content-type", "text/plain")]),
        Duration::from_micros(7),
    );
    ticket.chunk(chunk(1, answer));
    ticket.finish(Ending::Complete);
}

fn wait_for(cassette: &Cassette, path: &str, count: usize) -> Vec<String> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        settle(cassette);
        let found = answers(cassette, path);
        if found.len() >= count || Instant::now() > end {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn who_waits_keeps_recordings_until_the_other_lets_go() {
    let stage = Stage::new();
    stage.record("/old", "a", Append);
    stage.settle();
    let next = behind(&stage);
    record(&next, "/new", "b", Append);
    // Whoever looks up now is not kept waiting.
    settle(&next);
    assert_eq!(answers(&next, "/new"), [""; 0]);
    assert_eq!(answers(&next, "/old"), ["a"]);
    assert_eq!(names(&stage.folder).len(), 1);
    stage.record("/old", "late", Append);
    assert!(stage.cassette.close(Duration::from_secs(10)));
    assert_eq!(wait_for(&next, "/new", 1), ["b"]);
    assert_eq!(answers(&next, "/old"), ["a", "late"]);
    assert!(next.close(Duration::from_secs(10)));
    assert_eq!(names(&stage.folder).len(), 3);
}

#[test]
fn the_run_goes_on() {
    let check = |policy, expected: &[&str]| {
        let stage = Stage::new();
        stage.record("/x", "before", Append);
        // A run begins later than what was there before it.
        std::thread::sleep(Duration::from_millis(5));
        let stage = stage.again();
        stage.record("/x", "1", policy);
        stage.record("/x", "2", policy);
        let next = behind(&stage);
        record(&next, "/x", "3", policy);
        assert!(stage.cassette.close(Duration::from_secs(10)));
        let (is_before, turn) = channel();
        let third = Cassette::open_behind(&stage.folder, next.since(), turn).unwrap();
        index(&third);
        record(&third, "/x", "5", policy);
        record(&next, "/x", "4", policy);
        assert!(next.close(Duration::from_secs(10)));
        drop(is_before);
        assert_eq!(wait_for(&third, "/x", expected.len()), expected, "{policy}");
    };
    check(Replace, &["1", "2", "3", "4", "5"]);
    check(Append, &["before", "1", "2", "3", "4", "5"]);
    check(Once, &["before"]);
}

#[test]
fn a_key_that_the_run_has_not_met_begins_anew() {
    let stage = Stage::new();
    stage.record("/x", "before", Append);
    std::thread::sleep(Duration::from_millis(5));
    let stage = stage.again();
    let next = behind(&stage);
    assert!(stage.cassette.close(Duration::from_secs(10)));
    record(&next, "/x", "after", Replace);
    settle(&next);
    let end = Instant::now() + Duration::from_secs(20);
    while wait_for(&next, "/x", 1) != ["after"] {
        assert!(Instant::now() < end, "{:?}", answers(&next, "/x"));
    }
}

#[test]
fn without_another_process_it_opens_as_ever() {
    let stage = Stage::new();
    assert!(matches!(
        Cassette::open(&stage.folder, Access::Write),
        Err(CassetteError::Locked(_))
    ));
    assert!(stage.cassette.close(Duration::from_secs(10)));
    let next = behind(&stage);
    record(&next, "/x", "a", Replace);
    assert_eq!(wait_for(&next, "/x", 1), ["a"]);
}

#[tokio::test]
async fn nobody_lets_go_while_a_recording_is_under_way_or_may_begin() {
    let stage = Stage::new();
    let claim = stage.cassette.claim().unwrap();
    let cassette = stage.cassette.clone();
    let retiring = tokio::spawn(async move { cassette.retire(Duration::from_secs(10)).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut ticket = begin(&stage.cassette, get("/x"), Replace).unwrap();
    drop(claim);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!retiring.is_finished());
    ticket.head(ok(&[]), Duration::ZERO);
    ticket.chunk(chunk(1, "whole"));
    ticket.finish(Ending::Complete);
    assert!(retiring.await.unwrap());
    assert!(begin(&stage.cassette, get("/x"), Replace).is_none());
    assert_eq!(answers(&stage.cassette, "/x"), ["whole"]);
}
