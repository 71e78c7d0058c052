//! Values of another kind than is wanted.

use super::*;

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

            rehearsal.toml:4:1: invalid type: a table
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

#[test]
fn a_list_is_no_table() {
    check(
        r#"
limits = ["32KiB"]
[listen]
tls = ["server.pem", "server.key"]
[[route]]
match = ["POST"]
key = []
mode = "replay"
pace = { recorded = [2.0] }
rechunk = { adaptive = ["40ms", 2, 10] }
[[route.fault]]
latency = { lognormal = ["200ms", "2s"] }
[[route.fault]]
cut = ["4KiB"]
when = [{ first = 3 }]
[[route]]
match = { path = "/a" }
path = 0
[cassette]
path = 0
[[timeouts]]
idle = "1s"
"#,
        &expect![[r#"
            rehearsal.toml:2:10: invalid type: a list
              |
            2 | limits = ["32KiB"]
              |          ^^^^^^^^^
              = expected a table

            rehearsal.toml:4:7: invalid type: a list
              |
            4 | tls = ["server.pem", "server.key"]
              |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              = expected a table

            rehearsal.toml:6:9: invalid type: a list
              |
            6 | match = ["POST"]
              |         ^^^^^^^^
              = expected a table

            rehearsal.toml:7:7: invalid type: a list
              |
            7 | key = []
              |       ^^
              = expected a table

            rehearsal.toml:9:21: invalid type: a list
              |
            9 | pace = { recorded = [2.0] }
              |                     ^^^^^
              = expected a table

            rehearsal.toml:10:24: invalid type: a list
               |
            10 | rechunk = { adaptive = ["40ms", 2, 10] }
               |                        ^^^^^^^^^^^^^^^
               = expected a table

            rehearsal.toml:12:25: invalid type: a list
               |
            12 | latency = { lognormal = ["200ms", "2s"] }
               |                         ^^^^^^^^^^^^^^^
               = expected a table

            rehearsal.toml:14:7: invalid type: a list
               |
            14 | cut = ["4KiB"]
               |       ^^^^^^^^
               = expected a table

            rehearsal.toml:15:8: invalid type: a list
               |
            15 | when = [{ first = 3 }]
               |        ^^^^^^^^^^^^^^^
               = expected a table

            rehearsal.toml:18:1: unknown key `path`
               |
            18 | path = 0
               | ^^^^
               = expected one of `name`, `match`, `upstream`, `tls`, `http`, `mode`, `on_miss`, `record`, `exhausted`, `per_client`, `key`, `set_headers`, `remove_headers`, `strip_prefix`, `add_prefix`, `opaque`, `pace`, `rechunk`, `fault`

            rehearsal.toml:20:8: invalid type: integer `0`
               |
            20 | path = 0
               |        ^
               = expected a text in quotes

            rehearsal.toml:21:1: invalid type: a list
               |
            21 | [[timeouts]]
               | ^^^^^^^^^^^^
               = expected a table
               = there is only one, so write `[timeouts]`"#]],
    );
}
