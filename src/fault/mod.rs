//! What is done to an exchange on purpose. Pure: no socket, no clock; what a fault wants of the connection is said in words.

pub mod bucket;
pub mod distribution;
pub mod edit;
pub mod kind;
pub mod position;
pub mod provider;
