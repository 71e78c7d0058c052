//! A connection that we opened, plain or under TLS.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::link::tls_reason;

/// A connection that we opened.
#[derive(Debug)]
pub(crate) struct Socket {
    transport: Transport,
    /// Whether TLS may hold bytes that the system did not take yet.
    is_unflushed: bool,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// It was handed on.
    Gone,
}

impl Socket {
    /// Without TLS.
    pub(crate) fn plain(tcp: TcpStream) -> Self {
        Self {
            transport: Transport::Plain(tcp),
            is_unflushed: false,
        }
    }

    /// With TLS, after the handshake.
    pub(crate) fn tls(tls: TlsStream<TcpStream>) -> Self {
        Self {
            transport: Transport::Tls(Box::new(tls)),
            is_unflushed: false,
        }
    }

    /// Takes the connection; what stays behind is at its end.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            transport: std::mem::replace(&mut self.transport, Transport::Gone),
            is_unflushed: self.is_unflushed,
        }
    }
}

impl AsRawFd for Socket {
    /// -1 when it was taken.
    fn as_raw_fd(&self) -> RawFd {
        match &self.transport {
            Transport::Plain(tcp) => tcp.as_raw_fd(),
            Transport::Tls(tls) => tls.as_raw_fd(),
            Transport::Gone => -1,
        }
    }
}

impl AsyncRead for Socket {
    /// What TLS holds back goes on while it is read, so that neither way waits for the other.
    ///
    /// A failure of TLS is [`io::ErrorKind::InvalidData`], with its reason in words.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_unflushed {
            // A failure shows in what is read.
            drop(self.as_mut().poll_flush(cx));
        }
        match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Transport::Tls(tls) => Pin::new(tls).poll_read(cx, buf).map_err(in_words),
            Transport::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match &mut this.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Transport::Tls(tls) => {
                this.is_unflushed = true;
                Pin::new(tls).poll_write(cx, buf)
            }
            Transport::Gone => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match &mut this.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Transport::Tls(tls) => {
                this.is_unflushed = true;
                Pin::new(tls).poll_write_vectored(cx, bufs)
            }
            Transport::Gone => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match &mut this.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Transport::Tls(tls) => {
                let flushed = Pin::new(tls).poll_flush(cx);
                this.is_unflushed = flushed.is_pending();
                flushed
            }
            Transport::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Transport::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Transport::Gone => Poll::Ready(Ok(())),
        }
    }
}

fn in_words(error: io::Error) -> io::Error {
    let reason = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        .map(tls_reason);
    match reason {
        Some(reason) => io::Error::new(io::ErrorKind::InvalidData, reason),
        None => error,
    }
}
