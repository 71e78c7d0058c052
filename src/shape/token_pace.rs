//! Times to draw for each token, as they are written in the config.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::fault::distribution::Distribution;

/// Times to draw for each token.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenPace {
    /// From the end of the request to the first token.
    pub ttft: Distribution,
    /// From one token to the next, on absolute deadlines.
    pub gap: Distribution,
}
