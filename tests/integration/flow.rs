//! Stories of single exchanges: what an upstream does, and what the client sees of it.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::stage::{Act, End, Stage, Upstream, chunk, last_chunk, pause, reply, stream_head};

const FORWARD: &str = "[[route]]\nupstream = \"UPSTREAM\"\nmode = \"forward\"\n";
const RECORD: &str = "[[route]]\nupstream = \"UPSTREAM\"\nmode = \"record\"\n";
const REPLAY: &str = "[[route]]\nmode = \"replay\"\n";

fn post(path: &str, key: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[tokio::test]
async fn a_recorded_stream_is_replayed_with_another_key_after_the_upstream_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_, _| {
        vec![
            Act::ReadBody,
            pause(30),
            Act::Send(
                b"HTTP/1.1 200 Fine\r\nContent-Type: text/event-stream\r\nX-Multi: a\r\nx-multi: b\r\n\
                  Transfer-Encoding: chunked\r\n\r\n"
                    .to_vec(),
            ),
            pause(20),
            chunk("data: one\n\n"),
            pause(60),
            chunk("data: tw"),
            pause(10),
            chunk("o\n\n"),
            last_chunk(),
        ]
    })
    .await;
    let recording = Stage::open(RECORD, Some(&upstream), dir.path()).await;
    let recorded = recording
        .ask(&post(
            "/v1/chat?b=2&a=1",
            "sk-first-secret",
            r#"{"a":1,"b":[true]}"#,
        ))
        .await;
    recording.close().await;
    upstream.stop();

    let replaying = Stage::open(REPLAY, None, dir.path()).await;
    let replayed = replaying
        .ask(&post(
            "/v1/chat?a=1&b=2",
            "sk-other-secret",
            r#"{ "b": [true], "a": 1.0 }"#,
        ))
        .await;
    assert_eq!(replayed.stable_head(), recorded.stable_head());
    assert_eq!(replayed.chunks, recorded.chunks);
    assert_eq!(replayed.end, End::Framing);
    assert_eq!(
        replayed.header("x-rehearsal-source").as_deref(),
        Some("replay")
    );
    for (replayed, recorded) in replayed.times.iter().zip(&recorded.times) {
        assert!(
            replayed.abs_diff(*recorded) < Duration::from_millis(200),
            "{replayed:?} for {recorded:?}"
        );
    }
    for entry in std::fs::read_dir(dir.path())
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_file())
    {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert!(
            !String::from_utf8_lossy(&bytes).contains("first-secret"),
            "{:?}",
            entry.path()
        );
    }
}

#[tokio::test]
async fn a_miss_is_refused_without_a_connection_and_explained() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_, _| reply("200 OK", "", "hi")).await;
    let recording = Stage::open(RECORD, Some(&upstream), dir.path()).await;
    recording
        .ask(&post(
            "/v1/x",
            "sk-first-secret",
            r#"{"model":"m","user":"alice"}"#,
        ))
        .await;
    recording.close().await;
    let before = upstream.connections();

    let config = "[[route]]\nmode = \"replay\"\nupstream = \"UPSTREAM\"\n";
    let replaying = Stage::open(config, Some(&upstream), dir.path()).await;
    let missed = replaying
        .ask(&post(
            "/v1/x",
            "sk-first-secret",
            r#"{"model":"m","user":"bob"}"#,
        ))
        .await;
    assert_eq!(missed.status, 404);
    assert_eq!(missed.header("x-should-retry").as_deref(), Some("false"));
    assert!(missed.text().contains("$.user"), "{}", missed.text());
    assert_eq!(upstream.connections(), before);
    replaying.close().await;

    let config = "[[route]]\nmode = \"replay\"\nkey = { ignore = [\"$.user\"] }\n";
    let ignoring = Stage::open(config, None, dir.path()).await;
    let hit = ignoring
        .ask(&post(
            "/v1/x",
            "sk-first-secret",
            r#"{"model":"m","user":"bob"}"#,
        ))
        .await;
    assert_eq!((hit.status, hit.text().as_str()), (200, "hi"));
}

#[tokio::test]
async fn an_upstream_that_breaks_off_is_seen_to_break_off() {
    for (act, end) in [(Act::Reset, End::Reset), (Act::Close, End::Fin)] {
        let dir = tempfile::tempdir().unwrap();
        let breaking = act.clone();
        let upstream = Upstream::start(move |_, _| {
            vec![stream_head(), chunk("part"), pause(50), breaking.clone()]
        })
        .await;
        let stage = Stage::open(RECORD, Some(&upstream), dir.path()).await;
        let answer = stage.ask(&get("/")).await;
        assert_eq!((answer.text().as_str(), answer.end), ("part", end));
        stage.close().await;

        let replaying = Stage::open(REPLAY, None, dir.path()).await;
        let replayed = replaying.ask(&get("/")).await;
        assert_eq!(
            (replayed.text().as_str(), replayed.end),
            ("part", end),
            "a replay breaks off alike"
        );
    }
}

#[tokio::test]
async fn a_slow_client_does_not_bend_the_recorded_times() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_, _| {
        let mut acts = vec![stream_head()];
        for _ in 0..10 {
            acts.extend([chunk(&"x".repeat(1000)), pause(10)]);
        }
        acts.push(last_chunk());
        acts
    })
    .await;
    let stage = Stage::open(RECORD, Some(&upstream), dir.path()).await;
    let mut client = stage.client().await;
    client.send(get("/slow").as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(client.answer().await.chunks.len(), 10);
    stage.close().await;
    let cassette =
        rehearsal::cassette::Cassette::open(dir.path(), rehearsal::cassette::Access::Read).unwrap();
    let entries = cassette.entries();
    assert_eq!(entries.len(), 1);
    assert!(
        entries[0].duration < Duration::from_millis(550),
        "{:?}",
        entries[0].duration
    );
}

#[tokio::test]
async fn a_pooled_connection_that_died_costs_the_client_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // The second request on a connection is answered by closing it, as a server does whose keep-alive ran out.
    let upstream = Upstream::start(|_, turn| {
        if turn == 0 {
            reply("200 OK", "", "hi")
        } else {
            vec![Act::Close]
        }
    })
    .await;
    let stage = Stage::open(FORWARD, Some(&upstream), dir.path()).await;
    for _ in 0..5 {
        let answer = stage
            .ask(&post("/", "k", "{\"body\":\"is sent again\"}"))
            .await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hi"));
    }
    assert_eq!(upstream.connections(), 5);
    assert_eq!(
        upstream.requests().len(),
        9,
        "four were tried on a dead connection first"
    );
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_is_through_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_, _| {
        vec![
            Act::Send(
                b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"
                    .to_vec(),
            ),
            Act::Close,
        ]
    })
    .await;
    let stage = Stage::open(FORWARD, Some(&upstream), dir.path()).await;
    let mut client = stage.client().await;
    client
        .send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
        .await;
    let (mut read, mut write) = client.tcp.into_split();
    let sending = tokio::spawn(async move {
        // Fails as soon as the proxy has had enough.
        while write.write_all(&vec![0; 65_536]).await.is_ok() {}
    });
    let mut answer = Vec::new();
    while !answer.ends_with(b"big") {
        assert_ne!(
            tokio::io::AsyncReadExt::read_buf(&mut read, &mut answer)
                .await
                .unwrap(),
            0
        );
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 413 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    drop(read);
    sending.abort();
}

#[tokio::test]
async fn a_client_that_half_closes_gets_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let upstream =
        Upstream::start(|_, _| [vec![pause(300)], reply("200 OK", "", "late")].concat()).await;
    let stage = Stage::open(FORWARD, Some(&upstream), dir.path()).await;
    let mut client = stage.client().await;
    client.send(get("/").as_bytes()).await;
    client.tcp.shutdown().await.unwrap();
    let interim = client.answer().await;
    assert_eq!(
        interim.status, 100,
        "a socket that is closed would answer this with a reset"
    );
    assert_eq!(client.answer().await.text(), "late");
}

#[tokio::test]
async fn an_upgrade_that_is_accepted_at_once_is_never_torn_down() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_, _| {
        vec![Act::Send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello".to_vec()), pause(2000)]
    })
    .await;
    let stage = Stage::open(FORWARD, Some(&upstream), dir.path()).await;
    for _ in 0..300 {
        let mut client = stage.client().await;
        client
            .send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 101, "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_in_flight_goes_on_when_the_server_stops() {
    let dir = tempfile::tempdir().unwrap();
    let upstream =
        Upstream::start(|_, _| [vec![pause(300)], reply("200 OK", "", "done")].concat()).await;
    let stage = Stage::open(FORWARD, Some(&upstream), dir.path()).await;
    let mut client = stage.client().await;
    client.send(get("/").as_bytes()).await;
    let idle = stage.client().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (stopped, answer) = tokio::join!(stage.close(), client.answer());
    assert_eq!(answer.text(), "done");
    assert_eq!(stopped, rehearsal::server::Stopped::Drained);
    drop(idle);
}

#[tokio::test]
async fn a_route_rewrites_what_goes_up() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_, _| reply("200 OK", "", "ok")).await;
    let config = format!(
        "{FORWARD}strip_prefix = \"/openai\"\nadd_prefix = \"/base\"\nremove_headers = [\"x-debug\"]\n\
         set_headers = {{ x-team = {{ value = \"search\" }} }}\n"
    );
    let stage = Stage::open(&config, Some(&upstream), dir.path()).await;
    stage.ask("GET /openai/v1/models?x=1 HTTP/1.1\r\nHost: x\r\nX-Debug: 1\r\nX-Rehearsal-Seed: 4\r\nX-Team: a\r\n\r\n").await;
    let head = &upstream.requests()[0];
    assert!(
        head.starts_with("GET /base/v1/models?x=1 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains(&format!("Host: {}\r\n", upstream.address)),
        "{head}"
    );
    let lower = head.to_ascii_lowercase();
    assert!(
        lower.contains("x-team: search\r\n") && !lower.contains("x-team: a"),
        "{head}"
    );
    assert!(
        !lower.contains("x-debug") && !lower.contains("x-rehearsal"),
        "{head}"
    );
}

#[tokio::test]
async fn a_body_that_was_read_before_does_not_block_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    // Takes nothing of the body, and answers after a while.
    let upstream = Upstream::start(|_, _| {
        vec![
            pause(100),
            Act::Send(
                b"HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno".to_vec(),
            ),
            pause(5000),
        ]
    })
    .await;
    let config = "[[route]]\nmode = \"replay\"\non_miss = \"forward\"\nupstream = \"UPSTREAM\"\n";
    let stage = Stage::open(config, Some(&upstream), dir.path()).await;
    let answer = stage.ask(&post("/", "k", &"x".repeat(6_000_000))).await;
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}

#[tokio::test]
async fn a_break_is_seen_even_where_the_answer_ends_with_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let upstream =
        Upstream::start(|_, _| vec![stream_head(), chunk("part"), pause(50), Act::Close]).await;
    let stage = Stage::open(FORWARD, Some(&upstream), dir.path()).await;
    let answer = stage.ask("GET / HTTP/1.0\r\nHost: x\r\n\r\n").await;
    assert_eq!((answer.text().as_str(), answer.end), ("part", End::Reset));
}

#[tokio::test]
async fn an_empty_body_keeps_its_length() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_, _| reply("200 OK", "", "ok")).await;
    let stage = Stage::open(FORWARD, Some(&upstream), dir.path()).await;
    assert_eq!(
        stage
            .ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            .await
            .text(),
        "ok"
    );
    assert!(
        upstream.requests()[0]
            .to_ascii_lowercase()
            .contains("content-length: 0\r\n"),
        "{:?}",
        upstream.requests()
    );
}

#[tokio::test]
async fn an_upgrade_to_http2_is_an_ordinary_request() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_, _| reply("200 OK", "", "ok")).await;
    let stage = Stage::open(RECORD, Some(&upstream), dir.path()).await;
    let upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n";
    let answer = stage
        .ask(&format!(
            "POST / HTTP/1.1\r\nHost: x\r\n{upgrade}Content-Length: 2\r\n\r\nhi"
        ))
        .await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    let head = upstream.requests()[0].to_ascii_lowercase();
    assert!(
        !head.contains("upgrade") && !head.contains("http2-settings"),
        "{head}"
    );
    stage.close().await;
    let replaying = Stage::open(REPLAY, None, dir.path()).await;
    let answer = replaying
        .ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    assert_eq!(answer.text(), "ok");
}

#[tokio::test]
async fn what_an_upstream_has_begun_to_answer_is_not_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_, turn| {
        if turn == 0 {
            reply("200 OK", "", "hi")
        } else {
            vec![
                Act::ReadBody,
                Act::Send(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec()),
                pause(50),
                Act::Close,
            ]
        }
    })
    .await;
    let stage = Stage::open(FORWARD, Some(&upstream), dir.path()).await;
    assert_eq!(stage.ask(&post("/", "k", "{}")).await.text(), "hi");
    let mut client = stage.client().await;
    client.send(post("/", "k", "{}").as_bytes()).await;
    assert_eq!(client.answer().await.status, 103);
    assert_eq!(client.answer().await.status, 502);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_client_that_half_closes_within_a_stream_gets_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_, _| {
        let mut acts = vec![stream_head()];
        for _ in 0..5 {
            acts.extend([chunk("x"), pause(100)]);
        }
        acts.push(last_chunk());
        acts
    })
    .await;
    let stage = Stage::open(FORWARD, Some(&upstream), dir.path()).await;
    let mut client = stage.client().await;
    client.send(get("/").as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    client.tcp.shutdown().await.unwrap();
    let answer = client.answer().await;
    assert_eq!(
        (answer.text().as_str(), answer.end),
        ("xxxxx", End::Framing)
    );
}

#[tokio::test]
async fn what_a_miss_adds_to_an_exhausted_sequence_takes_nothing_away() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_, _| reply("200 OK", "", "hi")).await;
    let stage = Stage::open(RECORD, Some(&upstream), dir.path()).await;
    stage.ask(&get("/")).await;
    stage.close().await;
    let config = "[[route]]\nmode = \"replay\"\non_miss = \"record\"\nexhausted = \"refuse\"\nupstream = \"UPSTREAM\"\n";
    let stage = Stage::open(config, Some(&upstream), dir.path()).await;
    assert_eq!(
        stage
            .ask(&get("/"))
            .await
            .header("x-rehearsal-source")
            .as_deref(),
        Some("replay")
    );
    assert_eq!(
        stage
            .ask(&get("/"))
            .await
            .header("x-rehearsal-source")
            .as_deref(),
        Some("record")
    );
    stage.close().await;
    let files = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
    let names = files.filter(|entry| {
        entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "json")
    });
    assert_eq!(names.count(), 2);
}

#[tokio::test]
async fn a_secret_that_the_proxy_puts_in_is_kept_off_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|_, _| {
        reply(
            "200 OK",
            "X-Echo: team-secret-42\r\n",
            "you sent team-secret-42",
        )
    })
    .await;
    let config = format!(
        "{RECORD}set_headers = {{ x-team-key = {{ literal_secret = \"team-secret-42\" }} }}\n"
    );
    let stage = Stage::open(&config, Some(&upstream), dir.path()).await;
    assert_eq!(stage.ask(&get("/")).await.text(), "you sent team-secret-42");
    stage.close().await;
    let files = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
    for entry in files.filter(|entry| entry.path().is_file()) {
        let text = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
        assert!(
            !text.contains("team-secret-42"),
            "{:?}: {text}",
            entry.path()
        );
    }
}
