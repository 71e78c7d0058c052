//! Encodes bodies: again as they were encoded, or by the name of an encoding.

use std::fmt;
use std::io::{self, Write as _};
use std::ops::ControlFlow;

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use zstd::stream::raw::{CParameter, InBuffer, Operation as _, OutBuffer};

use super::decode::EncodingError;
use super::recipe::{Flush, Frame, Maker, Method, Recipe, methods};
use super::zlib::Zlib;

/// Encodes a body that comes in pieces.
pub struct Encoder {
    /// Innermost encoding first.
    stages: Vec<Stage>,
    flush: Flush,
}

/// A body that was encoded whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// What each piece became, where it was flushed; empty otherwise.
    pub pieces: Vec<Vec<u8>>,
    /// What came after them: all of it, where nothing was flushed.
    pub tail: Vec<u8>,
}

impl Encoder {
    /// One that does it again; `size` is how long the whole body is.
    ///
    /// # Errors
    ///
    /// `Impossible` where the library refuses.
    pub fn new(recipe: &Recipe, size: usize) -> Result<Self, EncodingError> {
        Ok(Self {
            stages: vec![Stage::new(&recipe.method, size)?],
            flush: recipe.flush,
        })
    }

    /// One for the value of a `content-encoding` header, flushed at the end of each piece or not.
    ///
    /// # Errors
    ///
    /// `Unsupported` for an unknown encoding.
    pub fn by_name(content_encoding: &str, flush: Flush) -> Result<Self, EncodingError> {
        let stages = methods(content_encoding)?
            .iter()
            .map(|method| Stage::new(method, 0))
            .collect::<Result<_, _>>()?;
        Ok(Self { stages, flush })
    }

    /// Whether there is nothing to encode.
    pub fn is_identity(&self) -> bool {
        self.stages.is_empty()
    }

    /// What can be sent when this piece is through; nothing may be.
    ///
    /// # Errors
    ///
    /// `Impossible` where the library fails.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<u8>, EncodingError> {
        self.run(piece, self.flush)
    }

    /// As `push`, for a part of a piece whose end is yet to come.
    ///
    /// # Errors
    ///
    /// As `push`.
    pub fn push_part(&mut self, part: &[u8]) -> Result<Vec<u8>, EncodingError> {
        self.run(part, Flush::None)
    }

    fn run(&mut self, bytes: &[u8], flush: Flush) -> Result<Vec<u8>, EncodingError> {
        let mut current = bytes.to_vec();
        for stage in &mut self.stages {
            let mut next = Vec::new();
            stage.run(&current, flush, &mut next)?;
            current = next;
        }
        Ok(current)
    }

    /// What was still held, and the end of the encoding.
    ///
    /// # Errors
    ///
    /// As `push`.
    pub fn finish(self) -> Result<Vec<u8>, EncodingError> {
        let mut current = Vec::new();
        for mut stage in self.stages {
            let mut next = Vec::new();
            stage.run(&current, Flush::None, &mut next)?;
            stage.finish(&mut next)?;
            current = next;
        }
        Ok(current)
    }

    /// Encodes pieces that are all there. Without `is_whole` the encoding does not come to its end.
    ///
    /// # Errors
    ///
    /// As `push`.
    pub fn pack<P: AsRef<[u8]>>(
        self,
        pieces: &[P],
        is_whole: bool,
    ) -> Result<Packed, EncodingError> {
        let mut packed = Packed::default();
        let mut current = Vec::new();
        let flush = self.flush;
        self.walk(pieces, is_whole, |bytes, is_end| {
            current.extend(bytes);
            if is_end && flush != Flush::None {
                packed.pieces.push(std::mem::take(&mut current));
            }
            ControlFlow::Continue(())
        })?;
        packed.tail = current;
        Ok(packed)
    }

    /// Encodes pieces that are all there, and shows what comes out step by step, with whether it's the end of a flushed piece.
    ///
    /// Some encoders make other bytes of the same when it comes in other parts. So what was found by trial has to be done
    /// in the same steps, and this is the only place that makes them.
    fn walk<P: AsRef<[u8]>>(
        mut self,
        pieces: &[P],
        is_whole: bool,
        mut show: impl FnMut(Vec<u8>, bool) -> ControlFlow<()>,
    ) -> Result<(), EncodingError> {
        let joined: Vec<u8>;
        let pieces: Vec<&[u8]> = if self.flush == Flush::None {
            joined = pieces.iter().flat_map(AsRef::as_ref).copied().collect();
            vec![&joined]
        } else {
            pieces.iter().map(AsRef::as_ref).collect()
        };
        for piece in pieces {
            let mut rest = piece;
            while rest.len() > STEP {
                let (now, later) = rest.split_at(STEP);
                if show(self.push_part(now)?, false).is_break() {
                    return Ok(());
                }
                rest = later;
            }
            if show(self.push(rest)?, true).is_break() {
                return Ok(());
            }
        }
        if is_whole {
            // The end of the walk is no matter to the walk.
            let _end: ControlFlow<()> = show(self.finish()?, false);
        }
        Ok(())
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("stages", &self.stages.len())
            .field("flush", &self.flush)
            .finish()
    }
}

impl Packed {
    /// How many bytes in all.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum::<usize>() + self.tail.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it.
    pub fn concat(&self) -> Vec<u8> {
        let mut whole = self.pieces.concat();
        whole.extend_from_slice(&self.tail);
        whole
    }
}

/// Whether a recipe makes exactly these bytes of these pieces. Looks no further than to the first byte that differs.
/// `spent` grows by about the bytes that it encoded for that.
pub(super) fn gives<P: AsRef<[u8]>>(
    recipe: &Recipe,
    pieces: &[P],
    wire: &[u8],
    is_whole: bool,
    spent: &mut usize,
) -> Result<bool, EncodingError> {
    let size = pieces.iter().map(|piece| piece.as_ref().len()).sum();
    let mut left = wire;
    let mut differs = false;
    Encoder::new(recipe, size)?.walk(pieces, is_whole, |bytes, _| {
        *spent = size.min(*spent + STEP);
        if let Some(rest) = left.strip_prefix(bytes.as_slice()) {
            left = rest;
            return ControlFlow::Continue(());
        }
        differs = true;
        ControlFlow::Break(())
    })?;
    Ok(!differs && left.is_empty())
}

struct Stage {
    kind: Kind,
}

enum Kind {
    Deflate(Box<Deflate>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::raw::Encoder<'static>),
}

impl Stage {
    fn new(method: &Method, size: usize) -> Result<Self, EncodingError> {
        let kind = match method {
            Method::Deflate {
                frame,
                maker,
                level,
            } => Kind::Deflate(Box::new(Deflate::new(frame, *maker, *level))),
            Method::Brotli { quality, window } => {
                let params = BrotliEncoderParams {
                    quality: i32::from(*quality),
                    lgwin: i32::from(*window),
                    ..BrotliEncoderParams::default()
                };
                let writer = CompressorWriter::with_params(Vec::new(), ROOM, &params);
                Kind::Brotli(Box::new(writer))
            }
            Method::Zstd {
                level,
                has_size,
                has_checksum,
            } => Kind::Zstd(
                zstd_encoder(*level, has_size.then_some(size as u64), *has_checksum)
                    .map_err(impossible)?,
            ),
        };
        Ok(Self { kind })
    }

    fn run(&mut self, bytes: &[u8], flush: Flush, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        match &mut self.kind {
            Kind::Deflate(deflate) => deflate.run(bytes, flush, out),
            Kind::Brotli(writer) => {
                writer.write_all(bytes).map_err(impossible)?;
                if flush != Flush::None {
                    writer.flush().map_err(impossible)?;
                }
                out.append(writer.get_mut());
                Ok(())
            }
            Kind::Zstd(encoder) => zstd_run(encoder, bytes, flush, out).map_err(impossible),
        }
    }

    fn finish(self, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        match self.kind {
            Kind::Deflate(deflate) => deflate.finish(out),
            Kind::Brotli(writer) => {
                out.extend(writer.into_inner());
                Ok(())
            }
            Kind::Zstd(mut encoder) => {
                zstd_drain(out, |room| encoder.finish(room, true)).map_err(impossible)
            }
        }
    }
}

/// Deflate with its frame.
struct Deflate {
    frame: Frame,
    has_begun: bool,
    encoder: Raw,
    crc: Crc,
    adler: Adler,
}

/// A deflate stream without a frame.
enum Raw {
    Zlib(Box<Zlib>),
    ZlibNg(Compress),
}

impl Deflate {
    fn new(frame: &Frame, maker: Maker, level: u8) -> Self {
        Self {
            frame: frame.clone(),
            has_begun: false,
            encoder: match maker {
                Maker::Zlib { window, memory } => {
                    Raw::Zlib(Box::new(Zlib::new(level, window, memory)))
                }
                Maker::ZlibNg => {
                    Raw::ZlibNg(Compress::new(Compression::new(u32::from(level)), false))
                }
            },
            crc: Crc::new(),
            adler: Adler::default(),
        }
    }

    fn run(&mut self, bytes: &[u8], flush: Flush, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        self.begin(out);
        match self.frame {
            Frame::Gzip(_) => self.crc.update(bytes),
            Frame::Zlib(_) => self.adler.update(bytes),
            Frame::Raw => {}
        }
        match &mut self.encoder {
            Raw::Zlib(zlib) => {
                zlib.run(bytes, flush, out);
                Ok(())
            }
            Raw::ZlibNg(encoder) => {
                let flush = match flush {
                    Flush::None => FlushCompress::None,
                    Flush::Sync => FlushCompress::Sync,
                    Flush::Full => FlushCompress::Full,
                };
                zlib_ng(encoder, bytes, flush, out)
            }
        }
    }

    fn finish(mut self, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        self.begin(out);
        match &mut self.encoder {
            Raw::Zlib(zlib) => zlib.finish(out),
            Raw::ZlibNg(encoder) => zlib_ng(encoder, b"", FlushCompress::Finish, out)?,
        }
        match self.frame {
            Frame::Gzip(_) => {
                out.extend(self.crc.sum().to_le_bytes());
                out.extend(self.crc.amount().to_le_bytes());
            }
            Frame::Zlib(_) => out.extend(self.adler.sum().to_be_bytes()),
            Frame::Raw => {}
        }
        Ok(())
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            match &self.frame {
                Frame::Gzip(header) => out.extend_from_slice(header),
                Frame::Zlib(header) => out.extend_from_slice(header),
                Frame::Raw => {}
            }
        }
    }
}

fn zlib_ng(
    encoder: &mut Compress,
    bytes: &[u8],
    flush: FlushCompress,
    out: &mut Vec<u8>,
) -> Result<(), EncodingError> {
    let mut rest = bytes;
    if rest.is_empty() && flush == FlushCompress::None {
        return Ok(());
    }
    loop {
        out.reserve(ROOM);
        let (room, before) = (out.capacity() - out.len(), encoder.total_in());
        let written = out.len();
        let status = encoder.compress_vec(rest, out, flush).map_err(impossible)?;
        let read = usize::try_from(encoder.total_in() - before).unwrap_or(rest.len());
        rest = rest.get(read..).unwrap_or_default();
        let is_full = out.len() - written == room;
        // Room that is left over says that nothing more waits inside.
        if status == Status::StreamEnd || (rest.is_empty() && !is_full) {
            return Ok(());
        }
    }
}

/// RFC 1950's checksum.
#[derive(Clone, Copy)]
struct Adler {
    low: u32,
    high: u32,
}

impl Default for Adler {
    fn default() -> Self {
        Self { low: 1, high: 0 }
    }
}

impl Adler {
    fn update(&mut self, bytes: &[u8]) {
        for block in bytes.chunks(ADLER_BLOCK) {
            for byte in block {
                self.low += u32::from(*byte);
                self.high += self.low;
            }
            self.low %= ADLER_MODULUS;
            self.high %= ADLER_MODULUS;
        }
    }

    fn sum(self) -> u32 {
        self.high << 16 | self.low
    }
}

fn zstd_encoder(
    level: u8,
    size: Option<u64>,
    has_checksum: bool,
) -> io::Result<zstd::stream::raw::Encoder<'static>> {
    let mut encoder = zstd::stream::raw::Encoder::new(i32::from(level))?;
    encoder.set_parameter(CParameter::ContentSizeFlag(size.is_some()))?;
    encoder.set_parameter(CParameter::ChecksumFlag(has_checksum))?;
    encoder.set_pledged_src_size(size)?;
    Ok(encoder)
}

fn zstd_run(
    encoder: &mut zstd::stream::raw::Encoder<'static>,
    bytes: &[u8],
    flush: Flush,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let mut input = InBuffer::around(bytes);
    let mut room = vec![0; ROOM];
    while input.pos() < bytes.len() {
        let mut output = OutBuffer::around(room.as_mut_slice());
        encoder.run(&mut input, &mut output)?;
        out.extend_from_slice(output.as_slice());
    }
    if flush == Flush::None {
        return Ok(());
    }
    zstd_drain(out, |room| encoder.flush(room))
}

/// Until nothing is left inside.
fn zstd_drain(
    out: &mut Vec<u8>,
    mut step: impl FnMut(&mut OutBuffer<'_, [u8]>) -> io::Result<usize>,
) -> io::Result<()> {
    let mut room = vec![0; ROOM];
    loop {
        let mut output = OutBuffer::around(room.as_mut_slice());
        let left = step(&mut output)?;
        out.extend_from_slice(output.as_slice());
        if left == 0 {
            return Ok(());
        }
    }
}

fn impossible(error: impl fmt::Display) -> EncodingError {
    EncodingError::Impossible(error.to_string())
}

/// How much comes out of a library at a time.
const ROOM: usize = 32 * 1024;

/// How much is encoded at a time, and looked at.
const STEP: usize = 16 * 1024;

/// So many bytes can be added before a sum of 32 bits overflows (zlib's `NMAX`).
const ADLER_BLOCK: usize = 5552;

/// The largest prime below 2^16.
const ADLER_MODULUS: u32 = 65_521;

#[cfg(test)]
pub(in crate::encoding) mod tests;
