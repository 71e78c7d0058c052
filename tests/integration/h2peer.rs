//! An upstream that speaks HTTP/2 in the clear or under TLS, and does for each request what a test says.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub(crate) type Done = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is done for a request, and for the how manyth it is, from 0.
pub(crate) type Handler =
    Arc<dyn Fn(Request<RecvStream>, SendResponse<Bytes>, usize) -> Done + Send + Sync>;

pub(crate) fn handler<F, D>(handle: F) -> Handler
where
    F: Fn(Request<RecvStream>, SendResponse<Bytes>, usize) -> D + Send + Sync + 'static,
    D: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |request, respond, turn| Box::pin(handle(request, respond, turn)))
}

pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Peer {
    pub(crate) async fn plain(handle: Handler) -> Self {
        Self::start(None, handle, |_, _| None).await
    }

    pub(crate) async fn tls(acceptor: TlsAcceptor, handle: Handler) -> Self {
        Self::start(Some(acceptor), handle, |_, _| None).await
    }

    /// `instead` may take a connection, the how manyth it is from 0, for itself.
    pub(crate) async fn start(
        acceptor: Option<TlsAcceptor>,
        handle: Handler,
        instead: impl Fn(TcpStream, usize) -> Option<Done> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(AtomicUsize::new(0));
        let (count, seen) = (Arc::clone(&connections), Arc::clone(&requests));
        let serving = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let turn = count.fetch_add(1, Ordering::SeqCst);
                let (handle, seen, acceptor) =
                    (Arc::clone(&handle), Arc::clone(&seen), acceptor.clone());
                // A duplicate stays, so that the connection goes on where it is not taken.
                let std = tcp.into_std().unwrap();
                let copy = TcpStream::from_std(std.try_clone().unwrap()).unwrap();
                if let Some(done) = instead(copy, turn) {
                    drop(std);
                    tokio::spawn(done);
                    continue;
                }
                let tcp = TcpStream::from_std(std).unwrap();
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(tcp, &handle, &seen).await,
                        Some(acceptor) => {
                            if let Ok(tls) = acceptor.accept(tcp).await {
                                serve(tls, &handle, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            connections,
            requests,
            serving,
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn stop(&self) {
        self.serving.abort();
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin, handle: &Handler, seen: &AtomicUsize) {
    let mut server = h2::server::Builder::new();
    server
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 24);
    let Ok(mut connection) = server.handshake(io).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let turn = seen.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(handle(request, respond, turn));
    }
}

/// Begins an answer of this status.
pub(crate) fn begin(
    respond: &mut SendResponse<Bytes>,
    headers: &[(&str, &str)],
) -> SendStream<Bytes> {
    let mut head = Response::builder().status(200);
    for (name, value) in headers {
        head = head.header(*name, *value);
    }
    respond
        .send_response(head.body(()).unwrap(), false)
        .unwrap()
}

/// A whole answer.
pub(crate) fn answer(respond: &mut SendResponse<Bytes>, body: &str) {
    let mut stream = begin(respond, &[("content-type", "text/plain")]);
    stream
        .send_data(Bytes::from(body.to_owned()), true)
        .unwrap();
}

/// Sends all of it, as the peer lets; says how much was sent if it breaks off.
pub(crate) async fn send_all(
    stream: &mut SendStream<Bytes>,
    mut bytes: Bytes,
    sent: &AtomicUsize,
) -> bool {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        if stream.capacity() == 0 {
            match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(_)) => continue,
                _ => return false,
            }
        }
        let piece = bytes.split_to(stream.capacity().min(bytes.len()));
        let count = piece.len();
        if stream.send_data(piece, false).is_err() {
            return false;
        }
        sent.fetch_add(count, Ordering::SeqCst);
    }
    true
}

/// The whole body of a request.
pub(crate) async fn read_all(body: &mut RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(Ok(bytes)) = body.data().await {
        body.flow_control().release_capacity(bytes.len()).unwrap();
        all.extend_from_slice(&bytes);
    }
    all
}

pub(crate) fn lines(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect()
}

pub(crate) async fn nap(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
