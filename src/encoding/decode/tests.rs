use std::io::Write as _;

use proptest::prelude::*;

use super::*;

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(body).unwrap();
    writer.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(body).unwrap();
    writer.finish().unwrap()
}

fn raw(body: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(body).unwrap();
    writer.finish().unwrap()
}

fn br(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = brotli::CompressorWriter::new(&mut out, 4096, 5, 20);
    writer.write_all(body).unwrap();
    drop(writer);
    out
}

fn zst(body: &[u8]) -> Vec<u8> {
    zstd::encode_all(body, 3).unwrap()
}

type Encode = fn(&[u8]) -> Vec<u8>;

const ALL: [(&str, Encode); 6] = [
    ("gzip", gzip),
    ("X-GZIP", gzip),
    ("deflate", zlib),
    ("deflate", raw),
    ("br", br),
    ("zstd", zst),
];

fn in_pieces(name: &str, body: &[u8], size: usize) -> Result<Vec<u8>, EncodingError> {
    let mut decoder = Decoder::new(name, 1 << 20)?;
    let mut out = Vec::new();
    for piece in body.chunks(size) {
        out.extend(decoder.push(piece)?);
    }
    out.extend(decoder.finish()?);
    Ok(out)
}

#[test]
fn what_was_encoded_is_decoded_in_any_pieces() {
    let long = "hello world ".repeat(5000);
    for body in ["", "x", "hello world", &long] {
        for (name, encode) in ALL {
            let encoded = encode(body.as_bytes());
            assert_eq!(
                decode(name, &encoded, 1 << 20).unwrap(),
                body.as_bytes(),
                "{name}"
            );
            for size in [1, 3, 1000] {
                assert_eq!(
                    in_pieces(name, &encoded, size).unwrap(),
                    body.as_bytes(),
                    "{name}"
                );
            }
        }
        assert_eq!(
            decode("identity", body.as_bytes(), 1 << 20).unwrap(),
            body.as_bytes()
        );
        assert_eq!(
            decode("", body.as_bytes(), 1 << 20).unwrap(),
            body.as_bytes()
        );
        let twice = br(&gzip(body.as_bytes()));
        assert_eq!(
            decode("gzip, identity, br", &twice, 1 << 20).unwrap(),
            body.as_bytes()
        );
    }
    let members = [gzip(b"a"), gzip(b"b")].concat();
    assert_eq!(decode("gzip", &members, 10).unwrap(), b"ab");
}

#[test]
fn a_piece_is_decoded_when_it_has_come() {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(b"data: a\n\n").unwrap();
    writer.flush().unwrap();
    let mut decoder = Decoder::new("gzip", 100).unwrap();
    assert_eq!(decoder.push(writer.get_ref()).unwrap(), b"data: a\n\n");
}

#[test]
fn what_ends_early_or_is_garbage_is_broken() {
    for (name, encode) in ALL {
        let encoded = encode("hello world ".repeat(50).as_bytes());
        let cut = &encoded[..encoded.len() - 3];
        let lower = name.to_ascii_lowercase();
        assert_eq!(
            decode(name, cut, 1 << 20),
            Err(EncodingError::Broken(lower.clone())),
            "cut {name}"
        );
        assert_eq!(
            decode(name, b"\xff\xff garbage", 1 << 20),
            Err(EncodingError::Broken(lower)),
            "{name}"
        );
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let body = vec![0; 10 << 20];
    for (name, encode) in ALL {
        let encoded = encode(&body);
        assert_eq!(
            decode(name, &encoded, 1 << 20),
            Err(EncodingError::TooLarge(1 << 20)),
            "{name}"
        );
        assert_eq!(
            decode(name, &encoded, 10 << 20).unwrap().len(),
            10 << 20,
            "{name}"
        );
    }
    assert_eq!(
        decode("identity", &body, 100),
        Err(EncodingError::TooLarge(100))
    );
    let twice = gzip(&gzip(&body));
    assert_eq!(
        decode("gzip, gzip", &twice, 1 << 20),
        Err(EncodingError::TooLarge(1 << 20))
    );
}

#[test]
fn an_unknown_encoding_is_named() {
    assert_eq!(
        decode("gzip, compress", b"", 1).unwrap_err().to_string(),
        "unknown content encoding `compress`, expected gzip, deflate, br, zstd or identity"
    );
    assert!(decode("br,br,br,br,br", b"", 1).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(
        which in 0usize..6,
        mut body in proptest::collection::vec(any::<u8>(), 0..100),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        valid in any::<bool>(),
    ) {
        let (name, encode) = ALL[which];
        if valid {
            body = encode(&body);
        }
        for (at, byte) in flips {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        if let Ok(decoded) = decode(name, &body, 4096) {
            prop_assert!(decoded.len() <= 4096);
        }
    }
}
