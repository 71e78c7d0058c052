//! Takes the place of a running process, and is there for the next one.

use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use tokio::net::TcpListener;

use crate::board::{Board, Inherited};
use crate::cassette::Cassette;
use crate::config::{Address, Listen};
use crate::handover::{Hold, Left, Legacy, Offer, Predecessor, Successor, default_path};
use crate::server::Server;

/// The process that was here before, if its place is taken.
pub(super) struct Succession {
    before: Option<Predecessor>,
    /// Dropped when the process before has let its cassette go.
    is_held: Option<Sender<()>>,
}

impl Succession {
    /// Finds the process whose place is taken; nothing to find where none is.
    pub(super) async fn begin(settings: &Listen, takes_over: bool) -> anyhow::Result<Self> {
        if !takes_over {
            return Ok(Self {
                before: None,
                is_held: None,
            });
        }
        let path = match &settings.handover {
            Some(path) => path.clone(),
            None => path_by(&settings.http).await?,
        };
        let before = Predecessor::find(&path)
            .await
            .context("could not take over")?;
        Ok(Self {
            before: Some(before),
            is_held: None,
        })
    }

    /// The listener of the process before, or one of our own where it has none for this address. Says whether it is the former.
    pub(super) async fn listen(
        &mut self,
        scheme: &str,
        address: &Address,
    ) -> anyhow::Result<(TcpListener, bool)> {
        if let Some(before) = &mut self.before {
            let addresses: Vec<_> = tokio::net::lookup_host(address.to_string())
                .await
                .with_context(|| format!("could not look up {address}"))?
                .collect();
            let taken = before
                .take(scheme, &addresses)
                .context("could not use a listener of the process before")?;
            if let Some(listener) = taken {
                return Ok((listener, true));
            }
        }
        let listener = Server::listen(&address.to_string())
            .await
            .map_err(|error| {
                let advice = advice(scheme, error.kind());
                anyhow!("could not listen on {address}: {error}; {advice}")
            })?;
        Ok((listener, false))
    }

    /// Where the process before records into this cassette: since when its run goes on, and what tells our turn to.
    pub(super) fn run_of(&mut self, cassette: &Path) -> Option<(SystemTime, Receiver<()>)> {
        let (other, since) = self.before.as_ref()?.legacy().writes.as_ref()?;
        if full(cassette).as_ref() != Some(other) {
            return None;
        }
        let (is_held, turn) = channel();
        self.is_held = Some(is_held);
        Some((*since, turn))
    }

    /// Takes over, now that all is ready, and offers the listeners to the next process. What is given resolves when that one
    /// is ready to accept.
    pub(super) async fn complete(
        self,
        settings: &Listen,
        server: &Server,
        admin: Option<&TcpListener>,
        cassette: Option<&Cassette>,
        board: &Arc<Board>,
    ) -> anyhow::Result<impl Future<Output = Heir> + use<>> {
        let offer = match self.offer(settings, server).await {
            Ok(offer) => Some(offer),
            Err(error) if settings.handover.is_some() => return Err(error),
            Err(error) => {
                tracing::warn!("no process will be able to take over: {error:#}");
                None
            }
        };
        let listeners = server
            .listeners()
            .chain(admin.map(|listener| (ADMIN, listener)))
            .map(|(scheme, listener)| Ok((scheme, listener.as_fd().try_clone_to_owned()?)))
            .collect::<std::io::Result<Vec<_>>>()
            .context("could not pass the listeners on")?;
        let legacy = Legacy {
            writes: cassette
                .filter(|cassette| cassette.is_written())
                .and_then(|cassette| Some((full(cassette.folder())?, cassette.since()))),
        };
        if let Some(before) = self.before {
            let pid = before.pid();
            let (left, let_go) = before.succeed().await.context("could not take over")?;
            tracing::info!(pid, "took over from another process");
            // Before a request is served here.
            inherit(board, left);
            let is_held = self.is_held;
            tokio::spawn(async move {
                let_go.await;
                drop(is_held);
            });
        }
        // Before anybody is told that we listen: who is told may want to take over at once.
        let offer = offer.and_then(|mut offer| match offer.publish() {
            Ok(()) => Some(offer),
            Err(error) => {
                tracing::warn!("no process will be able to take over: {error}");
                None
            }
        });
        let board = Arc::clone(board);
        Ok(async move {
            let successor = succeeded(offer, listeners, legacy).await;
            Heir { successor, board }
        })
    }

    async fn offer(&self, settings: &Listen, server: &Server) -> anyhow::Result<Offer> {
        let path = match &settings.handover {
            Some(path) => path.clone(),
            None => default_path(server.address()?),
        };
        if self.before.is_none() && Offer::is_taken(&path).await {
            return Err(anyhow!(
                "a running process offers its listeners at `{}` already",
                path.display()
            ));
        }
        Ok(Offer::new(&path)?)
    }
}

/// A process that is ready to go on in our place, and what it will go on with.
pub(super) struct Heir {
    successor: Successor,
    board: Arc<Board>,
}

impl Heir {
    /// The process.
    pub(super) fn successor(&self) -> &Successor {
        &self.successor
    }

    /// Lets it accept, and go on where our faults stand now. It waits for the cassette until what is given is dropped.
    pub(super) async fn confirm(self) -> Hold {
        if !self.successor.goes_on() {
            tracing::warn!(
                "the next process can't take over how faults stand: its kill switch is not thrown, and nothing is switched by hand"
            );
        }
        self.successor.confirm(&self.board.legacy()).await
    }
}

/// Goes on where the faults of the process before stood, and says what of that goes on.
fn inherit(board: &Board, left: Left) {
    let legacy = match left {
        Left::Faults(legacy) => legacy,
        Left::Unsaid => {
            tracing::warn!(
                "the process before does not say how its faults stood: the kill switch is not thrown, and nothing is switched by hand"
            );
            return;
        }
        Left::Unreadable(error) => {
            // It may have been thrown, and a fault too few does less harm than one too many.
            board.kill(true);
            tracing::error!(
                %error,
                "can't read how the faults of the process before stood: all faults are ended (`rehearsal fault kill --undo`)"
            );
            return;
        }
    };
    let Inherited {
        killed,
        taken,
        gone,
        counted,
    } = board.inherit(&legacy);
    tracing::info!(
        killed,
        switched = taken.join(", "),
        rules = counted,
        "faults go on as they stood"
    );
    if killed {
        tracing::warn!("all faults are ended by the kill switch, as in the process before");
    }
    for rule in gone {
        tracing::warn!(rule, "not taken over: there is no such rule any more");
    }
}

/// The name of the admin listener among those that are passed on.
pub(super) const ADMIN: &str = "admin";

/// Offers the listeners until a process takes them.
async fn succeeded(
    offer: Option<Offer>,
    listeners: Vec<(&'static str, OwnedFd)>,
    legacy: Legacy,
) -> Successor {
    let Some(offer) = offer else {
        return std::future::pending().await;
    };
    let fds: Vec<_> = listeners
        .iter()
        .map(|(scheme, fd)| (*scheme, fd.as_fd()))
        .collect();
    let successor = offer.successor(&fds, &legacy).await;
    offer.abandon();
    successor
}

/// What to do where nobody can listen.
fn advice(scheme: &str, error: ErrorKind) -> String {
    let why = match error {
        ErrorKind::AddrInUse => "another process listens there, ",
        ErrorKind::AddrNotAvailable => "this machine has no such address, ",
        ErrorKind::PermissionDenied => "most systems keep ports below 1024 for root, ",
        _ => "",
    };
    let flag = match scheme {
        "http" => "`--listen` or ",
        ADMIN => "`--admin` or ",
        _ => "",
    };
    let take_over = match (scheme, error) {
        ("http", ErrorKind::AddrInUse) => "; `--take-over` takes the place of another `rehearsal`",
        _ => "",
    };
    format!(
        "{why}name another with {flag}`{scheme}` in `[listen]`, or port 0 for any that is free{take_over}"
    )
}

/// Where a process that listens at this address offers its listeners.
async fn path_by(address: &Address) -> anyhow::Result<PathBuf> {
    if address.port == 0 {
        return Err(anyhow!(
            "with port 0 there is no telling whose place to take; name the port, or set `listen.handover`"
        ));
    }
    let resolved = tokio::net::lookup_host(address.to_string())
        .await
        .with_context(|| format!("could not look up {address}"))?
        .next()
        .ok_or_else(|| anyhow!("{address} stands for no address"))?;
    Ok(default_path(resolved))
}

/// The path from the root, without links.
fn full(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}
