//! Hands the listening sockets of a running process over to the one that takes its place, over a Unix domain socket.
//!
//! In two steps, so that a successor that can't serve changes nothing: it gets the sockets, makes all ready, and says so;
//! only then the process before it stops accepting. What connects in between waits in the sockets, which are the same
//! ones on both sides. Both sides must belong to the same user. It knows nothing of HTTP; what becomes of open
//! connections is the server's business.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::timeout;

use wire::{receive, receive_line, send};

use crate::board;

pub use place::default_path;

mod place;
mod wire;

/// Why a hand-over did not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// No process offers its listeners there.
    #[error("no running process offers its listeners at `{}`", path.display())]
    Nobody {
        /// Where it would.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path of the socket, or its folder, can't be used.
    #[error("`{}` can't be used for the hand-over: {why}", path.display())]
    Place {
        /// Of the socket.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another user has the other side.
    #[error("the process at the other side belongs to user {0}, expected our own user")]
    Foreign(u32),
    /// The other side speaks of something else.
    #[error("the other side said `{0}`, expected a hand-over of version {VERSION}")]
    Misunderstood(String),
    /// The other side did not answer in time, or went away.
    #[error("the other process broke off")]
    Broken(#[source] io::Error),
}

/// What a process leaves to its successor beside the listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Legacy {
    /// The cassette that it writes to, in full, and since when its run goes on.
    pub writes: Option<(PathBuf, SystemTime)>,
}

/// Listeners of a process that runs, for whoever takes its place.
#[derive(Debug)]
pub struct Offer {
    listener: UnixListener,
    /// Where it can be found, once it is published.
    path: PathBuf,
    /// Where it is until then.
    hidden: PathBuf,
    /// Device and inode, by which the socket is known.
    file: (u64, u64),
    is_published: bool,
}

impl Offer {
    /// Makes the socket, for its owner alone; nobody finds it yet.
    ///
    /// # Errors
    /// `Place`, if the folder can't be made, or is not ours alone to write to.
    pub fn new(path: &Path) -> Result<Self, HandoverError> {
        place::prepare(path)?;
        let hidden = place::hidden(path);
        let failed = |error: io::Error| place::unusable(path, &error);
        // One of a process with our number that crashed.
        place::remove(&hidden).map_err(failed)?;
        let listener = UnixListener::bind(&hidden).map_err(failed)?;
        let file = place::protect(&hidden).map_err(failed)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            hidden,
            file,
            is_published: false,
        })
    }

    /// Lets others find it, in place of an earlier one.
    ///
    /// # Errors
    /// `Place`.
    pub fn publish(&mut self) -> Result<(), HandoverError> {
        std::fs::rename(&self.hidden, &self.path)
            .map_err(|error| place::unusable(&self.path, &error))?;
        self.is_published = true;
        Ok(())
    }

    /// Leaves the path to a successor.
    pub fn abandon(mut self) {
        self.file = (0, 0);
    }

    /// Whether a process that runs has published one at this path.
    pub async fn is_taken(path: &Path) -> bool {
        UnixStream::connect(path).await.is_ok()
    }

    /// Resolves when a successor has the listeners and is ready to accept. One that breaks off before is as if it had never
    /// been.
    pub async fn successor(
        &self,
        listeners: &[(&str, BorrowedFd<'_>)],
        legacy: &Legacy,
    ) -> Successor {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match greet(stream, listeners, legacy).await {
                    Ok(successor) => return successor,
                    Err(error) => {
                        tracing::warn!(error = %chain(&error), "a hand-over came to nothing");
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "could not hear who wants to take over");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        let path = if self.is_published {
            &self.path
        } else {
            &self.hidden
        };
        // A successor has put its own there.
        if place::file_at(path) == Some(self.file) {
            // What stays is replaced by the next process.
            place::remove(path).unwrap_or_default();
        }
    }
}

/// Sends a candidate what it needs, and waits for its word that it is ready.
async fn greet(
    stream: UnixStream,
    listeners: &[(&str, BorrowedFd<'_>)],
    legacy: &Legacy,
) -> Result<Successor, HandoverError> {
    check_peer(&stream)?;
    let hello = Hello {
        version: VERSION,
        pid: std::process::id(),
        listeners: listeners
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect(),
        writes: legacy.writes.as_ref().map(|(path, since)| Writes {
            cassette: path.clone(),
            since_us: micros(*since),
        }),
    };
    let text =
        serde_json::to_string(&hello).map_err(|error| HandoverError::Broken(error.into()))?;
    let fds: Vec<_> = listeners.iter().map(|(_, fd)| *fd).collect();
    let talk = async {
        send(&stream, &text, &fds).await?;
        receive_line(&stream).await
    };
    let word = timeout(READY, talk)
        .await
        .unwrap_or_else(|late| Err(late.into()))
        .map_err(HandoverError::Broken)?;
    let Some(ready) = word.strip_prefix("ready ") else {
        return Err(HandoverError::Misunderstood(word));
    };
    let mut words = ready.split(' ').map(str::to_owned);
    Ok(Successor {
        pid: words.next().unwrap_or_default(),
        has: words.collect(),
        stream,
    })
}

/// A process that is ready to accept on our listeners.
#[derive(Debug)]
pub struct Successor {
    pid: String,
    /// The names of the listeners that it took.
    has: Vec<String>,
    stream: UnixStream,
}

impl Successor {
    /// The number of its process, as it says.
    pub fn pid(&self) -> &str {
        &self.pid
    }

    /// Whether it took the listener of this name, so that somebody accepts there when we do not.
    pub fn has(&self, name: &str) -> bool {
        self.has.iter().any(|taken| taken == name)
    }

    /// Whether it goes on where our faults stand; one of an earlier version begins anew.
    pub fn goes_on(&self) -> bool {
        self.has(FAULTS)
    }

    /// Tells it that the listeners are its own, and how our faults stand. It waits for the cassette until what is given is dropped.
    pub async fn confirm(self, faults: &board::Legacy) -> Hold {
        let mut word = YOURS.to_owned();
        if self.goes_on() {
            let faults = serde_json::to_string(faults).expect("names and numbers can be written");
            word.extend([" ", &faults]);
        }
        let talk = send(&self.stream, &word, &[]);
        // Should it be gone now, or stand still, the next one finds nobody, and says so.
        drop(timeout(HELLO, talk).await);
        Hold {
            _stream: self.stream,
        }
    }
}

/// As long as a process has this, its successor waits for the cassette.
#[derive(Debug)]
pub struct Hold {
    _stream: UnixStream,
}

/// A running process whose place is taken.
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
    pid: u32,
    listeners: Vec<(String, OwnedFd)>,
    /// The names of those that were taken.
    taken: Vec<String>,
    legacy: Legacy,
}

impl Predecessor {
    /// Asks the process that offers its listeners at this path.
    ///
    /// # Errors
    /// `Nobody`, `Foreign`, `Misunderstood`, or `Broken`.
    pub async fn find(path: &Path) -> Result<Self, HandoverError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| HandoverError::Nobody {
                path: path.to_owned(),
                source,
            })?;
        check_peer(&stream)?;
        let (text, fds) = timeout(HELLO, receive(&stream))
            .await
            .unwrap_or_else(|late| Err(late.into()))
            .map_err(HandoverError::Broken)?;
        let hello: Hello = serde_json::from_str(&text)
            .ok()
            .filter(|hello: &Hello| hello.version == VERSION && hello.listeners.len() == fds.len())
            .ok_or(HandoverError::Misunderstood(text))?;
        let since = |us| UNIX_EPOCH + Duration::from_micros(us);
        Ok(Self {
            stream,
            pid: hello.pid,
            listeners: hello.listeners.into_iter().zip(fds).collect(),
            taken: Vec::new(),
            legacy: Legacy {
                writes: hello
                    .writes
                    .map(|writes| (writes.cassette, since(writes.since_us))),
            },
        })
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it leaves beside its listeners.
    pub fn legacy(&self) -> &Legacy {
        &self.legacy
    }

    /// Its listener of this name, if it listens on one of these addresses, or, where the port is 0, on any port.
    ///
    /// # Errors
    /// If what it gave is no listener that can be used here.
    pub fn take(
        &mut self,
        name: &str,
        addresses: &[SocketAddr],
    ) -> io::Result<Option<TcpListener>> {
        for (place, (other, fd)) in self.listeners.iter().enumerate() {
            if other != name {
                continue;
            }
            let listener = std::net::TcpListener::from(fd.try_clone()?);
            let bound = listener.local_addr()?;
            let is_same = |wanted: &SocketAddr| {
                wanted.ip() == bound.ip() && (wanted.port() == bound.port() || wanted.port() == 0)
            };
            if addresses.iter().any(is_same) {
                self.listeners.swap_remove(place);
                self.taken.push(name.to_owned());
                listener.set_nonblocking(true)?;
                return TcpListener::from_std(listener).map(Some);
            }
        }
        Ok(None)
    }

    /// Says that all is ready, and waits until the listeners are ours alone. What is given is how its faults stood just then, and
    /// what resolves when the other process has let its cassette go, or is gone itself.
    ///
    /// # Errors
    /// `Broken`, if it has gone or does not answer: it still accepts, or nobody does.
    pub async fn succeed(self) -> Result<(Left, impl Future<Output = ()>), HandoverError> {
        let Self {
            mut stream, taken, ..
        } = self;
        let mut word = format!("ready {}", std::process::id());
        for name in taken.iter().map(String::as_str).chain([FAULTS]) {
            word.extend([" ", name]);
        }
        word.push('\n');
        let talk = async {
            stream.write_all(word.as_bytes()).await?;
            receive_line(&stream).await
        };
        let word = timeout(HELLO, talk)
            .await
            .unwrap_or_else(|late| Err(late.into()))
            .map_err(HandoverError::Broken)?;
        let left = match word.strip_prefix(YOURS) {
            Some("") => Left::Unsaid,
            Some(faults) => {
                serde_json::from_str(faults).map_or_else(Left::Unreadable, Left::Faults)
            }
            None => return Err(HandoverError::Misunderstood(word)),
        };
        let let_go = async move {
            // Nothing more is said; the end is what tells.
            while receive_line(&stream).await.is_ok() {}
        };
        Ok((left, let_go))
    }
}

/// What a process says of its faults when its place is taken.
#[derive(Debug)]
pub enum Left {
    /// How they stood.
    Faults(board::Legacy),
    /// Nothing: it is of a version that does not.
    Unsaid,
    /// Something that can't be read.
    Unreadable(serde_json::Error),
}

/// What is sent together with the listeners, on one line.
#[derive(Debug, Deserialize, Serialize)]
struct Hello {
    version: u32,
    pid: u32,
    /// A name for each of the file descriptors that come with it.
    listeners: Vec<String>,
    writes: Option<Writes>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Writes {
    cassette: PathBuf,
    since_us: u64,
}

fn check_peer(stream: &UnixStream) -> Result<(), HandoverError> {
    let peer =
        socket_peercred(stream.as_fd()).map_err(|error| HandoverError::Broken(error.into()))?;
    if peer.uid == geteuid() {
        Ok(())
    } else {
        Err(HandoverError::Foreign(peer.uid.as_raw()))
    }
}

fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn chain(error: &HandoverError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Of what the two sides say to each other.
const VERSION: u32 = 1;

/// The word with which the listeners change hands; how the faults stand follows it, where the successor wants that.
const YOURS: &str = "yours";

/// Stands among the names of the listeners that a successor has: it also wants to know how the faults stand. No listener is
/// called so, and versions that don't know it pass it over.
const FAULTS: &str = "+faults";

/// How long the other side may take for what costs nothing.
const HELLO: Duration = Duration::from_secs(10);

/// How long a successor may take to make all ready: it may have 100,000 recordings to read.
const READY: Duration = Duration::from_secs(120);

/// How long nobody is heard after a failure to hear.
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
