use std::path::Path;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use proptest::sample::select;

use crate::config::{Config, ConfigErrors};
use crate::fault::distribution::Series;
use crate::fault::kind::Kind;
use crate::plan::Plan;

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, Path::new("rehearsal.toml"))
}

fn check(text: &str, expected: &Expect) {
    let errors = parse(text).expect_err("there are mistakes");
    expected.assert_eq(&errors.to_string());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a file and what is wrong with it")]
fn mistakes_in_faults_are_shown_with_their_places() {
    check(
        r#"
[[listen.fault]]
refuse = true
nth = 0

[[route]]
name = "chat"
upstream = "fake"
mode = "forward"

[[route.fault]]
latency = { lognormal = { median = "200ms" } }

[[route.fault]]
latensy = "1s"

[[route.fault]]
stall = { after = "4KiB" }
probability = 1.5

[[route.fault]]
cut = { after = "1KiB", how = "rest" }

[[route.fault]]
cut = { after = "soon", how = "reset" }

[[route.fault]]
latency = "1s"
basis = "replace"
empty = true

[[route.fault]]
probability = 0.5

[[route.fault]]
status = { error = "rate-limit", retry_after = "5m" }

[[route.fault]]
gap = { each = "15ms ± x", corelation = 0.3 }
when = { nth = 0, window = { from = "1m", to = "1s" }, body = { stream = true } }
"#,
        &expect![[r#"
            rehearsal.toml:4:7: with `nth` at zero it never happens, connections are counted from 1
              |
            4 | nth = 0
              |       ^

            rehearsal.toml:12:25: a lognormal with neither `sigma` nor `p99`
               |
            12 | latency = { lognormal = { median = "200ms" } }
               |                         ^^^^^^^^^^^^^^^^^^^^
               = expected one of them besides `median`

            rehearsal.toml:15:1: unknown key `latensy`
               |
            15 | latensy = "1s"
               | ^^^^^^^
               = did you mean `latency`?

            rehearsal.toml:19:15: `probability` is 1.5
               |
            19 | probability = 1.5
               |               ^^^
               = expected a number from 0 to 1

            rehearsal.toml:22:31: `rest` is not one of the choices
               |
            22 | cut = { after = "1KiB", how = "rest" }
               |                               ^^^^^^
               = did you mean `reset`?

            rehearsal.toml:25:17: `soon` is not a place in an answer
               |
            25 | cut = { after = "soon", how = "reset" }
               |                 ^^^^^^
               = expected `{ events = 12 }`, a size such as `"4KiB"`, a time such as `"2s"`, or one of `before-head`, `head`, `first-tool-call`, `first-token`, `before-terminator`, `end`

            rehearsal.toml:29:9: `basis = "replace"` is for recorded answers, and those of mode `forward` come from the upstream
               |
            29 | basis = "replace"
               |         ^^^^^^^^^
               = write `add` or `total`

            rehearsal.toml:30:1: two kinds of fault in one rule, `latency` and `empty`
               |
            30 | empty = true
               | ^^^^^
               = write a rule for each; both may hit one exchange

            rehearsal.toml:32:1: this rule has no kind of fault
               |
            32 | [[route.fault]]
               | ^^^^^^^^^^^^^^^
               = expected one such as `latency`, `stall`, `cut` or `status`

            rehearsal.toml:36:48: clients could be told to come again after 5m, and some wait for all of it
               |
            36 | status = { error = "rate-limit", retry_after = "5m" }
               |                                                ^^^^
               = expected at most 1m, or `allow_long_retry_after = true`

            rehearsal.toml:39:16: `x` is not a length of time
               |
            39 | gap = { each = "15ms ± x", corelation = 0.3 }
               |                ^^^^^^^^^^
               = expected a number and a unit such as `250ms`, `1.5s` or `2m`

            rehearsal.toml:39:28: unknown key `corelation`
               |
            39 | gap = { each = "15ms ± x", corelation = 0.3 }
               |                            ^^^^^^^^^^
               = did you mean `correlation`?

            rehearsal.toml:40:16: with `nth` at zero it never happens, requests are counted from 1
               |
            40 | when = { nth = 0, window = { from = "1m", to = "1s" }, body = { stream = true } }
               |                ^

            rehearsal.toml:40:28: the window from 1m to 1s has no time in it
               |
            40 | when = { nth = 0, window = { from = "1m", to = "1s" }, body = { stream = true } }
               |                            ^^^^^^^^^^^^^^^^^^^^^^^^^^

            rehearsal.toml:40:65: `stream` is not a JSON path
               |
            40 | when = { nth = 0, window = { from = "1m", to = "1s" }, body = { stream = true } }
               |                                                                 ^^^^^^
               = expected a path such as `$.stream` or `$.messages[*].role`"#]],
    );
}

#[test]
fn a_fault_that_another_one_prevents_is_found() {
    check(
        r#"
[[route]]
name = "chat"
upstream = "fake"
mode = "forward"

[[route.fault]]
stall = { after = "4KiB", for = "3s" }

[[route.fault]]
cut = { after = "1KiB", how = "reset" }
"#,
        &expect![[r#"
            rehearsal.toml:8:9: route `chat`: fault `stall` starts at 4KiB, but fault `cut` ends the answer at 1KiB, so it never happens
              |
            8 | stall = { after = "4KiB", for = "3s" }
              |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
}

#[test]
fn a_missing_kind_is_not_said_where_the_kind_could_not_be_read() {
    for rule in [
        "cut = { after = 'soon', how = 'reset' }",
        "cut = { after = 'head' }",
        "latensy = '1s'",
        "latency = { normal = { mean = 'x', sd = '1s' } }",
        "stall = 5",
    ] {
        let errors = parse(&format!(
            "[[route]]\nupstream = 'fake'\n[[route.fault]]\n{rule}\n"
        ));
        assert_eq!(errors.unwrap_err().mistakes().len(), 1, "{rule}");
    }
}

#[test]
fn a_plan_holds_the_compiled_faults() {
    let config = parse(
        "seed = 7\n[[listen.fault]]\nrefuse = true\n[[route]]\nname = 'a'\nupstream = 'fake'\n[[route.fault]]\nempty = true\n",
    );
    let plan = Plan::compile(&config.unwrap()).unwrap();
    assert_eq!(plan.seed, 7);
    assert_eq!(plan.listen_faults[0].name, "refuse");
    assert_eq!(plan.routes[0].faults[0].id, "a/empty");
    assert_eq!(Plan::compile(&Config::default()).unwrap().seed, 0);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_settings_make_reading_compiling_or_drawing_panic(
        lines in proptest::collection::vec((select(KEYS), select(VALUES)), 1..4),
        shape in select(SHAPES),
        numbers in proptest::collection::vec(select(VALUES), 3),
    ) {
        let mut text = "[[route]]\nupstream = 'fake'\n[[route.fault]]\n".to_owned();
        for (key, value) in &lines {
            text.push_str(&[key, " = ", value, "\n"].concat());
        }
        let mut drawn = "[[route]]\nupstream = 'fake'\n[[route.fault]]\n".to_owned();
        let shape = shape.replace('A', numbers[0]).replace('B', numbers[1]).replace('C', numbers[2]);
        drawn.push_str(&["gap = { each = ", &*shape, ", correlation = 0.5 }\n"].concat());
        for text in [text, drawn] {
            match parse(&text) {
                Err(errors) => prop_assert!(!errors.mistakes().is_empty()),
                Ok(config) => {
                    let plan = Plan::compile(&config).unwrap();
                    for rule in &plan.routes[0].faults {
                        let mut stream = crate::dice::Draw::from_bits(1).stream();
                        if let Kind::Gap { each, correlation } = &rule.kind {
                            let mut series = Series::new(each.clone(), *correlation);
                            (0..10).for_each(|_| { series.next(&mut stream); });
                        }
                    }
                }
            }
        }
    }
}

const KEYS: &[&str] = &[
    "name",
    "probability",
    "group",
    "weight",
    "when",
    "enabled",
    "ttl",
    "max_active",
    "dry_run",
    "after_upstream",
    "scope",
    "latency",
    "basis",
    "first_token",
    "gap",
    "bandwidth",
    "dribble",
    "slow_head",
    "slow_read",
    "stall",
    "hold_open",
    "cut",
    "empty",
    "blackhole",
    "status",
    "error_event",
    "corrupt",
    "garbage",
    "malformed_chunk",
    "invalid_json",
    "drop",
    "split",
    "tool_args",
    "content_type",
    "header",
    "html_200",
    "rate_limit",
    "when.nth",
    "when.every",
    "when.attempt",
    "when.body",
    "when.ramp",
    "when.window",
    "cut.after",
    "cut.how",
    "status.code",
    "header.set",
    "stall.after",
    "rate_limit.per",
    "rate_limit.requests",
];

const VALUES: &[&str] = &[
    "0",
    "1",
    "-1",
    "3.5",
    "nan",
    "inf",
    "-inf",
    "1e300",
    "9223372036854775807",
    "true",
    "[]",
    "{}",
    "[1, 2]",
    "[0]",
    "''",
    "'x'",
    "'0s'",
    "'1us'",
    "'1s'",
    "'8760h'",
    "'0B'",
    "'1KiB'",
    "'9007199254740992B'",
    "'1s ± 8760h'",
    "'± '",
    "'reset'",
    "'head'",
    "'end'",
    "'terminator'",
    "'overloaded'",
    "{ goaway = 1 }",
    "{ events = 9223372036854775807 }",
    "{ after = 'end', how = 'reset' }",
    "{ from = 1, count = 9223372036854775807 }",
    "{ from = 0, to = 1, over = '0s' }",
    "{ '$..*' = 1 }",
    "{ code = 200, headers = { retry-after = 'inf' } }",
    "1979-05-27",
    "\"\\u0000\"",
    "{ every = '1s' }",
    "{ requests = 1, tokens = 1, per = '1us' }",
    "503",
    "{ after = 'head' }",
];

const SHAPES: &[&str] = &[
    "A",
    "{ fixed = A, min = B, max = C }",
    "{ uniform = { min = A, max = B }, max = C }",
    "{ normal = { mean = A, sd = B }, min = C }",
    "{ lognormal = { median = A, p99 = B }, max = C }",
    "{ lognormal = { median = A, sigma = B }, min = C }",
    "{ exponential = { mean = A }, min = B, max = C }",
    "{ pareto = { scale = A, shape = B }, max = C }",
    "{ empirical = { samples = [A, B, C] } }",
    "{ empirical = { quantiles = [[0, A], [0.5, B], [1, C]] } }",
    "{ mixture = [{ weight = A, time = B }, { weight = 1, time = C }] }",
];
