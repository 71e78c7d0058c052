use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use super::{Encoded, Flaw, WireChunk};
use crate::cassette::SideFile;
use crate::cassette::event::{End, Event, Line};
use crate::encoding::{Flush, Frame, Maker, Method, Recipe};
use crate::key::Key;
use crate::message::{Ending, ResponseHead};

/// The line of the journal that commits an answer so encoded, read back.
fn through_the_journal(encoded: &Encoded) -> Encoded {
    let event = Event::End(Box::new(End {
        ending: Ending::Complete,
        head: ResponseHead {
            status: 200,
            reason: None,
            headers: [("content-encoding", "gzip")].into_iter().collect(),
        },
        redacted: Vec::new(),
        key: "3fa9c1d2e5b6000000000000000000ff".parse::<Key>().unwrap(),
        file: "GET-x-3fa9c1d2e5b6.json".to_owned(),
        replaces: Vec::new(),
        side: None,
        chunks: None,
        encoded: Some(encoded.clone()),
    }));
    let mut bytes = Vec::new();
    let line = Line { id: 7, event };
    line.write(&mut bytes);
    assert_eq!(Line::read(&bytes).as_ref(), Some(&line));
    match Line::read(&bytes).map(|line| line.event) {
        Some(Event::End(end)) => end.encoded.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_commit_tells_the_encoding_whatever_it_is() {
    let zlib = Maker::Zlib {
        window: 12,
        memory: 5,
    };
    let deflate = |frame, maker, level| Method::Deflate {
        frame,
        maker,
        level,
    };
    let header = Bytes::from_static(b"\x1f\x8b\x08\x00\x01\x02\x03\x04\x02\xff");
    let methods = [
        deflate(Frame::Gzip(header), zlib, 9),
        deflate(Frame::Zlib([0x78, 0xda]), Maker::ZlibNg, 1),
        deflate(Frame::Raw, zlib, 6),
        Method::Brotli {
            quality: 0,
            window: 24,
        },
        Method::Zstd {
            level: 19,
            has_size: true,
            has_checksum: false,
        },
    ];
    let chunk = WireChunk {
        at: Duration::from_micros(12),
        len: 34,
        held: true,
    };
    let known = Encoded {
        name: "gzip".to_owned(),
        again: None,
        flaw: Some(Flaw::Broken("the body is not valid gzip".to_owned())),
        wire: Some(SideFile {
            folder: PathBuf::new(),
            name: "0123.bin".to_owned(),
            len: 34,
        }),
        chunks: vec![chunk],
        tail_at: Some(Duration::from_micros(5)),
        of: Some("a".to_owned()),
        gives: Some("b".to_owned()),
    };
    assert_eq!(through_the_journal(&known), known);
    for method in methods {
        for flush in [Flush::None, Flush::Sync, Flush::Full] {
            let encoded = Encoded {
                again: Some(Recipe {
                    method: method.clone(),
                    flush,
                }),
                flaw: None,
                wire: None,
                ..known.clone()
            };
            assert_eq!(through_the_journal(&encoded), encoded);
        }
    }
}
