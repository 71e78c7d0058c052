//! The one thing that changes while the proxy runs: the plan, the cassette, where each sequence stands, and the
//! live side of faults.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use lru::LruCache;

use crate::board::{Board, Configured, Name};
use crate::cassette::Cassette;
use crate::client::ClientId;
use crate::dice::DrawKey;
use crate::key::Key;
use crate::mode::Exhausted;
use crate::plan::Plan;

/// Shared by all exchanges.
pub struct State {
    plan: ArcSwap<Plan>,
    cassette: Option<Cassette>,
    positions: Mutex<LruCache<Place, usize>>,
    board: Arc<Board>,
    attempts: Mutex<LruCache<DrawKey, u64>>,
}

/// Whose sequence it is.
type Place = (usize, Key, Option<ClientId>);

impl State {
    /// With this plan; `cassette` where a route records or replays.
    pub fn new(mut plan: Plan, cassette: Option<Cassette>) -> Self {
        let board = Board::new();
        board.set_rules(plan.fault_rules().map(|rule| Configured {
            name: Name {
                route: rule.route.to_owned(),
                rule: rule.name.to_owned(),
            },
            kind: rule.kind,
            is_on: rule.is_enabled,
            ttl: rule.ttl,
        }));
        for route in &mut plan.routes {
            route.lives = board.lives(
                &route.name,
                route.faults.iter().map(|rule| rule.name.as_str()),
            );
        }
        Self {
            plan: ArcSwap::from_pointee(plan),
            cassette,
            positions: Mutex::new(LruCache::new(POSITIONS_MAX)),
            board: Arc::new(board),
            attempts: Mutex::new(LruCache::new(POSITIONS_MAX)),
        }
    }

    /// The plan as it is now. An exchange asks once.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// The cassette that the routes share.
    pub fn cassette(&self) -> Option<&Cassette> {
        self.cassette.as_ref()
    }

    /// The live side of the fault rules.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// How often this key came before, and counts it.
    pub fn attempt(&self, key: DrawKey) -> u64 {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = attempts.get_or_insert_mut(key, || 0);
        let attempt = *count;
        *count = count.saturating_add(1);
        attempt
    }

    /// The position of the next answer in a sequence of `len`, and moves on. `None` if it is exhausted and exhausted
    /// ones are refused.
    pub fn next_position(
        &self,
        route: usize,
        key: Key,
        client: Option<ClientId>,
        len: usize,
        exhausted: Exhausted,
    ) -> Option<usize> {
        let mut positions = self
            .positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = positions.get_or_insert_mut((route, key, client), || 0);
        let position = *count;
        *count = count.saturating_add(1);
        if position < len {
            return Some(position);
        }
        match exhausted {
            Exhausted::Last => len.checked_sub(1),
            Exhausted::Loop => position.checked_rem(len),
            Exhausted::Refuse => None,
        }
    }
}

/// How many sequences have their position remembered, and keys their attempts; the least recently asked for begins again.
const POSITIONS_MAX: NonZeroUsize = NonZeroUsize::new(100_000).expect("100,000 is not zero");
