//! Finds what covers a match among many, without asking each of them.
//!
//! A pattern covers another only if the other begins, and ends, with the same fixed text. So each match stands in a
//! drawer by one such text, and the drawers to look into are those by a text that the other begins or ends with.

use std::collections::HashMap;

use super::CompiledMatch;
use super::glob::Glob;

/// Matches in the order in which they came.
#[derive(Debug, Default)]
pub struct Covers {
    matches: Vec<CompiledMatch>,
    drawers: HashMap<Mark, Vec<usize>>,
    /// The first that takes everything.
    any: Option<usize>,
}

/// A fixed text, and where in a request it must stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Mark {
    part: Part,
    is_end: bool,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Method,
    Path,
    Host,
    Header(String),
    Query(String),
}

impl Covers {
    /// The number of the first match that surely takes everything that this one takes.
    pub fn of(&self, other: &CompiledMatch) -> Option<usize> {
        let mut first = self.any;
        for whole in marks(other) {
            for text in whole.shorter() {
                let mark = Mark {
                    text: text.to_owned(),
                    ..whole.clone()
                };
                let covering = self.drawers.get(&mark).into_iter().flatten().find(|&&own| {
                    first.is_none_or(|first| own < first) && self.matches[own].covers(other)
                });
                first = covering.copied().or(first);
            }
        }
        first
    }

    /// Adds the next one, in the emptiest drawer that it may stand in.
    pub fn push(&mut self, matches: CompiledMatch) {
        let own = self.matches.len();
        let fill = |mark: &Mark| self.drawers.get(mark).map_or(0, Vec::len);
        match marks(&matches).into_iter().min_by_key(fill) {
            Some(mark) => self.drawers.entry(mark).or_default().push(own),
            None => self.any = self.any.or(Some(own)),
        }
        self.matches.push(matches);
    }
}

impl Mark {
    /// The texts with which one can begin, or end, that does so with this one.
    fn shorter(&self) -> impl Iterator<Item = &str> {
        let borders = (0..=self.text.len()).filter(|&at| self.text.is_char_boundary(at));
        borders.map(|at| {
            if self.is_end {
                &self.text[at..]
            } else {
                &self.text[..at]
            }
        })
    }
}

/// Both ends of all that is asked.
fn marks(matches: &CompiledMatch) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut add = |part: Part, glob: &Glob| {
        for (is_end, text) in [(false, glob.beginning()), (true, glob.end())] {
            let part = part.clone();
            marks.push(Mark { part, is_end, text });
        }
    };
    if let Some(path) = &matches.path {
        add(Part::Path, path);
    }
    if let Some(host) = &matches.host {
        add(Part::Host, host.name());
    }
    for (name, glob) in &matches.headers {
        add(Part::Header(name.to_ascii_lowercase()), glob);
    }
    for (name, glob) in &matches.query {
        add(Part::Query(name.clone()), glob);
    }
    if let Some(method) = &matches.method {
        marks.push(Mark {
            part: Part::Method,
            is_end: false,
            text: method.clone(),
        });
    }
    marks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::route::RouteMatch;

    fn patterns() -> impl Strategy<Value = RouteMatch> {
        let path = proptest::option::of("/(a|b|/|\\*){0,5}(\\*\\*)?");
        let method = proptest::option::of("(GET|POST)");
        let host = proptest::option::of("(\\*|a|A|b){1,3}(:1)?");
        let header = proptest::option::of(("(x|X|y)", "(a|é|\\*){0,3}"));
        let query = proptest::option::of(("(x|y)", "(a|b|\\*){0,3}"));
        (path, method, host, header, query).prop_map(|(path, method, host, header, query)| {
            RouteMatch {
                path,
                method,
                host,
                headers: header.into_iter().collect(),
                query: query.into_iter().collect(),
            }
        })
    }

    #[test]
    fn each_of_many_stands_in_a_drawer_of_its_own() {
        for settings in [
            r#"{"path":"/v1/thing-N/**"}"#,
            r#"{"path":"/v1/*/file-N"}"#,
            r#"{"path":"/v1/**","headers":{"x-team":"team-N"}}"#,
            r#"{"method":"POST","path":"/v1/**","query":{"q":"*-N"}}"#,
            r#"{"path":"/**","host":"N.example.com"}"#,
        ] {
            let mut covers = Covers::default();
            for number in 1000..1100 {
                let settings = settings.replace('N', &number.to_string());
                let settings: RouteMatch = serde_json::from_str(&settings).unwrap();
                covers.push(CompiledMatch::compile(&settings).unwrap());
            }
            let fullest = covers.drawers.values().map(Vec::len).max();
            assert!(fullest.unwrap() <= 2, "{settings}: {fullest:?}");
        }
    }

    proptest! {
        #[test]
        fn the_first_that_covers_is_found(all in proptest::collection::vec(patterns(), 1..24)) {
            let mut covers = Covers::default();
            let mut before: Vec<CompiledMatch> = Vec::new();
            for settings in all {
                let Ok(next) = CompiledMatch::compile(&settings) else { continue };
                let expected = before.iter().position(|own| own.covers(&next));
                prop_assert_eq!(covers.of(&next), expected, "{:?}", settings);
                covers.push(next.clone());
                before.push(next);
            }
        }
    }
}
