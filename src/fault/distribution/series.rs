//! Times that hang together: each one resembles the one before.

use std::time::Duration;

use super::{Distribution, curve, to_duration};
use crate::dice::Stream;

/// Times one after the other, each of which resembles the one before as much as is asked for.
///
/// Without correlation they are independent. Each single one is distributed as the distribution says in any case.
#[derive(Clone, Debug)]
pub struct Series {
    of: Distribution,
    correlation: f64,
    /// The last time, as its place on the bell curve. `None` before the first one.
    last: Option<f64>,
}

impl Series {
    /// `-1 < correlation < 1`; anything else counts as none.
    pub fn new(of: Distribution, correlation: f64) -> Self {
        let correlation = if correlation.abs() < 1.0 {
            correlation
        } else {
            0.0
        };
        Self {
            of,
            correlation,
            last: None,
        }
    }

    /// The next time.
    pub fn next(&mut self, stream: &mut Stream) -> Duration {
        if self.correlation == 0.0 {
            return self.of.sample(stream);
        }
        let (correlation, last) = (self.correlation, self.last);
        let mut place = 0.0;
        // Steps on the bell curve keep its shape if they shrink the old place as much as they add new chance.
        let mut unit = |stream: &mut Stream| {
            let news = curve::normal_quantile(stream.open_unit());
            place = last.map_or(news, |last| {
                correlation * last + (1.0 - correlation * correlation).sqrt() * news
            });
            curve::normal_share(place)
        };
        let time = self.of.draw(&mut unit, stream);
        self.last = Some(place);
        to_duration(time)
    }
}
