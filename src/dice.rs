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

impl fmt::Display for DrawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const PARTS: DrawParts<'_> = DrawParts {
        method: "POST",
        path: "/v1/chat/completions",
        query: None,
        client: "ci-1",
        body: None,
    };

    #[test]
    fn a_draw_never_changes_from_version_to_version() {
        // Computed from the same bytes by other programs' BLAKE3 and ChaCha8.
        let one = draw(7, "chat/cut", &DrawKey::of(&PARTS), 0);
        assert_eq!(one.id(), "308729d3f5ce7244");
        let mut stream = one.stream();
        assert_eq!(
            (stream.bits(), stream.below(100)),
            (6_499_356_681_875_361_203, 37)
        );
    }

    #[test]
    fn everything_that_goes_into_a_draw_changes_it() {
        let key = DrawKey::of(&PARTS);
        let mut keys = vec![key];
        let body = |text: &str| Some(BodyHash::of(text.as_bytes()));
        for parts in [
            DrawParts {
                method: "POS",
                path: "T/v1/chat/completions",
                ..PARTS
            },
            DrawParts {
                query: Some(""),
                ..PARTS
            },
            DrawParts {
                query: Some("a=1"),
                ..PARTS
            },
            DrawParts {
                client: "ci-2",
                ..PARTS
            },
            DrawParts {
                client: "",
                query: Some("ci-1"),
                ..PARTS
            },
            DrawParts {
                body: body(""),
                ..PARTS
            },
            DrawParts {
                body: body("{}"),
                ..PARTS
            },
        ] {
            keys.push(DrawKey::of(&parts));
        }
        let mut draws: Vec<_> = keys.iter().map(|key| draw(7, "chat/cut", key, 0)).collect();
        draws.push(draw(8, "chat/cut", &key, 0));
        draws.push(draw(7, "chat/cut", &key, 1));
        draws.push(draw(7, "chat/cu", &key, 0));
        let different: HashSet<_> = draws.iter().collect();
        assert_eq!(different.len(), draws.len());
    }

    #[test]
    fn a_logged_draw_is_read_back() {
        for draw in [Draw(0), Draw(u64::MAX), Draw(0x09af)] {
            assert_eq!(draw.id().parse(), Ok(draw));
            assert_eq!(draw.to_string(), draw.id());
        }
        for text in [
            "",
            "+123456789abcdef",
            "09af",
            "09af3c5512de8b710",
            "zzzzzzzzzzzzzzzz",
        ] {
            assert!(text.parse::<Draw>().is_err(), "{text}");
        }
        assert_eq!(
            "x".parse::<Draw>().unwrap_err().to_string(),
            "`x` is not a draw, expected 16 hexadecimal digits such as `09af3c5512de8b71`"
        );
    }

    #[test]
    fn a_unit_is_never_1_and_an_open_one_never_0_either() {
        assert!(Draw(u64::MAX).unit() < 1.0);
        assert_eq!(Draw(0).unit().to_bits(), 0);
        let mut stream = Draw(1).stream();
        for _ in 0..10_000 {
            let unit = stream.open_unit();
            assert!(0.0 < unit && unit < 1.0);
        }
        // The largest of them.
        const { assert!((TWO_POW_52 - 1.0 + 0.5) / TWO_POW_52 < 1.0) };
    }

    #[test]
    fn numbers_below_a_bound_come_equally_often() {
        let mut stream = Draw(3).stream();
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            counts[usize::try_from(stream.below(6)).unwrap()] += 1;
        }
        // Six times the standard deviation of one count, √(60,000 · 1/6 · 5/6) = 91.
        assert!(
            counts.iter().all(|count| count.abs_diff(10_000) < 550),
            "{counts:?}"
        );
        assert_eq!((stream.below(0), stream.below(1)), (0, 0));
    }
}
