//! `rehearsal` stands in front of HTTP APIs, LLM streaming APIs above all, and records, replays, fakes and breaks them.
//!
//! The modules stand on floors; one may use only lower floors, or what stands before it on its own floor
//! (`tests/integration/tidy.rs` checks it). Whatever the source of an answer, it becomes *a head, then timed chunks*,
//! and passes the same stages to the client.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

// Blank lines keep the formatter from sorting what stands in reading order.

// Floor 1: words.
pub mod dice;
pub mod message;
pub mod text;
pub mod units;

// Floor 2: mechanisms, pure: no I/O and no clock.
pub mod mode;
pub mod origin;
pub mod route;

pub mod by_name;
pub mod encoding;
pub mod json;
pub mod lru;

pub mod client;
pub mod frames;
pub mod tokens;

pub mod cue;
pub mod dialect;

pub mod fault;

pub mod key;

pub mod sanitize;

pub mod explain;
pub mod shape;
pub mod synth;

// Floor 3: memory.
pub mod cassette;

// Floor 4: decisions.
pub mod certificate;
pub mod link;

pub mod config;
pub mod limits;

pub mod board;

pub mod plan;

pub mod state;

// Floor 5: flow.
pub mod alarm;

pub mod call;
mod socket;

pub mod conn;
mod dial;
mod resolve;
mod wire;

mod pool;
pub mod recorder;

mod reader;

pub mod upstream;

pub mod source;

pub mod pump;

pub mod refusal;

mod arm;

pub mod exchange;

pub mod tunnel;

// Floor 6: edges.
mod gate;

pub mod proxy;

mod h2;

pub mod server;

pub mod handover;

pub mod admin;

// Floor 7: command line.
pub mod cli;
