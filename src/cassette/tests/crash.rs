//! What a kill leaves is a cassette.

use std::fs;
use std::time::Duration;

use super::{Stage, answers, begin, body, chunk, contents, copy, get, names, ok, open};
use crate::cassette::journal::JOURNAL;
use crate::cassette::{Access, Cassette, CassetteError};
use crate::message::Ending;
use crate::mode::RecordPolicy::{Append, Replace};

/// A run that is killed while a text and a binary stream are under way, with three answers committed before.
fn killed() -> Stage {
    let stage = Stage::new();
    let mut text = begin(&stage.cassette, get("/text"), Replace).unwrap();
    text.head(
        ok(&[("content-type", "text/plain")]),
        Duration::from_millis(1),
    );
    let mut binary = begin(&stage.cassette, get("/binary"), Replace).unwrap();
    binary.head(ok(&[]), Duration::from_millis(1));
    for index in 0..3 {
        text.chunk(chunk(index, format!("text {index}\n")));
        binary.chunk(chunk(
            index,
            vec![0xff; 100 + usize::try_from(index).unwrap()],
        ));
    }
    stage.record("/a", "answer a", Append);
    stage.record("/a", "again a", Append);
    stage.record("/b", "answer b", Append);
    stage.settle();
    std::mem::forget((text, binary));
    stage
}

/// The journal as it would be, had the files not been made: without the lines that say so.
fn unfiled(journal: &str) -> String {
    let lines = journal
        .lines()
        .filter(|line| !line.starts_with("{\"filed\""));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn after_a_kill_what_was_committed_is_whole_and_what_was_not_is_a_prefix() {
    let stage = killed();
    let home = tempfile::tempdir().unwrap();
    copy(&stage.folder, home.path());
    for access in [Access::Read, Access::Write, Access::Read] {
        let before = contents(home.path());
        let cassette = open(home.path(), access);
        assert_eq!(answers(&cassette, "/a"), ["answer a", "again a"]);
        assert_eq!(answers(&cassette, "/b"), ["answer b"]);
        assert_eq!(answers(&cassette, "/text"), Vec::<String>::new());
        let interrupted: Vec<_> = cassette
            .entries()
            .into_iter()
            .filter(|entry| entry.ending == Ending::Interrupted)
            .map(|entry| (entry.path, entry.chunks, entry.bytes, entry.replayable))
            .collect();
        assert_eq!(
            interrupted,
            [
                ("/binary".to_owned(), 3, 303, false),
                ("/text".to_owned(), 3, 21, false)
            ],
            "{access:?}"
        );
        let name = cassette
            .entries()
            .iter()
            .find(|entry| entry.path == "/binary")
            .unwrap()
            .name
            .clone();
        assert_eq!(body(&cassette.named(&name).unwrap()), vec![0xff; 303]);
        assert!(cassette.broken().is_empty());
        if access == Access::Read {
            assert_eq!(contents(home.path()), before, "reading changes nothing");
        }
    }
    assert_eq!(names(home.path()).len(), 5);
    assert_eq!(fs::read(home.path().join(JOURNAL)).unwrap(), b"");
}

#[test]
fn a_journal_torn_at_any_byte_keeps_what_was_committed_before() {
    let stage = killed();
    let journal = unfiled(&fs::read_to_string(stage.folder.join(JOURNAL)).unwrap());
    let source = tempfile::tempdir().unwrap();
    copy(&stage.folder, source.path());
    for name in names(source.path()) {
        fs::remove_file(source.path().join(name)).unwrap();
    }
    let ends: Vec<(usize, &str)> = [("answer a", "/a"), ("again a", "/a"), ("answer b", "/b")]
        .into_iter()
        .zip(journal.match_indices("{\"end\""))
        .map(|((answer, _), (at, _))| (at + journal[at..].find('\n').unwrap() + 1, answer))
        .collect();
    for length in 0..=journal.len() {
        fs::write(source.path().join(JOURNAL), &journal.as_bytes()[..length]).unwrap();
        let cassette = open(source.path(), Access::Read);
        let mut found = answers(&cassette, "/a");
        found.extend(answers(&cassette, "/b"));
        let expected: Vec<_> = ends
            .iter()
            .filter(|(end, _)| *end <= length)
            .map(|(_, answer)| *answer)
            .collect();
        assert_eq!(found, expected, "torn at {length}");
        assert!(cassette.broken().is_empty());
        if length % 97 == 0 {
            let home = tempfile::tempdir().unwrap();
            copy(source.path(), home.path());
            drop(open(home.path(), Access::Write));
            let again = open(home.path(), Access::Read);
            assert_eq!(
                again.entries(),
                cassette.entries(),
                "torn at {length}, written"
            );
        }
    }
}

#[test]
fn a_kill_in_the_middle_of_recovery_changes_nothing() {
    let stage = killed();
    let source = tempfile::tempdir().unwrap();
    copy(&stage.folder, source.path());
    let journal = unfiled(&fs::read_to_string(stage.folder.join(JOURNAL)).unwrap());
    let done = tempfile::tempdir().unwrap();
    copy(&stage.folder, done.path());
    drop(open(done.path(), Access::Write));
    let expected = contents(done.path());
    // Any part of the files may be made when the kill comes, and the journal is emptied last.
    for made in 0..=5 {
        let home = tempfile::tempdir().unwrap();
        copy(source.path(), home.path());
        for name in names(home.path()) {
            fs::remove_file(home.path().join(name)).unwrap();
        }
        for name in names(done.path()).iter().take(made) {
            fs::copy(done.path().join(name), home.path().join(name)).unwrap();
        }
        // A side file is there before the recording that needs it.
        if made > 2 {
            copy(&done.path().join("bodies"), &home.path().join("bodies"));
        }
        fs::write(home.path().join(JOURNAL), &journal).unwrap();
        drop(open(home.path(), Access::Write));
        let strip = |found: std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>,
                     home: &std::path::Path| {
            let relative = |path: std::path::PathBuf| path.strip_prefix(home).unwrap().to_owned();
            found
                .into_iter()
                .map(|(path, bytes)| (relative(path), bytes))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            strip(contents(home.path()), home.path()),
            strip(expected.clone(), done.path()),
            "{made} files made"
        );
    }
}

#[test]
fn a_second_writer_is_refused_and_readers_are_not() {
    let stage = Stage::new();
    stage.record("/a", "a", Replace);
    stage.settle();
    let error = Cassette::open(&stage.folder, Access::Write).unwrap_err();
    assert!(matches!(error, CassetteError::Locked(_)));
    assert_eq!(
        error.to_string(),
        format!(
            "cassette `{}` is in use: another process records into it",
            stage.folder.display()
        )
    );
    let mut ticket = begin(&stage.cassette, get("/b"), Replace).unwrap();
    ticket.head(ok(&[]), Duration::ZERO);
    stage.record("/c", "c", Replace);
    stage.settle();
    let reader = open(&stage.folder, Access::Read);
    assert_eq!(answers(&reader, "/a"), ["a"]);
    assert_eq!(
        reader.entries().len(),
        2,
        "what is under way elsewhere is not interrupted"
    );
    assert!(begin(&reader, get("/d"), Replace).is_none());
    drop(ticket);
    let stage = stage.again();
    assert_eq!(stage.answers("/a"), ["a"]);
}
