//! Our connection under pingora, towards clients and towards upstreams.
//!
//! It gathers small writes, so that a head and a short body leave in one packet, and goes on writing what is left
//! over while the other side is read, so that neither direction waits for the other. It knows nothing of HTTP;
//! [`ConnCtl`] is how the exchange on top of it says what it wants of the bytes below.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::server::TlsStream;

use crate::board::{Live, Verdict};
use crate::socket::Socket;

/// What an exchange says to the connection that carries it. Shared, lock-free.
#[derive(Debug, Default)]
pub struct ConnCtl {
    corked: AtomicBool,
    reset: AtomicBool,
    linger: AtomicBool,
    forgives_writes: AtomicBool,
    is_patient: AtomicBool,
    pending: AtomicUsize,
    room: Notify,
    /// How many bytes may go out, if that is held down.
    allowance: AtomicUsize,
    is_deaf: AtomicBool,
    is_held: AtomicBool,
    /// What goes out last, below all framing.
    last: Mutex<Option<Bytes>>,
    /// How it treats its client, on purpose.
    manners: OnceLock<Manners>,
    /// How many requests came.
    requests: AtomicUsize,
    /// The request line as it comes, while somebody listens.
    line: Mutex<Option<Vec<u8>>>,
    listens: AtomicBool,
}

/// How a connection treats its client, on purpose.
#[derive(Debug, Default)]
pub struct Manners {
    /// It is closed when it was idle for so long between two requests.
    pub idle_close: Option<(Duration, Arc<Live>)>,
    /// It is closed when its second request comes.
    pub close_on_reuse: Option<Arc<Live>>,
}

impl ConnCtl {
    /// Says how it treats its client; once.
    pub fn behave(&self, manners: Manners) {
        // It is said once, right after the connection was accepted.
        drop(self.manners.set(manners));
    }

    /// How long it may be idle, if that is shorter than usual.
    pub fn idle_close(&self) -> Option<&(Duration, Arc<Live>)> {
        self.manners.get()?.idle_close.as_ref()
    }

    /// Counts a request. Says whether the connection is to be closed for it.
    pub fn is_tired(&self) -> bool {
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        let live = self
            .manners
            .get()
            .and_then(|manners| manners.close_on_reuse.as_ref());
        match live.filter(|live| before > 0 && live.is_on()) {
            Some(live) => {
                live.count(Verdict::Injected);
                true
            }
            None => false,
        }
    }

    /// Whether writes are held together (up to 16 KiB) until this is taken back: only while another write follows
    /// at once.
    pub fn cork(&self, corked: bool) {
        self.corked.store(corked, Ordering::Relaxed);
    }

    /// Has the connection end with a TCP RST when it is dropped.
    pub fn reset(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    /// Has a shutdown go on reading for a while, because the client may still be sending: a socket that is closed
    /// with unread bytes is reset by the kernel, and the answer would be lost.
    pub fn linger(&self) {
        self.linger.store(true, Ordering::Relaxed);
    }

    /// Has writes never wait and failed ones be kept silent, so that an answer that the peer sends before it has read
    /// everything, or before it closes, is read. [`ConnCtl::has_room`] says when to write.
    pub fn forgive_writes(&self, forgives: bool) {
        self.forgives_writes.store(forgives, Ordering::Relaxed);
    }

    /// Has a shutdown wait as long as the peer takes to read what is left.
    pub fn be_patient(&self) {
        self.is_patient.store(true, Ordering::Relaxed);
    }

    /// Whether nothing more is taken from the client: what polls a read then only has written what is held. Who polls so must
    /// not wait for it.
    pub fn be_deaf(&self, is_deaf: bool) {
        self.is_deaf.store(is_deaf, Ordering::Relaxed);
    }

    /// Lets only so many more bytes out. What is held is written while the connection is read.
    pub fn allow(&self, bytes: usize) {
        self.allowance.fetch_add(bytes, Ordering::Relaxed);
        self.is_held.store(true, Ordering::Relaxed);
    }

    /// Lets all out again.
    pub fn allow_all(&self) {
        self.is_held.store(false, Ordering::Relaxed);
        self.allowance.store(0, Ordering::Relaxed);
    }

    /// Has these bytes go out as they are when the connection is shut down, after all that was written.
    pub fn say_last(&self, bytes: Bytes) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }

    fn take_last(&self) -> Option<Bytes> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// How many of so many bytes may go out now.
    fn allowed(&self, count: usize) -> usize {
        if self.is_held.load(Ordering::Relaxed) {
            count.min(self.allowance.load(Ordering::Relaxed))
        } else {
            count
        }
    }

    fn use_up(&self, count: usize) {
        if self.is_held.load(Ordering::Relaxed) {
            self.allowance.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// Whether nothing waits to be written.
    pub fn is_drained(&self) -> bool {
        self.pending.load(Ordering::Relaxed) == 0
    }

    /// Has the next line that is read be kept as it came; `begun` is what was read of it before.
    pub fn keep_line(&self, begun: &[u8]) {
        let end = begun.iter().position(|byte| *byte == b'\n');
        *self.lock_line() = Some(begun[..end.map_or(begun.len(), |end| end + 1)].to_vec());
        self.listens.store(end.is_none(), Ordering::Relaxed);
    }

    /// The line that was to be kept, with its end; `None` if there was none of at most 64 KiB.
    pub fn take_line(&self) -> Option<Vec<u8>> {
        self.listens.store(false, Ordering::Relaxed);
        self.lock_line().take().filter(|line| line.ends_with(b"\n"))
    }

    fn hear_line(&self, bytes: &[u8]) {
        let mut line = self.lock_line();
        let Some(line) = line.as_mut() else { return };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&bytes[..end.map_or(bytes.len(), |end| end + 1)]);
        if end.is_some() || line.len() > PENDING_MAX {
            self.listens.store(false, Ordering::Relaxed);
        }
    }

    fn lock_line(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether fewer than 64 KiB wait to be written.
    pub fn has_room(&self) -> bool {
        self.pending.load(Ordering::Relaxed) < PENDING_MAX
    }

    /// Resolves when bytes that waited have been written.
    pub async fn drained(&self) {
        self.room.notified().await;
    }
}

/// A connection with a small buffer for writes.
pub struct Conn {
    transport: Transport,
    /// What was read to see what the client speaks, and is still to be read.
    sniffed: Bytes,
    pending: BytesMut,
    /// Whether TLS may hold back bytes that the socket did not take.
    is_unflushed: bool,
    is_broken: bool,
    closing: Option<Closing>,
    ctl: Arc<ConnCtl>,
    proxy_digest: Option<Arc<ProxyDigest>>,
    socket_digest: Option<Arc<SocketDigest>>,
    since: SystemTime,
}

enum Transport {
    Accepted(TcpStream),
    /// TLS keeps what the socket does not take, up to 64 KiB (rustls 0.23), until it is flushed.
    Tls(Box<TlsStream<TcpStream>>),
    Upstream(Socket),
}

impl Transport {
    /// The client's socket.
    fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Accepted(tcp) => Some(tcp),
            Self::Tls(tls) => Some(tls.get_ref().0),
            Self::Upstream(_) => None,
        }
    }

    fn socket_mut(&mut self) -> Option<&mut TcpStream> {
        match self {
            Self::Accepted(tcp) => Some(tcp),
            Self::Tls(tls) => Some(tls.get_mut().0),
            Self::Upstream(_) => None,
        }
    }
}

impl Conn {
    /// A connection that a client opened. Its [`ConnCtl`] can be had from pingora's digest by [`ctl_of`].
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
        use std::os::fd::AsRawFd as _;

        let Some(tcp) = transport.socket() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let peer = tcp.peer_addr()?;
        tcp.set_nodelay(true)?;
        let socket = SocketDigest::from_raw_fd(tcp.as_raw_fd());
        // The cell is new, so that setting it can't fail; pingora would ask the kernel instead.
        drop(socket.peer_addr.set(Some(peer.into())));
        let ctl = Arc::new(ConnCtl::default());
        let head = ResponseHeader::build(200, Some(0))
            .map_err(|error| io::Error::other(error.to_string()))?;
        let digest = ProxyDigest::new(Box::new(head), Some(Box::new(Arc::clone(&ctl))));
        Ok(Self {
            transport,
            sniffed: Bytes::new(),
            pending: BytesMut::new(),
            is_unflushed: false,
            is_broken: false,
            closing: None,
            ctl,
            proxy_digest: Some(Arc::new(digest)),
            socket_digest: Some(Arc::new(socket)),
            since: SystemTime::now(),
        })
    }

    /// A connection that we opened; [`Conn::release`] gives it back.
    pub(crate) fn upstream(stream: Socket) -> Self {
        let ctl = Arc::new(ConnCtl::default());
        ctl.forgive_writes(true);
        Self {
            transport: Transport::Upstream(stream),
            sniffed: Bytes::new(),
            pending: BytesMut::new(),
            is_unflushed: false,
            is_broken: false,
            closing: None,
            ctl,
            proxy_digest: None,
            socket_digest: None,
            since: SystemTime::now(),
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
            if !is_like || len == PREFACE.len() || self.read_more(&mut read).await? == 0 {
                self.sniffed = read.freeze();
                return Ok(is_like && len == PREFACE.len());
            }
        }
    }

    async fn read_more(&mut self, read: &mut BytesMut) -> io::Result<usize> {
        match &mut self.transport {
            Transport::Accepted(tcp) => tcp.read_buf(read).await,
            Transport::Tls(tls) => tls.read_buf(read).await,
            Transport::Upstream(stream) => stream.read_buf(read).await,
        }
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

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let had_room = self.pending.len() < PENDING_MAX;
        let result = loop {
            if self.pending.is_empty() {
                let flushed = if self.is_unflushed {
                    self.poll_flush_transport(cx)
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
            let bytes = &self.pending[..allowed];
            let written = match &mut self.transport {
                Transport::Accepted(tcp) => Pin::new(tcp).poll_write(cx, bytes),
                Transport::Tls(tls) => {
                    self.is_unflushed = true;
                    Pin::new(tls).poll_write(cx, bytes)
                }
                Transport::Upstream(stream) => Pin::new(stream).poll_write(cx, bytes),
            };
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
            self.ctl.room.notify_one();
        }
        result
    }

    fn note_pending(&self) {
        let pending = self.pending.len() + usize::from(self.is_unflushed);
        self.ctl.pending.store(pending, Ordering::Relaxed);
    }

    fn forgives(&self) -> bool {
        self.ctl.forgives_writes.load(Ordering::Relaxed)
    }

    fn is_corked(&self) -> bool {
        self.ctl.corked.load(Ordering::Relaxed) && self.pending.len() < CORK_MAX
    }

    fn poll_flush_transport(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Accepted(tcp) => Pin::new(tcp).poll_flush(cx),
            Transport::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Transport::Upstream(stream) => Pin::new(stream).poll_flush(cx),
        }
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
        if this.ctl.is_deaf.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = match &mut this.transport {
            _ if !this.sniffed.is_empty() => {
                let part = this
                    .sniffed
                    .split_to(this.sniffed.len().min(buf.remaining()));
                buf.put_slice(&part);
                Poll::Ready(Ok(()))
            }
            Transport::Accepted(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Transport::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
            Transport::Upstream(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if this.ctl.listens.load(Ordering::Relaxed) {
            this.ctl.hear_line(&buf.filled()[before..]);
        }
        read
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(room) = ready!(this.poll_room(cx))? else {
            return Poll::Ready(Ok(buf.len()));
        };
        let taken = buf.len().min(room);
        this.pending.extend_from_slice(&buf[..taken]);
        this.push(cx)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(mut room) = ready!(this.poll_room(cx))? else {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        };
        let mut taken = 0;
        for buf in bufs {
            let part = &buf[..buf.len().min(room)];
            this.pending.extend_from_slice(part);
            taken += part.len();
            room -= part.len();
        }
        this.push(cx)?;
        Poll::Ready(Ok(taken))
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
                && let Poll::Ready(Err(_)) = self.poll_flush_transport(cx)
            {
                self.is_broken = true;
            }
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_drain(cx))?;
        self.poll_flush_transport(cx)
    }

    /// Writes what is left, says goodbye, and waits for the peer's if asked to [`ConnCtl::linger`]. A peer that neither
    /// takes the rest nor sends anything for two seconds is not waited for, nor one that sends for ever.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let closing = this.closing.get_or_insert_with(Closing::start);
        if closing.timer.as_mut().poll(cx).is_ready()
            && !this.ctl.is_patient.load(Ordering::Relaxed)
        {
            return Poll::Ready(Ok(()));
        }
        this.ctl.cork(false);
        if let Some(last) = this.ctl.take_last() {
            this.pending.extend_from_slice(&last);
        }
        let left = this.pending.len();
        let drained = this.poll_drain(cx);
        if this.pending.len() < left {
            this.still_closing(cx);
        }
        ready!(drained)?;
        if this.ctl.reset.load(Ordering::Relaxed) {
            // A FIN before the RST would look like an orderly end.
            return Poll::Ready(Ok(()));
        }
        match &mut this.transport {
            Transport::Upstream(stream) => return Pin::new(stream).poll_shutdown(cx),
            Transport::Accepted(tcp) => ready!(Pin::new(tcp).poll_shutdown(cx))?,
            Transport::Tls(tls) => ready!(Pin::new(tls).poll_shutdown(cx))?,
        }
        if !this.ctl.linger.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let mut rest = [0; 16 * 1024];
        loop {
            let mut rest = ReadBuf::new(&mut rest);
            // What still comes is of no interest, so it need not be decrypted.
            let Some(tcp) = this.transport.socket_mut() else {
                return Poll::Ready(Ok(()));
            };
            match ready!(Pin::new(tcp).poll_read(cx, &mut rest)) {
                Ok(()) if !rest.filled().is_empty() => this.still_closing(cx),
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl Conn {
    /// The peer did something while we close: it has a while longer.
    fn still_closing(&mut self, cx: &mut Context<'_>) {
        if let Some(closing) = &mut self.closing
            && closing.since.elapsed() < LINGER_IN_ALL
        {
            closing.timer.as_mut().reset(Instant::now() + LINGER);
            // Registers the new deadline, which is not over yet.
            if closing.timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }
}

/// A shutdown under way.
struct Closing {
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
}

#[async_trait]
impl Shutdown for Conn {
    async fn shutdown(&mut self) {
        // A peer that is gone needs no goodbye.
        drop(AsyncWriteExt::shutdown(self).await);
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if self.ctl.reset.load(Ordering::Relaxed)
            && let Some(tcp) = self.transport.socket()
        {
            // If the socket is gone already there is nothing to reset.
            drop(socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO)));
        }
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

impl UniqueID for Conn {
    fn id(&self) -> UniqueIDType {
        use std::os::fd::AsRawFd as _;

        match &self.transport {
            Transport::Accepted(tcp) => tcp.as_raw_fd(),
            Transport::Tls(tls) => tls.get_ref().0.as_raw_fd(),
            Transport::Upstream(stream) => stream.as_raw_fd(),
        }
    }
}

impl Ssl for Conn {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        None
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        None
    }
}

impl GetTimingDigest for Conn {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(TimingDigest {
            established_ts: self.since,
            ..TimingDigest::default()
        })]
    }
}

impl GetProxyDigest for Conn {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.proxy_digest.clone()
    }
}

impl GetSocketDigest for Conn {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        match &self.transport {
            Transport::Accepted(_) | Transport::Tls(_) => self.socket_digest.clone(),
            Transport::Upstream(_) => None,
        }
    }
}

impl Peek for Conn {}

/// The [`ConnCtl`] of the connection to which this digest belongs, if that is one of ours.
pub fn ctl_of(digest: Option<&ProxyDigest>) -> Option<Arc<ConnCtl>> {
    digest?
        .user_data
        .as_ref()?
        .downcast_ref::<Arc<ConnCtl>>()
        .cloned()
}

/// With what a client begins that speaks HTTP/2 without having been asked (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much is read at once to see what a client speaks.
const SNIFF: usize = 4 * 1024;

/// How much may wait to be written before a write has to wait: one read of pingora's (64 KiB, 0.9.1).
const PENDING_MAX: usize = 64 * 1024;

/// How much is held together while corked.
const CORK_MAX: usize = 16 * 1024;

/// How long a closing connection waits for a peer that does nothing.
const LINGER: Duration = Duration::from_secs(2);

/// How long it waits for one that goes on sending.
const LINGER_IN_ALL: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
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
