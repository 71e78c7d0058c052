//! How a connection writes: small writes are gathered, so that a head and a short body leave in one packet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf as _;
use tokio::io::AsyncWrite;

use super::Conn;
use super::ctl::PENDING_MAX;

impl AsyncWrite for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_take(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_take(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_corked() {
            return Poll::Ready(Ok(()));
        }
        if self.forgives() {
            // Never waits: what is left goes on while the answer is read, so that neither way blocks the other.
            if self.poll_drain(cx)?.is_ready()
                && let Poll::Ready(Err(_)) = Pin::new(&mut self.transport).poll_flush(cx)
            {
                self.is_broken = true;
            }
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close(cx)
    }
}

impl Conn {
    /// Takes what is written: what the socket has no room for now is kept.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(mut room) = ready!(self.poll_room(cx))? else {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        };
        let mut sent = self.write_through(cx, bufs)?;
        let mut taken = 0;
        for buf in bufs {
            let through = sent.min(buf.len());
            sent -= through;
            let rest = &buf[through..];
            let kept = &rest[..rest.len().min(room)];
            self.pending.extend_from_slice(kept);
            room -= kept.len();
            taken += through + kept.len();
        }
        if !self.pending.is_empty() {
            self.push(cx)?;
        }
        Poll::Ready(Ok(taken))
    }

    /// Writes without a copy, where nothing waits and nothing holds it back. Gives how many bytes the socket took.
    fn write_through(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> io::Result<usize> {
        let is_free = self.pending.is_empty() && !self.is_corked() && !self.ctl.is_held();
        if !is_free || self.transport.holds_writes() {
            return Ok(0);
        }
        let len = bufs.iter().map(|buf| buf.len()).sum();
        let written = if len <= SMALL {
            // One call with one buffer costs the system less than one with many, and this one is near.
            let mut near = [0; SMALL];
            let mut rest = &mut near[..];
            for buf in bufs {
                let (part, after) = rest.split_at_mut(buf.len());
                part.copy_from_slice(buf);
                rest = after;
            }
            Pin::new(&mut self.transport).poll_write(cx, &near[..len])
        } else if len >= LARGE {
            Pin::new(&mut self.transport).poll_write_vectored(cx, bufs)
        } else {
            return Ok(0);
        };
        match written {
            Poll::Ready(Ok(count)) => Ok(count),
            Poll::Ready(Err(error)) => {
                self.is_broken = true;
                if self.forgives() {
                    // As if the socket had taken all.
                    Ok(usize::MAX)
                } else {
                    Err(error)
                }
            }
            Poll::Pending => Ok(0),
        }
    }

    /// Writes what waits, as far as it may go out now and the socket takes it.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let had_room = self.pending.len() < PENDING_MAX;
        let result = loop {
            if self.pending.is_empty() {
                let flushed = if self.is_unflushed {
                    Pin::new(&mut self.transport).poll_flush(cx)
                } else {
                    Poll::Ready(Ok(()))
                };
                self.is_unflushed &= flushed.is_pending();
                break flushed;
            }
            let allowed = self.ctl.allowed(self.pending.len());
            if allowed == 0 {
                // What is held does not hold up who waits for it.
                break Poll::Ready(Ok(()));
            }
            self.is_unflushed |= self.transport.holds_writes();
            let bytes = &self.pending[..allowed];
            let written = Pin::new(&mut self.transport).poll_write(cx, bytes);
            match written {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.ctl.use_up(count);
                    self.pending.advance(count);
                }
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        let result = match result {
            Poll::Ready(Err(error)) => {
                self.is_broken = true;
                self.is_unflushed = false;
                self.pending.clear();
                Poll::Ready(if self.forgives() { Ok(()) } else { Err(error) })
            }
            other => other,
        };
        self.note_pending();
        if !had_room && self.pending.len() < PENDING_MAX {
            self.ctl.note_room();
        }
        result
    }

    fn note_pending(&self) {
        let pending = self.pending.len() + usize::from(self.is_unflushed);
        self.ctl.note_pending(pending);
    }

    fn forgives(&self) -> bool {
        self.ctl.forgives_writes()
    }

    pub(super) fn is_corked(&self) -> bool {
        self.ctl.is_corked() && self.pending.len() < CORK_MAX
    }

    /// Makes room for a write. Ready with the number of bytes that may be taken, or none where a broken connection
    /// swallows all.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<usize>>> {
        if self.pending.len() >= PENDING_MAX && !self.forgives() {
            ready!(self.poll_drain(cx))?;
        }
        if self.is_broken {
            return if self.forgives() {
                Poll::Ready(Ok(None))
            } else {
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            };
        }
        Poll::Ready(Ok(Some(if self.forgives() {
            usize::MAX
        } else {
            PENDING_MAX
        })))
    }

    /// Sends what was taken unless more follows at once. What the socket does not take now goes on with the next
    /// read or write.
    fn push(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.is_corked() {
            self.note_pending();
            return Ok(());
        }
        match self.poll_drain(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }
}

/// Up to this a write is gathered on the stack.
const SMALL: usize = 1024;

/// From this on it costs more to gather a write than to hand over its parts.
const LARGE: usize = 16 * 1024;

/// How much is held together while corked.
const CORK_MAX: usize = 16 * 1024;
