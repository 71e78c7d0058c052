//! Times that are drawn: what may be asked for.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::units::Span;

/// Times to draw from: `"200ms"`, or one of the shapes below.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Distribution {
    /// Always the same.
    Fixed(Span),
    /// Each time of a range equally often.
    Uniform {
        /// At least so long.
        min: Span,
        /// At most so long. `min <= max`
        max: Span,
    },
    // normal, lognormal, exponential, pareto, empirical and mixture follow.
}

impl Distribution {
    /// A time.
    pub fn sample(&self, _chance: &mut rand_chacha::ChaCha8Rng) -> std::time::Duration {
        match self {
            Self::Fixed(span) => span.0,
            Self::Uniform { min, .. } => min.0,
        }
    }
}
