//! How an answer's chunks are laid out in time and in size on their way to the client.

pub mod pace;
pub mod rechunk;
