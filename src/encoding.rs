//! Content encodings: takes them off bodies, never beyond a limit, and puts them on again as they were.
//!
//! Knows the encodings that HTTP clients send in practice: gzip, deflate (zlib or raw), br, zstd, and lists of them.

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::string_slice,
        reason = "it reads hostile bytes"
    )
)]

mod decode;
mod encode;
mod recipe;
mod search;
mod zlib;

pub use decode::{Decoder, EncodingError, decode};
pub use encode::{Encoder, Packed};
pub use recipe::{Flush, Frame, Maker, Method, Recipe};
pub use search::{Sample, search};
