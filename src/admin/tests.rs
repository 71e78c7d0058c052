use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::*;

/// An admin listener that answers until the runtime ends, and what tells it of the end.
async fn start() -> (SocketAddr, Arc<Stages>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let token = Token::given("right").unwrap();
    let admin = Admin::new(listener, "127.0.0.1", &[], token, Arc::new(Board::new())).unwrap();
    let (address, stages) = (admin.address(), admin.stages());
    tokio::spawn(admin.run());
    (address, stages)
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Asks for the end of the connection after the answer, and reads up to there.
async fn ask(address: SocketAddr, path: &str) -> String {
    let mut client = connect(address).await;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed() {
    let (address, _) = start().await;
    let begun = Instant::now();
    let mut client = connect(address).await;
    assert_eq!(client.read(&mut [0; 64]).await.unwrap(), 0);
    assert!(begun.elapsed() >= Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_head_in_drips_does_not_keep_a_connection_open() {
    let (address, _) = start().await;
    let mut client = connect(address).await;
    let head = format!(
        "GET /healthz HTTP/1.1\r\nhost: {address}\r\nx-long: {}\r\n\r\n",
        "x".repeat(100)
    );
    for byte in head.bytes() {
        sleep(Duration::from_secs(5)).await;
        if client.write_all(&[byte]).await.is_err() {
            break;
        }
    }
    let mut answer = String::new();
    // A reset, or a FIN without an answer.
    client.read_to_string(&mut answer).await.ok();
    assert_eq!(answer, "");
}

#[tokio::test(start_paused = true)]
async fn there_is_room_for_so_many_and_silent_ones_leave_it_to_others() {
    let (address, _) = start().await;
    let begun = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..=CONNECTIONS_MAX {
        silent.push(connect(address).await);
    }
    let answer = ask(address, "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(begun.elapsed() >= Duration::from_secs(30), "there was room");
}

#[tokio::test]
async fn who_asks_learns_that_the_end_is_near() {
    let (address, stages) = start().await;
    assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200 "));
    stages.end();
    assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 503 "));
    assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200 "));
}

/// Reads up to the end of an answer's body, which is known.
async fn read_to(client: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let mut piece = [0; 1024];
        let count = client.read(&mut piece).await.unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn an_order_that_the_successor_would_not_hear_of_is_refused() {
    const BODY: &str = r#"{"killed":true}"#;
    for (leaves, expected) in [
        (Leaves::Never, "HTTP/1.1 200 "),
        (Leaves::BeforeBody, "HTTP/1.1 503 "),
        (Leaves::Before, "HTTP/1.1 503 "),
    ] {
        let (address, stages) = start().await;
        // On a connection that was there before.
        let mut client = connect(address).await;
        let health = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\n\r\n");
        client.write_all(health.as_bytes()).await.unwrap();
        read_to(&mut client, "ok\n").await;
        if leaves == Leaves::Before {
            stages.leave();
        }
        let head = format!(
            "POST /v1/faults/kill HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer right\r\n\
             expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            BODY.len()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        // By then its head was looked at.
        read_to(&mut client, "\r\n\r\n").await;
        if leaves == Leaves::BeforeBody {
            stages.leave();
        }
        client.write_all(BODY.as_bytes()).await.unwrap();
        let answer = read_to(&mut client, "}").await;
        assert!(answer.starts_with(expected), "{answer}");
    }
}

/// When another process takes over.
#[derive(PartialEq)]
enum Leaves {
    Never,
    BeforeBody,
    Before,
}
