//! Our connection under pingora, towards clients and towards upstreams.
//!
//! It gathers small writes, so that a head and a short body leave in one packet, and goes on writing what is left
//! over while the other side is read, so that neither direction waits for the other. It knows nothing of HTTP;
//! [`ConnCtl`] is how the exchange on top of it says what it wants of the bytes below.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::socket::Socket;

use closing::Closing;
use digest::Digests;
use transport::Transport;

pub use ctl::{ConnCtl, Manners};

mod closing;
mod ctl;
mod digest;
mod transport;
mod writing;

/// A connection with a small buffer for writes.
pub struct Conn {
    transport: Transport,
    /// What was read to see what the client speaks, and is still to be read.
    sniffed: Bytes,
    /// What was written to us and is still to go out.
    pending: BytesMut,
    /// Whether TLS may hold back bytes that the socket did not take.
    is_unflushed: bool,
    /// Whether a write failed.
    is_broken: bool,
    closing: Option<Closing>,
    ctl: Arc<ConnCtl>,
    digests: Digests,
}

impl Conn {
    /// A connection that a client opened.
    ///
    /// # Errors
    /// If the socket has no peer any more.
    pub fn accepted(tcp: TcpStream) -> io::Result<Self> {
        Self::client(Transport::Accepted(tcp))
    }

    /// A connection that a client opened, and on which it speaks TLS.
    ///
    /// # Errors
    /// If the socket has no peer any more.
    pub fn tls(tls: TlsStream<TcpStream>) -> io::Result<Self> {
        Self::client(Transport::Tls(Box::new(tls)))
    }

    fn client(transport: Transport) -> io::Result<Self> {
        let Some(tcp) = transport.socket() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let digests = Digests::of_client(tcp)?;
        tcp.set_nodelay(true)?;
        Ok(Self::on(transport, Arc::default(), digests))
    }

    /// A connection that we opened; [`Conn::release`] gives it back.
    pub(crate) fn upstream(stream: Socket) -> Self {
        let ctl = Arc::new(ConnCtl::default());
        ctl.forgive_writes(true);
        Self::on(Transport::Upstream(stream), ctl, Digests::of_upstream())
    }

    fn on(transport: Transport, ctl: Arc<ConnCtl>, digests: Digests) -> Self {
        Self {
            transport,
            sniffed: Bytes::new(),
            pending: BytesMut::new(),
            is_unflushed: false,
            is_broken: false,
            closing: None,
            ctl,
            digests,
        }
    }

    /// The way to steer this connection.
    pub fn ctl(&self) -> Arc<ConnCtl> {
        Arc::clone(&self.ctl)
    }

    /// Whether the client begins with the preface of HTTP/2. Reads no further than to the first byte that differs; all
    /// of it is read again later.
    ///
    /// # Errors
    /// If the connection can't be read.
    pub async fn begins_with_http2(&mut self) -> io::Result<bool> {
        let mut read = BytesMut::with_capacity(SNIFF);
        loop {
            let len = read.len().min(PREFACE.len());
            let is_like = read[..len] == PREFACE[..len];
            if !is_like || len == PREFACE.len() || self.transport.read_buf(&mut read).await? == 0 {
                self.sniffed = read.freeze();
                return Ok(is_like && len == PREFACE.len());
            }
        }
    }

    /// Whether what was read for [`begins_with_http2`](Self::begins_with_http2) begins like TLS.
    pub(crate) fn begins_with_tls(&self) -> bool {
        self.sniffed.starts_with(HANDSHAKE)
    }

    /// The upstream connection within, if everything was written and it still works.
    pub(crate) fn release(mut self) -> Option<Socket> {
        if self.is_broken || !self.pending.is_empty() {
            return None;
        }
        match &mut self.transport {
            Transport::Upstream(stream) => Some(stream.take()),
            Transport::Accepted(_) | Transport::Tls(_) => None,
        }
    }

    /// Resolves when the socket reports an error, such as the reset with which a closed peer answers what we send.
    pub async fn broken(&self) {
        match self.transport.socket() {
            // Should the system not tell, the next write will.
            Some(tcp) => drop(tcp.ready(Interest::ERROR).await),
            None => std::future::pending().await,
        }
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if (!this.pending.is_empty() || this.is_unflushed) && !this.is_corked() {
            // A failure shows in the next write, or forgives; what was sent to us must still be read.
            drop(this.poll_drain(cx));
        }
        if this.ctl.takes_nothing() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = if this.sniffed.is_empty() {
            Pin::new(&mut this.transport).poll_read(cx, buf)
        } else {
            let part = this
                .sniffed
                .split_to(this.sniffed.len().min(buf.remaining()));
            buf.put_slice(&part);
            Poll::Ready(Ok(()))
        };
        this.ctl.hear(&buf.filled()[before..]);
        read
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn")
            .field("pending", &self.pending.len())
            .field("ctl", &self.ctl)
            .finish_non_exhaustive()
    }
}

/// With what a client begins that speaks HTTP/2 without having been asked (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// With what a client begins that speaks TLS: a record of the handshake, of any version of today.
const HANDSHAKE: &[u8] = &[22, 3];

/// How much is read at once to see what a client speaks.
const SNIFF: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn pair() -> (Conn, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (
            Conn::accepted(listener.accept().await.unwrap().0).unwrap(),
            client,
        )
    }

    #[tokio::test]
    async fn corked_writes_leave_together() {
        let (mut conn, mut client) = pair().await;
        let ctl = conn.ctl();
        ctl.cork(true);
        conn.write_all(b"head").await.unwrap();
        conn.flush().await.unwrap();
        assert!(
            client.try_read(&mut [0; 16]).is_err(),
            "nothing may have left yet"
        );
        ctl.cork(false);
        conn.write_all(b"body").await.unwrap();
        let mut buf = [0; 16];
        let count = client.read(&mut buf).await.unwrap();
        assert_eq!(&buf[..count], b"headbody");
    }

    #[tokio::test]
    async fn a_reset_is_seen_as_a_reset_after_the_bytes_before_it() {
        let (mut conn, mut client) = pair().await;
        conn.write_all(b"part").await.unwrap();
        conn.ctl().reset();
        AsyncWriteExt::shutdown(&mut conn).await.unwrap();
        drop(conn);
        let mut buf = [0; 16];
        let count = client.read(&mut buf).await.unwrap();
        assert_eq!(&buf[..count], b"part");
        assert_eq!(
            client.read(&mut buf).await.unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
    }

    #[tokio::test]
    async fn what_the_socket_did_not_take_goes_on_while_reading() {
        let (mut conn, mut client) = pair().await;
        let sent = tokio::spawn(async move {
            for _ in 0..64 {
                conn.write_all(&vec![7; 60_000]).await.unwrap();
            }
            conn.read_u8().await.unwrap();
            conn
        });
        let mut total = 0;
        let mut buf = vec![0; 65_536];
        while total < 64 * 60_000 {
            total += client.read(&mut buf).await.unwrap();
        }
        client.write_all(b"x").await.unwrap();
        assert!(sent.await.unwrap().pending.is_empty());
    }
}
