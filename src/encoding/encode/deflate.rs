//! Deflate in its frames: gzip, zlib's, and none.

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::{ROOM, impossible};
use crate::encoding::error::EncodingError;
use crate::encoding::recipe::{Flush, Frame, Maker};
use crate::encoding::zlib::Zlib;

/// Deflate with its frame.
pub(super) struct Deflate {
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
    pub(super) fn new(frame: &Frame, maker: Maker, level: u8) -> Self {
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

    pub(super) fn run(
        &mut self,
        bytes: &[u8],
        flush: Flush,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodingError> {
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

    pub(super) fn finish(mut self, out: &mut Vec<u8>) -> Result<(), EncodingError> {
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

/// So many bytes can be added before a sum of 32 bits overflows (zlib's `NMAX`).
const ADLER_BLOCK: usize = 5552;

/// The largest prime below 2^16.
const ADLER_MODULUS: u32 = 65_521;
