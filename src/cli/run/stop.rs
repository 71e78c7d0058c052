//! Serves until it is told to stop, or until another process takes over, and ends in order.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use super::admin;
use crate::cassette::Cassette;
use crate::cli::Failure;
use crate::cli::succession::Heir;
use crate::handover::Hold;
use crate::server::{COURTESY, Server, Stop, Stopped};

/// Serves until the first signal, or until another process takes over; lets what is in flight go on for the grace time, then
/// finishes; a second signal ends at once.
pub(super) async fn serve_until_stopped(
    server: Server,
    grace: Duration,
    signals: &mut Signals,
    handing_over: impl Future<Output = Heir>,
    cassette: Option<Cassette>,
    admin: Option<&admin::Open>,
    finishing: impl Future<Output = ()>,
) -> Result<ExitCode, Failure> {
    let (stop, is_stopping) = tokio::sync::oneshot::channel();
    let ending = async {
        let stop = async { is_stopping.await.unwrap_or(Stop::Ordered) };
        if let Stopped::GraceOver(busy) = server.run_until(stop, grace).await {
            tracing::warn!(busy, "the grace time is over; connections were cut");
        }
        // What is still read for the recorder alone has the grace time too.
        if timeout(grace.max(FINISHING_MIN), finishing).await.is_err() {
            tracing::warn!("what was still being recorded was cut");
        }
    };
    tokio::pin!(ending);
    let mut last_orders = None;
    tokio::select! {
        () = &mut ending => return Ok(ExitCode::SUCCESS),
        () = signals.next() => {
            if let Some(admin) = admin {
                admin.end();
            }
            tracing::info!(?grace, "stopping; a second signal ends at once");
            // The server is still there to be told.
            stop.send(Stop::Ordered).ok();
        }
        heir = handing_over => {
            let successor = heir.successor();
            // From here on nobody switches a fault here: what is said to the successor below is the last word.
            last_orders = admin.map(|admin| timeout(COURTESY.min(grace), admin.hand_over(successor)));
            tracing::info!(pid = successor.pid(), ?grace, "another process has taken over; a signal ends at once");
            stop.send(Stop::HandedOver).ok();
            let hold = heir.confirm().await;
            if let Some(cassette) = cassette {
                tokio::spawn(let_go(cassette, grace.max(CLOSING), hold));
            }
        }
    }
    let ended = async {
        // Both at once: each has had its time when the other has.
        tokio::join!(ending, async {
            if let Some(orders) = last_orders {
                // Who has not come back until then has no request on its way.
                orders.await.unwrap_or_default();
            }
        });
    };
    tokio::select! {
        () = ended => Ok(ExitCode::SUCCESS),
        () = signals.next() => Ok(ended_at_once()),
    }
}

/// Lets the successor have the cassette as soon as nothing is recorded here any more, and `within` so long of it what was
/// is written: this process may wait for the one before it itself.
async fn let_go(cassette: Cassette, within: Duration, hold: Hold) {
    // Until then a connection may still bring a request.
    tokio::time::sleep(COURTESY + COURTESY / 8).await;
    if cassette.retire(within).await {
        tracing::info!("let the cassette go");
        drop(hold);
    } else {
        // The end of the process lets go.
        std::future::pending::<()>().await;
    }
}

fn ended_at_once() -> ExitCode {
    tracing::warn!("ended at once by a second signal");
    // What is committed in the journal is made into files at the next start.
    ExitCode::from(130)
}

/// SIGINT and SIGTERM.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// How long the writing of what was recorded may take at the end.
pub(super) const CLOSING: Duration = Duration::from_secs(20);

/// How long the recorder may take at the end, however short the grace time is.
const FINISHING_MIN: Duration = Duration::from_secs(30);
