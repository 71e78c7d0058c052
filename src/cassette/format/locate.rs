//! Finds the line of a value in JSON text that was parsed before. Only looked for where there is a mistake to show.

/// One step from a value into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Member(String),
    Index(usize),
}

/// The line, from 1, on which the value at the end of this path begins; of the last value found where the path leads
/// nowhere. The text must be valid JSON.
pub(super) fn line_of(text: &str, path: &[Step]) -> usize {
    let mut scan = Scan {
        bytes: text.as_bytes(),
        at: 0,
    };
    scan.blanks();
    let mut found = scan.at;
    for step in path {
        let is_there = match step {
            Step::Member(name) => scan.enter_member(name),
            Step::Index(index) => scan.enter_item(*index),
        };
        if !is_there {
            break;
        }
        found = scan.at;
    }
    1 + text[..found].matches('\n').count()
}

/// A place in JSON text. Ends up at the end of the text where that is not valid.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// From the `{` to the value of a member.
    fn enter_member(&mut self, name: &str) -> bool {
        if self.peek() != Some(b'{') {
            return false;
        }
        loop {
            self.at += 1;
            self.blanks();
            if self.peek() != Some(b'"') {
                return false;
            }
            let start = self.at;
            self.skip();
            let have = serde_json::from_slice::<String>(&self.bytes[start..self.at]);
            self.blanks();
            self.at += 1;
            self.blanks();
            if have.is_ok_and(|have| have == name) {
                return true;
            }
            self.skip();
            self.blanks();
            if self.peek() != Some(b',') {
                return false;
            }
        }
    }

    /// From the `[` to an item.
    fn enter_item(&mut self, index: usize) -> bool {
        if self.peek() != Some(b'[') {
            return false;
        }
        for passed in 0..=index {
            self.at += 1;
            self.blanks();
            if passed == index {
                return self.peek().is_some_and(|byte| byte != b']');
            }
            self.skip();
            self.blanks();
            if self.peek() != Some(b',') {
                return false;
            }
        }
        false
    }

    /// Over one value.
    fn skip(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            let is_between =
                matches!(byte, b'}' | b']' | b',' | b':') || byte.is_ascii_whitespace();
            if depth == 0 && is_between {
                return;
            }
            match byte {
                b'"' => self.skip_text(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn skip_text(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                return;
            }
        }
        self.at = self.bytes.len();
    }
}
