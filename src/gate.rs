//! What is done to a connection before any request on it is looked at: refused, never answered, or closed sooner than its
//! client expects.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::board::{Board, Live, Verdict, Watch};
use crate::conn::Manners;
use crate::fault::listen::{ListenKind, ListenRule};
use crate::plan::LISTEN;
use crate::state::State;

/// What becomes of a connection.
pub(crate) enum Entry {
    /// It is served, with these manners, while the faults on it are held.
    Pass(Manners, Option<Watch>),
    /// It is reset at once.
    Refuse,
    /// It is read and never answered.
    Blackhole(Watch),
}

/// Decides what becomes of a connection from this peer.
pub(crate) fn enter(state: &State, peer: IpAddr) -> Entry {
    let (plan, board) = (state.plan(), state.board());
    if plan.listen_faults.is_empty() || board.is_killed() {
        return Entry::Pass(Manners::default(), None);
    }
    let lives = board.lives(
        LISTEN,
        plan.listen_faults.iter().map(|rule| rule.name.as_str()),
    );
    let mut manners = Manners::default();
    let mut held = Vec::new();
    for (rule, live) in plan.listen_faults.iter().zip(&lives) {
        if !live.is_on() || !rule.addresses(peer) || !is_counted(board, rule, live) {
            continue;
        }
        let Some(active) = live.enter(None) else {
            continue;
        };
        match rule.kind {
            ListenKind::Refuse => {
                live.count(Verdict::Injected);
                return Entry::Refuse;
            }
            ListenKind::Blackhole => {
                live.count(Verdict::Injected);
                return Entry::Blackhole(board.watch(vec![active]));
            }
            ListenKind::IdleClose(after) => manners.idle_close = Some((after, Arc::clone(live))),
            ListenKind::CloseOnReuse => manners.close_on_reuse = Some(Arc::clone(live)),
        }
        held.push(active);
    }
    let watch = (!held.is_empty()).then(|| board.watch(held));
    Entry::Pass(manners, watch)
}

/// Whether the listeners are to be closed: a rule refuses everybody, and the system is to say so.
pub(crate) fn is_shut(state: &State) -> bool {
    let (plan, board) = (state.plan(), state.board());
    !plan.listen_faults.is_empty() && !board.is_killed() && {
        let lives = board.lives(
            LISTEN,
            plan.listen_faults.iter().map(|rule| rule.name.as_str()),
        );
        plan.listen_faults.iter().zip(&lives).any(|(rule, live)| {
            rule.kind == ListenKind::Refuse
                && rule.peer.is_none()
                && rule.nth.is_none()
                && rule.every.is_none()
                && live.is_on()
        })
    }
}

/// Reads, and never answers, until the client leaves or the fault is lifted.
pub(crate) async fn blackhole(mut tcp: TcpStream, mut watch: Watch) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            read = tcp.read(&mut bytes) => if !matches!(read, Ok(1..)) {
                return;
            },
            () = watch.turned() => if !watch.lifted().is_empty() {
                break;
            },
        }
    }
    // The client may be gone already.
    tcp.shutdown().await.ok();
}

fn is_counted(board: &Board, rule: &ListenRule, live: &Live) -> bool {
    let number = board
        .counts()
        .next(&format!("{LISTEN}/{}", rule.name), "")
        .of_all;
    live.count(Verdict::Drawn);
    rule.counted(number)
}

/// How often a closed listener looks whether it may open again, should nobody say so.
pub(crate) const SHUT_LOOK: Duration = Duration::from_millis(50);
