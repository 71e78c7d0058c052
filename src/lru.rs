//! Keeps what was used last, bounded by entries and by bytes.
//!
//! Every operation takes constant time, whatever the size (an insertion evicts, amortised, as many as it adds).

use std::hash::Hash;

/// What was used last.
#[derive(Debug)]
pub struct Lru<K: Hash + Eq, V> {
    entries: lru::LruCache<K, (V, usize)>,
    max_entries: usize,
    /// The sum of the sizes given on insertion. `bytes <= max_bytes` between calls.
    bytes: usize,
    max_bytes: usize,
    stats: LruStats,
}

/// What happened since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LruStats {
    /// Look-ups that found their entry.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Entries put out to make room, not those removed or replaced by their owner.
    pub evictions: u64,
}

impl<K: Hash + Eq, V> Lru<K, V> {
    /// An empty one with room for so many entries and bytes. Zero of either keeps nothing.
    pub fn new(entries: usize, bytes: usize) -> Self {
        Self {
            entries: lru::LruCache::unbounded(),
            max_entries: entries,
            bytes: 0,
            max_bytes: bytes,
            stats: LruStats::default(),
        }
    }

    /// The value of this key, which from now on is the one used last.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        let found = self.entries.get(key);
        match found {
            Some(_) => self.stats.hits += 1,
            None => self.stats.misses += 1,
        }
        found.map(|(value, _)| value)
    }

    /// The value of this key. Counts neither as a use nor as a look-up.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.entries.peek(key).map(|(value, _)| value)
    }

    /// Keeps a value that takes so many bytes, in place of an earlier one of this key.
    ///
    /// Puts out what was not used for longest until it fits. A value larger than the whole is not kept, and what was
    /// kept for its key is gone too, because it is outdated. Says whether it was kept.
    pub fn insert(&mut self, key: K, value: V, bytes: usize) -> bool {
        self.insert_all(key, value, bytes).0
    }

    /// The same, and gives back the values that had to go, for the caller to drop when nobody waits.
    pub fn insert_all(&mut self, key: K, value: V, bytes: usize) -> (bool, Vec<V>) {
        let mut gone = Vec::new();
        if bytes > self.max_bytes || self.max_entries == 0 {
            gone.extend(self.remove(&key));
            return (false, gone);
        }
        self.bytes += bytes;
        if let Some((old, size)) = self.entries.put(key, (value, bytes)) {
            self.bytes -= size;
            gone.push(old);
        }
        // The new one is the last in the order of use, and fits alone.
        self.shrink(&mut gone);
        (true, gone)
    }

    /// Changes how much there is room for, and puts out what is too much.
    pub fn limit(&mut self, entries: usize, bytes: usize) {
        (self.max_entries, self.max_bytes) = (entries, bytes);
        self.shrink(&mut Vec::new());
    }

    fn shrink(&mut self, gone: &mut Vec<V>) {
        while self.bytes > self.max_bytes || self.entries.len() > self.max_entries {
            let Some((_, (value, size))) = self.entries.pop_lru() else {
                return;
            };
            self.bytes -= size;
            self.stats.evictions += 1;
            gone.push(value);
        }
    }

    /// Takes all out. What happened so far stays counted.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (value, size) = self.entries.pop(key)?;
        self.bytes -= size;
        Some(value)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes the entries take, as was said when they were inserted.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What happened so far.
    pub fn stats(&self) -> LruStats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let mut lru = Lru::new(2, 100);
        assert!(lru.insert("a", 1, 10));
        assert!(lru.insert("b", 2, 10));
        assert_eq!(lru.get(&"a"), Some(&1));
        assert!(lru.insert("c", 3, 10));
        assert_eq!(lru.get(&"b"), None);
        assert_eq!(lru.get(&"a"), Some(&1));
        assert_eq!((lru.len(), lru.bytes()), (2, 20));
        let stats = LruStats {
            hits: 2,
            misses: 1,
            evictions: 1,
        };
        assert_eq!(lru.stats(), stats);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut lru = Lru::new(100, 100);
        for key in 0..10 {
            assert!(lru.insert(key, (), 30));
            assert!(lru.bytes() <= 100);
        }
        assert_eq!(lru.len(), 3);
        assert!(lru.insert(10, (), 100));
        assert_eq!((lru.len(), lru.bytes()), (1, 100));
    }

    #[test]
    fn what_is_larger_than_the_whole_is_not_kept_nor_its_outdated_predecessor() {
        let mut lru = Lru::new(10, 100);
        assert!(lru.insert("a", 1, 10));
        assert!(!lru.insert("a", 2, 101));
        assert_eq!(lru.get(&"a"), None);
        assert_eq!(lru.bytes(), 0);
    }

    #[test]
    fn replacing_and_removing_give_the_bytes_back() {
        let mut lru = Lru::new(10, 100);
        lru.insert("a", 1, 60);
        lru.insert("a", 2, 70);
        assert_eq!((lru.len(), lru.bytes()), (1, 70));
        assert_eq!(lru.remove(&"a"), Some(2));
        assert_eq!(lru.remove(&"a"), None);
        assert_eq!((lru.len(), lru.bytes(), lru.is_empty()), (0, 0, true));
        assert_eq!(lru.stats().evictions, 0);
    }

    #[test]
    fn no_room_at_all_keeps_nothing() {
        let mut lru = Lru::new(0, 100);
        assert!(!lru.insert("a", 1, 1));
        assert!(lru.is_empty());
        assert!(!Lru::new(1, 0).insert("a", 1, 1));
    }
}
