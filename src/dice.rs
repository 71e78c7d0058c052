//! All chance: one draw decides, and everything that follows from it comes from the draw's own stream.
//!
//! A draw is a function of seed, rule, key and attempt, so it does not depend on what else is going on: the same seed,
//! the same configuration and the same requests give the same multiset of decisions at any concurrency. Nothing here
//! ever changes for a given input, also not from one version to the next: both steps are named standards (BLAKE3 in its
//! key derivation mode, `ChaCha8`), and a test holds known values.

use std::fmt;
use std::str::FromStr;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The draw of a rule (or of a group of rules) for one request.
///
/// `rule` is what tells rules apart over all routes; `attempt` counts how often this key came before, from 0.
pub fn draw(seed: u64, rule: &str, key: &DrawKey, attempt: u64) -> Draw {
    let mut hasher = blake3::Hasher::new_derive_key("rehearsal draw v1");
    hasher.update(&seed.to_le_bytes());
    hasher.update(&attempt.to_le_bytes());
    hasher.update(&key.0);
    // Last and alone of variable length, so that no two inputs are the same bytes.
    hasher.update(rule.as_bytes());
    let mut value = [0; 8];
    hasher.finalize_xof().fill(&mut value);
    Draw(u64::from_le_bytes(value))
}

/// 64 random bits that decide one thing. Its printed form can be read back, so a logged draw can be followed again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Draw(u64);

impl Draw {
    /// A draw that nobody drew: for what must be the same for ever, and for tests.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Evenly spread over `0 <= unit < 1`, in steps of 2^-53. So `unit() < p` never holds for 0 and always for 1.
    pub fn unit(self) -> f64 {
        to_unit(self.0)
    }

    /// As it is logged: 16 hexadecimal digits, which [`Draw::from_str`] reads.
    pub fn id(self) -> String {
        format!("{:016x}", self.0)
    }

    /// For what follows from this draw: times, places, bits to flip. The same each time it is asked for.
    pub fn stream(self) -> Stream {
        let seed = blake3::derive_key("rehearsal stream v1", &self.0.to_le_bytes());
        Stream(ChaCha8Rng::from_seed(seed))
    }
}

impl fmt::Display for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Draw({self})")
    }
}

impl FromStr for Draw {
    type Err = DrawError;

    fn from_str(text: &str) -> Result<Self, DrawError> {
        let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id
            .then(|| u64::from_str_radix(text, 16).ok())
            .flatten()
            .map(Self)
            .ok_or_else(|| DrawError(text.chars().take(64).collect()))
    }
}

/// A text that names no draw.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a draw, expected 16 hexadecimal digits such as `09af3c5512de8b71`")]
pub struct DrawError(String);

/// What makes two requests the same for chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DrawKey([u8; 16]);

impl DrawKey {
    /// The key of a request.
    pub fn of(parts: &DrawParts<'_>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("rehearsal draw key v1");
        let mut add = |part: Option<&[u8]>| {
            // What is not there differs from what is empty, and no part can pass for the end of another.
            let len = part.map_or(u64::MAX, |part| part.len() as u64);
            hasher.update(&len.to_le_bytes());
            hasher.update(part.unwrap_or_default());
        };
        add(Some(parts.method.as_bytes()));
        add(Some(parts.path.as_bytes()));
        add(parts.query.map(str::as_bytes));
        add(Some(parts.client.as_bytes()));
        add(parts.body.as_ref().map(|body| &body.0[..]));
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        Self(key)
    }
}

/// What goes into a [`DrawKey`].
#[derive(Clone, Copy, Debug)]
pub struct DrawParts<'a> {
    /// As sent.
    pub method: &'a str,
    /// As sent.
    pub path: &'a str,
    /// As sent, without the `?`.
    pub query: Option<&'a str>,
    /// Who asks.
    pub client: &'a str,
    /// Of the body, only where the route has it in memory anyway.
    pub body: Option<BodyHash>,
}

/// What stands for a request's body in a [`DrawKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BodyHash([u8; 16]);

impl BodyHash {
    /// The hash of these bytes.
    pub fn of(body: &[u8]) -> Self {
        let mut hash = [0; 16];
        blake3::Hasher::new_derive_key("rehearsal draw body v1")
            .update(body)
            .finalize_xof()
            .fill(&mut hash);
        Self(hash)
    }
}

/// Random numbers that follow from one draw, always the same ones in the same order.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Evenly spread over `0 <= unit < 1`.
    pub fn unit(&mut self) -> f64 {
        to_unit(self.bits())
    }

    /// Evenly spread over `0 < unit < 1`: for formulas that have no value at the ends.
    pub fn open_unit(&mut self) -> f64 {
        // The middles of 2^52 equal parts: with one bit more the last middle would be rounded to 1.
        #[expect(clippy::cast_precision_loss, reason = "52 bits fit into a float")]
        let part = (self.bits() >> 12) as f64;
        (part + 0.5) / TWO_POW_52
    }

    /// Evenly spread over `0 <= number < bound`; 0 where the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // Numbers from the incomplete last round would make the small results more likely; they are drawn again.
        let rounds_end = u64::MAX - u64::MAX % bound;
        loop {
            let bits = self.bits();
            if bits < rounds_end {
                return bits % bound;
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "53 bits fit into a float")]
fn to_unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / TWO_POW_53
}

const TWO_POW_52: f64 = 4_503_599_627_370_496.0;
const TWO_POW_53: f64 = 9_007_199_254_740_992.0;
