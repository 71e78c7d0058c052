use super::*;

fn board() -> Arc<Board> {
    let board = Arc::new(Board::new());
    let ttl = Some(Duration::from_secs(5));
    board.set_rules([
        rule("slow", true, None),
        rule("cut", false, None),
        rule("short", true, ttl),
    ]);
    board
}

fn name(rule: &str) -> Name {
    Name {
        route: "chat".to_owned(),
        rule: rule.to_owned(),
    }
}

fn rule(rule: &str, is_on: bool, ttl: Option<Duration>) -> Configured {
    Configured {
        name: name(rule),
        kind: "latency",
        is_on,
        ttl,
    }
}

fn live(board: &Board, rule: &str) -> Arc<Live> {
    board.lives("chat", [rule].into_iter()).remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_switch_reaches_exchanges_that_run() {
    let board = board();
    let mut watch = board.watch(vec![
        live(&board, "slow").enter(None).unwrap(),
        live(&board, "short").enter(None).unwrap(),
    ]);
    assert!(watch.lifted().is_empty());
    assert!(board.switch(&name("slow"), false, None));
    watch.turned().await;
    assert_eq!(watch.lifted(), [0]);
    board.kill(true);
    watch.turned().await;
    assert_eq!(watch.lifted(), [1], "the other is known");
    board.kill(false);
    watch.turned().await;
    assert!(watch.lifted().is_empty());
    assert!(!board.switch(&name("nobody"), true, None));
}

#[tokio::test(start_paused = true)]
async fn an_end_for_which_nobody_waited_is_seen_later() {
    let board = board();
    let mut watch = board.watch(vec![live(&board, "short").enter(None).unwrap()]);
    assert!(!watch.is_turned());
    tokio::time::advance(Duration::from_secs(6)).await;
    assert!(watch.is_turned());
    watch.turned().await;
    assert_eq!(watch.lifted(), [0]);
    assert!(!watch.is_turned(), "it is known now");
}

#[tokio::test(start_paused = true)]
async fn a_time_to_live_ends_a_rule_in_exchanges_that_run() {
    let board = board();
    let mut watch = board.watch(vec![live(&board, "short").enter(None).unwrap()]);
    let begun = Instant::now();
    watch.turned().await;
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(watch.lifted(), [0]);
    assert!(!live(&board, "short").is_on());
    assert!(board.switch(&name("short"), true, Some(Duration::from_secs(2))));
    assert!(live(&board, "short").is_on());
    tokio::time::advance(Duration::from_secs(3)).await;
    assert!(!live(&board, "short").is_on());
}

#[tokio::test(start_paused = true)]
async fn a_time_to_live_switches_nothing_on() {
    let board = board();
    let seconds = Duration::from_secs;
    assert_eq!(
        board.set_ttl(&name("nobody"), seconds(1)),
        Err(NotSet::NoRule)
    );
    assert_eq!(board.set_ttl(&name("cut"), seconds(1)), Err(NotSet::Off));
    board.switch(&name("cut"), true, None);
    assert_eq!(board.set_ttl(&name("cut"), seconds(1)), Ok(()));
    tokio::time::advance(seconds(6)).await;
    for rule in ["cut", "short"] {
        let ended = board.set_ttl(&name(rule), seconds(1));
        assert_eq!(
            ended,
            Err(NotSet::Off),
            "{rule} has ended by its time to live"
        );
        assert!(!live(&board, rule).is_on());
    }
    board.kill(true);
    assert_eq!(
        board.set_ttl(&name("slow"), seconds(1)),
        Ok(()),
        "it is not the rule that is off"
    );
}

#[test]
fn what_was_switched_and_counted_survives_a_new_plan() {
    let board = board();
    board.switch(&name("cut"), true, None);
    live(&board, "cut").count(Verdict::Injected);
    board.set_rules([rule("cut", false, None), rule("new", true, None)]);
    let standings = board.standings();
    assert_eq!(standings.len(), 2);
    assert!(standings[0].is_on, "somebody said so");
    assert_eq!(standings[0].counts[1], (Verdict::Injected, 1));
}

#[test]
fn a_fault_is_active_until_it_ends_or_its_exchange_does() {
    let board = board();
    let mut watch = board.watch(vec![
        live(&board, "slow").enter(None).unwrap(),
        live(&board, "cut").enter(None).unwrap(),
    ]);
    watch.release(0);
    watch.release(0);
    assert_eq!(
        (live(&board, "slow").active(), live(&board, "cut").active()),
        (0, 1)
    );
    drop(watch);
    assert_eq!(live(&board, "cut").active(), 0);
}

#[test]
fn no_more_are_active_than_allowed() {
    let board = board();
    let slow = live(&board, "slow");
    let held = slow.enter(Some(1));
    assert!(held.is_some());
    assert!(slow.enter(Some(1)).is_none());
    drop(held);
    assert!(slow.enter(Some(1)).is_some());
}

#[tokio::test(start_paused = true)]
async fn each_time_to_live_is_seen_at_its_own_end_and_once() {
    let board = Arc::new(Board::new());
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    board.set_rules([
        rule("never", true, None),
        rule("two", true, seconds(2)),
        rule("four", true, seconds(4)),
    ]);
    let held = ["never", "two", "four"].map(|rule| live(&board, rule).enter(None).unwrap());
    let mut watch = board.watch(held.into());
    // Nobody waits for an end, as in a stream that is never silent.
    for (is_turned, lifted) in [
        (false, vec![]),
        (true, vec![1]),
        (false, vec![]),
        (true, vec![2]),
        (false, vec![]),
    ] {
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((watch.is_turned(), watch.lifted()), (is_turned, lifted));
        assert!(!watch.is_turned(), "it is known now");
    }
}
