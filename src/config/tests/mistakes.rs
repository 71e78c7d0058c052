//! What a file with mistakes is told: all of them, in order, and none that is only the echo of another.

use super::*;

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
              = expected a text in quotes: a length of time such as `250ms`, `1.5s` or `2m`

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
               = expected a text in quotes: a number of bytes such as `512B`, `16KiB` or `8MiB`

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
fn a_prefix_that_no_path_begins_with_is_told() {
    let file = |path: &str, prefix: &str| {
        parse(&format!(
            "[[route]]\nmode = \"replay\"\nmatch = {{ path = \"{path}\" }}\nstrip_prefix = \"{prefix}\"\n"
        ))
    };
    expect![[r#"
        rehearsal.toml:4:16: no path that this route takes begins with `/openai`, so nothing is ever stripped: its `match` has `/v1/**`
          |
        4 | strip_prefix = "/openai"
          |                ^^^^^^^^^
          = `match` looks at the path before it is stripped: write `path = "/openai/v1/**"` there, or take `strip_prefix` out"#]].assert_eq(&file("/v1/**", "/openai").unwrap_err().to_string());
    for (path, prefix, is_right) in [
        ("/openai/**", "/openai", true),
        ("/openai", "/openai/", true),
        ("/openai/v1", "/openai", true),
        ("/open*/v1", "/openai", true),
        ("/*/v1", "/openai", true),
        ("/**", "/a/b/c", true),
        ("/a**", "/a/b/c", true),
        ("/a/*/c/d", "/a/b/c", true),
        ("/any", "/", true),
        ("/openai2/**", "/openai", false),
        ("/openai", "/openai/v1", false),
        ("/*", "/openai/v1", false),
        ("/a/*/d", "/a/b/c", false),
    ] {
        assert_eq!(file(path, prefix).is_ok(), is_right, "{path} {prefix}");
    }
}

#[test]
fn what_can_never_be_met_or_sent_is_told() {
    check(
        r#"
seed = 99999999999999999999
[listen]
http = "http://127.0.0.1:8080"
handover = ""
[redact]
headers = ["ok", "a b"]
query = [""]
members = [""]
[[route]]
mode = "replay"
match = { path = "/café" }
remove_headers = ["x-debug", "Content-Length"]
[[route]]
mode = "replay"
match = { path = "/a/../b" }
"#,
        &expect![[r#"
            rehearsal.toml:2:8: invalid type: integer `99999999999999999999`, which is too large
              |
            2 | seed = 99999999999999999999
              |        ^^^^^^^^^^^^^^^^^^^^
              = expected a whole number, not negative

            rehearsal.toml:4:8: `http://127.0.0.1:8080` is not an address: a scheme or a path does not belong to it
              |
            4 | http = "http://127.0.0.1:8080"
              |        ^^^^^^^^^^^^^^^^^^^^^^^
              = expected a host and a port such as `127.0.0.1:8080`

            rehearsal.toml:5:12: the path of the socket is empty
              |
            5 | handover = ""
              |            ^^

            rehearsal.toml:7:18: `a b` is not a header name
              |
            7 | headers = ["ok", "a b"]
              |                  ^^^^^

            rehearsal.toml:8:10: `` is not a name of 1 to 128 bytes
              |
            8 | query = [""]
              |          ^^

            rehearsal.toml:9:12: `` is not a name of 1 to 128 bytes
              |
            9 | members = [""]
              |            ^^

            rehearsal.toml:12:18: the path `/café` holds 'é', which is percent-encoded in the path of a request
               |
            12 | match = { path = "/café" }
               |                  ^^^^^^^
               = expected `%C3%A9` for it

            rehearsal.toml:13:30: `Content-Length` belongs to one connection, and the proxy sets it itself
               |
            13 | remove_headers = ["x-debug", "Content-Length"]
               |                              ^^^^^^^^^^^^^^^^

            rehearsal.toml:16:18: the path `/a/../b` has a `..` segment, and requests that have one are refused
               |
            16 | match = { path = "/a/../b" }
               |                  ^^^^^^^^^"#]],
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
