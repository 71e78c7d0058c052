use std::io;

use bytes::BytesMut;
use h2::client::SendRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::config::Config;
use crate::message::{Headers, ResponseHead};
use crate::pump::{Client as _, Cut};

/// What is done on a stream, by its path.
async fn act(path: &str, client: &mut H2Client) {
    let mut head = ResponseHead {
        status: 200,
        reason: None,
        headers: Headers::new(),
    };
    if path == "/short" {
        head.headers.push("content-length", "100");
    }
    if path == "/early" {
        return client.cut(Cut::H2Reset(11)).await;
    }
    client.head(&head, false).await.unwrap();
    client
        .write(Bytes::from(vec![7; SENT]), false)
        .await
        .unwrap();
    match path {
        "/reset" => client.cut(Cut::H2Reset(7)).await,
        "/goaway" => client.cut(Cut::GoAway(11)).await,
        "/rst" => client.cut(Cut::ResetConnection).await,
        "/trailers" => {
            let trailers = [("Grpc-Status", "0")].into_iter().collect();
            client.trailers(&trailers).await.unwrap();
            client.end().await.unwrap();
        }
        "/wait" => assert_eq!(client.hear().await, Ok(None)),
        _ => client.end().await.unwrap(),
    }
    if path == "/wait" {
        // Resolves when the client resets the stream, or goes.
        assert!(client.hear().await.is_err());
    }
}

struct Scene {
    send: SendRequest<Bytes>,
    driving: JoinHandle<Result<(), h2::Error>>,
    serving: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

/// A connection on which streams are served, and the client's end of it.
async fn serve_one() -> (TcpStream, JoinHandle<()>, watch::Sender<bool>) {
    let plan = Arc::new(Plan::compile(&Config::default()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let conn = Conn::accepted(listener.accept().await.unwrap().0).unwrap();
    let (stop, stopping) = watch::channel(false);
    let serving = tokio::spawn(async move {
        let ctl = conn.ctl();
        ctl.linger();
        let connection = builder(&plan).handshake(conn).await.unwrap();
        let exchange = |(request, respond): Stream, orders| {
            let plan = Arc::clone(&plan);
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body();
                let mut client = H2Client::new(body, respond, false, &plan, orders);
                act(&path, &mut client).await;
            }
        };
        Serving::new(connection, ctl, &plan, None, exchange)
            .run(stopping)
            .await;
    });
    (tcp, serving, stop)
}

async fn scene() -> Scene {
    let (tcp, serving, stop) = serve_one().await;
    let (send, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 24)
        .handshake(tcp)
        .await
        .unwrap();
    Scene {
        send,
        driving: tokio::spawn(connection),
        serving,
        stop,
    }
}

impl Scene {
    async fn ask(&mut self, path: &str) -> h2::client::ResponseFuture {
        let request = Request::get(format!("http://a{path}")).body(()).unwrap();
        self.send = self.send.clone().ready().await.unwrap();
        self.send.send_request(request, true).unwrap().0
    }

    /// How many bytes of the body come, and how it ends.
    async fn get(&mut self, path: &str) -> (usize, Result<Headers, h2::Error>) {
        let answer = self.ask(path).await;
        read(answer).await
    }
}

async fn read(answer: h2::client::ResponseFuture) -> (usize, Result<Headers, h2::Error>) {
    let mut body = match answer.await {
        Ok(answer) => answer.into_body(),
        Err(error) => return (0, Err(error)),
    };
    let mut got = BytesMut::new();
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => got.extend_from_slice(&data),
            Err(error) => return (got.len(), Err(error)),
        }
    }
    let trailers = body.trailers().await.map(|trailers| {
        let trailers = trailers.unwrap_or_default();
        trailers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect()
    });
    (got.len(), trailers)
}

#[tokio::test]
async fn a_reset_comes_behind_what_was_written_and_touches_its_stream_alone() {
    let mut scene = scene().await;
    let waiting = scene.ask("/wait").await;
    let (got, end) = scene.get("/reset").await;
    assert_eq!(got, SENT);
    assert_eq!(end.unwrap_err().reason(), Some(Reason::REFUSED_STREAM));
    let (got, end) = scene.get("/early").await;
    assert_eq!(
        (got, end.unwrap_err().reason()),
        (0, Some(Reason::ENHANCE_YOUR_CALM))
    );
    let (got, end) = scene.get("/short").await;
    assert_eq!(
        (got, end.is_ok()),
        (100, true),
        "more than was promised is not sent"
    );
    let (got, end) = scene.get("/").await;
    assert_eq!((got, end.is_ok()), (SENT, true));
    let body = waiting.await.unwrap().into_body();
    assert!(!body.is_end_stream(), "it goes on");
}

#[tokio::test]
async fn a_goaway_comes_behind_what_was_written() {
    let (mut tcp, serving, _stop) = serve_one().await;
    tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    // SETTINGS with INITIAL_WINDOW_SIZE, WINDOW_UPDATE of the connection, HEADERS of stream 1.
    tcp.write_all(b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\x10\0\0")
        .await
        .unwrap();
    tcp.write_all(b"\0\0\x04\x08\0\0\0\0\0\0\x10\0\0")
        .await
        .unwrap();
    tcp.write_all(b"\0\0\x0e\x01\x05\0\0\0\x01\x82\x86\x01\x01a\x04\x07/goaway")
        .await
        .unwrap();
    let mut wire = Vec::new();
    tcp.read_to_end(&mut wire).await.unwrap();
    let mut frames = Vec::new();
    let mut rest = &wire[..];
    while let [a, b, c, kind, ..] = *rest {
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        frames.push((kind, &rest[9..9 + length]));
        rest = &rest[9 + length..];
    }
    let data = frames.iter().filter(|(kind, _)| *kind == 0);
    assert_eq!(data.map(|(_, payload)| payload.len()).sum::<usize>(), SENT);
    assert_eq!(frames.last(), Some(&(7, &b"\0\0\0\x01\0\0\0\x0b"[..])));
    drop(tcp);
    serving.await.unwrap();
}

#[tokio::test]
async fn a_goaway_ends_all() {
    let mut scene = scene().await;
    let waiting = scene.ask("/wait").await;
    assert!(scene.get("/goaway").await.1.is_err());
    let error = scene.driving.await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    assert!(error.is_remote() && error.is_go_away(), "{error}");
    assert!(read(waiting).await.1.is_err());
    scene.serving.await.unwrap();
}

#[tokio::test]
async fn a_reset_of_the_connection_is_one_of_tcp() {
    let mut scene = scene().await;
    let (_, end) = scene.get("/rst").await;
    assert!(end.is_err());
    let error = scene.driving.await.unwrap().unwrap_err();
    assert_eq!(
        error.get_io().map(io::Error::kind),
        Some(io::ErrorKind::ConnectionReset)
    );
    scene.serving.await.unwrap();
}

#[tokio::test]
async fn trailers_come_behind_the_body() {
    let mut scene = scene().await;
    let (got, trailers) = scene.get("/trailers").await;
    assert_eq!(got, SENT);
    let expected = [("grpc-status", "0")].into_iter().collect::<Headers>();
    assert_eq!(trailers.unwrap(), expected);
}

#[tokio::test]
async fn a_client_that_goes_on_asking_is_told_of_a_stop_and_still_served() {
    let mut scene = scene().await;
    let waiting = scene.ask("/wait").await.await.unwrap();
    scene.stop.send(true).unwrap();
    let (got, end) = scene.get("/").await;
    assert_eq!((got, end.is_ok()), (SENT, true));
    // It is told that no more are taken, as soon as it has answered the question whether some are under way.
    let refused = async {
        loop {
            let Ok(send) = scene.send.clone().ready().await else {
                return;
            };
            scene.send = send;
            let request = Request::get("http://a/").body(()).unwrap();
            let Ok((answer, _)) = scene.send.send_request(request, true) else {
                return;
            };
            if answer.await.is_err() {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), refused).await.unwrap();
    drop(waiting);
    timeout(Duration::from_secs(20), scene.serving)
        .await
        .unwrap()
        .unwrap();
}

/// More than the library holds for one stream, so that it takes several turns.
const SENT: usize = 300_000;
