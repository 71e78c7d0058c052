//! Patterns with `*`: asked of texts, and compared with each other.

use regex::bytes::Regex;

/// A pattern with wildcards, and the anchored expression made from it.
#[derive(Clone, Debug)]
pub struct Glob {
    tokens: Vec<Token>,
    regex: Regex,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// Any text without a slash.
    InSegment,
    /// Any text.
    Any,
}

impl Token {
    fn char(self) -> Option<char> {
        match self {
            Self::Char(char) => Some(char),
            Self::InSegment | Self::Any => None,
        }
    }
}

impl Glob {
    /// `*` inside one segment, `**` for any rest.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn path(pattern: &str) -> Result<Self, String> {
        let mut tokens = Vec::with_capacity(pattern.len());
        let mut chars = pattern.chars().peekable();
        while let Some(char) = chars.next() {
            tokens.push(match char {
                '*' if chars.next_if_eq(&'*').is_some() => Token::Any,
                '*' => Token::InSegment,
                _ => Token::Char(char),
            });
        }
        Self::compile(tokens)
    }

    /// `*` for any text.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn text(pattern: &str) -> Result<Self, String> {
        let token = |char| {
            if char == '*' {
                Token::Any
            } else {
                Token::Char(char)
            }
        };
        Self::compile(pattern.chars().map(token).collect())
    }

    fn compile(tokens: Vec<Token>) -> Result<Self, String> {
        if tokens.len() > MAX_PATTERN {
            return Err(format!(
                "the pattern has {} characters, expected at most {MAX_PATTERN}",
                tokens.len()
            ));
        }
        let mut expression = String::from(r"\A");
        for token in &tokens {
            match token {
                Token::Char(char) => {
                    expression.push_str(&regex::escape(char.encode_utf8(&mut [0; 4])));
                }
                Token::InSegment => expression.push_str("(?-u:[^/])*"),
                Token::Any => expression.push_str("(?s-u:.)*"),
            }
        }
        expression.push_str(r"\z");
        let regex = Regex::new(&expression)
            .map_err(|error| format!("the pattern can't be used: {error}"))?;
        Ok(Self { tokens, regex })
    }

    /// Whether the whole text fits.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// The fixed text with which all begins that it matches.
    pub(super) fn beginning(&self) -> String {
        self.tokens.iter().map_while(|token| token.char()).collect()
    }

    /// The fixed text with which all ends that it matches.
    pub(super) fn end(&self) -> String {
        let chars = self.tokens.iter().rev().map_while(|token| token.char());
        let backwards: Vec<_> = chars.collect();
        backwards.into_iter().rev().collect()
    }

    /// Whether there is a path that it matches and that is `folder`, without a slash at its end, or lies below it.
    pub(super) fn reaches(&self, folder: &str) -> bool {
        let mut reached = vec![false; self.tokens.len() + 1];
        reached[0] = true;
        self.skip_wildcards(&mut reached);
        for char in folder.chars() {
            reached = self.after(char, &reached);
        }
        // What of the pattern is left after a slash always takes some text.
        reached[self.tokens.len()] || self.after('/', &reached).contains(&true)
    }

    /// How many tokens can be used up after one more character.
    fn after(&self, char: char, reached: &[bool]) -> Vec<bool> {
        let mut next = vec![false; reached.len()];
        for (i, token) in self.tokens.iter().enumerate() {
            match token {
                Token::Char(own) => next[i + 1] |= reached[i] && *own == char,
                Token::InSegment => next[i] |= reached[i] && char != '/',
                Token::Any => next[i] |= reached[i],
            }
        }
        self.skip_wildcards(&mut next);
        next
    }

    /// A wildcard takes no text, too.
    fn skip_wildcards(&self, reached: &mut [bool]) {
        for (i, token) in self.tokens.iter().enumerate() {
            reached[i + 1] |= reached[i] && token.char().is_none();
        }
    }

    /// Whether all that `other` matches is surely matched: reads the other pattern as if it were a text in which a
    /// wildcard can be taken by a wildcard that is at least as wide.
    pub(super) fn covers(&self, other: &Self) -> bool {
        // `reached[i]`: our tokens so far can take the first `i` of the other's.
        let mut reached = vec![false; other.tokens.len() + 1];
        reached[0] = true;
        for own in &self.tokens {
            let mut next = vec![false; reached.len()];
            for i in 0..reached.len() {
                let token = other.tokens.get(i);
                match own {
                    Token::Char(_) => {
                        if reached[i] && token == Some(own) {
                            next[i + 1] = true;
                        }
                    }
                    Token::InSegment | Token::Any => {
                        next[i] |= reached[i];
                        let takes = match token {
                            None => false,
                            Some(Token::Any | Token::Char('/')) => *own == Token::Any,
                            Some(Token::Char(_) | Token::InSegment) => true,
                        };
                        if next[i] && takes {
                            next[i + 1] = true;
                        }
                    }
                }
            }
            reached = next;
        }
        reached[other.tokens.len()]
    }
}

/// In characters; a longer pattern is a mistake, and checking what covers what costs the product of two lengths.
const MAX_PATTERN: usize = 1024;
