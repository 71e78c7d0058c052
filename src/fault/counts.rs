//! How often a rule was addressed to a request, by all and by each client, and how often each key came. A bounded table,
//! nothing else: who owns it shares it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;

use lru::LruCache;

use super::when::Occurrence;
use crate::dice::DrawKey;

/// The counts of all rules.
///
/// Of the clients, and of the keys, those that were not seen for longest are forgotten when there are too many; a
/// forgotten one begins again.
#[derive(Debug)]
pub struct Counts {
    /// By the id of the rule.
    all: HashMap<String, u64>,
    /// By client, then by the id of the rule.
    clients: LruCache<String, HashMap<String, u64>>,
    /// By the hash of the name that is drawn for.
    keys: LruCache<DrawKey, Vec<(u64, u64)>>,
}

impl Counts {
    /// Nothing counted yet; room for 10,000 clients and 100,000 keys.
    pub fn new() -> Self {
        Self::with_room(MAX_CLIENTS, MAX_KEYS)
    }

    /// Nothing counted yet, with room for so many.
    pub fn with_room(clients: NonZeroUsize, keys: NonZeroUsize) -> Self {
        Self {
            all: HashMap::new(),
            clients: LruCache::new(clients),
            keys: LruCache::new(keys),
        }
    }

    /// Counts a request of a client for a rule, and says the how manieth it is, from 1.
    pub fn next(&mut self, rule: &str, client: &str) -> Occurrence {
        let of_client = if let Some(rules) = self.clients.get_mut(client) {
            count(rules, rule)
        } else {
            let rules = HashMap::from([(rule.to_owned(), 1)]);
            self.clients.put(client.to_owned(), rules);
            1
        };
        Occurrence {
            of_client,
            of_all: count(&mut self.all, rule),
        }
    }

    /// Counts a request with this key for a rule or a group, and says how often the key came before to it: the attempt of
    /// its draw. Each has a count of its own, so that requests of another kind that come between don't move its draws.
    pub fn attempt(&mut self, drawn_as: &str, key: DrawKey) -> u64 {
        let mut hasher = DefaultHasher::new();
        drawn_as.hash(&mut hasher);
        let name = hasher.finish();
        let counts = self.keys.get_or_insert_mut(key, Vec::new);
        if let Some((_, count)) = counts.iter_mut().find(|(known, _)| *known == name) {
            let attempt = *count;
            *count = count.saturating_add(1);
            return attempt;
        }
        counts.push((name, 1));
        0
    }

    /// Forgets the counts of rules that are no more, as after a change of the plan.
    pub fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.all.retain(|rule, _| is_kept(rule));
        for (_, rules) in &mut self.clients {
            rules.retain(|rule, _| is_kept(rule));
        }
    }

    /// Lets a rule, or all of them, count from the beginning.
    pub fn reset(&mut self, rule: Option<&str>) {
        self.retain(|kept| rule.is_some_and(|rule| rule != kept));
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self::new()
    }
}

fn count(rules: &mut HashMap<String, u64>, rule: &str) -> u64 {
    let count = match rules.get_mut(rule) {
        Some(count) => count,
        None => rules.entry(rule.to_owned()).or_default(),
    };
    *count = count.saturating_add(1);
    *count
}

const MAX_CLIENTS: NonZeroUsize = NonZeroUsize::new(10_000).expect("10,000 is not zero");
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(100_000).expect("100,000 is not zero");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::DrawParts;

    fn key(path: &str) -> DrawKey {
        DrawKey::of(&DrawParts {
            method: "GET",
            path,
            query: None,
            client: "a",
            body: None,
        })
    }

    #[test]
    fn each_rule_and_each_client_is_counted_by_itself() {
        let mut counts = Counts::new();
        let mut seen = Vec::new();
        for (rule, client) in [
            ("r/x", "a"),
            ("r/x", "a"),
            ("r/x", "b"),
            ("r/y", "a"),
            ("r/x", "a"),
        ] {
            let Occurrence { of_client, of_all } = counts.next(rule, client);
            seen.push((of_client, of_all));
        }
        assert_eq!(seen, [(1, 1), (2, 2), (1, 3), (1, 1), (3, 4)]);
        let next = |counts: &mut Counts, rule| {
            let Occurrence { of_client, of_all } = counts.next(rule, "a");
            (of_client, of_all)
        };
        counts.retain(|rule| rule == "r/y");
        assert_eq!(next(&mut counts, "r/x"), (1, 1));
        assert_eq!(next(&mut counts, "r/y"), (2, 2));
        counts.reset(Some("r/y"));
        assert_eq!(next(&mut counts, "r/y"), (1, 1));
        assert_eq!(next(&mut counts, "r/x"), (2, 2));
    }

    #[test]
    fn a_key_counts_from_0() {
        let mut counts = Counts::new();
        let attempts: Vec<_> = ["/a", "/a", "/b", "/a"]
            .iter()
            .map(|path| counts.attempt("r/x", key(path)))
            .collect();
        assert_eq!(attempts, [0, 1, 0, 2]);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_was_away_for_longest() {
        let two = NonZeroUsize::new(2).unwrap();
        let mut counts = Counts::with_room(two, two);
        for client in ["a", "b", "a", "c"] {
            counts.next("r/x", client);
        }
        assert_eq!(counts.clients.len(), 2);
        assert_eq!(
            counts.next("r/x", "a"),
            Occurrence {
                of_client: 3,
                of_all: 5
            }
        );
        assert_eq!(
            counts.next("r/x", "b"),
            Occurrence {
                of_client: 1,
                of_all: 6
            }
        );
        for path in ["/a", "/b", "/c"] {
            counts.attempt("r/x", key(path));
        }
        assert_eq!(counts.keys.len(), 2);
        assert_eq!(counts.attempt("r/x", key("/a")), 0);
    }
}
