use bytes::Bytes;
use proptest::prelude::*;

use super::{Encoder, gives};
use crate::encoding::{Decoder, Flush, Frame, Maker, Method, Recipe, decode};

pub(in crate::encoding) fn any_method() -> impl Strategy<Value = (&'static str, Method)> {
    let header = prop_oneof![
        Just(&b"\x1f\x8b\x08\x00\x01\x02\x03\x04\x02\x03"[..]),
        Just(&b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xffname.txt\x00"[..]),
    ];
    let maker = prop_oneof![
        Just(Maker::ZlibNg),
        Just(Maker::Zlib {
            window: 15,
            memory: 8
        }),
        (9..=15_u8, 1..=9_u8).prop_map(|(window, memory)| Maker::Zlib { window, memory }),
    ];
    let of = |name, frame: Option<Frame>| {
        (1..=9_u8, maker.clone()).prop_map(move |(level, maker)| {
            let frame = frame.clone().unwrap_or(Frame::Raw);
            (
                name,
                Method::Deflate {
                    frame,
                    maker,
                    level,
                },
            )
        })
    };
    prop_oneof![
        header
            .prop_flat_map({
                let maker = maker.clone();
                move |header| (1..=9_u8, maker.clone(), Just(header))
            })
            .prop_map(|(level, maker, header)| {
                let frame = Frame::Gzip(Bytes::from_static(header));
                (
                    "gzip",
                    Method::Deflate {
                        frame,
                        maker,
                        level,
                    },
                )
            }),
        of("deflate", Some(Frame::Zlib([0x78, 0xda]))),
        of("deflate", None),
        (0..=9_u8, 10..=22_u8)
            .prop_map(|(quality, window)| ("br", Method::Brotli { quality, window })),
        (1..=9_u8, any::<bool>(), any::<bool>()).prop_map(|(level, has_size, has_checksum)| {
            let method = Method::Zstd {
                level,
                has_size,
                has_checksum,
            };
            ("zstd", method)
        }),
    ]
}

pub(in crate::encoding) fn any_pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..200),
        "(data: \\{\"[a-z ]{1,20}\":[0-9]{1,4}\\}\n\n){1,4}".prop_map(String::into_bytes),
        (any::<u8>(), 1..20_000_usize).prop_map(|(byte, count)| vec![byte; count]),
    ];
    proptest::collection::vec(piece, 0..6)
}

pub(in crate::encoding) fn any_flush() -> impl Strategy<Value = Flush> {
    prop_oneof![Just(Flush::None), Just(Flush::Sync), Just(Flush::Full)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_decodes_to_what_it_was(
        (name, method) in any_method(),
        pieces in any_pieces(),
        flush in any_flush(),
    ) {
        let recipe = Recipe { method, flush };
        let whole = pieces.concat();
        let packed = Encoder::new(&recipe, whole.len()).unwrap().pack(&pieces, true).unwrap();
        prop_assert_eq!(packed.pieces.len(), if flush == Flush::None { 0 } else { pieces.len() });
        prop_assert_eq!(decode(name, &packed.concat(), 1 << 20).unwrap(), whole);
        let mut spent = 0;
        let wire = packed.concat();
        prop_assert!(gives(&recipe, &pieces, &wire, true, &mut spent).unwrap());
        prop_assert!(!gives(&recipe, &pieces, &wire[..wire.len() - 1], true, &mut spent).unwrap());
    }

    #[test]
    fn a_flushed_piece_can_be_read_at_once(
        (name, method) in any_method(),
        pieces in any_pieces(),
    ) {
        let size = pieces.iter().map(Vec::len).sum();
        let recipe = Recipe { method, flush: Flush::Sync };
        let mut encoder = Encoder::new(&recipe, size).unwrap();
        let mut decoder = Decoder::new(name, 1 << 20).unwrap();
        for piece in &pieces {
            let shown = decoder.push(&encoder.push(piece).unwrap()).unwrap();
            prop_assert!(shown == *piece, "{} bytes of {}", shown.len(), piece.len());
        }
        prop_assert_eq!(decoder.push(&encoder.finish().unwrap()).unwrap(), b"");
        prop_assert_eq!(decoder.finish().unwrap(), b"");
    }
}

#[test]
fn encodings_on_top_of_each_other_are_put_on_in_their_order() {
    let text = b"hello hello hello";
    for name in [
        "gzip",
        "X-GZIP",
        "deflate",
        "br",
        "zstd",
        "gzip, br",
        "zstd,gzip , deflate",
    ] {
        let encoder = Encoder::by_name(name, Flush::Sync).unwrap();
        let wire = encoder.pack(&[&text[..5], &text[5..]], true).unwrap();
        assert_eq!(decode(name, &wire.concat(), 100).unwrap(), text, "{name}");
    }
    assert!(
        Encoder::by_name("identity", Flush::None)
            .unwrap()
            .is_identity()
    );
    assert_eq!(
        Encoder::by_name("gzip, rot13", Flush::None)
            .unwrap_err()
            .to_string(),
        "unknown content encoding `rot13`, expected gzip, deflate, br, zstd or identity"
    );
}
