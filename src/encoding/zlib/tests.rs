use proptest::prelude::*;

use super::Zlib;
use crate::encoding::Flush;
use crate::encoding::encode::tests::{any_flush, any_pieces};
use crate::encoding::{Decoder, decode};

/// A body of literals, matches from near and far, and numbers.
fn body(size: usize, step: u64) -> Vec<u8> {
    let mut state: u64 = 1;
    let mut out: Vec<u8> = Vec::new();
    while out.len() < size {
        state = (state * 1_103_515_245 + 12345) & 0x7fff_ffff;
        let kind = state >> 16 & 0xff;
        if kind < step {
            out.push(b'a' + (kind % 26) as u8);
        } else if kind < 250 {
            let back = out.len().min(1 + ((state >> 8) % 40_000) as usize);
            let length = 3 + (kind % 60) as usize;
            let start = out.len() - back;
            let end = out.len().min(start + length);
            out.extend_from_within(start..end);
        } else {
            out.extend(state.to_string().into_bytes());
        }
    }
    out.truncate(size);
    out
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Size and step of a body, window, memory, how it was flushed every 7,001 bytes, and the checksums of what zlib 1.2.13 makes
/// of it at levels 1 to 9.
#[rustfmt::skip]
const MADE_BY_ZLIB: [(usize, u64, u8, u8, Flush, [u32; 9]); 27] = [
    (5000, 120, 15, 8, Flush::None, [0xbad9_31de, 0xf518_9334, 0x4ed2_ae9d, 0x999d_c377, 0x9d6b_874d, 0x3e3c_c922, 0xff9a_4c1e, 0xa308_e7fe, 0xa308_e7fe]),
    (5000, 120, 15, 8, Flush::Sync, [0x435c_0e4e, 0x4108_6f08, 0x2250_5bd4, 0x1139_e524, 0xdbd2_f7ce, 0xa003_d650, 0x9a69_5168, 0x124f_3f2a, 0x124f_3f2a]),
    (5000, 120, 15, 8, Flush::Full, [0x435c_0e4e, 0x4108_6f08, 0x2250_5bd4, 0x1139_e524, 0xdbd2_f7ce, 0xa003_d650, 0x9a69_5168, 0x124f_3f2a, 0x124f_3f2a]),
    (5000, 120, 9, 1, Flush::None, [0x2961_a0b2, 0x826a_f5a1, 0x5157_f2fc, 0x3e8d_0327, 0x06b4_2168, 0xc822_49d0, 0x3f53_5839, 0xef6f_2587, 0xef6f_2587]),
    (5000, 120, 9, 1, Flush::Sync, [0x1ef5_4d88, 0x9ed8_b7ff, 0x2e10_d922, 0x9ee9_7d41, 0x6fa6_ca8a, 0x472a_fdb7, 0xc746_b28b, 0x83d1_4476, 0x83d1_4476]),
    (5000, 120, 9, 1, Flush::Full, [0x1ef5_4d88, 0x9ed8_b7ff, 0x2e10_d922, 0x9ee9_7d41, 0x6fa6_ca8a, 0x472a_fdb7, 0xc746_b28b, 0x83d1_4476, 0x83d1_4476]),
    (5000, 120, 12, 5, Flush::None, [0xdb30_c915, 0x7310_de20, 0x4008_0b94, 0x445d_d85c, 0x86ac_ee26, 0x6d55_d441, 0xe1c5_2c2e, 0x5d86_d390, 0x5d86_d390]),
    (5000, 120, 12, 5, Flush::Sync, [0x6beb_54a7, 0x95f3_b59e, 0xa45c_f607, 0x99a4_683e, 0x3faa_6b98, 0xbdac_f12c, 0x6674_a3f3, 0xdc3a_1c3b, 0xdc3a_1c3b]),
    (5000, 120, 12, 5, Flush::Full, [0x6beb_54a7, 0x95f3_b59e, 0xa45c_f607, 0x99a4_683e, 0x3faa_6b98, 0xbdac_f12c, 0x6674_a3f3, 0xdc3a_1c3b, 0xdc3a_1c3b]),
    (110_000, 120, 15, 8, Flush::None, [0xae5f_25f4, 0x0b3d_68f8, 0xfc14_a41e, 0x01e8_3886, 0x0308_bd47, 0xaecc_d8f7, 0xc73e_74c1, 0xc760_7559, 0x3aff_f92c]),
    (110_000, 120, 15, 8, Flush::Sync, [0xd80d_367f, 0xfaec_2f96, 0xeb2d_025c, 0xaabf_3888, 0x17ab_7a6d, 0xa28f_3ad9, 0x495a_b335, 0x8f76_8115, 0x27ed_535d]),
    (110_000, 120, 15, 8, Flush::Full, [0xf509_545f, 0x898e_7c4b, 0xba88_fe18, 0x922a_672a, 0x8992_37f6, 0xe7ea_1602, 0x892a_fff6, 0xae4a_3d57, 0xc563_7208]),
    (110_000, 120, 9, 1, Flush::None, [0x0081_3b32, 0x8b7f_bf7a, 0x64cd_504f, 0x25c1_9817, 0xb7ac_06db, 0x1e83_34ab, 0x9403_e567, 0x4444_cad3, 0x4444_cad3]),
    (110_000, 120, 9, 1, Flush::Sync, [0x3b8d_df34, 0x8d99_8214, 0xd676_fbf2, 0x850f_a2df, 0xde96_7371, 0x315c_8c60, 0xedd2_e5a5, 0xf3e0_5315, 0xf3e0_5315]),
    (110_000, 120, 9, 1, Flush::Full, [0xe09a_5639, 0xa521_ef43, 0x2e51_bfe7, 0x9eaf_db87, 0x4f04_ac9a, 0x589e_5b57, 0x8393_8f41, 0x9690_3e40, 0x9690_3e40]),
    (110_000, 120, 12, 5, Flush::None, [0x0878_b9be, 0xbf24_8ef1, 0x7fae_804c, 0x96a5_dfa7, 0xc199_7e69, 0x4ebb_4ef8, 0x48eb_e87c, 0xf1ed_541a, 0x3e3b_6491]),
    (110_000, 120, 12, 5, Flush::Sync, [0x4c9e_a7d6, 0x806f_90f2, 0x09ac_cad0, 0x1257_162a, 0x8c3e_6faf, 0x67ed_56a6, 0x5dd9_800a, 0x21c9_231f, 0xa49d_41c0]),
    (110_000, 120, 12, 5, Flush::Full, [0x213a_d5bd, 0x6d0f_c1ae, 0xe949_59aa, 0xadff_9070, 0x83ad_7983, 0x8399_6457, 0x3389_94fb, 0xebb3_86b7, 0xaf3a_abbb]),
    (70_000, 252, 15, 8, Flush::None, [0xf62d_4bb9, 0xee19_612a, 0x8c93_46fe, 0x009b_9e1b, 0x87ce_e65d, 0x87ce_e65d, 0x87ce_e65d, 0x87ce_e65d, 0x87ce_e65d]),
    (70_000, 252, 15, 8, Flush::Sync, [0x3bbe_622f, 0x5912_21d9, 0x6844_b463, 0xca81_a2a3, 0xb0bd_ce4a, 0xb0bd_ce4a, 0xb0bd_ce4a, 0xb0bd_ce4a, 0xb0bd_ce4a]),
    (70_000, 252, 15, 8, Flush::Full, [0x1b1b_1e16, 0x8a0a_9de5, 0xdacc_820a, 0x7aba_2cec, 0x7aba_2cec, 0x7aba_2cec, 0x7aba_2cec, 0x7aba_2cec, 0x7aba_2cec]),
    (70_000, 252, 9, 1, Flush::None, [0x42c5_e10a, 0x18be_d360, 0x18be_d360, 0x18be_d360, 0x18be_d360, 0x18be_d360, 0x18be_d360, 0x18be_d360, 0x18be_d360]),
    (70_000, 252, 9, 1, Flush::Sync, [0x3295_5e70, 0x5fb4_4a1d, 0x5fb4_4a1d, 0x5fb4_4a1d, 0x5fb4_4a1d, 0x5fb4_4a1d, 0x5fb4_4a1d, 0x5fb4_4a1d, 0x5fb4_4a1d]),
    (70_000, 252, 9, 1, Flush::Full, [0xce52_305f, 0x2056_95b1, 0x2056_95b1, 0x2056_95b1, 0x2056_95b1, 0x2056_95b1, 0x2056_95b1, 0x2056_95b1, 0x2056_95b1]),
    (70_000, 252, 12, 5, Flush::None, [0xabc3_a791, 0xb0d8_9ced, 0x302f_ded4, 0x6963_1a49, 0x6963_1a49, 0x6963_1a49, 0x6963_1a49, 0x6963_1a49, 0x6963_1a49]),
    (70_000, 252, 12, 5, Flush::Sync, [0x5ede_8bb5, 0x8a8e_a976, 0x2faa_d499, 0xbd02_9212, 0xbd02_9212, 0xbd02_9212, 0xbd02_9212, 0xbd02_9212, 0xbd02_9212]),
    (70_000, 252, 12, 5, Flush::Full, [0xe6ea_a732, 0x10db_3298, 0x2328_e5bd, 0x8602_23f9, 0x8602_23f9, 0x8602_23f9, 0x8602_23f9, 0x8602_23f9, 0x8602_23f9]),
];

#[test]
fn it_makes_the_bytes_that_zlib_makes() {
    for (size, step, window, memory, flush, expected) in MADE_BY_ZLIB {
        let body = body(size, step);
        for (level, expected) in (1..).zip(expected) {
            let mut zlib = Zlib::new(level, window, memory);
            let mut out = Vec::new();
            let pieces = if flush == Flush::None {
                16 * 1024
            } else {
                7001
            };
            for piece in body.chunks(pieces) {
                zlib.run(piece, flush, &mut out);
            }
            zlib.finish(&mut out);
            let case = format!("{size} {step} at {level} with {window} and {memory}, {flush:?}");
            assert_eq!(crc(&out), expected, "{case}");
        }
    }
}

#[test]
fn settings_that_are_out_of_range_are_moved_into_it() {
    for (level, window, memory) in [(0, 0, 0), (255, 255, 255), (9, 15, 9)] {
        let mut out = Vec::new();
        let mut zlib = Zlib::new(level, window, memory);
        zlib.run(&body(100_000, 120), Flush::None, &mut out);
        zlib.finish(&mut out);
        assert!(out.len() < 100_000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_flushed_pieces_at_any_settings_can_be_read_at_once_and_as_a_whole(
        (level, window, memory) in (1..=9_u8, 9..=15_u8, 1..=9_u8),
        pieces in any_pieces(),
        flushes in proptest::collection::vec(any_flush(), 6),
    ) {
        let mut zlib = Zlib::new(level, window, memory);
        let mut decoder = Decoder::new("deflate", 1 << 20).unwrap();
        let (mut wire, mut sent) = (Vec::new(), 0);
        let (mut given, mut read) = (Vec::new(), Vec::new());
        for (piece, flush) in pieces.iter().zip(flushes) {
            zlib.run(piece, flush, &mut wire);
            given.extend_from_slice(piece);
            read.extend(decoder.push(&wire[sent..]).unwrap());
            sent = wire.len();
            if flush != Flush::None {
                prop_assert!(wire.ends_with(&[0, 0, 0xff, 0xff]));
                prop_assert!(read == given, "{} bytes of {}", read.len(), given.len());
            }
        }
        zlib.finish(&mut wire);
        prop_assert!(decode("deflate", &wire, 1 << 20).unwrap() == given);
    }
}

/// zlib 1.2.13 does the same.
#[test]
fn a_block_that_the_window_slid_over_is_not_stored() {
    let noise = noise(762);
    for (size, expected) in [(761, true), (762, false)] {
        let mut zlib = Zlib::new(6, 9, 9);
        let mut out = Vec::new();
        zlib.run(&noise[..size], Flush::None, &mut out);
        zlib.finish(&mut out);
        let is_stored = out.len() == size + 5;
        assert_eq!(is_stored, expected, "{size} bytes became {}", out.len());
    }
}

/// Bytes without a pattern.
fn noise(size: usize) -> Vec<u8> {
    let mut state: u32 = 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..size).map(|_| next()).collect()
}
