//! Encodes bodies: again as they were encoded, or by the name of an encoding.

use std::fmt;
use std::io::Write as _;
use std::ops::ControlFlow;

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;

use super::error::EncodingError;
use super::recipe::{Flush, Method, Recipe, methods};

use self::zstd::Zstd;
use deflate::Deflate;

mod deflate;
mod zstd;

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
    Zstd(Zstd),
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
                Zstd::new(*level, has_size.then_some(size as u64), *has_checksum)
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
            Kind::Zstd(zstd) => zstd.run(bytes, flush, out).map_err(impossible),
        }
    }

    fn finish(self, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        match self.kind {
            Kind::Deflate(deflate) => deflate.finish(out),
            Kind::Brotli(writer) => {
                out.extend(writer.into_inner());
                Ok(())
            }
            Kind::Zstd(zstd) => zstd.finish(out).map_err(impossible),
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

#[cfg(test)]
pub(in crate::encoding) mod tests;
