//! What is done to an exchange on purpose. Pure: no socket, no clock; what a fault wants of the connection is said in words.

pub mod distribution;
pub mod kind;
pub mod position;

mod need;

pub mod script;
