//! The connections of the admin listener: so many at once, and none that waits for ever.
//!
//! The process has a limited number of open files, which the traffic needs: whoever can reach the admin listener must not be
//! able to take them with connections that say nothing.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep};

/// Accepts only as long as there is room, and until another process does.
pub(super) struct Bounded {
    listener: TcpListener,
    room: Arc<Semaphore>,
    is_left: watch::Receiver<bool>,
}

impl Bounded {
    /// `room` has a permit for each connection that there may be.
    pub(super) fn new(
        listener: TcpListener,
        room: Arc<Semaphore>,
        is_left: watch::Receiver<bool>,
    ) -> Self {
        Self {
            listener,
            room,
            is_left,
        }
    }
}

impl Listener for Bounded {
    type Io = Patient;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Patient, SocketAddr) {
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
            // Nobody closes the semaphore.
            return pending().await;
        };
        loop {
            let accepted = tokio::select! {
                biased;
                true = is_true(&mut self.is_left) => None,
                accepted = self.listener.accept() => Some(accepted),
            };
            let Some(accepted) = accepted else {
                drop(permit);
                return pending().await;
            };
            match accepted {
                Ok((tcp, address)) => return (Patient::new(tcp, permit), address),
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection for admin");
                    // Out of file descriptors, most likely: it does not get better at once.
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Waits until it is; `false` if nobody can say so any more.
async fn is_true(told: &mut watch::Receiver<bool>) -> bool {
    told.wait_for(|is_true| *is_true).await.is_ok()
}

/// A connection that fails when nothing of an answer was written for some time: the head is slow, the body is, or nobody asks or
/// reads any more. What is read does not count, so that a request in drips does not keep it open.
pub(super) struct Patient {
    tcp: TcpStream,
    end: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Patient {
    fn new(tcp: TcpStream, permit: OwnedSemaphorePermit) -> Self {
        // Without it an answer is only later.
        tcp.set_nodelay(true).ok();
        Self {
            tcp,
            end: Box::pin(sleep(PATIENCE)),
            _permit: permit,
        }
    }

    /// Whether the time is over. To be asked where nothing goes on, so that the task is woken then.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.end.as_mut().poll(context).is_ready()
    }

    fn wrote(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending if self.is_over(context) => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Ready(Ok(count)) if count > 0 => {
                self.end.as_mut().reset(Instant::now() + PATIENCE);
                written
            }
            Poll::Pending | Poll::Ready(_) => written,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Asked first: who sends in drips always has something to read.
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.wrote(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(context, pieces);
        self.wrote(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

/// How many connections there may be at once; others wait in the system's queue.
pub(super) const CONNECTIONS_MAX: u32 = 64;

/// From one write of an answer, or the beginning, to the next.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long no connection is accepted after a failure to accept one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
