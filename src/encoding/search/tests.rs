use proptest::prelude::*;

use super::{Sample, brotli_window, search, zstd_flags};
use crate::encoding::encode::tests::{any_flush, any_method, any_pieces};
use crate::encoding::{Encoder, Flush, Maker, Method, Recipe};

fn sample<'a>(name: &'a str, pieces: &'a [Vec<u8>], wire: &'a [u8]) -> Sample<'a, Vec<u8>> {
    Sample {
        content_encoding: name,
        pieces,
        wire,
        is_whole: true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_our_encoders_made_is_found(
        (name, method) in any_method(),
        pieces in any_pieces(),
        flush in any_flush(),
    ) {
        // Windows and memory that nobody is known to choose are only found where they were found before.
        let is_odd = matches!(
            method,
            Method::Deflate { maker: Maker::Zlib { window, memory }, .. } if (window, memory) != (15, 8)
        );
        let recipe = Recipe { method, flush };
        let size = pieces.iter().map(Vec::len).sum();
        let wire = Encoder::new(&recipe, size).unwrap().pack(&pieces, true).unwrap().concat();
        let found = search(&sample(name, &pieces, &wire), is_odd.then_some(&recipe));
        let Some(found) = found else {
            // Its fastest levels take other windows than they say where data is small; nobody sends those.
            prop_assert!(matches!(recipe.method, Method::Brotli { quality: 0 | 1, .. }), "{:?}", recipe);
            return Ok(());
        };
        prop_assert!(found.makes(name) && found.method.is_possible(), "{:?}", found);
        let again = Encoder::new(&found, size).unwrap().pack(&pieces, true).unwrap();
        prop_assert_eq!(again.concat(), wire);
    }

    #[test]
    fn any_bytes_are_searched_without_a_panic(
        wire in proptest::collection::vec(any::<u8>(), 0..60),
        start in prop_oneof![Just(&b""[..]), Just(&b"\x1f\x8b\x08\x1f"[..]), Just(&b"\x28\xb5\x2f\xfd"[..]), Just(&b"\x78\x9c"[..])],
        name in prop_oneof![Just("gzip"), Just("deflate"), Just("br"), Just("zstd"), Just("what"), Just("gzip, br")],
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..3),
    ) {
        let wire = [start, &wire].concat();
        search(&sample(name, &pieces, &wire), None);
    }
}

#[test]
fn headers_tell_what_they_tell() {
    // As the reference implementations write them.
    for (byte, window) in [
        (0x0b, 22),
        (0x8b, 22),
        (0x00, 16),
        (0x01, 17),
        (0x0f, 24),
        (0x21, 10),
    ] {
        assert_eq!(brotli_window(&[byte]), Some(window), "{byte:#x}");
    }
    assert_eq!(brotli_window(b""), None);
    assert_eq!(zstd_flags(b"\x28\xb5\x2f\xfd\x24\x05"), Some((true, true)));
    assert_eq!(
        zstd_flags(b"\x28\xb5\x2f\xfd\x00\x58"),
        Some((false, false))
    );
    assert_eq!(zstd_flags(b"\x28\xb5\x2f\xfe\x00\x58"), None);
}

#[test]
fn large_bodies_and_hopeless_ones_are_given_up() {
    let recipe = Recipe {
        method: Method::Zstd {
            level: 1,
            has_size: false,
            has_checksum: false,
        },
        flush: Flush::None,
    };
    let large = vec![vec![7; super::MAX_SIZE + 1]];
    let wire = Encoder::new(&recipe, 0)
        .unwrap()
        .pack(&large, true)
        .unwrap()
        .concat();
    assert_eq!(search(&sample("zstd", &large, &wire), Some(&recipe)), None);
    let small = vec![b"hello".to_vec()];
    assert_eq!(search(&sample("zstd", &small, &wire), Some(&recipe)), None);
    assert_eq!(search(&sample("gzip", &small, &wire), Some(&recipe)), None);
}

#[test]
fn the_window_that_nginx_chooses_is_tried() {
    let zlib = |window, memory| Maker::Zlib { window, memory };
    let cases = [
        (100_000, zlib(15, 8)),
        (16_122, zlib(15, 8)),
        (16_121, zlib(14, 7)),
        (2_000, zlib(12, 5)),
        (10, zlib(9, 2)),
    ];
    for (size, expected) in cases {
        let makers = super::makers(size);
        assert!(makers.contains(&expected), "{size}: {makers:?}");
        assert_eq!(
            (makers[0], makers.last()),
            (zlib(15, 8), Some(&Maker::ZlibNg))
        );
    }
}
