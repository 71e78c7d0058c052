use super::*;
use tokio::io::AsyncReadExt as _;

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn nothing() -> Legacy {
    Legacy { writes: None }
}

fn faults() -> board::Legacy {
    board::Legacy {
        killed: true,
        rules: Vec::new(),
    }
}

fn published(path: &Path) -> Offer {
    let mut offer = Offer::new(path).unwrap();
    offer.publish().unwrap();
    offer
}

#[tokio::test]
async fn a_successor_gets_the_listeners_and_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/one.sock");
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    let since = UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001);
    let legacy = Legacy {
        writes: Some((PathBuf::from("/some/where"), since)),
    };
    let offer = published(&path);
    let left = legacy.clone();
    let old = tokio::spawn(async move {
        let successor = offer.successor(&[("http", listener.as_fd())], &left).await;
        assert_eq!(successor.pid(), std::process::id().to_string());
        drop(listener);
        successor.confirm(&faults()).await
    });
    let mut before = Predecessor::find(&path).await.unwrap();
    assert_eq!(before.legacy(), &legacy);
    assert!(before.take("https", &[address]).unwrap().is_none());
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], address.port()));
    assert!(before.take("http", &[elsewhere]).unwrap().is_none());
    let taken = before.take("http", &[address]).unwrap().unwrap();
    let (left, let_go) = before.succeed().await.unwrap();
    assert!(matches!(left, Left::Faults(left) if left == faults()));
    tokio::pin!(let_go);
    let hold = old.await.unwrap();
    let is_held = timeout(Duration::from_millis(20), &mut let_go).await;
    assert!(is_held.is_err());
    drop(hold);
    let_go.await;
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut served, _) = taken.accept().await.unwrap();
    served.write_all(b"hello").await.unwrap();
    drop(served);
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "hello");
}

#[tokio::test]
async fn one_that_breaks_off_leaves_the_offer_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.sock");
    let listener = listener().await;
    let offer = published(&path);
    let old = tokio::spawn(async move {
        offer
            .successor(&[("http", listener.as_fd())], &nothing())
            .await
            .confirm(&faults())
            .await
    });
    drop(Predecessor::find(&path).await.unwrap());
    let mut wrong = UnixStream::connect(&path).await.unwrap();
    wrong.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut rest = Vec::new();
    wrong.read_to_end(&mut rest).await.unwrap();
    let before = Predecessor::find(&path).await.unwrap();
    drop(before.succeed().await.unwrap());
    drop(old.await.unwrap());
}

#[tokio::test]
async fn nobody_there_is_an_error_that_names_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.sock");
    drop(published(&path));
    assert!(!path.exists(), "it takes its socket with it");
    let error = Predecessor::find(&path).await.unwrap_err();
    assert_eq!(
        chain(&error).replace(&dir.path().display().to_string(), ""),
        "no running process offers its listeners at `/one.sock`: No such file or directory (os error 2)"
    );
}

#[tokio::test]
async fn the_socket_is_for_its_owner_alone_and_goes_with_its_process() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/one.sock");
    let first = published(&path);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert!(Offer::is_taken(&path).await);
    let second = published(&path);
    drop(first);
    assert!(path.exists(), "it belongs to the second");
    drop(second);
    assert!(!path.exists());
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = Offer::new(&dir.path().join("two.sock")).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("others may write in its folder"),
        "{error}"
    );
}

#[tokio::test]
async fn versions_that_say_nothing_of_faults_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.sock");
    let listener = listener().await;
    let offer = published(&path);
    let old = tokio::spawn(async move {
        let listeners = [("http", listener.as_fd())];
        let successor = offer.successor(&listeners, &nothing()).await;
        assert!(successor.has("http") && !successor.goes_on());
        successor.confirm(&faults()).await
    });
    // As a successor of the first version speaks.
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let (_, fds) = receive(&stream).await.unwrap();
    assert_eq!(fds.len(), 1);
    stream.write_all(b"ready 1 http\n").await.unwrap();
    assert_eq!(receive_line(&stream).await.unwrap(), "yours");
    drop(old.await.unwrap());

    // And a process of the first version whose place is taken, or one that is out of its mind.
    for (word, expected) in [("yours\n", "Unsaid"), ("yours {}\n", "Unreadable")] {
        let path = dir.path().join("two.sock");
        let offering = UnixListener::bind(&path).unwrap();
        let old = tokio::spawn(async move {
            let (mut stream, _) = offering.accept().await.unwrap();
            let hello = r#"{"version":1,"pid":1,"listeners":[],"writes":null}"#;
            send(&stream, hello, &[]).await.unwrap();
            let ready = receive_line(&stream).await.unwrap();
            assert_eq!(ready, format!("ready {} +faults", std::process::id()));
            stream.write_all(word.as_bytes()).await.unwrap();
        });
        let before = Predecessor::find(&path).await.unwrap();
        let (left, let_go) = before.succeed().await.unwrap();
        assert!(format!("{left:?}").starts_with(expected), "{left:?}");
        let_go.await;
        old.await.unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
