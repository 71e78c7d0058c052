//! What is done to an exchange on purpose. Pure: no socket, no clock; what a fault wants of the connection is said in words.

pub mod distribution;
pub mod position;

pub mod kind;

pub mod problem;
pub mod when;

mod nature;

mod notation;
pub mod settings;

pub mod rule;

pub mod counts;

pub mod pick;

pub mod listen;

pub mod bucket;
pub mod edit;
pub mod provider;

pub mod script;
