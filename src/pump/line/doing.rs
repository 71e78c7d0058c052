//! What takes its time before the next cue: a silence, with noise or without, or a head that goes out in drips.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Line;
use super::due::FAR;
use crate::cue::{Drip, Silence};
use crate::pump::{Client, Left, Tally};
use crate::source::EARLY;

/// What takes its time.
pub(in crate::pump) enum Doing {
    Silence {
        until: Option<Instant>,
        noise: Option<Noise>,
        fault: Option<usize>,
    },
    Drip {
        drip: Drip,
        next: Instant,
        fault: Option<usize>,
    },
}

/// What is sent in a silence.
pub(in crate::pump) struct Noise {
    bytes: Bytes,
    every: Duration,
    next: Instant,
}

impl Doing {
    pub(super) fn fault(&self) -> Option<usize> {
        match self {
            Self::Silence { fault, .. } | Self::Drip { fault, .. } => *fault,
        }
    }

    /// When there is something to do; never, for an endless silence without noise.
    pub(super) fn due(&self) -> Instant {
        match self {
            Self::Silence { until, noise, .. } => {
                let noise = noise.as_ref().map(|noise| noise.next);
                until
                    .iter()
                    .chain(&noise)
                    .min()
                    .copied()
                    .unwrap_or_else(|| Instant::now() + FAR)
            }
            Self::Drip { next, .. } => *next,
        }
    }
}

impl Line<'_> {
    pub(super) fn begin(&mut self, silence: Silence, fault: Option<usize>) {
        let now = Instant::now();
        self.doing = Some(Doing::Silence {
            until: silence.time.map(|time| now + time.min(FAR)),
            noise: silence.noise.map(|(bytes, every)| {
                let every = every.max(NOISE_EVERY_MIN);
                Noise {
                    bytes,
                    every,
                    next: now + every,
                }
            }),
            fault,
        });
    }

    pub(super) async fn go_on<C: Client>(
        &mut self,
        doing: Doing,
        client: &mut C,
        tally: &mut Tally,
    ) -> Result<(), Left> {
        let now = Instant::now();
        match doing {
            Doing::Silence {
                until: Some(until),
                fault,
                ..
            } if until <= now + EARLY => {
                if let Some(fault) = fault {
                    self.note(fault, until);
                    self.release(fault);
                }
            }
            Doing::Silence {
                until,
                mut noise,
                fault,
            } => {
                if let Some(noise) = &mut noise
                    && noise.next <= now + EARLY
                {
                    tally.bytes += noise.bytes.len() as u64;
                    tally.chunks += 1;
                    client.write(noise.bytes.clone(), false).await?;
                    noise.next += noise.every;
                }
                self.doing = Some(Doing::Silence {
                    until,
                    noise,
                    fault,
                });
            }
            Doing::Drip { drip, next, fault } => {
                if let Some(fault) = fault {
                    self.note(fault, next);
                }
                if client.let_out(drip.bytes).await? {
                    self.release_with_head();
                } else {
                    self.doing = Some(Doing::Drip {
                        drip,
                        next: next + drip.every,
                        fault,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Noise more often than this is no silence any more.
const NOISE_EVERY_MIN: Duration = Duration::from_millis(1);
