//! No damage to a file makes reading it panic or tell a secret.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::FileFailurePersistence;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_damage_to_a_file_makes_reading_panic(text in "\\PC{0,12}", at in any::<Index>(), gone in 0usize..40) {
        let chars: Vec<char> = EVERYTHING.chars().collect();
        let at = at.index(chars.len());
        let damaged: String = chars[..at]
            .iter()
            .copied()
            .chain(text.chars())
            .chain(chars.iter().skip(at + gone).copied())
            .collect();
        if let Err(errors) = parse(&damaged) {
            prop_assert!(!errors.mistakes().is_empty());
        }
    }

    #[test]
    fn no_damage_to_a_file_shows_its_secrets(text in "[ -~\\n]{0,6}", at in any::<Index>(), gone in 0usize..6) {
        let at = at.index(SECRETIVE.len());
        let rest = SECRETIVE.get(at + gone..).unwrap_or_default();
        // What is damaged inside the secret is no secret any more.
        let damaged = format!("{}{text}{rest}", &SECRETIVE[..at]);
        if let Err(errors) = parse(&damaged) {
            let shows = errors.to_string().contains("hunter2");
            prop_assert!(!shows, "{}", errors);
        }
    }

    #[test]
    fn any_value_at_any_key_is_read_or_refused(key in select(KEYS), value in select(VALUES)) {
        for text in [
            format!("{key} = {value}"),
            format!("[[route]]\n{key} = {value}"),
            format!("[listen]\n{key} = {value}"),
            format!("[[route]]\nset_headers.{key} = {value}"),
            format!("[[route]]\npace.{key} = {value}"),
        ] {
            if let Err(errors) = parse(&text) {
                prop_assert!(!errors.mistakes().is_empty());
                let has_escape = errors.to_string().contains('\u{1b}');
                prop_assert!(!has_escape);
            }
        }
    }
}

const KEYS: &[&str] = &[
    "listen",
    "route",
    "limits",
    "pace",
    "mode",
    "match",
    "upstream",
    "set_headers",
    "key",
    "name",
    "http",
    "recorded",
    "rechunk",
    "tokens",
    "profile",
    "adaptive",
];

const VALUES: &[&str] = &[
    "1",
    "\"x\"",
    "[]",
    "{}",
    "[1]",
    "{ a = 1 }",
    "true",
    "1.5",
    "nan",
    "1979-05-27",
    "\"\\u001b\"",
    "{ env = 1 }",
    "[{}, {}]",
    "99999999999999999999999",
    "{ recorded = 1 }",
];

const SECRETIVE: &str = r#"[[route]]
mode = "forward"
upstream = "fake"
set_headers = { authorization = { value = "hunter2" }, x-team = { literal_secret = "hunter2" } }
[[route]]
[route.set_headers]
x-a = { value = "hunter2" }
x-b = { value = '''
hunter2''' }
x-c = "hunter2"
x-d.value = "hunter2"
"#;
