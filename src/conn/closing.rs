//! How a connection ends: what is left goes out, then a goodbye, and the peer's is waited for, or not.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::Conn;

/// A shutdown under way.
pub(super) struct Closing {
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Closing {
    fn start() -> Self {
        Self {
            since: Instant::now(),
            timer: Box::pin(sleep(LINGER)),
        }
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.timer.as_mut().poll(cx).is_ready()
    }

    /// The peer did something: it has a while longer.
    fn go_on(&mut self, cx: &mut Context<'_>) {
        if self.since.elapsed() < LINGER_IN_ALL {
            self.timer.as_mut().reset(Instant::now() + LINGER);
            // Registers the new deadline, which is not over yet.
            if self.timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }
}

impl Conn {
    /// Writes what is left, says goodbye, and waits for the peer's if asked to [`ConnCtl::linger`]. A peer that neither
    /// takes the rest nor sends anything for two seconds is not waited for, nor one that sends for ever.
    ///
    /// [`ConnCtl::linger`]: super::ConnCtl::linger
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closing = self.closing.get_or_insert_with(Closing::start);
        if closing.is_over(cx) && !self.ctl.is_patient() {
            return Poll::Ready(Ok(()));
        }
        self.ctl.cork(false);
        if let Some(last) = self.ctl.take_last() {
            self.pending.extend_from_slice(&last);
        }
        let left = self.pending.len();
        let drained = self.poll_drain(cx);
        if self.pending.len() < left {
            self.still_closing(cx);
        }
        ready!(drained)?;
        if self.ctl.resets() {
            // A FIN before the RST would look like an orderly end.
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.transport).poll_shutdown(cx))?;
        if self.ctl.lingers() {
            self.poll_linger(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    /// Reads what a client still sends, to its end.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut rest = [0; 16 * 1024];
        loop {
            let mut rest = ReadBuf::new(&mut rest);
            // What still comes is of no interest, so it need not be decrypted.
            let Some(tcp) = self.transport.socket_mut() else {
                return Poll::Ready(Ok(()));
            };
            match ready!(Pin::new(tcp).poll_read(cx, &mut rest)) {
                Ok(()) if !rest.filled().is_empty() => self.still_closing(cx),
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }

    fn still_closing(&mut self, cx: &mut Context<'_>) {
        if let Some(closing) = &mut self.closing {
            closing.go_on(cx);
        }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if self.ctl.resets()
            && let Some(tcp) = self.transport.socket()
        {
            // If the socket is gone already there is nothing to reset.
            drop(socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO)));
        }
    }
}

/// How long a closing connection waits for a peer that does nothing.
const LINGER: Duration = Duration::from_secs(2);

/// How long it waits for one that goes on sending.
const LINGER_IN_ALL: Duration = Duration::from_secs(30);
