//! Finds how long the code of each letter is: Huffman's, but none longer than a limit.
//!
//! Letters that are equally frequent may get either of two lengths; who gets which is zlib's way here.

/// The length of each letter's code by how often it comes, 0 for those that don't. Ends with the last letter that has one.
///
/// There are always two codes, for decoders that want them: where fewer letters come, one gets a code that doesn't come.
pub(super) fn code_lengths(counts: &[u32], limit: u8) -> Vec<u8> {
    let leaves: Vec<(usize, u32)> = counts
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, count)| *count > 0)
        .collect();
    let depths = match leaves.as_slice() {
        [] => vec![(0, 1), (1, 1)],
        [(letter, _)] => {
            let spare = if *letter < 2 { letter + 1 } else { 0 };
            vec![(*letter, 1), (spare, 1)]
        }
        leaves => {
            let weights: Vec<u32> = leaves.iter().map(|(_, weight)| *weight).collect();
            let depths = Joins::of(&weights).depths(limit);
            let letters = leaves.iter().map(|(letter, _)| *letter);
            letters.zip(depths).collect()
        }
    };
    let count = depths.iter().map(|(letter, _)| letter + 1).max();
    let mut lengths = vec![0; count.unwrap_or_default()];
    for (letter, depth) in depths {
        lengths[letter] = depth;
    }
    lengths
}

/// How trees were joined to one. A tree is known by its number: leaves come first, then joined ones by age.
struct Joins {
    leaves: usize,
    /// Of each tree but the last the number of that which it became a part of.
    joined_to: Vec<usize>,
    /// The numbers of the leaves in the order in which they were taken, about the lightest first.
    taken: Vec<usize>,
}

impl Joins {
    /// Of two leaves or more.
    fn of(weights: &[u32]) -> Self {
        let leaves = weights.len();
        let all = 2 * leaves - 1;
        let mut joined_to = vec![0; all - 1];
        let mut taken = Vec::with_capacity(leaves);
        let mut heap = Heap::of(weights);
        for number in leaves..all {
            let (first, second) = heap.join_two(number);
            for tree in [first, second] {
                joined_to[tree] = number;
                if tree < leaves {
                    taken.push(tree);
                }
            }
        }
        Self {
            leaves,
            joined_to,
            taken,
        }
    }

    /// How deep each leaf is, none deeper than the limit.
    fn depths(&self, limit: u8) -> Vec<u8> {
        let mut depths = vec![0_u8; self.joined_to.len() + 1];
        let mut cut = 0;
        // A tree is younger than its parts, so its depth is known before theirs.
        for (tree, joined) in self.joined_to.iter().enumerate().rev() {
            let depth = depths[*joined] + 1;
            cut += usize::from(depth > limit);
            depths[tree] = depth.min(limit);
        }
        depths.truncate(self.leaves);
        if cut > 0 {
            self.repair(&mut depths, limit, cut);
        }
        depths
    }

    /// Makes a code of depths of which so many, inner trees too, were cut to the limit.
    fn repair(&self, depths: &mut [u8], limit: u8, cut: usize) {
        let mut counts = vec![0_usize; usize::from(limit) + 1];
        for depth in &*depths {
            counts[usize::from(*depth)] += 1;
        }
        // A leaf becomes a tree of itself and one from the limit, whose sister there takes the place of both.
        for _ in 0..cut.div_ceil(2) {
            let above = counts.len() - 1;
            let deepest = counts[..above].iter().rposition(|count| *count > 0);
            let deepest = deepest.expect("a tree that is too deep has leaves above the limit");
            counts[deepest] -= 1;
            counts[deepest + 1] += 2;
            counts[above] -= 1;
        }
        let deepest_first = (0..=limit).zip(counts).rev();
        let repaired = deepest_first.flat_map(|(depth, count)| std::iter::repeat_n(depth, count));
        for (leaf, depth) in self.taken.iter().zip(repaired) {
            depths[*leaf] = depth;
        }
    }
}

/// The trees that are not joined yet.
///
/// Not the standard library's: which of two equal trees comes first depends on how the heap is kept in order, so it has to be
/// kept as zlib keeps it, whatever the library does.
struct Heap {
    /// No tree is greater than those at twice its place, plus one and plus two.
    trees: Vec<Tree>,
}

#[derive(Clone, Copy)]
struct Tree {
    rank: Rank,
    number: usize,
}

/// The lighter is less; of the same weight, the one with fewer levels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u64);

impl Heap {
    fn of(weights: &[u32]) -> Self {
        let leaf = |(number, weight): (usize, &u32)| Tree {
            rank: Rank::of(*weight),
            number,
        };
        let trees: Vec<Tree> = weights.iter().enumerate().map(leaf).collect();
        let mut heap = Self { trees };
        for place in (0..heap.trees.len() / 2).rev() {
            heap.sink(place);
        }
        heap
    }

    /// Joins the two least of two or more trees to one of this number, and tells which they were.
    fn join_two(&mut self, number: usize) -> (usize, usize) {
        let first = self.trees.swap_remove(0);
        self.sink(0);
        let second = self.trees[0];
        let rank = first.rank.joined(second.rank);
        self.trees[0] = Tree { rank, number };
        self.sink(0);
        (first.number, second.number)
    }

    /// Brings a tree that may be too high up to where it belongs.
    fn sink(&mut self, place: usize) {
        let mut place = place;
        while let Some(below) = self.least_below(place)
            && self.trees[below].rank < self.trees[place].rank
        {
            self.trees.swap(place, below);
            place = below;
        }
    }

    /// The lesser of the two trees below, or of two equal ones the one on the right.
    fn least_below(&self, place: usize) -> Option<usize> {
        let below = 2 * place + 1;
        let left = self.trees.get(below)?;
        let is_right = |right: &Tree| right.rank <= left.rank;
        let goes_right = self.trees.get(below + 1).is_some_and(is_right);
        Some(below + usize::from(goes_right))
    }
}

impl Rank {
    /// Of a leaf.
    fn of(weight: u32) -> Self {
        Self(u64::from(weight) << LEVEL_BITS)
    }

    /// Of a tree of two trees.
    fn joined(self, other: Self) -> Self {
        let levels = self.levels().max(other.levels()) + 1;
        let weight = (self.0 - self.levels()) + (other.0 - other.levels());
        Self(weight + levels)
    }

    /// How many levels of trees are joined below.
    fn levels(self) -> u64 {
        self.0 & ((1 << LEVEL_BITS) - 1)
    }
}

/// Enough for more levels than a tree of an alphabet can have.
const LEVEL_BITS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(counts: &[u32], limit: u8, expected: &[u8]) {
        assert_eq!(code_lengths(counts, limit), expected, "{counts:?}");
    }

    #[test]
    fn frequent_letters_have_short_codes() {
        check(&[5, 0, 1, 1, 2], 15, &[1, 0, 3, 3, 2]);
        check(&[1, 1, 1, 1, 0], 15, &[2, 2, 2, 2]);
    }

    #[test]
    fn there_are_always_two_codes() {
        check(&[0, 0, 0, 0], 15, &[1, 1]);
        check(&[7, 0, 0, 0], 15, &[1, 1]);
        check(&[0, 7, 0, 0], 15, &[0, 1, 1]);
        check(&[0, 0, 0, 7], 15, &[1, 0, 0, 1]);
    }

    #[test]
    fn a_code_that_is_cut_to_the_limit_is_still_whole() {
        let fibonacci = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610];
        for limit in 4..15 {
            let lengths = code_lengths(&fibonacci, limit);
            let share = |length: &u8| 1_u32 << (limit - length);
            assert!(lengths.iter().all(|length| (1..=limit).contains(length)));
            let whole: u32 = lengths.iter().map(share).sum();
            assert_eq!(whole, 1 << limit, "{limit}: {lengths:?}");
        }
    }
}
