//! Watches the rules of one exchange while it runs.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Board, Held, Live, Verdict};
use crate::fault::bucket::Charge;

/// The rules at work in one exchange. Dropping it ends their being active.
#[derive(Debug)]
pub struct Watch {
    turned: watch::Receiver<u64>,
    board: Arc<Board>,
    held: Vec<Held>,
    /// What rate limits charged, until it is settled.
    charges: Vec<(Arc<Live>, Charge)>,
}

impl Watch {
    pub(super) fn new(board: Arc<Board>, held: Vec<Held>) -> Self {
        Self {
            turned: board.turns(),
            board,
            held,
            charges: Vec::new(),
        }
    }

    /// With what rate limits charged for the exchange.
    #[must_use]
    pub fn with_charges(mut self, charges: Vec<(Arc<Live>, Charge)>) -> Self {
        self.charges = charges;
        self
    }

    /// Puts what was used in the place of what was charged, once.
    pub fn settle(&mut self, used: u64) {
        let now = self.board.age();
        for (live, charge) in self.charges.drain(..) {
            live.settle(charge, used, now);
        }
    }

    /// When the first of the faults ends that are not lifted yet, if they end by themselves.
    fn end(&self) -> Option<Instant> {
        let held = self.held.iter().filter(|held| !held.is_lifted);
        held.filter_map(|held| held.live.lock().end()).min()
    }

    /// Resolves when a switch was thrown, or a time to live is over. Cancel-safe.
    pub async fn turned(&mut self) {
        let end = self.end();
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.turned.changed() => {
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            () = over => {}
        }
    }

    /// Whether [`Self::turned`] would resolve at once.
    pub fn is_turned(&self) -> bool {
        self.turned.has_changed().unwrap_or(false)
            || self.end().is_some_and(|end| end <= Instant::now())
    }

    /// The faults that are switched off and were not before, as places in the list that was watched.
    pub fn lifted(&mut self) -> Vec<usize> {
        let (now, is_killed) = (Instant::now(), self.board.is_killed());
        let mut lifted = Vec::new();
        for (fault, held) in self.held.iter_mut().enumerate() {
            if !held.is_lifted && (is_killed || !held.live.lock().is_on(now)) {
                held.is_lifted = true;
                lifted.push(fault);
            }
        }
        lifted
    }

    /// The fault has ended, though the exchange may go on: it is not active any more.
    pub fn release(&mut self, fault: usize) {
        if let Some(held) = self.held.get_mut(fault) {
            held.release();
        }
    }

    /// Something that a fault wanted at one moment was done at another.
    pub fn timed(&self, fault: usize, intended: Instant, kept: Instant) {
        if let Some(held) = self.held.get(fault) {
            held.live.timed(intended, kept);
        }
    }

    /// Counts for a fault.
    pub fn count(&self, fault: usize, verdict: Verdict) {
        if let Some(held) = self.held.get(fault) {
            held.live.count(verdict);
        }
    }
}
