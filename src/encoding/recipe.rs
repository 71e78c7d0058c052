//! How an encoding was made, so that it can be made again: the method, its parameters, and when it was flushed.
//!
//! Says it and no more; the encoder does it, and the search finds it out.

use bytes::Bytes;

use super::error::EncodingError;
use super::names::{few_names, names};

/// How a body was encoded, by one method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// By what.
    pub method: Method,
    /// What was done at the end of each piece.
    pub flush: Flush,
}

/// An encoder with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// RFC 1951, in one of its frames.
    Deflate {
        /// What stands around it.
        frame: Frame,
        /// By whom: the same level gives other bytes.
        maker: Maker,
        /// 1 to 9.
        level: u8,
    },
    /// RFC 7932.
    Brotli {
        /// 0 to 11.
        quality: u8,
        /// 10 to 24, the logarithm of the window's size.
        window: u8,
    },
    /// RFC 8878.
    Zstd {
        /// 1 to 19.
        level: u8,
        /// Whether the frame says how long the body is, which the encoder must know from the start.
        has_size: bool,
        /// Whether a checksum follows.
        has_checksum: bool,
    },
}

/// A library that makes deflate streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// zlib, with which most servers encode.
    Zlib {
        /// 9 to 15, the logarithm of the window's size.
        window: u8,
        /// 1 to 9, how much memory it takes.
        memory: u8,
    },
    /// zlib-ng.
    ZlibNg,
}

/// What stands around a deflate stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// RFC 1952: its header, byte by byte, for it holds times and names.
    Gzip(Bytes),
    /// RFC 1950: its two bytes.
    Zlib([u8; 2]),
    /// Nothing.
    Raw,
}

/// What an encoder does at the end of a piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// Nothing: pieces are cut anywhere.
    #[default]
    None,
    /// It brings out all that it got.
    Sync,
    /// As `Sync`, and forgets what came before; of deflate only.
    Full,
}

impl Method {
    /// A middling one for a content encoding of this name, in lower case. `None` for an unknown name.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "gzip" | "x-gzip" => Self::Deflate {
                frame: Frame::Gzip(Bytes::from_static(&GZIP_HEADER)),
                maker: Maker::ZlibNg,
                level: MIDDLE_LEVEL,
            },
            "deflate" => Self::Deflate {
                frame: Frame::Zlib(ZLIB_HEADER),
                maker: Maker::ZlibNg,
                level: MIDDLE_LEVEL,
            },
            "br" => Self::Brotli {
                quality: MIDDLE_QUALITY,
                window: MIDDLE_WINDOW,
            },
            "zstd" => Self::Zstd {
                level: ZSTD_LEVEL,
                has_size: false,
                has_checksum: false,
            },
            _ => return None,
        })
    }

    /// Whether this is an encoding of that name.
    pub(super) fn is(&self, name: &str) -> bool {
        match self {
            Self::Deflate { frame, .. } => match frame {
                Frame::Gzip(_) => matches!(name, "gzip" | "x-gzip"),
                Frame::Zlib(_) | Frame::Raw => name == "deflate",
            },
            Self::Brotli { .. } => name == "br",
            Self::Zstd { .. } => name == "zstd",
        }
    }

    /// Whether its parameters are in the ranges that encoders take.
    pub fn is_possible(&self) -> bool {
        match self {
            Self::Deflate {
                frame,
                maker,
                level,
            } => {
                let is_made = match maker {
                    Maker::Zlib { window, memory } => {
                        (9..=15).contains(window) && (1..=9).contains(memory)
                    }
                    Maker::ZlibNg => true,
                };
                let is_framed = match frame {
                    Frame::Gzip(header) => gzip_header(header) == Some(header.len()),
                    Frame::Zlib(_) | Frame::Raw => true,
                };
                (1..=9).contains(level) && is_made && is_framed
            }
            Self::Brotli { quality, window } => *quality <= 11 && (10..=24).contains(window),
            Self::Zstd { level, .. } => (1..=19).contains(level),
        }
    }
}

impl Recipe {
    /// Whether this makes a content encoding of that value.
    pub fn makes(&self, content_encoding: &str) -> bool {
        matches!(names(content_encoding).as_slice(), [only] if self.method.is(only))
    }
}

/// Middling methods for the value of a `content-encoding`, in the order in which they are applied.
pub(super) fn methods(content_encoding: &str) -> Result<Vec<Method>, EncodingError> {
    few_names(content_encoding)?
        .into_iter()
        .map(|name| Method::of(&name).ok_or(EncodingError::Unsupported(name)))
        .collect()
}

/// The length of the header of a gzip member, names and all. `None` where it is none, or none that ends soon.
pub(super) fn gzip_header(bytes: &[u8]) -> Option<usize> {
    let [0x1f, 0x8b, 8, flags, ..] = *bytes else {
        return None;
    };
    let mut length = GZIP_HEADER.len();
    if flags & FEXTRA != 0 {
        let low = *bytes.get(length)?;
        let high = *bytes.get(length + 1)?;
        length += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for flag in [FNAME, FCOMMENT] {
        if flags & flag != 0 {
            let rest = bytes.get(length..)?;
            length += 1 + rest.iter().position(|byte| *byte == 0)?;
        }
    }
    if flags & FHCRC != 0 {
        length += 2;
    }
    (length <= bytes.len().min(MAX_GZIP_HEADER)).then_some(length)
}

/// No time, and an unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A window of 32 KiB, and the default level.
const ZLIB_HEADER: [u8; 2] = [0x78, 0x9c];

/// zlib's default.
const MIDDLE_LEVEL: u8 = 6;

/// What servers choose who encode while they answer.
const MIDDLE_QUALITY: u8 = 5;

/// The default of brotli, 4 MiB.
const MIDDLE_WINDOW: u8 = 22;

/// zstd's default.
const ZSTD_LEVEL: u8 = 3;

/// Longer than any header with a file's name in it that a server sends.
const MAX_GZIP_HEADER: usize = 512;

/// The flags of RFC 1952.
const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;
