//! `rehearsal` stands in front of HTTP APIs, LLM streaming APIs above all, and records, replays, fakes and breaks them.
//!
//! The modules stand on floors; one may use only lower floors, or what stands before it on its own floor
//! (`tests/integration/tidy.rs` checks it). Whatever the source of an answer, it becomes *a head, then timed chunks*,
//! and passes the same stages to the client.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

// Floor 1: words.
pub mod message;
pub mod units;

// Floor 2: mechanisms, pure: no I/O and no clock.
pub mod client;
pub mod encoding;
pub mod explain;
pub mod frames;
pub mod json;
pub mod key;
pub mod lru;
pub mod mode;
pub mod origin;
pub mod route;
pub mod sanitize;
pub mod shape;
pub mod synth;

// Floor 3: memory.
pub mod cassette;

// Floor 4: decisions.
pub mod config;
pub mod limits;
pub mod plan;
pub mod state;

// Floor 5: flow.
pub mod exchange;
pub mod pump;
pub mod recorder;
pub mod source;
pub mod tunnel;
pub mod upstream;

// Floor 6: edges.
pub mod conn;
pub mod proxy;
pub mod server;

// Floor 7: command line.
pub mod cli;
