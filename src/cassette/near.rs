//! Finds the recordings that are nearest to a request which has none, in a time that does not depend on how many there are.
//!
//! Each recording stands under a few numbers: one for each beginning of its path, and up to [`MARKS`] for those parts of
//! what it says (words of its texts, say) that were the rarest when it came. A request that says nearly the same has nearly
//! all of them, however much else all requests have in common. How often parts occur is counted in a table of fixed size,
//! where some share a place: that makes them seem less rare than they are, which does little harm.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::cassette::id::RecordingId;

pub(crate) use sketch::Sketch;

mod sketch;

/// Replayable recordings by what their requests are like.
#[derive(Debug, Default)]
pub(crate) struct Near {
    spots: BTreeSet<(u64, RecordingId)>,
    methods: BTreeMap<Box<str>, usize>,
    /// How often parts occurred; empty until the first one.
    counts: Vec<u32>,
    /// How many recordings were counted.
    total: u32,
}

/// The parts by which a recording is found; fewer where it says less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks([Option<u32>; MARKS]);

impl Near {
    /// Adds a recording. Keep the marks for its removal.
    pub(crate) fn insert(
        &mut self,
        id: RecordingId,
        method: &str,
        path: &str,
        sketch: &Sketch,
    ) -> Marks {
        *self.methods.entry(method.into()).or_default() += 1;
        let marks = self.marks(sketch);
        let spots = spots(method, path, marks);
        self.spots.extend(spots.map(|spot| (spot, id)));
        marks
    }

    /// The rarest parts, as far as is known yet.
    fn marks(&mut self, sketch: &Sketch) -> Marks {
        if self.counts.is_empty() && !sketch.parts().is_empty() {
            self.counts = vec![0; COUNTS];
        }
        self.total = self.total.saturating_add(1);
        let mut rarest: Vec<(u32, u32)> = Vec::with_capacity(sketch.parts().len());
        for part in sketch.parts() {
            if let Some(count) = self.counts.get_mut(*part as usize % COUNTS) {
                rarest.push((*count, *part));
                *count = count.saturating_add(1);
            }
        }
        if rarest.len() > MARKS {
            rarest.select_nth_unstable(MARKS - 1);
        }
        let mut marks = Marks::default();
        for (mark, (_, part)) in marks.0.iter_mut().zip(rarest) {
            *mark = Some(part);
        }
        marks
    }

    /// Takes a recording out that was added so, with the marks it was given.
    pub(crate) fn remove(&mut self, id: RecordingId, method: &str, path: &str, marks: Marks) {
        if let Some(count) = self.methods.get_mut(method) {
            *count -= 1;
            if *count == 0 {
                self.methods.remove(method);
            }
        }
        for spot in spots(method, path, marks) {
            self.spots.remove(&(spot, id));
        }
    }

    /// At most `limit` recordings, the likest first: of the same method and path those that share most of what is rare, then
    /// of the same method those whose paths agree furthest, then of other methods.
    pub(crate) fn find(
        &self,
        method: &str,
        path: &str,
        sketch: &Sketch,
        limit: usize,
    ) -> Vec<RecordingId> {
        let place = place(method, path);
        let parts = sketch.parts().iter();
        let parts = parts.map(|part| (mark_spot(place, *part), self.rarity(*part)));
        let mut found = self.sharing(parts, limit);
        let others = self.methods.keys().map(AsRef::as_ref);
        let others = others.filter(|other| *other != method).take(METHODS);
        let same = beginnings(method, path);
        let other = others.flat_map(|other| beginnings(other, path).filter(|at| at.depth > 0));
        for spot in same.chain(other).flat_map(|at| [at.whole, at.begun]) {
            if found.len() >= limit {
                break;
            }
            let more: Vec<_> = self
                .at(spot, found.len() + limit)
                .filter(|id| !found.contains(id))
                .collect();
            found.extend(more);
        }
        found.truncate(limit);
        found
    }

    /// How much it tells that a part is shared: the more, the fewer have it. At least 1.
    fn rarity(&self, part: u32) -> u32 {
        let count = self.counts.get(part as usize % COUNTS).copied();
        let ratio = self.total / count.unwrap_or_default().max(1);
        1 + ratio.checked_ilog2().unwrap_or_default()
    }

    /// Recordings that stand at some of these spots, first those for which their weights add up to most.
    fn sharing(&self, spots: impl Iterator<Item = (u64, u32)>, limit: usize) -> Vec<RecordingId> {
        let mut shared: HashMap<RecordingId, u32> = HashMap::new();
        for (spot, weight) in spots {
            for id in self.at(spot, limit) {
                *shared.entry(id).or_default() += weight;
            }
        }
        let mut found: Vec<_> = shared.into_iter().collect();
        found.sort_unstable_by_key(|(id, weight)| (Reverse(*weight), *id));
        found.into_iter().map(|(id, _)| id).collect()
    }

    fn at(&self, spot: u64, limit: usize) -> impl Iterator<Item = RecordingId> {
        self.spots
            .range((spot, RecordingId::FIRST)..=(spot, RecordingId::LAST))
            .map(|(_, id)| *id)
            .take(limit)
    }
}

fn spots(method: &str, path: &str, marks: Marks) -> impl Iterator<Item = u64> {
    let mut whole = None;
    let mut begun = Vec::new();
    for at in beginnings(method, path) {
        match whole {
            None => whole = Some(at.whole),
            Some(_) => begun.push(at.begun),
        }
    }
    let place = place(method, path);
    let marks = marks.0.into_iter().flatten();
    whole
        .into_iter()
        .chain(begun)
        .chain(marks.map(move |mark| mark_spot(place, mark)))
}

fn place(method: &str, path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (method, path).hash(&mut hasher);
    hasher.finish()
}

fn mark_spot(place: u64, mark: u32) -> u64 {
    mixed(place ^ mixed(u64::from(mark)))
}

/// A beginning of a path, in whole segments.
struct Beginning {
    depth: usize,
    /// Where recordings stand whose path is this.
    whole: u64,
    /// Where recordings stand whose path goes on after this.
    begun: u64,
}

/// The path as a whole, and its beginnings of at most [`DEPTH`] segments down to none; the longest first.
fn beginnings(method: &str, path: &str) -> impl Iterator<Item = Beginning> + use<> {
    let mut hasher = DefaultHasher::new();
    method.hash(&mut hasher);
    let beginning = |depth, hasher: &DefaultHasher| Beginning {
        depth,
        whole: mixed(hasher.finish()),
        begun: hasher.finish(),
    };
    let mut found = vec![beginning(0, &hasher)];
    let mut depth = 0;
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        segment.hash(&mut hasher);
        depth += 1;
        found.truncate(DEPTH + 1);
        found.push(beginning(depth, &hasher));
    }
    found.into_iter().rev()
}

/// The end of `SplitMix64`: each bit of the input turns half of the output.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// By how many of its parts a recording is found.
const MARKS: usize = 4;

/// How many parts are counted apart. 1 MiB of memory.
const COUNTS: usize = 1 << 18;

/// How many beginnings of a path count, besides the whole.
const DEPTH: usize = 8;

/// How many other methods are looked at.
const METHODS: usize = 16;

#[cfg(test)]
mod tests;
