//! What pingora asks of a connection beside reading and writing.

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Conn;

/// What pingora may ask of a connection at any time.
pub(super) struct Digests {
    socket: Option<Arc<SocketDigest>>,
    since: SystemTime,
}

impl Digests {
    /// Of a connection that a client opened.
    ///
    /// # Errors
    /// If the socket has no peer any more.
    pub(super) fn of_client(tcp: &TcpStream) -> io::Result<Self> {
        let peer = tcp.peer_addr()?;
        let socket = SocketDigest::from_raw_fd(tcp.as_raw_fd());
        // The cell is new, so that setting it can't fail; pingora would ask the kernel instead.
        drop(socket.peer_addr.set(Some(peer.into())));
        Ok(Self {
            socket: Some(Arc::new(socket)),
            since: SystemTime::now(),
        })
    }

    /// Of a connection that we opened: nobody asks.
    pub(super) fn of_upstream() -> Self {
        Self {
            socket: None,
            since: SystemTime::now(),
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

impl UniqueID for Conn {
    fn id(&self) -> UniqueIDType {
        self.transport.as_raw_fd()
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
            established_ts: self.digests.since,
            ..TimingDigest::default()
        })]
    }
}

impl GetProxyDigest for Conn {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Conn {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.digests.socket.clone()
    }
}

impl Peek for Conn {}
