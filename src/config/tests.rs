#![expect(
    clippy::needless_raw_string_hashes,
    reason = "expectations are written by a tool"
)]

use std::path::Path;

use expect_test::{Expect, expect};

use super::*;

mod bytes;
mod damage;
mod kinds;
mod listen;
mod many;
mod mistakes;
mod secrets;
mod whole;

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    parse_with(text, &Given::default())
}

fn parse_with(text: &str, given: &Given) -> Result<Config, ConfigErrors> {
    read::parse(text, Path::new("rehearsal.toml"), given, &|name| {
        (name == "OPENAI_API_KEY").then(|| "sk-from-env".to_owned())
    })
}

fn check(text: &str, expected: &Expect) {
    let errors = parse(text).expect_err("there are mistakes");
    expected.assert_eq(&errors.to_string());
}

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
match = { method = "POST", path = "/openai/v1/chat/*", host = "*.local", headers = { x-team = "a*" }, query = { v = "1" } }
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
