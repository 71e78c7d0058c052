//! A fault that was armed, kept so that it can be explained and drawn again.

use std::sync::Arc;

use super::live::{Live, Name};
use crate::dice::{Draw, DrawKey, draw};
use crate::fault::pick::drawn_as;
use crate::fault::rule::Chance;

/// A fault that was armed, as it can be explained later. Put into words only when somebody asks.
#[derive(Clone, Debug)]
pub struct Injection {
    /// Which rule.
    pub live: Arc<Live>,
    /// The kind of fault, in the word of the config.
    pub kind: &'static str,
    /// The seed of the config.
    pub seed: u64,
    /// What the draw was made for: method and path, without a secret.
    pub request: String,
    /// The key of the request, as the draw takes it.
    pub key: DrawKey,
    /// Which occurrence of that key it was, from 0 on.
    pub attempt: u64,
    /// What was drawn.
    pub draw: Draw,
    /// Against which it was held.
    pub chance: Chance,
}

impl Injection {
    /// What the header of the answer and the log name it by.
    pub fn id(&self) -> String {
        self.draw.id()
    }

    /// The name under which it was drawn: that of the rule, or of its group.
    pub fn drawn_as(&self) -> String {
        let Name { route, rule } = &self.live.name;
        drawn_as(&format!("{route}/{rule}"), &self.chance)
    }

    /// What the draw had to fall below or into, from 0 to 1.
    pub fn probability(&self) -> String {
        match &self.chance {
            Chance::Alone(probability) => probability.to_string(),
            Chance::Slice { group, from, to } => format!("{from} to {to} of group {group}"),
        }
    }

    /// The draw, made again from what it was made from.
    pub fn draw_again(&self) -> Draw {
        draw(self.seed, &self.drawn_as(), &self.key, self.attempt)
    }
}
