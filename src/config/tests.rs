#![expect(
    clippy::needless_raw_string_hashes,
    reason = "expectations are written by a tool"
)]

use std::path::Path;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::FileFailurePersistence;

use super::*;

mod listen;

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    read::parse(text, Path::new("rehearsal.toml"), &|name| {
        (name == "OPENAI_API_KEY").then(|| "sk-from-env".to_owned())
    })
}

fn check(text: &str, expected: &Expect) {
    let errors = parse(text).expect_err("there are mistakes");
    expected.assert_eq(&errors.to_string());
}

#[test]
fn all_mistakes_are_shown_at_once_with_their_places() {
    check(
        r#"
listn = 7

[listen]
http = "127.0.0.1"
grace = 10

[limits]
head = "64kib"
headers = -1

[[route]]
name = "chat"
match = { method = "POST", paht = "/v1/**" }
upstreem = "http://x"
mode = "reply"
pace = { recorded = { speed = 0 } }

[[route]]
mode = "forward"
upstream = "api.openai.com"
key = { ignore = ["$.user", 5], body_limit = 3 }
remove_headers = "x"
"#,
        &expect![[r#"
            rehearsal.toml:2:1: unknown key `listn`
              |
            2 | listn = 7
              | ^^^^^
              = did you mean `listen`?
              = expected one of `seed`, `listen`, `cassette`, `limits`, `timeouts`, `redact`, `route`

            rehearsal.toml:5:8: `127.0.0.1` is not an address: the port is missing
              |
            5 | http = "127.0.0.1"
              |        ^^^^^^^^^^^
              = expected a host and a port such as `127.0.0.1:8080`

            rehearsal.toml:6:9: invalid type: integer `10`
              |
            6 | grace = 10
              |         ^^
              = expected a text in quotes

            rehearsal.toml:9:8: `64kib` is not a number of bytes
              |
            9 | head = "64kib"
              |        ^^^^^^^
              = expected a number and a unit such as `512B`, `16KiB` or `8MiB`

            rehearsal.toml:10:11: invalid value: integer `-1`
               |
            10 | headers = -1
               |           ^^
               = expected a whole number, not negative

            rehearsal.toml:14:28: unknown key `paht`
               |
            14 | match = { method = "POST", paht = "/v1/**" }
               |                            ^^^^
               = did you mean `path`?
               = expected one of `method`, `path`, `host`, `headers`, `query`

            rehearsal.toml:15:1: unknown key `upstreem`
               |
            15 | upstreem = "http://x"
               | ^^^^^^^^
               = did you mean `upstream`?

            rehearsal.toml:16:8: `reply` is not one of the choices
               |
            16 | mode = "reply"
               |        ^^^^^^^
               = did you mean `replay`?
               = expected one of `forward`, `record`, `replay`, `synthesize`

            rehearsal.toml:17:31: speed 0 is out of range
               |
            17 | pace = { recorded = { speed = 0 } }
               |                               ^
               = expected a number above 0 and at most 1000

            rehearsal.toml:21:12: `api.openai.com` is not an upstream: the scheme is missing
               |
            21 | upstream = "api.openai.com"
               |            ^^^^^^^^^^^^^^^^
               = expected `http://HOST`, `https://HOST` or `fake`

            rehearsal.toml:22:29: invalid type: integer `5`
               |
            22 | key = { ignore = ["$.user", 5], body_limit = 3 }
               |                             ^
               = expected a text in quotes

            rehearsal.toml:22:46: invalid type: integer `3`
               |
            22 | key = { ignore = ["$.user", 5], body_limit = 3 }
               |                                              ^
               = expected a text in quotes

            rehearsal.toml:23:18: invalid type: string "x"
               |
            23 | remove_headers = "x"
               |                  ^^^
               = expected a list in brackets"#]],
    );
}

#[test]
fn mistakes_across_keys_and_routes_are_found() {
    check(
        r#"
[cassette]
path = ""

[limits]
headers = 0
head = "0B"

[timeouts]
idle = "0s"

[[route]]
name = "a"
match = { path = "/v1/**" }

[[route]]
name = "b"
match = { method = "post", path = "/v1/chat" }

[[route]]
name = "c"
match.path = "/v1/*/x"
mode = "record"

[[route]]
name = "a"
match = { path = "v2", headers = { "x y" = "1" } }
on_miss = "record"

[[route]]
name = "d"
match = { path = "/v3", headers = { "x y" = "1" } }
mode = "forward"
on_miss = "refuse"
upstream = "fake"
strip_prefix = "openai"
add_prefix = "/a?b"
remove_headers = ["ok", "not ok"]
key = { ignore = ["$.user", "user", "$.a["], headers = [""] }

[[route]]
name = "\u001b[31m"
"#,
        &expect![[r#"
            rehearsal.toml:3:8: the path of the cassette is empty
              |
            3 | path = ""
              |        ^^

            rehearsal.toml:6:11: with `headers` at zero nothing passes
              |
            6 | headers = 0
              |           ^

            rehearsal.toml:7:8: with `head` at zero nothing passes
              |
            7 | head = "0B"
              |        ^^^^

            rehearsal.toml:10:8: with `idle` at zero every exchange fails
               |
            10 | idle = "0s"
               |        ^^^^

            rehearsal.toml:18:20: no request has the method `post`, methods are written in capitals
               |
            18 | match = { method = "post", path = "/v1/chat" }
               |                    ^^^^^^
               = did you mean `POST`?

            rehearsal.toml:22:1: route `c` is never reached: route `a` comes before it and takes every request that it matches
               |
            22 | match.path = "/v1/*/x"
               | ^^^^^
               = put the narrower route first

            rehearsal.toml:23:8: mode `record` needs an upstream, and this route has none
               |
            23 | mode = "record"
               |        ^^^^^^^^
               = add `upstream = "https://HOST"`, or `upstream = "fake"` for the built-in backend

            rehearsal.toml:26:8: two routes have the name `a`, this one and number 1
               |
            26 | name = "a"
               |        ^^^

            rehearsal.toml:27:18: the path `v2` does not begin with `/`
               |
            27 | match = { path = "v2", headers = { "x y" = "1" } }
               |                  ^^^^

            rehearsal.toml:28:11: `on_miss = "record"` needs an upstream, and this route has none
               |
            28 | on_miss = "record"
               |           ^^^^^^^^
               = add `upstream = "https://HOST"`, or `upstream = "fake"` for the built-in backend

            rehearsal.toml:32:45: `x y` is not a header name
               |
            32 | match = { path = "/v3", headers = { "x y" = "1" } }
               |                                             ^^^

            rehearsal.toml:34:11: `on_miss = "refuse"` has no effect, because mode `forward` never looks into the cassette
               |
            34 | on_miss = "refuse"
               |           ^^^^^^^^
               = take it out, or write `mode = "replay"`

            rehearsal.toml:36:16: the prefix `openai` does not begin with `/`
               |
            36 | strip_prefix = "openai"
               |                ^^^^^^^^

            rehearsal.toml:37:14: the prefix `/a?b` holds what can't be in a path; percent-encode it
               |
            37 | add_prefix = "/a?b"
               |              ^^^^^^

            rehearsal.toml:38:25: `not ok` is not a header name
               |
            38 | remove_headers = ["ok", "not ok"]
               |                         ^^^^^^^^

            rehearsal.toml:39:29: `user` is not a JSON path, which begins with `$`
               |
            39 | key = { ignore = ["$.user", "user", "$.a["], headers = [""] }
               |                             ^^^^^^
               = expected a path such as `$.user` or `$.messages[*].id`

            rehearsal.toml:39:37: `$.a[` is not a JSON path from character 4 on
               |
            39 | key = { ignore = ["$.user", "user", "$.a["], headers = [""] }
               |                                     ^^^^^^
               = expected a path such as `$.user` or `$.messages[*].id`

            rehearsal.toml:39:57: `` is not a header name
               |
            39 | key = { ignore = ["$.user", "user", "$.a["], headers = [""] }
               |                                                         ^^

            rehearsal.toml:42:8: the name of a route is empty or holds a control character
               |
            42 | name = "\u001b[31m"
               |        ^^^^^^^^^^^^"#]],
    );
}

#[test]
fn headers_to_set_are_checked_and_secrets_are_not_shown() {
    check(
        r#"
[[route]]
[route.set_headers]
Authorization = { value = "Bearer sk-live-1" }
authorization = { env = "NOT_SET_ANYWHERE" }
"x y" = { value = "fine" }
content-length = { value = "7" }
x-api-key = { file = "no/such/file" }
x-good = { env = "OPENAI_API_KEY" }
x-bare = "sk-live-2"
x-many = { value = "sk-live-3", env = "A" }
x-none = {}
x-odd = { valeu = "hunter2hunter2" }
x-number = { value = 123456789 }
x-env = { env = "sk-live-4" }
x-break = { value = "a\nb-sk-live-5" }

[[route]]
set_haeders = { authorization = { literal_secret = "hunter2hunter2" } }
"#,
        &expect![[r#"
            rehearsal.toml:4:19: `Authorization` holds a secret, which does not belong in this file
              |
            4 | Authorization = { value = … }
              |                   ^^^^^
              = write `{ env = "NAME" }` or `{ file = "path" }`
              = or `{ literal_secret = "…" }` where it has to stand here

            rehearsal.toml:5:1: `authorization` and `Authorization` are the same header
              |
            5 | authorization = { env = "NOT_SET_ANYWHERE" }
              | ^^^^^^^^^^^^^

            rehearsal.toml:5:25: no value for the header `authorization`: the environment variable `NOT_SET_ANYWHERE` is not set
              |
            5 | authorization = { env = "NOT_SET_ANYWHERE" }
              |                         ^^^^^^^^^^^^^^^^^^

            rehearsal.toml:6:1: `x y` is not a header name
              |
            6 | "x y" = { value = … }
              | ^^^^^

            rehearsal.toml:7:1: `content-length` belongs to one connection, and the proxy sets it itself
              |
            7 | content-length = { value = "7" }
              | ^^^^^^^^^^^^^^

            rehearsal.toml:8:22: no value for the header `x-api-key`: can't read `no/such/file`: No such file or directory (os error 2)
              |
            8 | x-api-key = { file = "no/such/file" }
              |                      ^^^^^^^^^^^^^^

            rehearsal.toml:10:10: a bare text is not taken here
               |
            10 | x-bare = …
               |          ^
               = expected `{ env = "NAME" }`, `{ file = "path" }`, `{ value = "text" }`

            rehearsal.toml:11:10: the value comes from two places
               |
            11 | x-many = { value = …, env = "A" }
               |          ^^^^^^^^^^^^^^^^^^^^^^^^
               = expected one of `{ env = "NAME" }`, `{ file = "path" }`, `{ value = "text" }`

            rehearsal.toml:12:10: nothing says where the value comes from
               |
            12 | x-none = {}
               |          ^^
               = expected `{ env = "NAME" }`, `{ file = "path" }`, `{ value = "text" }`

            rehearsal.toml:13:11: `valeu` is not one of the choices
               |
            13 | x-odd = { valeu = … }
               |           ^^^^^
               = did you mean `value`?
               = expected one of `env`, `file`, `value`, `literal_secret`

            rehearsal.toml:14:22: invalid type: integer `…`
               |
            14 | x-number = { value = … }
               |                      ^
               = expected a text in quotes

            rehearsal.toml:15:17: no value for the header `x-env`: this is not the name of an environment variable
               |
            15 | x-env = { env = … }
               |                 ^
               = expected letters, digits and `_`

            rehearsal.toml:16:21: no value for the header `x-break`: the value is empty or holds a control character, which a header can't
               |
            16 | x-break = { value = … }
               |                     ^

            rehearsal.toml:19:1: unknown key `set_haeders`
               |
            19 | set_haeders = { authorization = { literal_secret = … } }
               | ^^^^^^^^^^^
               = did you mean `set_headers`?"#]],
    );
}

#[test]
fn a_key_that_was_taken_out_is_not_missed() {
    check(
        r#"
[[route]]
name = "all but for the typo"
match = { paht = "/v1" }
mode = "forward"
upstrem = "fake"

[[route]]
name = "rest"
"#,
        &expect![[r#"
            rehearsal.toml:4:11: unknown key `paht`
              |
            4 | match = { paht = "/v1" }
              |           ^^^^
              = did you mean `path`?
              = expected one of `method`, `path`, `host`, `headers`, `query`

            rehearsal.toml:6:1: unknown key `upstrem`
              |
            6 | upstrem = "fake"
              | ^^^^^^^
              = did you mean `upstream`?"#]],
    );
}

#[test]
fn a_choice_that_takes_a_value_is_told_so() {
    let errors = parse(
        "[[route]]\nmode = 'synthesize'\nupstream = 'fake'\n[[route.fault]]\ncut = { after = 'head', how = 'h2-reset' }\n",
    )
    .unwrap_err();
    let shown = errors.to_string();
    assert!(shown.contains("this choice takes a value"), "{shown}");
    assert!(
        shown.contains("= expected a table with the choice as its key, such as `{ h2-reset = 8 }`"),
        "{shown}"
    );
}

#[test]
fn a_pace_that_is_none_is_told_all_that_there_are() {
    check(
        "[[route]]\npace = 'fast'\n",
        &expect![[r#"
        rehearsal.toml:2:8: `fast` is not one of the choices
          |
        2 | pace = 'fast'
          |        ^^^^^^
          = expected one of `instant`, `recorded`, `{ recorded = { speed = 2.0 } }`, `{ tokens = { … } }`, `{ profile = "…" }`, `{ fitted = "…" }`"#]],
    );
    check(
        "[[route]]\npace = 'gpt-4o'\n",
        &expect![[r#"
        rehearsal.toml:2:8: `gpt-4o` is not one of the choices
          |
        2 | pace = 'gpt-4o'
          |        ^^^^^^^^
          = did you mean `{ profile = "gpt-4o" }`?"#]],
    );
}

#[test]
fn what_is_not_toml_is_shown_alone() {
    check(
        "listn = 7\n[listen\nhttp = 7\n",
        &expect![[r#"
        rehearsal.toml:2:8: unclosed table
          |
        2 | [listen
          |        ^
          = expected `]`"#]],
    );
    check(
        "seed = 7\nseed = 8\n",
        &expect![[r#"
        rehearsal.toml:2:1: duplicate key
          |
        2 | seed = 8
          | ^^^^"#]],
    );
    check(
        "[[route]]\nset_headers = { authorization = { value = \"Bearer hunter2 } }\n",
        &expect![[r#"
            rehearsal.toml:2:62: invalid basic string
              |
            2 | set_headers =…
              |               ^
              = expected `"`"#]],
    );
    check(
        "a = \"\"\"\nsecret\n\u{1b}[31m\n",
        &expect![[r#"
            rehearsal.toml:3:1: invalid multi-line basic string
              |
            3 | …
              | ^
              = expected `\`, characters

            rehearsal.toml:4:1: invalid multi-line basic string
              |
            4 | 
              | ^
              = expected `"`"#]],
    );
}

#[test]
fn values_of_the_wrong_kind_are_named() {
    check(
        r#"
listen = 5
cassette = "x"
route = [{ name = 1 }, 2, { mode = 5, on_miss = { a = 1 }, match = { headers = { a = 1 } } }]
"#,
        &expect![[r#"
            rehearsal.toml:2:10: invalid type: integer `5`
              |
            2 | listen = 5
              |          ^
              = expected a table

            rehearsal.toml:3:12: invalid type: string "x"
              |
            3 | cassette = "x"
              |            ^^^
              = expected a table

            rehearsal.toml:4:19: invalid type: integer `1`
              |
            4 | route = [{ name = 1 }, 2, { mode = 5, on_miss = { a = 1 }, match = { headers = { a = 1 } } }]
              |                   ^
              = expected a text in quotes

            rehearsal.toml:4:24: invalid type: integer `2`
              |
            4 | route = [{ name = 1 }, 2, { mode = 5, on_miss = { a = 1 }, match = { headers = { a = 1 } } }]
              |                        ^
              = expected a table

            rehearsal.toml:4:36: this is not one of the choices
              |
            4 | route = [{ name = 1 }, 2, { mode = 5, on_miss = { a = 1 }, match = { headers = { a = 1 } } }]
              |                                    ^
              = expected one of `forward`, `record`, `replay`, `synthesize`

            rehearsal.toml:4:51: `a` is not one of the choices
              |
            4 | route = [{ name = 1 }, 2, { mode = 5, on_miss = { a = 1 }, match = { headers = { a = 1 } } }]
              |                                                   ^
              = expected one of `refuse`, `record`, `forward`, `synthesize`

            rehearsal.toml:4:86: invalid type: integer `1`
              |
            4 | route = [{ name = 1 }, 2, { mode = 5, on_miss = { a = 1 }, match = { headers = { a = 1 } } }]
              |                                                                                      ^
              = expected a text in quotes"#]],
    );
    check(
        "route = 1\n",
        &expect![[r#"
        rehearsal.toml:1:9: invalid type: integer `1`
          |
        1 | route = 1
          |         ^
          = expected a list in brackets"#]],
    );
    check(
        "route = []\n",
        &expect![[r#"
        rehearsal.toml:1:9: there is no route, so nothing can be answered
          |
        1 | route = []
          |         ^^"#]],
    );
    check(
        "[[rout]]\nmode = 'forward'\n",
        &expect![[r#"
            rehearsal.toml:1:3: unknown key `rout`
              |
            1 | [[rout]]
              |   ^^^^
              = did you mean `route`?
              = expected one of `seed`, `listen`, `cassette`, `limits`, `timeouts`, `redact`, `route`"#]],
    );
}

#[test]
fn a_file_that_is_not_there_is_said_in_one_line() {
    let error = Config::load(Path::new("/no/such/file.toml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/no/such/file.toml: can't read the configuration: No such file or directory (os error 2)"
    );
}

#[test]
fn a_file_that_has_no_end_or_no_bottom_is_refused() {
    let error = Config::load(Path::new("/dev/zero")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/dev/zero: can't read the configuration: it is larger than 4MiB"
    );
    for (open, close) in [("[", "]"), ("{ a = ", "}")] {
        let deep = format!("x = {}{}", open.repeat(100_000), close.repeat(100_000));
        assert!(parse(&deep).unwrap_err().to_string().len() < 5000);
    }
    assert!(parse(&format!("x{} = 1", ".a".repeat(50_000))).is_err());
}

#[test]
fn an_empty_file_is_the_embedded_default() {
    let config = parse("").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.check(), Ok(()));
    assert_eq!(config.listen.http.to_string(), "127.0.0.1:8080");
    assert_eq!(config.routes[0].upstream, Some(Upstream::Fake));
    assert_eq!(config.routes[0].on_miss(), crate::mode::OnMiss::Record);
    assert_eq!(config.route_name(0), "route-1");
}

#[test]
fn everything_that_can_be_written_is_read() {
    let config = parse(EVERYTHING).unwrap();
    assert_eq!(config.routes.len(), 4);
    assert_eq!(
        config.routes[0].pace,
        crate::shape::pace::Pace::Recorded { speed: 2.0 }
    );
    assert!(!format!("{config:?}").contains("sk-from-env"));
}

#[test]
fn fitted_times_are_looked_for_when_the_config_is_checked() {
    check(
        "[[route]]\nname = 'a'\npace = { fitted = \"none.json\" }\n",
        &expect![[r#"
            rehearsal.toml:3:8: could not read the fitted times in none.json: No such file or directory (os error 2)
              |
            3 | pace = { fitted = "none.json" }
              |        ^^^^^^^^^^^^^^^^^^^^^^^^
              = `rehearsal cassette fit DIR --out FILE` writes one; the path starts in the config's folder"#]],
    );
}

#[test]
fn a_configuration_made_from_flags_is_checked_too() {
    let mut config = Config::default();
    config.routes[0].upstream = None;
    assert_eq!(
        config.check().unwrap_err().to_string(),
        "route[0].on_miss: `on_miss = \"record\"` needs an upstream, and this route has none\n  \
         = add `upstream = \"https://HOST\"`, or `upstream = \"fake\"` for the built-in backend"
    );
}

#[test]
fn the_schema_documents_every_key() {
    fn walk(schema: &serde_json::Value, way: &str, keys: &mut usize) {
        if let Some(properties) = schema.get("properties").and_then(|it| it.as_object()) {
            for (key, property) in properties {
                *keys += 1;
                let is_documented = property.get("description").is_some()
                    || schema.get("description").is_some() && properties.len() == 1;
                assert!(is_documented, "{way}.{key} says what it is");
                walk(property, &format!("{way}.{key}"), keys);
            }
        }
    }
    let schema = schema();
    let mut keys = 0;
    walk(&schema, "", &mut keys);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        walk(definition, name, &mut keys);
    }
    assert!(keys > 40, "{keys}");
    assert_eq!(
        schema["$defs"]["Listen"]["properties"]["http"]["default"],
        "127.0.0.1:8080"
    );
    assert_eq!(schema["additionalProperties"], false);
}

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

const EVERYTHING: &str = r#"
seed = 7
[listen]
http = "[::1]:0"
grace = "5s"
[[listen.fault]]
refuse = true
peer = "10.0.0.0/8"
every = 10
[[listen.fault]]
name = "idle"
idle_close = "5s"
nth = 2
ttl = "1h"
enabled = false
[cassette]
path = "cassettes/staging"
record = "once"
[limits]
head = "32KiB"
url = "8KiB"
headers = 100
body_ahead = "2MiB"
drain = "0B"
[timeouts]
connect = "1s"
first_byte = "2s"
idle = "3s"
drain = "0s"
keepalive = "5s"
request = "6s"
write = "7s"
[redact]
[[route]]
name = "chat"
match = { method = "POST", path = "/v1/chat/*", host = "*.local", headers = { x-team = "a*" }, query = { v = "1" } }
upstream = "https://api.openai.com"
mode = "replay"
on_miss = "record"
record = "append"
exhausted = "loop"
per_client = true
key = { host = true, headers = ["x-team"], ignore = ["$.user"], ignore_query = ["t"], body_limit = "1MiB", over_limit = "head-only" }
set_headers = { authorization = { env = "OPENAI_API_KEY" }, x-api-key = { literal_secret = "s" }, x-team = { value = "a" } }
remove_headers = ["cookie"]
strip_prefix = "/openai"
add_prefix = "/v2"
opaque = true
pace = { recorded = { speed = 2 } }
rechunk = { adaptive = { target = "40ms", min = 2, max = 10 } }
[[route.fault]]
name = "slow"
latency = { lognormal = { median = "200ms", p99 = "2s" }, max = "10s" }
basis = "total"
probability = 0.1
ttl = "1h"
max_active = 5
dry_run = true
when = { method = "POST", path = "/v1/**", headers = { x-team = "a*" }, query = { v = "1" }, body = { "$.stream" = true, "$.n" = 1, "$.user" = "ci-*" }, client = "ci-*", model = "gpt-*", protocol = "http1", every = 5, after = 10, per = "client", attempt = { from = 1 }, window = { from = "10s", to = "1m" }, ramp = { from = 0, to = 0.5, over = "1m" }, header = "x-rehearsal-fault" }
[[route.fault]]
cut = { after = { events = 12 }, how = "reset" }
group = "ends"
weight = 0.3
[[route.fault]]
cut = { after = "4KiB", how = { h2-reset = 8 } }
group = "ends"
weight = 0.7
[[route.fault]]
status = { error = "rate-limit", retry_after = "2s" }
probability = 0.01
after_upstream = true
[[route.fault]]
gap = { each = "15ms ± 3ms", correlation = 0.3 }
[[route.fault]]
stall = { after = "first-tool-call", for = "3s", keepalive = "comment", every = "300ms" }
when = { nth = 3 }
[[route]]
match = { path = "/b/**" }
pace = { tokens = { ttft = "200ms ± 40ms", gap = "12ms" } }
rechunk = { bytes = 512 }
[[route]]
match = { path = "/c/**" }
pace = { profile = "gpt-4o" }
rechunk = "as-recorded"
[[route]]
pace = "instant"
rechunk = "word"
"#;

#[test]
fn slips_that_everybody_makes_once_are_told_with_what_to_write() {
    check(
        "[[fault]]\nstatus = 503\n\n[route]\nmode = \"record\"\n",
        &expect![[r#"
            rehearsal.toml:1:3: unknown key `fault`
              |
            1 | [[fault]]
              |   ^^^^^
              = a fault stands below its route, as `[[route.fault]]`
              = expected one of `seed`, `listen`, `cassette`, `limits`, `timeouts`, `redact`, `route`

            rehearsal.toml:4:1: invalid type: map
              |
            4 | [route]
              | ^^^^^^^
              = there may be more than one, so write `[[route]]`"#]],
    );
    check(
        "[cassette]\nrecord = {}\n\n[[route]]\nhttp = 2\nmode = true\n",
        &expect![[r#"
            rehearsal.toml:2:10: this is not one of the choices
              |
            2 | record = {}
              |          ^^
              = expected one of `replace`, `append`, `once`

            rehearsal.toml:5:8: this is not one of the choices
              |
            5 | http = 2
              |        ^
              = expected one of `auto`, `1.1`, `2`

            rehearsal.toml:6:8: this is not one of the choices
              |
            6 | mode = true
              |        ^^^^
              = expected one of `forward`, `record`, `replay`, `synthesize`"#]],
    );
}
