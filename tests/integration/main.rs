//! Tests of the whole library over real sockets, and of the house rules.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod examples;
mod flow;
mod h2peer;
mod http2_up;
mod kill;
mod stage;
mod tidy;
mod tls_up;
