//! Holds the house rules that no compiler holds: the floors, where `pingora` is named, and what no file may contain.
//!
//! Reads source text, not syntax: comments, literals and test modules are blotted out first, the rest is looked at word by
//! word.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
#[expect(
    clippy::print_stdout,
    reason = "the list is for people, and is shown when the test fails or is asked to"
)]
fn the_source_keeps_the_house_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let floors = Floors::read(&read(&root.join("lib.rs")));
    let mut files = Vec::new();
    gather(&root, &mut files);
    let mut broken = Vec::new();
    let mut lengths = Vec::new();
    for path in files {
        let name = path
            .strip_prefix(&root)
            .unwrap()
            .to_string_lossy()
            .replace('\\', "/");
        let text = read(&path);
        if !is_test(&name) {
            let code = without_tests(&blot(&text));
            let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
            lengths.push((lines, name.clone()));
        }
        broken.extend(check(&name, &text, &floors));
    }
    lengths.sort_by(|left, right| right.cmp(left));
    println!("longest files, in lines of code without tests:");
    for (lines, name) in lengths.iter().take(10) {
        println!("{lines:6} {name}");
    }
    assert!(lengths.len() > 10, "the source was found");
    assert!(
        broken.is_empty(),
        "{} broken rules:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            gather(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// What `lib.rs` says: the floor of each module, and its place in the order of all.
struct Floors {
    modules: HashMap<String, (u32, usize)>,
}

impl Floors {
    /// Modules stand below a comment `// Floor N: …`.
    fn read(lib: &str) -> Self {
        let mut floor = 0;
        let mut modules = HashMap::new();
        for line in lib.lines() {
            if let Some(rest) = line.strip_prefix("// Floor ") {
                floor = rest
                    .split(':')
                    .next()
                    .unwrap()
                    .parse()
                    .expect("a floor has a number");
            }
            let declared = line
                .strip_prefix("pub mod ")
                .or_else(|| line.strip_prefix("mod "));
            if let Some(module) = declared.and_then(|rest| rest.strip_suffix(';')) {
                assert!(floor > 0, "`{module}` stands on a floor");
                modules.insert(module.to_owned(), (floor, modules.len()));
            }
        }
        assert!(!modules.is_empty(), "lib.rs declares modules");
        Self { modules }
    }

    /// Why `from` may not use `to`.
    fn forbid(&self, from: &str, to: &str) -> Option<String> {
        let ((floor, place), (other_floor, other_place)) =
            (self.modules.get(from)?, self.modules.get(to)?);
        if other_floor > floor {
            Some(format!(
                "`{from}` on floor {floor} uses `{to}` on floor {other_floor}"
            ))
        } else if other_floor == floor && other_place > place {
            Some(format!(
                "`{from}` uses `{to}`, which is declared after it on floor {floor}"
            ))
        } else {
            None
        }
    }
}

/// The rules that a file breaks. `name` is its path below `src`.
fn check(name: &str, text: &str, floors: &Floors) -> Vec<String> {
    // Tests hold data, whose lines are as long as they are.
    if is_test(name) {
        return Vec::new();
    }
    let code = without_tests(&blot(text));
    let module = name
        .split('/')
        .next()
        .unwrap_or(name)
        .trim_end_matches(".rs");
    let mut broken: Vec<String> = long_lines(name, text)
        .filter(|(line, _)| {
            !code
                .lines()
                .nth(line - 1)
                .unwrap_or_default()
                .trim()
                .is_empty()
        })
        .map(|(_, broken)| broken)
        .collect();
    let uses: Vec<_> = used_modules(&code, module == "main");
    for (line, used) in &uses {
        if !floors.modules.contains_key(module) && !matches!(module, "lib" | "main") {
            broken.push(format!("src/{name}: `{module}` is not declared in lib.rs"));
            break;
        }
        if let Some(why) = floors.forbid(module, used) {
            broken.push(format!("src/{name}:{line}: {why}"));
        }
    }
    let floor = floors.modules.get(module).map(|(floor, _)| *floor);
    for (index, line) in code.lines().enumerate() {
        let mut add = |what: &str| broken.push(format!("src/{name}:{}: {what}", index + 1));
        check_names(name, module, line, &mut add);
        if floor.is_some_and(|floor| floor <= LAST_PURE_FLOOR) {
            for impure in IMPURE.iter().filter(|impure| has_word(line, impure)) {
                add(&format!("`{impure}` on a floor without I/O and clock"));
            }
        }
        check_words(line, &mut add);
    }
    broken
}

/// What a line names that this file may not name.
fn check_names(name: &str, module: &str, line: &str, add: &mut impl FnMut(&str)) {
    let is_folder = name.contains('/');
    let is_root = name.matches('/').count() == 1 && name.ends_with("/mod.rs");
    if has_word(line, "pingora") && !PINGORA.contains(&name) {
        add("`pingora` is named");
    }
    if has_word(line, "axum") && module != "admin" {
        add("`axum` is named");
    }
    // In the root of a folder `super::` is the whole library, past the floors.
    if line.contains("super::") && (!is_folder || is_root) {
        add("`super::` in a module that is no folder's");
    }
    if line.contains("crate::*") {
        add("`crate::*` hides what is used");
    }
    if line.contains("super::super") || line.contains("super::*") {
        add("`super::` reaches too far");
    }
}

/// What no file may contain.
fn check_words(line: &str, add: &mut impl FnMut(&str)) {
    if line.contains("thread_local!") {
        add("a thread-local that can change");
    }
    if is_static(line) && (has_word(line, "mut") || MUTABLE.iter().any(|word| line.contains(word)))
    {
        add("a static that can change");
    }
    for banned in [".unwrap()", "todo!", "unimplemented!", "dbg!"] {
        if line.contains(banned) {
            add(&format!("`{banned}`"));
        }
    }
}

/// Whether the file is the body of a test module.
fn is_test(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

/// Lines that are too long, with their numbers.
fn long_lines<'a>(name: &'a str, text: &'a str) -> impl Iterator<Item = (usize, String)> + 'a {
    text.lines()
        .enumerate()
        .filter(|(_, line)| line.chars().count() > MAX_LINE)
        .map(move |(index, line)| {
            let count = line.chars().count();
            (
                index + 1,
                format!("src/{name}:{}: {count} characters", index + 1),
            )
        })
}

/// The modules named after `crate::`, with their lines, also inside `use crate::{a, b::c}`.
fn used_modules(code: &str, is_main: bool) -> Vec<(usize, String)> {
    let root = if is_main { "rehearsal::" } else { "crate::" };
    let mut used = Vec::new();
    for (at, _) in code.match_indices(root) {
        if code[..at].ends_with(is_word) {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + root.len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut is_first = true;
            let mut word = String::new();
            for char in list.chars() {
                match char {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        used.push((line, std::mem::take(&mut word)));
                        is_first = true;
                    }
                    _ if depth == 0 && is_first && is_word(char) => word.push(char),
                    _ if depth == 0 && !word.is_empty() => is_first = false,
                    _ => {}
                }
            }
            used.push((line, word));
        } else {
            used.push((
                line,
                rest.chars().take_while(|&char| is_word(char)).collect(),
            ));
        }
    }
    used.retain(|(_, word)| !word.is_empty());
    used
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_word) && !line[at + word.len()..].starts_with(is_word)
    })
}

/// Whether a static item begins here; `'static` is only a lifetime.
fn is_static(line: &str) -> bool {
    let line = line.trim_start();
    let item = line
        .strip_prefix("pub ")
        .or_else(|| line.strip_prefix("pub(crate) "))
        .or_else(|| line.strip_prefix("pub(super) "))
        .unwrap_or(line);
    item.starts_with("static ")
}

/// The text with comments and the insides of literals made blank, line breaks kept.
fn blot(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => {
                find(&chars, at, |rest| rest[0] == '\n').unwrap_or(chars.len())
            }
            '/' if chars.get(at + 1) == Some(&'*') => end_of_comment(&chars, at),
            '"' => end_of_text(&chars, at),
            'r' if !code.ends_with(is_word) || code.ends_with('b') => {
                end_of_raw_text(&chars, at).unwrap_or(at)
            }
            '\'' => end_of_char(&chars, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(
                chars[at..end]
                    .iter()
                    .map(|&char| if char == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        }
    }
    code
}

fn find(chars: &[char], from: usize, is_here: impl Fn(&[char]) -> bool) -> Option<usize> {
    (from..chars.len()).find(|&at| is_here(&chars[at..]))
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < chars.len() {
        match chars[at..] {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn end_of_text(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

fn end_of_raw_text(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..]
        .iter()
        .take_while(|&&char| char == '#')
        .count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let is_end = |rest: &[char]| {
        rest[0] == '"' && rest.len() > hashes && rest[1..=hashes].iter().all(|&char| char == '#')
    };
    Some(find(chars, open + 1, is_end).map_or(chars.len(), |at| at + 1 + hashes))
}

/// The end of `'x'` or `'\n'`; `None` for a lifetime.
fn end_of_char(chars: &[char], start: usize) -> Option<usize> {
    match chars[start + 1..] {
        ['\\', _, ..] => find(chars, start + 3, |rest| rest[0] == '\'').map(|at| at + 1),
        [_, '\'', ..] => Some(start + 3),
        _ => None,
    }
}

/// Blotted code with the bodies of `#[cfg(test)] mod …` made blank.
fn without_tests(code: &str) -> String {
    let mut kept = code.to_owned();
    let mut from = 0;
    while let Some(found) = kept[from..].find("#[cfg(test)]") {
        let start = from + found;
        from = start + "#[cfg(test)]".len();
        let rest = &kept[from..];
        let (Some(open), semicolon) = (rest.find('{'), rest.find(';')) else {
            continue;
        };
        if !has_word(&rest[..open], "mod") || semicolon.is_some_and(|semicolon| semicolon < open) {
            continue;
        }
        let mut depth = 0;
        let end = rest
            .char_indices()
            .find(|&(_, char)| {
                match char {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                char == '}' && depth == 0
            })
            .map_or(kept.len(), |(at, _)| from + at + 1);
        let blank: String = kept[start..end]
            .chars()
            .map(|char| if char == '\n' { '\n' } else { ' ' })
            .collect();
        kept.replace_range(start..end, &blank);
        from = start + blank.len();
    }
    kept
}

/// In characters.
const MAX_LINE: usize = 140;

/// The only files that know what the proxy is built on.
const PINGORA: [&str; 10] = [
    "conn/digest.rs",
    "pool/mod.rs",
    "proxy.rs",
    "proxy/client.rs",
    "proxy/request.rs",
    "reader/h1.rs",
    "server.rs",
    "tunnel.rs",
    "upstream.rs",
    "wire.rs",
];

/// Types through which a static changes after it was made. `LazyLock` is not among them: it is made once, and late.
const MUTABLE: [&str; 6] = ["Mutex", "RwLock", "OnceLock", "Cell", "ArcSwap", "Atomic"];

/// Up to here modules are pure.
const LAST_PURE_FLOOR: u32 = 2;

/// What a pure module does not name.
const IMPURE: [&str; 9] = [
    "std::fs",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::env",
    "std::process",
    "std::thread",
    "tokio",
    "Instant::now",
    "SystemTime::now",
];

const LIB: &str = "
// Floor 1: words.
pub mod low;
pub mod second;
// Floor 2: more.
pub mod high;
";

/// What is broken in a file of this name and text, without the file's name.
fn broken(name: &str, text: &str) -> Vec<String> {
    check(name, text, &Floors::read(LIB))
        .into_iter()
        .map(|broken| {
            broken
                .strip_prefix(&format!("src/{name}:"))
                .unwrap()
                .to_owned()
        })
        .collect()
}

#[test]
fn an_upward_arrow_is_found() {
    let upward = "1: `low` on floor 1 uses `high` on floor 2";
    for text in [
        "use crate::high::X;",
        "use crate::{second, high};",
        "use crate::{\n    high::{A, B},\n};",
        "fn f() { crate::high::g() }",
    ] {
        assert!(
            broken("low.rs", text).contains(&upward.to_owned()),
            "{text}"
        );
        assert!(
            broken("low/part.rs", text).contains(&upward.to_owned()),
            "{text}"
        );
        assert!(broken("high.rs", text).is_empty(), "{text}");
    }
    assert_eq!(
        broken("low.rs", "use crate::second::X;"),
        ["1: `low` uses `second`, which is declared after it on floor 1"]
    );
    assert!(broken("second.rs", "use crate::low::{high, X};").is_empty());
    assert_eq!(
        broken("stray.rs", "use crate::low;"),
        [" `stray` is not declared in lib.rs"]
    );
}

#[test]
fn what_no_file_may_contain_is_found() {
    let check =
        |text: &str, expected: &[&str]| assert_eq!(broken("low.rs", text), expected, "{text}");
    check("\nuse pingora::x;", &["2: `pingora` is named"]);
    check("use axum::x;", &["1: `axum` is named"]);
    check(
        "use super::X;",
        &["1: `super::` in a module that is no folder's"],
    );
    check("static mut X: u8 = 0;", &["1: a static that can change"]);
    check(
        "pub static X: Mutex<u8> = y();",
        &["1: a static that can change"],
    );
    check(
        "static X: &[u8] = b\"Mutex\"; fn f() -> &'static mut u8 {}",
        &["1: a static that can change"],
    );
    check("const X: &'static str = z;", &[]);
    check("x.unwrap();", &["1: `.unwrap()`"]);
    check("x.unwrap_or(1);", &[]);
    check("dbg!(1); todo!()", &["1: `todo!`", "1: `dbg!`"]);
    check(&"x".repeat(141), &["1: 141 characters"]);
    assert!(broken("proxy.rs", "use pingora::x;").is_empty());
    assert!(broken("low/part.rs", "use super::X;").is_empty());
    check(
        "fn f() { std::fs::read(x); Instant::now() }",
        &[
            "1: `std::fs` on a floor without I/O and clock",
            "1: `Instant::now` on a floor without I/O and clock",
        ],
    );
    check("use crate::*;", &["1: `crate::*` hides what is used"]);
    check("thread_local! {}", &["1: a thread-local that can change"]);
    check("static X: LazyLock<Regex> = y();", &[]);
    assert_eq!(broken("low/mod.rs", "use super::high::X;").len(), 1);
    assert!(broken("low/part/mod.rs", "use super::X;").is_empty());
    assert_eq!(
        broken("low/part.rs", "use super::*;"),
        ["1: `super::` reaches too far"]
    );
}

#[test]
fn comments_literals_and_tests_are_not_code() {
    for text in [
        "// x.unwrap()",
        "/* x.unwrap() /* again */ dbg!(1) */",
        "let x = \"a\\\".unwrap()\";",
        "let x = r#\"\".unwrap()\"#;",
        "let x = br\".unwrap()\";",
        "#[cfg(test)]\nmod tests { fn f() { if a { b.unwrap() } } }",
        "#[cfg(test)]\n#[allow(x)]\npub(crate) mod tests { fn f() { b.unwrap() } }",
    ] {
        assert!(broken("low.rs", text).is_empty(), "{text}");
    }
    for text in [
        "let x = '\"'; y.unwrap(); // \"",
        "let x = '\\''; y.unwrap(); // '",
        "fn f<'a>(x: &'a str) { y.unwrap() }",
        "#[cfg(test)] mod tests; fn f() { y.unwrap() }",
        "#[cfg(test)] fn f() { y.unwrap() }",
        "#[cfg(test)]\nmod tests { fn f() { '{'; \"}\"; } } fn g() { y.unwrap() }",
        "let r = \"\"; y.unwrap();",
    ] {
        assert_eq!(broken("low.rs", text).len(), 1, "{text}");
    }
}
