//! Content encodings: takes them off bodies, never beyond a limit.
//!
//! Knows the encodings that HTTP clients send in practice: gzip, deflate (zlib or raw), br, zstd, and lists of them.

mod decode;

pub use decode::{Decoder, EncodingError, decode};
