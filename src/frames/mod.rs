//! Finds the frames in a stream without changing a byte of it.

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::string_slice,
        reason = "it reads hostile bytes"
    )
)]

pub mod sse;
pub mod utf8;
