//! A secret never touches the disk.

use std::time::Duration;

use bytes::Bytes;

use super::{Stage, begin, body, chunk, contents, headers, key, ok, post, settle};
use crate::message::Ending;
use crate::mode::RecordPolicy::Replace;

const SECRET: &str = "sk-planted-0123456789abcdef";

fn assert_hidden(stage: &Stage, when: &str) {
    for (path, bytes) in contents(&stage.folder) {
        let shown = String::from_utf8_lossy(&bytes);
        assert!(
            !shown.contains("planted"),
            "{when}: {} holds it: {shown}",
            path.display()
        );
        assert!(
            !shown.contains("0123456789abcdef"),
            "{when}: {}",
            path.display()
        );
    }
}

#[test]
fn a_secret_that_is_echoed_in_pieces_is_never_written() {
    for is_binary in [false, true] {
        let stage = Stage::new();
        let request = post(
            "/v1/chat",
            &[
                ("authorization", &format!("Bearer {SECRET}")),
                ("content-type", "application/json"),
            ],
        );
        let mut ticket = begin(&stage.cassette, request.clone(), Replace).unwrap();
        let asked = format!("{{\"say\":\"{SECRET}\"}}");
        for piece in asked.as_bytes().chunks(7) {
            ticket.request_body(Bytes::copy_from_slice(piece));
        }
        ticket.head(
            ok(&[
                ("content-type", "application/octet-stream"),
                ("x-echo", SECRET),
                ("set-cookie", &format!("s={SECRET}x")),
            ]),
            Duration::ZERO,
        );
        let noise = if is_binary {
            &b"\xff\x00"[..]
        } else {
            b"noise "
        };
        let answer = [
            noise,
            format!("you sent {SECRET}, did you?").as_bytes(),
            noise,
        ]
        .concat();
        for (index, byte) in answer.iter().enumerate() {
            ticket.chunk(chunk(index as u64, vec![*byte]));
        }
        // A stream beside it makes the journal stay.
        let mut other = begin(&stage.cassette, super::get("/other"), Replace).unwrap();
        other.head(ok(&[]), Duration::ZERO);
        std::thread::sleep(Duration::from_millis(30));
        assert_hidden(&stage, "under way");
        ticket.trailers(headers(&[("x-trailer", SECRET)]));
        ticket.finish(Ending::Complete);
        settle(&stage.cassette);
        assert_hidden(&stage, "committed");
        drop(other);
        let stage = stage.again();
        assert_hidden(&stage, "after");
        // Another key asks for the same.
        let mut again = request.clone();
        again
            .headers
            .set("authorization", "Bearer sk-other-key-9999999999");
        let ids = stage.cassette.lookup(
            0,
            &key(
                &again,
                asked.replace(SECRET, "sk-other-key-9999999999").as_bytes(),
            ),
        );
        assert_eq!(ids.len(), 1);
        let recording = stage.cassette.load(ids[0]).unwrap();
        assert!(
            recording.redacted.contains(&"authorization".to_owned()),
            "{:?}",
            recording.redacted
        );
        let shown = body(&recording);
        assert!(
            String::from_utf8_lossy(&shown).contains("you sent [redacted:authorization], did you?")
        );
    }
}
