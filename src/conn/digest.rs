//! What pingora asks of a connection beside reading and writing.

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Conn, ConnCtl};

/// The [`ConnCtl`] of the connection to which this digest belongs, if that is one of ours.
pub fn ctl_of(digest: Option<&ProxyDigest>) -> Option<Arc<ConnCtl>> {
    digest?
        .user_data
        .as_ref()?
        .downcast_ref::<Arc<ConnCtl>>()
        .cloned()
}

/// What pingora may ask of a connection at any time.
pub(super) struct Digests {
    /// Carries the [`ConnCtl`].
    proxy: Option<Arc<ProxyDigest>>,
    socket: Option<Arc<SocketDigest>>,
    since: SystemTime,
}

impl Digests {
    /// Of a connection that a client opened.
    ///
    /// # Errors
    /// If the socket has no peer any more.
    pub(super) fn of_client(tcp: &TcpStream, ctl: &Arc<ConnCtl>) -> io::Result<Self> {
        let peer = tcp.peer_addr()?;
        let socket = SocketDigest::from_raw_fd(tcp.as_raw_fd());
        // The cell is new, so that setting it can't fail; pingora would ask the kernel instead.
        drop(socket.peer_addr.set(Some(peer.into())));
        let head = ResponseHeader::build(200, Some(0))
            .map_err(|error| io::Error::other(error.to_string()))?;
        let proxy = ProxyDigest::new(Box::new(head), Some(Box::new(Arc::clone(ctl))));
        Ok(Self {
            proxy: Some(Arc::new(proxy)),
            socket: Some(Arc::new(socket)),
            since: SystemTime::now(),
        })
    }

    /// Of a connection that we opened: nobody asks.
    pub(super) fn of_upstream() -> Self {
        Self {
            proxy: None,
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
        self.digests.proxy.clone()
    }
}

impl GetSocketDigest for Conn {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.digests.socket.clone()
    }
}

impl Peek for Conn {}
