//! A fault that was armed, kept so that it can be explained and drawn again.

use super::live::Name;
use crate::dice::{Draw, DrawKey, draw};

/// A fault that was armed, as it can be explained later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// What the header of the answer and the log name it by.
    pub id: String,
    /// Which rule.
    pub name: Name,
    /// The kind of fault, in the words of the config.
    pub kind: String,
    /// The seed of the config.
    pub seed: u64,
    /// What the draw was made for: method, path, client and the like, without a secret.
    pub key: String,
    /// The name under which it was drawn: that of the rule, or of its group.
    pub drawn_as: String,
    /// The key as the draw takes it.
    pub key_hash: DrawKey,
    /// Which occurrence of that key it was, from 0 on.
    pub attempt: u64,
    /// What was drawn, from 0 to 1.
    pub drawn: String,
    /// Against which it was held, from 0 to 1.
    pub probability: String,
}

impl Injection {
    /// The draw, made again from what it was made from.
    pub fn draw_again(&self) -> Draw {
        draw(self.seed, &self.drawn_as, &self.key_hash, self.attempt)
    }
}
