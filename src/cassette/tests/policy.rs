//! What recording again does to what is there.

use super::{Stage, get, key};
use crate::message::Ending;
use crate::mode::RecordPolicy::{self, Append, Once, Replace};

/// Records `old` in one run and `new` in the next, and sees what replay finds.
fn check(policy: RecordPolicy, old: &[&str], new: &[&str], expected: &[&str]) {
    let stage = Stage::new();
    for answer in old {
        stage.record("/x", answer, Append);
    }
    let stage = stage.again();
    for answer in new {
        stage.record("/x", answer, policy);
    }
    assert_eq!(
        stage.answers("/x"),
        expected,
        "{policy}: {old:?} then {new:?}"
    );
    let stage = stage.again();
    assert_eq!(stage.answers("/x"), expected, "{policy}, after a restart");
}

#[test]
fn each_policy_does_what_its_name_says() {
    check(Replace, &[], &["a"], &["a"]);
    check(Replace, &["1", "2", "3"], &[], &["1", "2", "3"]);
    check(Replace, &["1", "2", "3"], &["a"], &["a"]);
    check(Replace, &["1"], &["a", "b", "c"], &["a", "b", "c"]);
    check(Append, &["1", "2"], &["a", "b"], &["1", "2", "a", "b"]);
    check(Append, &[], &["a", "b"], &["a", "b"]);
    check(Once, &["1", "2"], &["a"], &["1", "2"]);
    check(Once, &[], &["a", "b"], &["a"]);
}

#[test]
fn a_sequence_has_names_that_tell_its_order() {
    let stage = Stage::new();
    for answer in ["a", "b", "c"] {
        stage.record("/v1/x", answer, Replace);
    }
    let short = key(&get("/v1/x"), b"").short();
    assert_eq!(
        stage.files(),
        [
            format!("GET-v1-x-{short}-2.json"),
            format!("GET-v1-x-{short}-3.json"),
            format!("GET-v1-x-{short}.json"),
        ]
    );
}

#[test]
fn an_answer_that_is_not_whole_never_costs_one_that_is() {
    for ending in [Ending::ClientLeft, Ending::Limit] {
        let stage = Stage::new();
        stage.record("/x", "whole", Replace);
        let stage = stage.again();
        stage.record_ending("/x", "pre", Replace, ending);
        stage.record_ending("/x", "prefix", Replace, ending);
        assert_eq!(stage.answers("/x"), ["whole"]);
        assert_eq!(stage.files().len(), 2, "one prefix is enough");
        stage.record("/x", "new", Replace);
        assert_eq!(stage.answers("/x"), ["new"]);
        assert_eq!(stage.files().len(), 1, "and goes when a whole one comes");
    }
}

#[test]
fn once_takes_a_whole_answer_after_a_prefix() {
    let stage = Stage::new();
    stage.record_ending("/x", "pre", Once, Ending::ClientLeft);
    stage.record("/x", "whole", Once);
    stage.record("/x", "more", Once);
    assert_eq!(stage.answers("/x"), ["whole"]);
}

#[test]
fn what_a_person_wrote_survives_recording_again() {
    let stage = Stage::new();
    stage.record("/x", "1", Replace);
    stage.record("/x", "2", Replace);
    for (name, play) in stage
        .files()
        .iter()
        .zip(["\"speed\": 2.0, \"x-why\": \"slow\"", "\"repeat\": 3"])
    {
        let path = stage.folder.join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text
            .replace(
                "\"play\": {}",
                &format!("\"play\": {{{play}}}, \"x-note\": [1, {{\"a\": 1.50}}]"),
            )
            .replace("\"match\": {}", "\"match\": {\"path\": \"/y\"}");
        std::fs::write(&path, text).unwrap();
    }
    let stage = stage.again();
    assert_eq!(
        stage.answers("/x"),
        Vec::<String>::new(),
        "it matches something else now"
    );
    assert_eq!(stage.answers("/y"), ["1", "1", "1", "2"]);
    stage.record("/x", "a", Replace);
    stage.record("/x", "b", Replace);
    stage.record("/x", "c", Replace);
    assert_eq!(stage.answers("/y"), ["a", "a", "a", "b"]);
    assert_eq!(stage.answers("/x"), ["c"]);
    let ids = stage.cassette.lookup(0, &key(&get("/y"), b""));
    let first = stage.cassette.load(ids[0]).unwrap();
    let second = stage.cassette.load(ids[3]).unwrap();
    assert_eq!(first.play.repeat, Some(3));
    assert_eq!(second.play.speed, Some(2.0));
    assert_eq!(second.play.notes["x-why"], "slow");
    assert_eq!(second.notes["x-note"].to_string(), "[1,{\"a\":1.50}]");
}

#[test]
fn what_is_skipped_is_not_found() {
    let stage = Stage::new();
    stage.record("/x", "1", Replace);
    stage.record("/x", "2", Replace);
    let path = stage.folder.join(stage.files().last().unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace("\"play\": {}", "\"play\": {\"skip\": true}"),
    )
    .unwrap();
    let stage = stage.again();
    assert_eq!(stage.answers("/x"), ["2"]);
    assert_eq!(stage.cassette.entries().len(), 2);
}

#[test]
fn a_side_file_goes_with_the_last_recording_that_needs_it() {
    let stage = Stage::new();
    let bodies = stage.folder.join("bodies");
    let record = |stage: &Stage, path: &str, fill: u8| {
        let mut ticket = super::begin(&stage.cassette, get(path), Replace).unwrap();
        ticket.head(super::ok(&[]), std::time::Duration::ZERO);
        ticket.chunk(super::chunk(1, vec![fill; 1000]));
        ticket.finish(Ending::Complete);
        stage.settle();
    };
    record(&stage, "/a", 0);
    record(&stage, "/b", 0);
    assert_eq!(super::contents(&bodies).len(), 1);
    let stage = stage.again();
    record(&stage, "/a", 255);
    assert_eq!(super::contents(&bodies).len(), 2);
    record(&stage, "/b", 254);
    assert_eq!(super::contents(&bodies).len(), 2);
    let ids = stage.cassette.lookup(0, &key(&get("/b"), b""));
    assert_eq!(
        super::body(&stage.cassette.load(ids[0]).unwrap()),
        vec![254; 1000]
    );
}
