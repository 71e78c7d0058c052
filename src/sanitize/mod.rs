//! Takes out what must never be written: secrets above all.

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::string_slice,
        reason = "it reads hostile bytes"
    )
)]

mod echo;
mod lane;
mod members;
pub mod redact;
mod secrets;
mod spellings;
