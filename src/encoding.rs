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

mod error;
mod names;

mod decode;
mod recipe;
mod zlib;

mod encode;

mod search;

pub use decode::{Decoder, decode};
pub use encode::{Encoder, Packed};
pub use error::EncodingError;
pub use recipe::{Flush, Frame, Maker, Method, Recipe};
pub use search::{Sample, search};
