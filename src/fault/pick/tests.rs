use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::dice::DrawParts;
use crate::fault::settings::FaultSettings;
use crate::fault::when::Protocol;
use crate::message::{Headers, RequestHead};

fn rules(rules: &[&str]) -> Vec<Rule> {
    let read = |rule: &&str| toml::from_str::<FaultSettings>(rule).unwrap();
    let settings: Vec<_> = rules.iter().map(read).collect();
    Rule::compile("chat", &settings).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn key(path: &str, client: &str) -> DrawKey {
    DrawKey::of(&DrawParts {
        method: "POST",
        path,
        query: None,
        client,
        body: None,
    })
}

/// All three steps for one request, some time after the start.
fn ask(
    seed: u64,
    rules: &[Rule],
    (path, client): (&str, &str),
    elapsed: Duration,
    counts: &Mutex<Counts>,
) -> Picked {
    ask_with(seed, rules, (path, client), Headers::new(), elapsed, counts)
}

/// The same, for a request with headers.
fn ask_with(
    seed: u64,
    rules: &[Rule],
    (path, client): (&str, &str),
    headers: Headers,
    elapsed: Duration,
    counts: &Mutex<Counts>,
) -> Picked {
    let head = RequestHead {
        method: "POST".to_owned(),
        path: path.to_owned(),
        query: None,
        headers,
    };
    let asked = Asked {
        head: &head,
        client,
        protocol: Protocol::Http1,
        body: None,
        elapsed,
    };
    let concerns = addressed(rules, |index| rules[index].is_enabled, &asked);
    let key = key(path, client);
    let (occurrences, attempts) = {
        let mut counts = counts.lock().unwrap();
        (
            count(rules, &concerns, client, &mut counts),
            attempts(rules, &concerns, key, &mut counts),
        )
    };
    pick(
        seed,
        rules,
        &concerns,
        &occurrences,
        elapsed,
        &key,
        &attempts,
    )
}

/// How often each rule hits so many requests that are all alike.
fn hits(written: &[&str], requests: u32) -> Vec<u32> {
    hits_at(written, requests, Duration::ZERO)
}

fn hits_at(written: &[&str], requests: u32, elapsed: Duration) -> Vec<u32> {
    let rules = rules(written);
    let counts = Mutex::new(Counts::new());
    let mut hits = vec![0; rules.len()];
    for _ in 0..requests {
        for hit in ask(7, &rules, ("/a", "ci"), elapsed, &counts).hits() {
            hits[hit.rule] += 1;
        }
    }
    hits
}

/// Whether a count is within five standard deviations of what the probability says: else one in two million.
fn assert_fits(hits: u32, requests: u32, probability: f64) {
    let mean = f64::from(requests) * probability;
    let bound = 5.0 * (mean * (1.0 - probability)).sqrt();
    assert!(
        (f64::from(hits) - mean).abs() <= bound,
        "{hits} of {requests} at {probability}"
    );
}

const REQUESTS: u32 = 20_000;

#[test]
fn a_probability_comes_out_as_it_is_written() {
    for probability in [0.0, 0.01, 0.1, 0.5, 0.99, 1.0] {
        let rule = format!("empty = true\nprobability = {probability}");
        // At 0 and at 1 the bound is zero: none and all of them.
        assert_fits(hits(&[&rule], REQUESTS)[0], REQUESTS, probability);
    }
}

#[test]
fn a_probability_is_rolled_once() {
    // Rolled twice, 0.3 would come out as 0.51; rounded to whole tenths 0.05 as 0.1 or 0.
    for probability in [0.3, 0.05] {
        let rule = format!("empty = true\nprobability = {probability}");
        assert_fits(hits(&[&rule], REQUESTS)[0], REQUESTS, probability);
    }
}

#[test]
fn rules_are_drawn_independently_of_each_other() {
    let rule = "status = 500\nprobability = 0.5";
    let written = [rule; 3];
    for count in hits(&written, REQUESTS) {
        // One after the other until one hits, they would come out as 0.5, 0.25 and 0.125.
        assert_fits(count, REQUESTS, 0.5);
    }
    let rules = rules(&written);
    let counts = Mutex::new(Counts::new());
    let mut together = BTreeMap::new();
    for _ in 0..REQUESTS {
        let picked = ask(7, &rules, ("/a", "ci"), Duration::ZERO, &counts);
        let hit: Vec<_> = picked.hits().map(|hit| hit.rule).collect();
        *together.entry(hit).or_insert(0) += 1;
    }
    assert_eq!(together.len(), 8);
    for (hit, count) in &together {
        assert_fits(*count, REQUESTS, 0.125);
        assert!(hit.len() <= 3);
    }
}

#[test]
fn a_group_partitions_one_draw() {
    let member = "status = 500\ngroup = 'g'\nweight = 0.3";
    let rules = rules(&[member; 3]);
    let counts = Mutex::new(Counts::new());
    let mut seen = [0; 4];
    for _ in 0..REQUESTS {
        let picked = ask(7, &rules, ("/a", "ci"), Duration::ZERO, &counts);
        let hits: Vec<_> = picked.hits().collect();
        assert!(hits.len() <= 1);
        seen[hits.first().map_or(3, |hit| hit.rule)] += 1;
    }
    for (count, share) in seen.iter().zip([0.3, 0.3, 0.3, 0.1]) {
        assert_fits(*count, REQUESTS, share);
    }
}

#[test]
fn a_full_group_always_hits_with_exactly_one() {
    let tenth = "status = 500\ngroup = 'g'\nweight = 0.1";
    let rules = rules(&[tenth; 10]);
    let counts = Mutex::new(Counts::new());
    for _ in 0..2000 {
        assert_eq!(
            ask(7, &rules, ("/a", "ci"), Duration::ZERO, &counts)
                .hits()
                .count(),
            1
        );
    }
}

#[test]
fn who_is_off_or_not_addressed_leaves_the_shares_of_its_group_alone() {
    let member = "status = 500\ngroup = 'g'\nweight = 0.3";
    let off = format!("{member}\nenabled = false");
    let elsewhere = format!("{member}\nwhen = {{ path = '/b' }}");
    let hits = hits(&[&off, &elsewhere, member], REQUESTS);
    assert_eq!(hits[..2], [0, 0]);
    assert_fits(hits[2], REQUESTS, 0.3);
}

#[test]
fn a_fixed_seed_does_not_give_every_request_the_same_decision() {
    let hits = hits(&["empty = true\nprobability = 0.5"], 100);
    assert!((1..100).contains(&hits[0]));
}

#[test]
fn a_rule_that_is_added_or_changed_rolls_nothing_again() {
    let counted = |written: &[&str], name: &str| {
        let rules = rules(written);
        let index = rules.iter().position(|rule| rule.name == name).unwrap();
        let counts = Mutex::new(Counts::new());
        (0..200)
            .map(|_| ask(7, &rules, ("/a", "ci"), Duration::ZERO, &counts).verdicts[index])
            .collect::<Vec<_>>()
    };
    let cut = "cut = { after = 'head', how = 'reset' }\nprobability = 0.5";
    let alone = counted(&[cut], "cut");
    let more = counted(
        &[
            "latency = '1s'\nprobability = 0.1",
            cut,
            "status = 500\nprobability = 0.5",
        ],
        "cut",
    );
    assert_eq!(alone, more);
}

#[test]
fn a_ramp_multiplies_the_probability() {
    let ramp = "when = { ramp = { from = 0, to = 1, over = '100s' } }";
    let alone = format!("empty = true\nprobability = 0.8\n{ramp}");
    let in_group = format!("status = 500\ngroup = 'g'\nweight = 0.4\n{ramp}");
    let written = [
        &*alone,
        "status = 501\ngroup = 'g'\nweight = 0.5",
        &*in_group,
    ];
    let hits = hits_at(&written, REQUESTS, Duration::from_secs(50));
    for (count, share) in hits.iter().zip([0.4, 0.5, 0.2]) {
        assert_fits(*count, REQUESTS, share);
    }
    assert_eq!(hits_at(&[&alone], 1000, Duration::ZERO), [0]);
}

#[test]
fn each_rule_says_what_came_of_it() {
    let rules = rules(&[
        "empty = true\nenabled = false",
        "status = 500\nwhen = { path = '/b' }",
        "status = 501\nprobability = 0",
        "status = 502",
        "status = 503\ndry_run = true",
        "status = 504\nwhen = { nth = 2 }",
    ]);
    let counts = Mutex::new(Counts::new());
    let first = ask(7, &rules, ("/a", "ci"), Duration::ZERO, &counts);
    let second = ask(7, &rules, ("/a", "ci"), Duration::ZERO, &counts);
    let word = |verdict: &Verdict| match verdict {
        Verdict::Off => "off",
        Verdict::NotAddressed => "not addressed",
        Verdict::Missed(_) => "missed",
        Verdict::Hit(_) => "hit",
        Verdict::DryRun(_) => "dry run",
    };
    let words = |picked: &Picked| picked.verdicts.iter().map(word).collect::<Vec<_>>();
    let expected = ["off", "not addressed", "missed", "hit", "dry run"];
    assert_eq!(words(&first)[..5], expected);
    assert_eq!(words(&first)[5], "not addressed");
    assert_eq!(words(&second)[5], "hit");
    let hit: Vec<_> = second.hits().map(|hit| hit.rule).collect();
    assert_eq!(hit, [3, 5]);
}

/// A decision, written down: the request, the rule, the draw.
type Decision = (String, usize, Draw);

/// The decisions for many requests, asked by so many threads.
fn decisions(seed: u64, threads: usize, is_backwards: bool) -> Vec<Decision> {
    let rules = Arc::new(rules(&[
        "latency = '1s'\nprobability = 0.3",
        "status = 500\ngroup = 'g'\nweight = 0.3",
        "empty = true\ngroup = 'g'\nweight = 0.3",
    ]));
    let mut requests: Vec<_> = (0..6400)
        .map(|number| format!("/{}", number % 50))
        .collect();
    if is_backwards {
        requests.reverse();
    }
    let counts = Arc::new(Mutex::new(Counts::new()));
    let share = requests.len() / threads;
    let asking: Vec<_> = requests
        .chunks(share)
        .map(|requests| {
            let (rules, counts, requests) = (rules.clone(), counts.clone(), requests.to_vec());
            std::thread::spawn(move || {
                let mut made = Vec::new();
                for path in requests {
                    let picked = ask(seed, &rules, (&path, "ci"), Duration::ZERO, &counts);
                    made.extend(picked.hits().map(|hit| (path.clone(), hit.rule, hit.draw)));
                }
                made
            })
        })
        .collect();
    let mut made: Vec<_> = asking
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    made.sort();
    made
}

#[test]
fn the_same_decisions_are_made_in_any_order_and_at_any_concurrency() {
    let alone = decisions(7, 1, false);
    assert!(alone.len() > 4000);
    assert_eq!(decisions(7, 64, false), alone);
    assert_eq!(decisions(7, 1, true), alone);
    assert_ne!(decisions(8, 1, false), alone);
}

#[test]
fn requests_that_a_rule_is_not_addressed_to_do_not_move_its_draws() {
    let rules = rules(&[
        "status = 500\nprobability = 0.5\nwhen = { headers = { x-team = 'a' } }",
        "status = 501\nprobability = 0.5\nwhen = { headers = { x-team = 'b' } }",
    ]);
    let alone = |team: &str, others: usize| -> Vec<Verdict> {
        let counts = Mutex::new(Counts::new());
        let ask = |team: &str| {
            let mut headers = Headers::new();
            headers.push("x-team", team.to_owned());
            ask_with(7, &rules, ("/a", "ci"), headers, Duration::ZERO, &counts)
        };
        (0..50)
            .map(|_| {
                for _ in 0..others {
                    ask(if team == "a" { "b" } else { "a" });
                }
                ask(team).verdicts[usize::from(team == "b")]
            })
            .collect()
    };
    for team in ["a", "b"] {
        assert_eq!(alone(team, 0), alone(team, 3));
    }
}

#[test]
fn rules_of_a_group_count_a_request_once() {
    let rules = rules(&[
        "status = 500\ngroup = 'g'\nweight = 0.5",
        "status = 501\ngroup = 'g'\nweight = 0.5",
    ]);
    let counts = Mutex::new(Counts::new());
    for _ in 0..100 {
        let picked = ask(7, &rules, ("/a", "ci"), Duration::ZERO, &counts);
        assert_eq!(picked.hits().count(), 1, "{picked:?}");
    }
}
