use std::time::Duration;

use super::*;
use crate::fault::kind::{Basis, How, KeepAlive, StandIn};
use crate::fault::position::{EventKind, Events, Position};
use crate::units::{ByteSize, Span};

/// Rules as they stand in a file, one after the other, without the heads of their tables.
fn settings(rules: &[&str]) -> Vec<FaultSettings> {
    let read = |rule: &&str| toml::from_str(rule).unwrap_or_else(|error| panic!("{rule}: {error}"));
    rules.iter().map(read).collect()
}

fn compile(rules: &[&str]) -> Vec<Rule> {
    let compiled = Rule::compile("chat", &settings(rules));
    compiled.unwrap_or_else(|problems| panic!("{rules:?}: {problems:?}"))
}

fn kind(rule: &str) -> Kind {
    compile(&[rule]).remove(0).kind
}

fn problems(rules: &[&str]) -> Vec<String> {
    let problems = Rule::compile("chat", &settings(rules)).expect_err(rules[0]);
    let said = |problem: &Problem| format!("{} {problem}", problem.rule);
    problems.iter().map(said).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_kind_is_written_in_one_way_and_read() {
    let two = Events::At(vec![2]);
    let at_4k = Position::Bytes(ByteSize::kib(4));
    let stall = |after, time, keepalive, every| Kind::Stall {
        after,
        time,
        keepalive,
        every,
    };
    let plain = |status| StandIn::Plain {
        status,
        headers: [].into(),
        body: None,
    };
    for (rule, expected) in [
        (
            "latency = '20ms'\nbasis = 'replace'",
            Kind::Latency {
                time: crate::fault::distribution::Distribution::Fixed(Span::millis(20)),
                basis: Basis::Replace,
            },
        ),
        (
            "bandwidth = { down = '64KiB' }",
            Kind::Bandwidth {
                down: Some(ByteSize::kib(64)),
                up: None,
            },
        ),
        (
            "dribble = { pieces = 5, over = '2s' }",
            Kind::Dribble {
                pieces: 5,
                over: Span::secs(2),
            },
        ),
        (
            "slow_head = { every = '50ms' }",
            Kind::SlowHead {
                bytes: 1,
                every: Span::millis(50),
            },
        ),
        ("slow_read = '1KiB'", Kind::SlowRead(ByteSize::kib(1))),
        (
            "stall = { after = '4KiB' }",
            stall(at_4k.clone(), None, KeepAlive::None, Span::secs(15)),
        ),
        (
            "stall = { after = { events = 3 }, for = '3s', keepalive = 'ping', every = '300ms' }",
            stall(
                Position::Events(3),
                Some(Span::secs(3)),
                KeepAlive::Ping,
                Span::millis(300),
            ),
        ),
        ("hold_open = '5s'", Kind::HoldOpen(Some(Span::secs(5)))),
        ("hold_open = 'forever'", Kind::HoldOpen(None)),
        (
            "cut = { after = '4KiB', how = 'short-body' }",
            Kind::Cut {
                after: at_4k,
                how: How::ShortBody,
            },
        ),
        (
            "cut = { after = 'head', how = { h2-reset = 8 } }",
            Kind::Cut {
                after: Position::Head,
                how: How::H2Reset(8),
            },
        ),
        (
            "cut = { after = 'head', how = { goaway = 0 } }\nscope = 'connection'",
            Kind::Cut {
                after: Position::Head,
                how: How::GoAway(0),
            },
        ),
        ("empty = true", Kind::Empty),
        ("blackhole = true", Kind::Blackhole),
        ("status = 503", Kind::Status(plain(503))),
        ("status = { code = 418 }", Kind::Status(plain(418))),
        ("garbage = '64B'", Kind::Garbage(64)),
        (
            "malformed_chunk = {}",
            Kind::MalformedChunk {
                after: Position::Head,
            },
        ),
        ("invalid_json = 2", Kind::InvalidJson(two.clone())),
        ("two_objects = [2]", Kind::TwoObjects(two.clone())),
        (
            "drop = 'terminator'",
            Kind::Drop(Events::Kind(EventKind::Terminator)),
        ),
        ("duplicate = 2", Kind::Duplicate(two.clone())),
        ("reorder = 2", Kind::Reorder(two.clone())),
        ("merge = 2", Kind::Merge(two.clone())),
        (
            "split = { from = 2, count = 9 }",
            Kind::Split(Events::Range { from: 2, count: 9 }),
        ),
        ("split_utf8 = true", Kind::SplitUtf8),
        ("invalid_utf8 = 2", Kind::InvalidUtf8(two)),
        ("drop_event_lines = true", Kind::DropEventLines),
        (
            "tool_args = 'wrong-id'",
            Kind::ToolArgs(crate::fault::kind::ToolArgs::WrongId),
        ),
        (
            "content_type = 'text/plain'",
            Kind::ContentType("text/plain".to_owned()),
        ),
        (
            "content_encoding = 'gzip'",
            Kind::ContentEncoding("gzip".to_owned()),
        ),
        ("html_200 = true", Kind::Html200),
        (
            "rate_limit = { requests = 60 }",
            Kind::RateLimit {
                requests: Some(60),
                tokens: None,
                per: Span::secs(60),
                is_shared: false,
            },
        ),
    ] {
        assert_eq!(kind(rule), expected, "{rule}");
        is_under_its_word(rule);
    }
    for rule in [
        "first_token = '1s'",
        "gap = { lognormal = { median = '10ms', sigma = 0.5 }, min = '5ms' }",
        "gap = { each = '15ms ± 3ms', correlation = 0.3 }",
        "status = 'overloaded'",
        "status = { code = 503, headers = { retry-after = '2' }, body = 'no' }",
        "error_event = { after = { events = 2 }, error = 'overloaded', then = 'continue' }",
        "error_event = { after = { events = 2 }, error = 'rate-limit', style = 'documented' }",
        "corrupt = { count = 3, unit = 'bits' }",
        "header = { set = { x-a = '1' }, drop = ['x-b'], duplicate = ['x-c'], huge = '64KiB' }",
    ] {
        is_under_its_word(rule);
    }
}

/// A rule has no name but that of its kind, which is the key that it is written under.
fn is_under_its_word(rule: &str) {
    let key = rule.split(' ').next().unwrap();
    assert_eq!(kind(rule).word(), key, "{rule}");
}

#[test]
fn what_is_said_besides_the_kind_is_kept() {
    let rules = compile(&[
        "name = 'busy'\nstatus = 503\nprobability = 0.1\nttl = '1m'\nmax_active = 3\ndry_run = true\nenabled = false",
        "latency = '1s'",
        "latency = '2s'\nname = 'latency-2'",
        "latency = '3s'",
        "status = 500\nafter_upstream = true",
    ]);
    let names: Vec<_> = rules.iter().map(|rule| &*rule.name).collect();
    assert_eq!(
        names,
        ["busy", "latency", "latency-2", "latency-3", "status"]
    );
    assert_eq!(rules[0].id, "chat/busy");
    assert_eq!(rules[0].chance, Chance::Alone(0.1));
    assert_eq!(rules[0].ttl, Some(Duration::from_secs(60)));
    assert_eq!(rules[0].max_active, Some(3));
    assert!(rules[0].is_dry_run && !rules[0].is_enabled && rules[1].is_enabled);
    let before: Vec<_> = rules.iter().map(|rule| rule.is_before_upstream).collect();
    assert_eq!(before, [true, false, false, false, false]);
}

#[test]
fn a_rule_has_exactly_one_kind() {
    assert_eq!(
        problems(&[
            "probability = 0.5",
            "empty = false",
            "latency = '1s'\nempty = true"
        ]),
        [
            "0 this rule has no kind of fault; expected one such as `latency`, `stall`, `cut` or `status`",
            "1 this rule has no kind of fault; expected one such as `latency`, `stall`, `cut` or `status`",
            "2 empty: two kinds of fault in one rule, `latency` and `empty`; write a rule for each; both may hit one exchange",
        ]
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_out_of_range_is_refused_and_not_clamped() {
    for (rule, expected) in [
        (
            "empty = true\nprobability = 1.5",
            "probability: `probability` is 1.5, expected a number from 0 to 1",
        ),
        (
            "empty = true\nprobability = -0.1",
            "probability: `probability` is -0.1, expected a number from 0 to 1",
        ),
        (
            "empty = true\nprobability = nan",
            "probability: `probability` is NaN, expected a number from 0 to 1",
        ),
        (
            "empty = true\nmax_active = 0",
            "max_active: with `max_active` at zero it never happens; write `enabled = false`",
        ),
        (
            "empty = true\nttl = '0s'",
            "ttl: with `ttl` at zero it never happens; write `enabled = false`",
        ),
        (
            "header = { set = { Retry-After = '3600' } }",
            "header: set: clients could be told to come again after 1h, and some wait for all of it; expected at most 1m, or `allow_long_retry_after = true`",
        ),
        (
            "status = { code = 429, headers = { retry-after = 'Wed, 21 Oct 2099 07:28:00 GMT' } }",
            "status: headers: clients are told to come again at `Wed, 21 Oct 2099 07:28:00 GMT`, which may be far away, and some wait for all of it; expected a number of seconds, or `allow_long_retry_after = true`",
        ),
        (
            "status = { code = 204, body = 'x' }",
            "status: body: an answer with status 204 has no body; take it out",
        ),
        (
            "stall = { after = 'before-head', keepalive = 'ping' }",
            "stall: keepalive: before the head there is no stream that a keep-alive could stand in; write `after = \"head\"`, or take it out",
        ),
        (
            "cut = { after = 'end', how = 'clean-end' }",
            "cut: after: at the end the answer ends well anyway, so it never has an effect; write an earlier place",
        ),
        (
            "corrupt = { after = 'end', count = 1 }",
            "corrupt: after: at the end nothing is left to corrupt, so it never has an effect; write an earlier place",
        ),
        (
            "status = 199",
            "status: 199 is not a status, expected one from 200 to 599",
        ),
        (
            "status = { code = 600 }",
            "status: 600 is not a status, expected one from 200 to 599",
        ),
        (
            "bandwidth = {}",
            "bandwidth: no limit is set; expected `down`, `up` or both",
        ),
        (
            "bandwidth = { up = '0B' }",
            "bandwidth: up: at zero bytes nothing passes, ever",
        ),
        (
            "slow_read = '0B'",
            "slow_read: at zero bytes nothing passes, ever",
        ),
        (
            "gap = { each = '1s', correlation = 1 }",
            "gap: correlation: `correlation` is 1, expected a number from -0.99 to 0.99",
        ),
        (
            "dribble = { pieces = 0, over = '1s' }",
            "dribble: pieces: 0 is out of range, expected a number from 1 to 100000",
        ),
        (
            "slow_head = { every = '0s' }",
            "slow_head: every: the time is zero, expected one above it",
        ),
        (
            "stall = { after = 'head', every = '0s' }",
            "stall: every: the time is zero, expected one above it",
        ),
        (
            "corrupt = { count = 0 }",
            "corrupt: count: 0 is out of range, expected a number from 1 to 1000000",
        ),
        (
            "garbage = '2MiB'",
            "garbage: 2097152 is out of range, expected a number from 1 to 1048576",
        ),
        (
            "header = {}",
            "header: no header is changed; expected `set`, `drop`, `duplicate` or `huge`",
        ),
        (
            "header = { set = { 'x y' = '1' } }",
            "header: set: x y: `x y` is not a header name",
        ),
        (
            "header = { drop = ['Content-Length'] }",
            "header: drop: `Content-Length` says where the answer ends, and the proxy sets it itself; a wrong end is `cut` with `how = \"short-body\"`, or `malformed_chunk`",
        ),
        (
            "content_type = \"a\\r\\nb\"",
            "content_type: the value of `content-type` holds a control character",
        ),
        (
            "rate_limit = {}",
            "rate_limit: no limit is set; expected `requests`, `tokens` or both",
        ),
        (
            "rate_limit = { requests = 0 }",
            "rate_limit: requests: 0 is out of range, expected a number from 1 to 4294967295",
        ),
        (
            "name = 'a b'\nempty = true",
            "name: `a b` can't be the name of a rule; expected up to 64 letters, digits, `-`, `_` or `.`",
        ),
    ] {
        assert_eq!(problems(&[rule]), [format!("0 {expected}")], "{rule}");
    }
}

#[test]
fn what_has_no_effect_is_refused() {
    for (rule, expected) in [
        (
            "empty = true\nbasis = 'add'",
            "basis: `basis` goes with `latency` and has no effect on `empty`; take it out",
        ),
        (
            "latency = '1s'\nafter_upstream = true",
            "after_upstream: `after_upstream` has no effect on `latency`, which needs the source's answer anyway; take it out",
        ),
        (
            "latency = '1s'\nscope = 'connection'",
            "scope: `scope = \"connection\"` has no effect on `latency`; it goes with `cut` and `how = \"reset\"` or `{ goaway = … }`",
        ),
        (
            "cut = { after = 'before-head', how = 'short-body' }",
            "cut: how: this is a way to end a body, and there is none before the head; write `after = \"head\"`, `how = \"reset\"`, or the kind `empty = true`",
        ),
        (
            "corrupt = { after = 'before-head' }",
            "corrupt: after: `corrupt` is about the body, and there is none before the head",
        ),
    ] {
        assert_eq!(problems(&[rule]), [format!("0 {expected}")], "{rule}");
    }
}

#[test]
fn a_wait_of_more_than_a_minute_is_refused_unless_allowed() {
    for (rule, way, wait) in [
        (
            "status = { error = 'rate-limit', retry_after = '61s' }",
            "status: retry_after",
            "61s",
        ),
        (
            "status = { code = 429, headers = { Retry-After = '120' } }",
            "status: headers",
            "2m",
        ),
        (
            "status = { code = 429, headers = { retry-after-ms = '1e300' } }",
            "status: headers",
            "8760h",
        ),
        (
            "rate_limit = { requests = 1, per = '2m' }",
            "rate_limit: per",
            "2m",
        ),
        (
            "rate_limit = { tokens = 1000000, per = '1h' }",
            "rate_limit: per",
            "1h",
        ),
    ] {
        let expected = format!(
            "0 {way}: clients could be told to come again after {wait}, and some wait for all of it; expected at most 1m, or `allow_long_retry_after = true`"
        );
        assert_eq!(problems(&[rule]), [expected]);
        compile(&[&format!("{rule}\nallow_long_retry_after = true")]);
    }
    compile(&["status = { error = 'rate-limit', retry_after = '60s' }"]);
    compile(&["rate_limit = { requests = 600, per = '1h' }"]);
}

#[test]
fn what_a_protocol_cant_do_is_refused_with_the_reason() {
    let on = |rule: &str, protocol: &str| format!("{rule}\nwhen = {{ protocol = '{protocol}' }}");
    for (rule, protocol, expected) in [
        (
            "cut = { after = 'head', how = { h2-reset = 8 } }",
            "http1",
            "when: protocol: `cut` can't be done on HTTP/1.1: its frames exist in HTTP/2 only",
        ),
        (
            "malformed_chunk = {}",
            "http2",
            "when: protocol: `malformed_chunk` can't be done on HTTP/2: its frames carry lengths of their own, there are no chunks to break",
        ),
        (
            "slow_head = { every = '1ms' }",
            "http2",
            "when: protocol: `slow_head` can't be done on HTTP/2: its heads are compressed frames, which a client takes whole or not at all",
        ),
        (
            "garbage = '1B'",
            "http2",
            "when: protocol: `garbage` can't be done on HTTP/2: it would take all exchanges of the connection, not one",
        ),
    ] {
        assert_eq!(problems(&[&on(rule, protocol)]), [format!("0 {expected}")]);
    }
    compile(&[&on(
        "cut = { after = 'head', how = { h2-reset = 8 } }",
        "http2",
    )]);
    compile(&[&on("malformed_chunk = {}", "http1")]);
    assert_eq!(
        problems(&["cut = { after = 'head', how = { goaway = 0 } }"]),
        [
            "0 cut: how: `goaway` ends a connection with all its exchanges, not one of them; add `scope = \"connection\"`, or write `how = { h2-reset = … }`"
        ]
    );
}

#[test]
fn a_group_shares_one_draw() {
    let weights = |weights: &[&str]| {
        let rule = |weight: &&str| format!("empty = true\ngroup = 'g'\nweight = {weight}");
        weights.iter().map(rule).collect::<Vec<_>>()
    };
    let slices = |rules: &[String]| {
        let rules: Vec<_> = rules.iter().map(String::as_str).collect();
        let slice = |rule: &Rule| match &rule.chance {
            Chance::Slice { from, to, .. } => (*from, *to),
            Chance::Alone(_) => panic!("{rule:?}"),
        };
        compile(&rules).iter().map(slice).collect::<Vec<_>>()
    };
    assert_eq!(
        slices(&weights(&["0.25", "0.5"])),
        [(0.0, 0.25), (0.25, 0.75)]
    );
    let tenths = slices(&weights(&["0.1"; 10]));
    assert_eq!(tenths[9].1.to_bits(), 1.0_f64.to_bits());
    assert_eq!(
        problems(&[
            "empty = true\ngroup = 'g'\nweight = 0.6",
            "blackhole = true\ngroup = 'g'\nweight = 0.5",
            "html_200 = true\ngroup = 'h'\nweight = 1",
            "status = 500\ngroup = 'h'",
            "status = 501\nweight = 0.5",
            "status = 502\ngroup = 'h'\nweight = 0\nprobability = 0.5",
            "status = 503\ngroup = 'a b'\nweight = 2",
        ]),
        [
            "1 weight: with this rule the weights of the group `g` make more than 1; a group shares one draw, so its weights make 1 at most",
            "3 group: a rule of the group `h` needs a `weight`, from 0 to 1",
            "4 weight: a weight is a share of a group's draw, and this rule has no `group`; write `probability`, or add a `group`",
            "5 probability: in a group the `weight` says how often, so `probability` has no effect; take it out",
            "6 weight: `weight` is 2, expected a number from 0 to 1",
            "6 group: `a b` can't be the name of a group; expected letters, digits, `-`, `_` or `.`",
        ]
    );
}

#[test]
fn rules_that_can_happen_are_let_be() {
    for pair in [
        // Everything but the terminator comes.
        [
            "cut = { after = { events = 3 }, how = 'missing-terminator' }",
            "stall = { after = { events = 9 } }",
        ],
        // Each on a protocol of its own.
        [
            "cut = { after = { events = 3 }, how = 'missing-last-chunk' }",
            "cut = { after = { events = 9 }, how = { h2-reset = 8 } }",
        ],
        ["empty = true", "stall = { after = 'head' }"],
    ] {
        assert!(Rule::compile("chat", &settings(&pair)).is_ok(), "{pair:?}");
    }
}

#[test]
fn rules_that_can_never_happen_are_found() {
    assert_eq!(
        problems(&[
            "stall = { after = '4KiB' }",
            "cut = { after = '1KiB', how = 'reset' }"
        ]),
        [
            "0 stall: fault `stall` starts at 4KiB, but fault `cut` ends the answer at 1KiB, so it never happens"
        ]
    );
    assert_eq!(
        problems(&[
            "cut = { after = 'head', how = 'reset' }",
            "name = 'late'\ncut = { after = { events = 3 }, how = 'reset' }"
        ]),
        [
            "1 cut: fault `late` ends the answer after 3 events, but fault `cut` ends the answer after the head, so it never happens"
        ]
    );
    assert_eq!(
        problems(&[
            "blackhole = true\nwhen = { nth = 2 }",
            "corrupt = {}\nwhen = { nth = 2 }"
        ]),
        [
            "1 corrupt: fault `corrupt` happens after the head, but fault `blackhole` ends the answer before the head, so it never happens"
        ]
    );
    let cut = "cut = { after = '1KiB', how = 'reset' }";
    for other in [
        "probability = 0.5",
        "when = { nth = 3 }",
        "group = 'g'\nweight = 1",
        "enabled = false",
        "dry_run = true",
        "ttl = '1m'",
    ] {
        compile(&["stall = { after = '4KiB' }", &format!("{cut}\n{other}")]);
    }
    compile(&["stall = { after = '1KiB' }", cut]);
    compile(&["stall = { after = { events = 9 } }", cut]);
}

#[test]
fn two_rules_of_a_route_have_two_names() {
    assert_eq!(
        problems(&["name = 'a'\nempty = true", "name = 'a'\nblackhole = true"]),
        ["1 name: two rules of this route have the name `a`"]
    );
}

#[test]
fn rules_that_clients_name_one_by_one_do_not_stand_in_each_others_way() {
    let rule = |how: &str| {
        let text = format!(
            "cut = {{ after = 'head', how = '{how}' }}\nwhen = {{ header = 'x-rehearsal-fault' }}"
        );
        toml::from_str::<FaultSettings>(&text).unwrap()
    };
    let mut before = rule("reset");
    before.name = Some("before".to_owned());
    let mut after = rule("clean-end");
    after.name = Some("after".to_owned());
    assert_eq!(Rule::compile("chat", &[before, after]).unwrap().len(), 2);
}
