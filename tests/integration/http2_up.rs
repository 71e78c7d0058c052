//! Stories of upstreams that speak HTTP/2.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Response;
use rehearsal::cassette::{Access, Cassette, Recording};
use rehearsal::message::Ending;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::h2peer::{Peer, answer, begin, handler, lines, nap, read_all, send_all};
use crate::stage::{End, Stage};

fn route(mode: &str, address: SocketAddr) -> String {
    format!("[[route]]\nupstream = \"http://{address}\"\nmode = \"{mode}\"\nhttp = \"2\"\n")
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The one recording of a cassette.
fn recorded(folder: &Path) -> Recording {
    let cassette = Cassette::open(folder, Access::Read).unwrap();
    cassette.index(|_| None);
    let entries = cassette.entries();
    assert_eq!(entries.len(), 1, "{entries:?}");
    Recording::clone(&cassette.named(&entries[0].name).unwrap())
}

#[tokio::test]
async fn a_stream_is_recorded_with_its_times_and_trailers_and_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::plain(handler(|request, mut respond, _| async move {
        assert_eq!(request.uri().path(), "/stream");
        assert_eq!(request.uri().query(), Some("a=1"));
        let mut stream = begin(&mut respond, &[("content-type", "text/event-stream")]);
        for text in ["data: a\n\n", "data: b\n\n", "data: c\n\n"] {
            stream
                .send_data(Bytes::from_static(text.as_bytes()), false)
                .unwrap();
            nap(80).await;
        }
        stream.send_trailers(lines(&[("x-sum", "3")])).unwrap();
    }))
    .await;
    let stage = Stage::open(&route("record", peer.address), None, dir.path()).await;
    let live = stage.ask(&get("/stream?a=1")).await;
    stage.close().await;
    assert_eq!((live.status, live.end), (200, End::Framing));
    assert_eq!(live.chunks.len(), 3);
    assert_eq!(live.header("transfer-encoding").as_deref(), Some("chunked"));
    let recording = recorded(dir.path());
    assert_eq!(recording.protocol, "h2");
    assert_eq!(recording.ending, Ending::Complete);
    assert_eq!(
        recording.trailers,
        Some([("x-sum", "3")].into_iter().collect())
    );
    assert!(!recording.head.headers.contains("transfer-encoding"));
    let times: Vec<_> = recording.items.iter().map(|item| item.at).collect();
    assert!(
        times[1] >= Duration::from_millis(75) && times[2] >= Duration::from_millis(150),
        "{times:?}"
    );
    peer.stop();
    let stage = Stage::open("[[route]]\nmode = \"replay\"\n", None, dir.path()).await;
    let again = stage.ask(&get("/stream?a=1")).await;
    stage.close().await;
    assert_eq!(again.chunks, live.chunks);
    assert_eq!(again.stable_head(), live.stable_head());
}

#[tokio::test]
async fn many_calls_share_one_connection() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::plain(handler(|_, mut respond, turn| async move {
        nap(50).await;
        answer(&mut respond, &turn.to_string());
    }))
    .await;
    let stage = Stage::open(&route("forward", peer.address), None, dir.path()).await;
    let request = get("/");
    let asks = (0..40).map(|_| stage.ask(&request));
    let mut all = Vec::new();
    for ask in asks.collect::<Vec<_>>() {
        all.push(Box::pin(ask));
    }
    let answers = join_all(all).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!((peer.requests(), peer.connections()), (40, 1));
    stage.close().await;
}

/// Drives all at once.
async fn join_all<F: Future + Unpin>(mut all: Vec<F>) -> Vec<F::Output> {
    let mut done: Vec<Option<F::Output>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (one, done) in all.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = std::pin::Pin::new(one).poll(cx)
            {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_stream_that_is_reset_is_reset_for_the_client_and_in_the_recording() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::plain(handler(|_, mut respond, _| async move {
        let mut stream = begin(&mut respond, &[]);
        stream
            .send_data(Bytes::from_static(b"part"), false)
            .unwrap();
        nap(50).await;
        stream.send_reset(Reason::INTERNAL_ERROR);
    }))
    .await;
    let stage = Stage::open(&route("record", peer.address), None, dir.path()).await;
    let answer = stage.ask(&get("/")).await;
    assert_eq!((answer.text().as_str(), answer.end), ("part", End::Reset));
    stage.close().await;
    assert_eq!(recorded(dir.path()).ending, Ending::Reset);
}

#[tokio::test]
async fn a_connection_that_closes_within_a_stream_closes_the_clients() {
    let dir = tempfile::tempdir().unwrap();
    let kill = Arc::new(tokio::sync::Notify::new());
    let killed = Arc::clone(&kill);
    let peer = Peer::start(None, handler(|_, _, _| async {}), move |tcp, _| {
        let killed = Arc::clone(&killed);
        Some(Box::pin(async move {
            let mut connection = h2::server::handshake(tcp).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            let mut stream = begin(&mut respond, &[]);
            stream
                .send_data(Bytes::from_static(b"part"), false)
                .unwrap();
            tokio::select! {
                _ = connection.accept() => {}
                () = killed.notified() => {}
            }
        }))
    })
    .await;
    let stage = Stage::open(&route("record", peer.address), None, dir.path()).await;
    let request = get("/");
    let asked = stage.ask(&request);
    let answer = tokio::join!(asked, async {
        nap(200).await;
        kill.notify_one();
    })
    .0;
    assert_eq!((answer.text().as_str(), answer.end), ("part", End::Fin));
    stage.close().await;
    assert_eq!(recorded(dir.path()).ending, Ending::Closed);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_stream_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let reset = Arc::new(std::sync::Mutex::new(None));
    let seen = Arc::clone(&reset);
    let peer = Peer::plain(handler(move |request, mut respond, _| {
        let seen = Arc::clone(&seen);
        async move {
            let mut stream = begin(&mut respond, &[]);
            stream.send_data(Bytes::from_static(b"a"), false).unwrap();
            if request.uri().path() == "/leaves" {
                let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
                *seen.lock().unwrap() = Some(reason.unwrap());
            } else {
                nap(600).await;
                stream.send_data(Bytes::from_static(b"b"), true).unwrap();
            }
        }
    }))
    .await;
    let stage = Stage::open(&route("forward", peer.address), None, dir.path()).await;
    let mut leaver = stage.client().await;
    leaver.send(get("/leaves").as_bytes()).await;
    leaver.tcp.read_u8().await.unwrap();
    let stays_request = get("/stays");
    let stays = stage.ask(&stays_request);
    let leaves = async {
        nap(100).await;
        drop(leaver);
    };
    let (answer, ()) = tokio::join!(stays, leaves);
    assert_eq!((answer.text().as_str(), answer.end), ("ab", End::Framing));
    assert_eq!(*reset.lock().unwrap(), Some(Reason::CANCEL));
    assert_eq!(peer.connections(), 1);
    stage.close().await;
}

#[tokio::test]
async fn a_refused_stream_is_sent_once_more_with_its_body_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::plain(handler(|mut request, mut respond, turn| async move {
        if turn == 0 || request.uri().path() == "/never" {
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        }
        let body = read_all(request.body_mut()).await;
        answer(&mut respond, std::str::from_utf8(&body).unwrap());
    }))
    .await;
    let stage = Stage::open(&route("forward", peer.address), None, dir.path()).await;
    let once = stage.ask(&post("/", "again")).await;
    assert_eq!((once.status, once.text().as_str()), (200, "again"));
    assert_eq!(peer.requests(), 2);
    let never = stage.ask(&post("/never", "again")).await;
    assert_eq!(never.status, 502);
    assert!(
        never
            .text()
            .contains("reset the stream of the request before it answered (REFUSED_STREAM)"),
        "{}",
        never.text()
    );
    assert_eq!(peer.requests(), 4);
    stage.close().await;
}

#[tokio::test]
async fn a_request_that_a_goaway_left_out_goes_to_a_new_connection() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::start(
        None,
        handler(|mut request, mut respond, _| async move {
            let body = read_all(request.body_mut()).await;
            answer(&mut respond, std::str::from_utf8(&body).unwrap());
        }),
        |mut tcp, turn| {
            (turn == 0).then(|| -> crate::h2peer::Done {
                Box::pin(async move {
                    // SETTINGS, then on the first HEADERS a GOAWAY that says: nothing was processed.
                    tcp.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
                    let mut preface = [0; 24];
                    tcp.read_exact(&mut preface).await.unwrap();
                    loop {
                        let mut frame = [0; 9];
                        tcp.read_exact(&mut frame).await.unwrap();
                        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
                        let mut payload = vec![0; usize::try_from(length).unwrap()];
                        tcp.read_exact(&mut payload).await.unwrap();
                        if frame[3] == 1 {
                            break;
                        }
                    }
                    tcp.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
                        .await
                        .unwrap();
                    nap(5_000).await;
                })
            })
        },
    )
    .await;
    let stage = Stage::open(&route("forward", peer.address), None, dir.path()).await;
    let answer = stage.ask(&post("/", "hello")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert_eq!(peer.connections(), 2);
    stage.close().await;
}

#[tokio::test]
async fn a_slow_client_holds_the_upstream_back_and_no_sibling() {
    let dir = tempfile::tempdir().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let peer = Peer::plain(handler(move |request, mut respond, _| {
        let counted = Arc::clone(&counted);
        async move {
            let mut stream = begin(&mut respond, &[]);
            let slow = request.uri().path() == "/slow";
            let count = if slow {
                &*counted
            } else {
                &AtomicUsize::new(0)
            };
            if send_all(&mut stream, Bytes::from(vec![b'x'; 64 << 20]), count).await {
                stream.send_data(Bytes::new(), true).unwrap();
            }
        }
    }))
    .await;
    let config = format!(
        "{}\n[limits]\nbody_ahead = \"256KiB\"\n",
        route("forward", peer.address)
    );
    let stage = Stage::open(&config, None, dir.path()).await;
    let mut slow = stage.client().await;
    // Little may wait in the sockets between.
    socket2::SockRef::from(&slow.tcp)
        .set_recv_buffer_size(64 * 1024)
        .unwrap();
    slow.send(get("/slow").as_bytes()).await;
    let fast = stage.ask(&get("/fast")).await;
    assert_eq!(fast.chunks.iter().map(Vec::len).sum::<usize>(), 64 << 20);
    let before = sent.load(Ordering::SeqCst);
    assert!(
        before < 16 << 20,
        "{before} bytes are on their way to a client that reads none"
    );
    let answer = slow.answer().await;
    assert_eq!(answer.chunks.iter().map(Vec::len).sum::<usize>(), 64 << 20);
    assert_eq!(peer.connections(), 1);
    stage.close().await;
}

#[tokio::test]
async fn a_large_body_goes_up_and_comes_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::plain(handler(|mut request, mut respond, _| async move {
        assert_eq!(request.headers().get("content-length").unwrap(), "5000000");
        let body = read_all(request.body_mut()).await;
        let mut stream = begin(&mut respond, &[]);
        assert!(send_all(&mut stream, body.into(), &AtomicUsize::new(0)).await);
        stream.send_data(Bytes::new(), true).unwrap();
    }))
    .await;
    let stage = Stage::open(&route("forward", peer.address), None, dir.path()).await;
    let body: String = (0..5_000_000_u32)
        .map(|index| char::from(b'a' + (index % 23) as u8))
        .collect();
    let answer = stage.ask(&post("/", &body)).await;
    assert!(answer.text() == body);
    stage.close().await;
}

#[tokio::test]
async fn an_early_answer_and_an_interim_head_pass() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::plain(handler(|request, mut respond, _| async move {
        let hints = Response::builder()
            .status(103)
            .header("link", "</a>")
            .body(())
            .unwrap();
        respond.send_informational(hints).unwrap();
        let mut stream = begin(&mut respond, &[("content-length", "4")]);
        stream.send_data(Bytes::from_static(b"done"), true).unwrap();
        // What is not read of the request is refused with RST_STREAM(NO_ERROR).
        drop(request);
    }))
    .await;
    let stage = Stage::open(&route("forward", peer.address), None, dir.path()).await;
    let mut client = stage.client().await;
    client
        .send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nonly some")
        .await;
    let hints = client.answer().await;
    assert_eq!(
        (hints.status, hints.header("link").as_deref()),
        (103, Some("</a>"))
    );
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
    stage.close().await;
}

#[tokio::test]
async fn the_host_becomes_the_authority_and_te_trailers_goes_up() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::plain(handler(|request, mut respond, _| async move {
        let headers = request.headers();
        let shown = |name: &str| {
            headers
                .get(name)
                .map_or("-", |value| value.to_str().unwrap())
                .to_owned()
        };
        let text = format!(
            "{} {} {} {}",
            request.uri(),
            shown("host"),
            shown("te"),
            shown("x-own")
        );
        answer(&mut respond, &text);
    }))
    .await;
    let config =
        route("forward", peer.address) + "set_headers = { host = { value = \"api.test\" } }\n";
    let stage = Stage::open(&config, None, dir.path()).await;
    let answer = stage
        .ask("GET /a?b HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nX-Own: 1\r\n\r\n")
        .await;
    assert_eq!(answer.text(), "http://api.test/a?b - trailers 1");
    stage.close().await;
}

#[tokio::test]
async fn what_is_not_http2_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let upstream =
        crate::stage::Upstream::start(|_, _| crate::stage::reply("400 Bad Request", "", "what?"))
            .await;
    let stage = Stage::open(&route("forward", upstream.address), None, dir.path()).await;
    let answer = stage.ask(&get("/")).await;
    assert_eq!(answer.status, 502);
    assert!(
        answer.text().contains("does not speak HTTP/2 as it should"),
        "{}",
        answer.text()
    );
    assert!(
        answer.text().contains("`http = \\\"1.1\\\"`"),
        "{}",
        answer.text()
    );
    stage.close().await;
}

#[tokio::test]
async fn a_head_without_a_body_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::plain(handler(|request, mut respond, _| async move {
        let status = if request.method() == "HEAD" { 200 } else { 204 };
        let head = Response::builder()
            .status(status)
            .header("x-a", "1")
            .body(())
            .unwrap();
        respond.send_response(head, true).unwrap();
    }))
    .await;
    let stage = Stage::open(&route("forward", peer.address), None, dir.path()).await;
    let mut client = stage.client().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        client.send(request.as_bytes()).await;
        let answer = client.answer().await;
        assert_eq!(
            (answer.status, answer.header("x-a").as_deref()),
            (204, Some("1"))
        );
    }
    stage.close().await;
}
