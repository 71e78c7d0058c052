//! Takes content encodings off bodies, never beyond a limit.

use std::io::{self, Write};

use zstd::stream::raw::{DParameter, Operation as _};

use super::error::EncodingError;
use super::names::few_names;

/// Decodes a whole body by the value of its `content-encoding`, up to `limit` decoded bytes.
///
/// # Errors
///
/// `Unsupported` and `Broken` name the encoding; `TooLarge` as soon as `limit` is passed, so that a small bomb stays
/// small.
pub fn decode(content_encoding: &str, body: &[u8], limit: usize) -> Result<Vec<u8>, EncodingError> {
    let mut decoder = Decoder::new(content_encoding, limit)?;
    let mut decoded = decoder.push(body)?;
    decoded.extend_from_slice(&decoder.finish()?);
    Ok(decoded)
}

/// Decodes a body that comes in pieces.
pub struct Decoder {
    /// Outermost encoding first. Empty for identity.
    stages: Vec<Stage>,
    /// How many bytes may still come out.
    left: usize,
    limit: usize,
}

impl Decoder {
    /// A decoder for the value of a `content-encoding` header; `limit` bounds all that comes out of it.
    ///
    /// # Errors
    ///
    /// `Unsupported` for an unknown encoding, and for a list of more than four.
    pub fn new(content_encoding: &str, limit: usize) -> Result<Self, EncodingError> {
        let stages = few_names(content_encoding)?
            .iter()
            // The encodings are listed in the order in which they were applied.
            .rev()
            .map(|name| Stage::new(name, limit))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            stages,
            left: limit,
            limit,
        })
    }

    /// The same, with a bound on what comes out at once: a few bytes may stand for gigabytes.
    #[must_use]
    pub fn at_once(mut self, most: usize) -> Self {
        for stage in &mut self.stages {
            stage.sink().most = most;
        }
        self
    }

    /// Whether there is nothing to decode.
    pub fn is_identity(&self) -> bool {
        self.stages.is_empty()
    }

    /// What can be decoded with these bytes.
    ///
    /// # Errors
    ///
    /// `Broken` or `TooLarge`; nothing useful comes after an error.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, EncodingError> {
        let mut current = bytes.to_vec();
        for stage in &mut self.stages {
            current = stage.push(&current, self.limit)?;
        }
        self.count(current)
    }

    /// What was still held; tells whether the encoding came to its end.
    ///
    /// # Errors
    ///
    /// `Broken` where the body ends early.
    pub fn finish(mut self) -> Result<Vec<u8>, EncodingError> {
        let mut current = Vec::new();
        let stages = std::mem::take(&mut self.stages);
        for mut stage in stages {
            let mut next = stage.push(&current, self.limit)?;
            next.extend_from_slice(&stage.finish()?);
            current = next;
        }
        self.count(current)
    }

    fn count(&mut self, decoded: Vec<u8>) -> Result<Vec<u8>, EncodingError> {
        match self.left.checked_sub(decoded.len()) {
            Some(left) => {
                self.left = left;
                Ok(decoded)
            }
            None => Err(EncodingError::TooLarge(self.limit)),
        }
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.stages.iter().map(|stage| &stage.name).collect();
        f.debug_struct("Decoder")
            .field("stages", &names)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

struct Stage {
    name: String,
    kind: Kind,
}

enum Kind {
    Gzip(flate2::write::MultiGzDecoder<Sink>),
    /// Zlib or raw: its first two bytes tell.
    Deflate(Vec<u8>, Sink),
    Zlib(flate2::write::ZlibDecoder<Sink>),
    Raw(flate2::write::DeflateDecoder<Sink>),
    Brotli(Box<brotli::DecompressorWriter<Sink>>),
    Zstd(Zstd),
}

impl Stage {
    fn new(name: &str, limit: usize) -> Result<Self, EncodingError> {
        let sink = Sink::new(limit);
        let kind = match name {
            "gzip" | "x-gzip" => Kind::Gzip(flate2::write::MultiGzDecoder::new(sink)),
            "deflate" => Kind::Deflate(Vec::new(), sink),
            "br" => Kind::Brotli(Box::new(brotli::DecompressorWriter::new(sink, 4096))),
            "zstd" => {
                Kind::Zstd(Zstd::new(sink).map_err(|_| EncodingError::Broken(name.to_owned()))?)
            }
            _ => return Err(EncodingError::Unsupported(name.to_owned())),
        };
        Ok(Self {
            name: name.to_owned(),
            kind,
        })
    }

    fn push(&mut self, bytes: &[u8], limit: usize) -> Result<Vec<u8>, EncodingError> {
        if let Kind::Deflate(head, _) = &mut self.kind {
            head.extend_from_slice(bytes);
            if head.len() < 2 {
                return Ok(Vec::new());
            }
            let head = std::mem::take(head);
            self.choose_deflate(&head, limit);
            return self.write(&head, limit);
        }
        self.write(bytes, limit)
    }

    /// RFC 9110 says zlib, but some senders leave the zlib header out.
    fn choose_deflate(&mut self, head: &[u8], limit: usize) {
        let is_zlib = match head {
            [first, second, ..] => {
                first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)) % 31 == 0
            }
            _ => false,
        };
        let sink = Sink {
            most: self.sink().most,
            ..Sink::new(limit)
        };
        self.kind = if is_zlib {
            Kind::Zlib(flate2::write::ZlibDecoder::new(sink))
        } else {
            Kind::Raw(flate2::write::DeflateDecoder::new(sink))
        };
    }

    fn write(&mut self, bytes: &[u8], limit: usize) -> Result<Vec<u8>, EncodingError> {
        let result = match &mut self.kind {
            Kind::Gzip(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Kind::Deflate(..) => Ok(()),
            Kind::Zlib(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Kind::Raw(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Kind::Brotli(decoder) => decoder.write_all(bytes).and_then(|()| drain(decoder)),
            Kind::Zstd(decoder) => decoder.decode(bytes),
        };
        self.taken(result.is_ok(), limit)
    }

    fn finish(&mut self) -> Result<Vec<u8>, EncodingError> {
        let limit = self.sink().limit;
        let result = match &mut self.kind {
            Kind::Gzip(decoder) => decoder.try_finish(),
            // An empty body, or one byte that is no deflate.
            Kind::Deflate(head, _) if head.is_empty() => Ok(()),
            Kind::Deflate(..) => Err(io::ErrorKind::UnexpectedEof.into()),
            Kind::Zlib(decoder) => decoder.try_finish(),
            Kind::Raw(decoder) => decoder.try_finish(),
            Kind::Brotli(decoder) => decoder.close(),
            Kind::Zstd(decoder) if decoder.in_frame => Err(io::ErrorKind::UnexpectedEof.into()),
            Kind::Zstd(_) => Ok(()),
        };
        self.taken(result.is_ok(), limit)
    }

    fn taken(&mut self, is_valid: bool, limit: usize) -> Result<Vec<u8>, EncodingError> {
        let name = self.name.clone();
        let sink = self.sink();
        if sink.overflow {
            return Err(EncodingError::TooLarge(limit));
        }
        let decoded = std::mem::take(&mut sink.bytes);
        if is_valid {
            Ok(decoded)
        } else {
            Err(EncodingError::Broken(name))
        }
    }

    fn sink(&mut self) -> &mut Sink {
        match &mut self.kind {
            Kind::Gzip(decoder) => decoder.get_mut(),
            Kind::Deflate(_, sink) => sink,
            Kind::Zlib(decoder) => decoder.get_mut(),
            Kind::Raw(decoder) => decoder.get_mut(),
            Kind::Brotli(decoder) => decoder.get_mut(),
            Kind::Zstd(decoder) => &mut decoder.sink,
        }
    }
}

/// Brings out what the decoder could say already: it keeps what doesn't fit into its buffer until it's asked again.
fn drain(decoder: &mut brotli::DecompressorWriter<Sink>) -> io::Result<()> {
    loop {
        let before = decoder.get_ref().written;
        // What it takes of nothing tells nothing.
        let _taken: usize = decoder.write(&[])?;
        if decoder.get_ref().written == before {
            return Ok(());
        }
    }
}

/// The decoder of the library under its writer, which does not tell whether the last frame came to its end.
struct Zstd {
    decoder: zstd::stream::raw::Decoder<'static>,
    in_frame: bool,
    sink: Sink,
}

impl Zstd {
    fn new(sink: Sink) -> io::Result<Self> {
        let mut decoder = zstd::stream::raw::Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
        Ok(Self {
            decoder,
            in_frame: false,
            sink,
        })
    }

    fn decode(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut room = vec![0; ZSTD_STEP];
        let mut rest = bytes;
        loop {
            let status = self.decoder.run_on_buffers(rest, &mut room)?;
            rest = rest.get(status.bytes_read..).unwrap_or_default();
            let decoded = room.get(..status.bytes_written).unwrap_or_default();
            self.sink.write_all(decoded)?;
            if status.bytes_read > 0 || status.bytes_written > 0 {
                self.in_frame = status.remaining != 0;
            }
            // A full buffer may mean that there is more to come without more bytes.
            if rest.is_empty() && status.bytes_written < ZSTD_STEP {
                return Ok(());
            }
            if status.bytes_read == 0 && status.bytes_written == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}

/// Collects what a decoder writes, and refuses to grow beyond its limit.
struct Sink {
    bytes: Vec<u8>,
    written: usize,
    limit: usize,
    /// How many bytes it may hold.
    most: usize,
    overflow: bool,
}

impl Sink {
    fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            written: 0,
            limit,
            most: usize::MAX,
            overflow: false,
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.written.saturating_add(bytes.len());
        if written > self.limit || self.bytes.len().saturating_add(bytes.len()) > self.most {
            self.overflow = true;
            return Err(io::Error::other("over the limit"));
        }
        self.written = written;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How much is decoded at a time; a block of zstd is at most 128 KiB.
const ZSTD_STEP: usize = 32 * 1024;

/// 8 MiB, the window that RFC 9659 allows for HTTP.
const ZSTD_WINDOW_LOG: u32 = 23;

#[cfg(test)]
mod tests;
