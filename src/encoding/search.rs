//! Finds out how a body was encoded, by trying: bounded in work, and told by the bytes where they tell.

use super::encode::gives;
use super::names::names;
use super::recipe::{Flush, Frame, Maker, Method, Recipe, gzip_header};

/// A body before and after it was encoded.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a, P> {
    /// The value of its `content-encoding`.
    pub content_encoding: &'a str,
    /// Decoded, in the pieces in which it came. None of them is empty.
    pub pieces: &'a [P],
    /// Encoded.
    pub wire: &'a [u8],
    /// Whether the encoding came to its end.
    pub is_whole: bool,
}

/// The recipe that makes exactly these bytes of these pieces; `first` is tried before all others. `None` where there is
/// none, or where finding it costs more than it's worth: bodies above 1 MiB, decoded or not, and after the work of encoding
/// 4 MiB at a middling level.
pub fn search<P: AsRef<[u8]>>(sample: &Sample<'_, P>, first: Option<&Recipe>) -> Option<Recipe> {
    let size: usize = sample.pieces.iter().map(|piece| piece.as_ref().len()).sum();
    if size > MAX_SIZE || sample.wire.len() > MAX_SIZE {
        return None;
    }
    let names = names(sample.content_encoding);
    let [name] = names.as_slice() else {
        return None;
    };
    let first = first.and_then(|first| first.adapted(name, sample.wire));
    let mut work = 0_usize;
    for recipe in first.into_iter().chain(candidates(name, sample, size)) {
        let cost = cost(&recipe.method);
        if work > MAX_WORK {
            return None;
        }
        let mut spent = 0;
        // What the library can't do it didn't do.
        let found = gives(
            &recipe,
            sample.pieces,
            sample.wire,
            sample.is_whole,
            &mut spent,
        );
        work = work.saturating_add((spent + START) * cost);
        if found.unwrap_or(false) {
            return Some(recipe);
        }
    }
    None
}

impl Recipe {
    /// The same with what stands at the beginning of these bytes. `None` where they can't be made by this method.
    fn adapted(&self, name: &str, wire: &[u8]) -> Option<Self> {
        let mut adapted = self.clone();
        if !adapted.method.is(name) {
            return None;
        }
        match &mut adapted.method {
            Method::Deflate { frame, .. } => *frame = frame_of(name, wire)?,
            Method::Brotli { window, .. } => *window = brotli_window(wire)?,
            Method::Zstd {
                has_size,
                has_checksum,
                ..
            } => (*has_size, *has_checksum) = zstd_flags(wire)?,
        }
        Some(adapted)
    }
}

/// What may have made these bytes, the likeliest first.
fn candidates<P: AsRef<[u8]>>(name: &str, sample: &Sample<'_, P>, size: usize) -> Vec<Recipe> {
    let wire = sample.wire;
    let methods: Vec<Method> = match name {
        "gzip" | "x-gzip" | "deflate" => frame_of(name, wire).map_or_else(Vec::new, |frame| {
            let levels = levels(&frame);
            let with = |maker| {
                let frame = frame.clone();
                levels.iter().map(move |level| Method::Deflate {
                    frame: frame.clone(),
                    maker,
                    level: *level,
                })
            };
            makers(size).into_iter().flat_map(with).collect()
        }),
        "br" => brotli_window(wire).map_or_else(Vec::new, |window| {
            let slow = size <= SLOW_SIZE;
            QUALITIES
                .into_iter()
                .filter(|quality| slow || *quality < SLOW_QUALITY)
                .map(|quality| Method::Brotli { quality, window })
                .collect()
        }),
        "zstd" => zstd_flags(wire).map_or_else(Vec::new, |(has_size, has_checksum)| {
            // Without a size the highest levels take memory for the largest window.
            let highest = if has_size { 19 } else { 9 };
            ZSTD_LEVELS
                .into_iter()
                .filter(|level| *level <= highest)
                .map(|level| Method::Zstd {
                    level,
                    has_size,
                    has_checksum,
                })
                .collect()
        }),
        _ => Vec::new(),
    };
    let flushes = flushes(name, sample);
    let with = |method: Method| {
        flushes.iter().map(move |flush| Recipe {
            method: method.clone(),
            flush: *flush,
        })
    };
    methods.into_iter().flat_map(with).collect()
}

/// Levels of deflate, those first that the frame speaks of.
fn levels(frame: &Frame) -> Vec<u8> {
    let likely: &[u8] = match frame {
        // XFL: 2 is written for the highest level, 4 for the lowest, and 0 by those who don't care too.
        Frame::Gzip(header) => match header.get(8) {
            Some(2) => &[9],
            Some(4) => &[1],
            Some(_) | None => &[],
        },
        // FLEVEL
        Frame::Zlib([_, flags]) => match flags >> 6 {
            0 => &[1],
            1 => &[5, 4, 3, 2],
            2 => &[6],
            _ => &[9, 7, 8],
        },
        Frame::Raw => &[],
    };
    let rest = LEVELS.iter().filter(|level| !likely.contains(level));
    likely.iter().chain(rest).copied().collect()
}

/// Who may have made a deflate stream of a body of so many bytes: zlib with its defaults, zlib as nginx sets it, or zlib-ng.
fn makers(size: usize) -> Vec<Maker> {
    let (mut window, mut memory) = (15_u8, 8_u8);
    let mut makers = vec![Maker::Zlib { window, memory }];
    // nginx takes a window that fits the length, and less memory by as much (`ngx_http_gzip_filter_memory`).
    while window > 9 && size < (1 << (window - 1)) - 262 {
        window -= 1;
        memory = memory.saturating_sub(1).max(1);
    }
    let fitting = Maker::Zlib { window, memory };
    if !makers.contains(&fitting) {
        makers.push(fitting);
    }
    makers.push(Maker::ZlibNg);
    makers
}

/// Whether pieces were flushed: told by the empty block that deflate ends them with, and otherwise tried.
fn flushes<P: AsRef<[u8]>>(name: &str, sample: &Sample<'_, P>) -> &'static [Flush] {
    let is_deflate = name != "br" && name != "zstd";
    let marks = memchr::memmem::find_iter(sample.wire, FLUSHED).count();
    match (is_deflate, sample.pieces.len()) {
        (_, 0) => &[Flush::None],
        (true, pieces) if marks >= pieces => &[Flush::Sync, Flush::Full, Flush::None],
        (true, _) => &[Flush::None],
        (false, 1) => &[Flush::None, Flush::Sync],
        (false, _) => &[Flush::Sync, Flush::None],
    }
}

fn frame_of(name: &str, wire: &[u8]) -> Option<Frame> {
    if name != "deflate" {
        let length = gzip_header(wire)?;
        return Some(Frame::Gzip(bytes::Bytes::copy_from_slice(
            wire.get(..length)?,
        )));
    }
    Some(match *wire {
        [first, second, ..]
            if first & 0x0f == 8 && (u16::from(first) << 8 | u16::from(second)) % 31 == 0 =>
        {
            Frame::Zlib([first, second])
        }
        _ => Frame::Raw,
    })
}

/// WBITS of RFC 7932, section 9.1.
fn brotli_window(wire: &[u8]) -> Option<u8> {
    let bits = *wire.first()?;
    if bits & 1 == 0 {
        return Some(16);
    }
    match (bits >> 1 & 7, bits >> 4 & 7) {
        (0, 0) => Some(17),
        (0, 1) => None,
        (0, low) => Some(8 + low),
        (high, _) => Some(17 + high),
    }
}

/// Whether the frame tells a size and has a checksum; RFC 8878, section 3.1.1.1.1.
fn zstd_flags(wire: &[u8]) -> Option<(bool, bool)> {
    let [0x28, 0xb5, 0x2f, 0xfd, flags, ..] = *wire else {
        return None;
    };
    Some((flags & 0b1110_0000 != 0, flags & 0b100 != 0))
}

/// What encoding a byte costs, in about the time that deflate takes for it at a middling level.
fn cost(method: &Method) -> usize {
    match method {
        Method::Deflate { maker, level, .. } => match (maker, level) {
            (Maker::ZlibNg, _) => 1,
            (Maker::Zlib { .. }, ..=6) => 2,
            (Maker::Zlib { .. }, 7..) => 4,
        },
        Method::Brotli { quality, .. } => match quality {
            0..=4 => 2,
            5..=7 => 4,
            8..=9 => 8,
            10..=u8::MAX => 100,
        },
        Method::Zstd { level, .. } => match level {
            0..=9 => 1,
            10..=15 => 4,
            16..=u8::MAX => 20,
        },
    }
}

/// 1 MiB, which is as much as a recording holds in its file.
const MAX_SIZE: usize = 1024 * 1024;

/// 4 MiB at a middling level of zlib-ng.
const MAX_WORK: usize = 4 * 1024 * 1024;

/// What it costs to begin, in bytes at a middling level.
const START: usize = 2 * 1024;

/// Levels of deflate, those first that servers are set to.
const LEVELS: [u8; 9] = [6, 9, 1, 5, 4, 2, 3, 7, 8];

/// Qualities of brotli, those first that servers are set to.
const QUALITIES: [u8; 12] = [4, 5, 6, 3, 1, 2, 0, 7, 8, 9, 11, 10];

/// From here on brotli is slow,
const SLOW_QUALITY: u8 = 10;

/// and only tried for bodies up to 64 KiB.
const SLOW_SIZE: usize = 64 * 1024;

/// Levels of zstd, those first that servers are set to.
const ZSTD_LEVELS: [u8; 19] = [
    3, 1, 2, 6, 4, 5, 7, 8, 9, 12, 10, 11, 19, 13, 14, 15, 16, 17, 18,
];

/// The empty stored block behind which a flushed deflate stream goes on.
const FLUSHED: &[u8] = &[0, 0, 0xff, 0xff];

#[cfg(test)]
mod tests;
