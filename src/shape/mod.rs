//! How an answer's chunks are laid out in time and in size on their way to the client.

pub mod fit;
pub mod meter;
pub mod pace;
pub mod pacer;
pub mod profile;
pub mod rechunk;
pub mod schedule;
mod token_pace;
