use std::sync::Arc;

use super::*;
use crate::board::Configured;

fn board(rules: &[(&str, bool, Option<u64>)]) -> Arc<Board> {
    let board = Arc::new(Board::new());
    board.set_rules(rules.iter().map(|(rule, is_on, ttl)| Configured {
        name: name(rule),
        kind: "latency",
        is_on: *is_on,
        ttl: ttl.map(Duration::from_secs),
    }));
    board
}

fn name(rule: &str) -> Name {
    Name {
        route: "chat".to_owned(),
        rule: rule.to_owned(),
    }
}

fn live(board: &Board, rule: &str) -> Arc<Live> {
    board.lives("chat", [rule].into_iter()).remove(0)
}

fn is_on(board: &Board, rule: &str) -> bool {
    let standings = board.standings();
    standings
        .iter()
        .find(|standing| standing.name == name(rule))
        .unwrap()
        .is_on
}

/// What another process reads of it.
fn passed_on(board: &Board) -> Legacy {
    let text = serde_json::to_string(&board.legacy()).unwrap();
    serde_json::from_str(&text).unwrap()
}

const RULES: [(&str, bool, Option<u64>); 3] = [
    ("cut", false, None),
    ("short", true, Some(60)),
    ("slow", true, None),
];

#[tokio::test(start_paused = true)]
async fn a_killed_board_is_succeeded_by_a_killed_one() {
    let old = board(&RULES);
    old.kill(true);
    let new = board(&[("other", true, None)]);
    let mut turns = new.turns();
    let inherited = new.inherit(&passed_on(&old));
    assert!(inherited.killed && new.is_killed());
    assert!(!is_on(&new, "other"), "rules that are new are ended too");
    assert!(turns.has_changed().unwrap());
    turns.mark_unchanged();
    old.kill(false);
    let next = board(&RULES);
    assert!(!next.inherit(&passed_on(&old)).killed && !next.is_killed());
}

#[tokio::test(start_paused = true)]
async fn what_was_switched_by_hand_stays_so_and_what_is_no_more_is_named() {
    let old = board(&RULES);
    old.switch(&name("cut"), true, Some(Duration::from_secs(90)));
    old.switch(&name("slow"), false, None);
    old.set_ttl(&name("short"), Duration::from_secs(30))
        .unwrap();
    let new = board(&[("cut", false, None), ("slow", true, None)]);
    let inherited = new.inherit(&passed_on(&old));
    assert!(is_on(&new, "cut") && !is_on(&new, "slow"));
    assert_eq!(inherited.taken, ["chat/cut on for 90s", "chat/slow off"]);
    assert_eq!(inherited.gone, ["chat/short as configured for 30s"]);
    assert_eq!(inherited.counted, 2);
    tokio::time::advance(Duration::from_secs(89)).await;
    assert!(is_on(&new, "cut"));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!is_on(&new, "cut"), "its time went on");
}

#[tokio::test(start_paused = true)]
async fn the_time_to_live_of_the_config_runs_on() {
    let old = board(&RULES);
    tokio::time::advance(Duration::from_secs(40)).await;
    let new = board(&RULES);
    let inherited = new.inherit(&passed_on(&old));
    assert_eq!((inherited.taken.len(), inherited.gone.len()), (0, 0));
    tokio::time::advance(Duration::from_secs(19)).await;
    assert!(is_on(&new, "short"));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!is_on(&new, "short"));
    // Ended stays ended, in any number of processes.
    let next = board(&RULES);
    next.inherit(&passed_on(&new));
    assert!(!is_on(&next, "short") && is_on(&next, "slow"));
    next.set_ttl(&name("slow"), Duration::from_secs(1)).unwrap();
    tokio::time::advance(Duration::from_secs(5)).await;
    let last = board(&RULES);
    let inherited = last.inherit(&passed_on(&next));
    assert!(!is_on(&last, "slow"));
    assert_eq!(inherited.taken, ["chat/slow ended by its time to live"]);
}

#[test]
fn counts_go_on_and_do_not_fall_back() {
    let old = board(&RULES);
    for (verdict, times) in [(Verdict::Drawn, 5), (Verdict::Injected, 3)] {
        for _ in 0..times {
            live(&old, "slow").count(verdict);
        }
    }
    for error in [-2000, 40, 40, 120, 2_000_000] {
        live(&old, "slow").timing.note(error);
    }
    let new = board(&RULES);
    live(&new, "slow").count(Verdict::Drawn);
    new.inherit(&passed_on(&old));
    let (before, after) = (old.standings(), new.standings());
    assert_eq!(before[2].timing, after[2].timing);
    assert_eq!(before[2].timing.count, 5);
    assert_eq!(
        after[2].counts[..2],
        [(Verdict::Drawn, 6), (Verdict::Injected, 3)]
    );
    assert_eq!(before[0].counts, after[0].counts);
}

#[test]
fn what_another_version_says_is_read_as_far_as_it_is_known() {
    let text = r#"{ "killed": true, "mood": "low", "rules": [
        { "route": "chat", "rule": "slow", "counts": { "drawn": 7, "sung": 1 },
          "timing": { "sum_us": 60, "buckets": [[-5000, 1], [60, 1], [5000000, 1]] }, "colour": [1] },
        { "route": "chat", "rule": "cut", "switched": true, "since_us": 18446744073709551615, "left_us": 18446744073709551615 }
    ] }"#;
    let new = board(&RULES);
    new.inherit(&serde_json::from_str(text).unwrap());
    assert!(new.is_killed());
    new.kill(false);
    assert!(is_on(&new, "cut"));
    let standing = &new.standings()[2];
    assert_eq!(standing.counts[0], (Verdict::Drawn, 7));
    let filled: Vec<_> = standing
        .timing
        .buckets
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(bound, _)| *bound)
        .collect();
    assert_eq!(filled, [-1000, 100, i64::MAX]);
    serde_json::from_str::<Legacy>(r#"{ "rules": [] }"#).unwrap_err();
}
