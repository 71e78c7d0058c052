//! Calls to upstreams, and how the pump listens to them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pingora::http::ResponseHeader;
use pingora::protocols::http::v1::client::HttpSession;
use sync_wrapper::SyncWrapper;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

use crate::call::{Call, Piece, Said};
use crate::message::{Chunk, Ending};
use crate::pool::Pool;
use crate::reader::{Reader, resume};
use crate::recorder::Recorder;
use crate::synth::Answer;

/// The connections to all upstreams: one pool, one set of TLS roots.
pub struct Upstreams {
    pool: Arc<Pool>,
    calls: TaskTracker,
}

/// A reader without a task of its own. Wrapped, because the pump shows its source around, which is safe: it does not touch this.
type Inline = SyncWrapper<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// A call under way. Dropping it ends the call, unless it was [told to go on](Self::leave).
pub struct Exchange {
    said: mpsc::UnboundedReceiver<Said>,
    /// The reader, where it has no task of its own: it goes on while it is listened to.
    reader: Option<Inline>,
    /// Whether all was said but the end.
    is_whole: bool,
    body: Option<mpsc::Sender<Piece>>,
    drains: Arc<AtomicBool>,
    /// When the head was heard of.
    head_at: Option<Instant>,
    /// When what was said last came.
    came: Option<Instant>,
}

impl Exchange {
    /// What the upstream says next. `None` after an end or a failure. Cancel-safe.
    pub async fn next(&mut self) -> Option<Said> {
        if std::mem::take(&mut self.is_whole) {
            return Some(Said::End(Ending::Complete));
        }
        let said = tokio::select! {
            biased;
            // First, so that what comes together is heard together.
            () = work(&mut self.reader) => self.said.recv().await,
            said = self.said.recv() => said,
        };
        let said = match said {
            Some(Said::Whole(head)) => {
                self.is_whole = true;
                Some(Said::Head(head))
            }
            said => said,
        };
        match &said {
            Some(Said::Head(_)) => {
                // The pump waits for nothing else than the head, so that it hears of it at once.
                self.head_at = Some(Instant::now());
                self.came = self.head_at;
            }
            Some(Said::Chunk(chunk, _)) => {
                self.came = self.head_at.map(|head_at| head_at + chunk.at);
            }
            Some(
                Said::Interim(_)
                | Said::Whole(_)
                | Said::Trailers(_)
                | Said::End(_)
                | Said::Failed(_),
            )
            | None => {}
        }
        said
    }

    /// Has the call go on while nobody listens. Never resolves. Cancel-safe.
    pub async fn go_on(&mut self) {
        work(&mut self.reader).await;
        std::future::pending::<()>().await;
    }

    /// When what was said last came, from the head on.
    pub fn came(&self) -> Option<Instant> {
        self.came
    }

    /// Whether [`Self::next`] would return at once.
    pub fn is_ready(&self) -> bool {
        self.is_whole || !self.said.is_empty()
    }

    /// Where the pieces of the request's body go. `None` if there are none, or if it was asked for before.
    pub fn body(&mut self) -> Option<mpsc::Sender<Piece>> {
        self.body.take()
    }

    /// Lets the call go on when this is dropped, for the recorder only.
    pub fn leave(&self) {
        self.drains.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
impl Exchange {
    /// A call of which a test says what is said, and gets what goes up.
    pub(crate) fn scripted(said: mpsc::UnboundedReceiver<Said>, body: mpsc::Sender<Piece>) -> Self {
        Self {
            said,
            reader: None,
            is_whole: false,
            body: Some(body),
            drains: Arc::default(),
            head_at: None,
            came: None,
        }
    }
}

/// Has a reader go on to its end.
async fn work(reader: &mut Option<Inline>) {
    match reader {
        Some(working) => {
            working.get_mut().await;
            *reader = None;
        }
        None => std::future::pending().await,
    }
}

impl Upstreams {
    /// No connection yet. Loads the system's TLS roots (10 to 25 ms), once.
    ///
    /// `pooled`: how many idle connections are kept in all.
    pub fn new(pooled: usize) -> Self {
        Self {
            pool: Arc::new(Pool::new(pooled)),
            calls: TaskTracker::new(),
        }
    }

    /// The connections themselves, for what is not one request and one answer.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Resolves when no call is under way. No call may begin any more.
    pub async fn drained(&self) {
        self.calls.close();
        self.calls.wait().await;
    }

    /// Sends a request; its body comes through [`Exchange::body`].
    pub fn call(&self, call: Call, recorder: Option<Recorder>) -> Exchange {
        let (up, said) = mpsc::unbounded_channel();
        let (body, pieces) = mpsc::channel(4);
        let body = call.body.is_some().then_some(body);
        let drains = Arc::new(AtomicBool::new(false));
        // The times of a recording must not depend on how fast the client reads; those of others may, and a task of its own
        // costs two wake-ups for each piece.
        let is_apart = recorder.is_some();
        let reader = Reader::new(
            Arc::clone(&self.pool),
            call,
            up,
            pieces,
            recorder,
            Arc::clone(&drains),
        );
        let reader = if is_apart {
            self.calls.spawn(reader.run());
            None
        } else {
            Some(Inline::new(Box::pin(reader.run())))
        };
        Exchange {
            said,
            reader,
            is_whole: false,
            body,
            drains,
            head_at: None,
            came: None,
        }
    }

    /// Goes on with an answer whose head was read already. At most `ahead` bytes wait for the client; a silence of `idle` ends
    /// it.
    pub(crate) fn resume(
        &self,
        http: HttpSession,
        head: ResponseHeader,
        ahead: usize,
        idle: Duration,
    ) -> Exchange {
        let (up, said) = mpsc::unbounded_channel();
        self.calls.spawn(resume(http, head, up, ahead, idle));
        Exchange {
            said,
            reader: None,
            is_whole: false,
            body: None,
            drains: Arc::default(),
            head_at: None,
            came: None,
        }
    }

    /// Plays a made-up answer as if an upstream gave it, so that it can be recorded.
    pub fn pretend(&self, answer: Answer, mut recorder: Option<Recorder>) -> Exchange {
        let (up, said) = mpsc::unbounded_channel();
        let drains = Arc::new(AtomicBool::new(false));
        let goes_on = Arc::clone(&drains);
        self.calls.spawn(async move {
            let start = Instant::now();
            if let Some(recorder) = &mut recorder {
                recorder.head(&answer.head, Duration::ZERO);
            }
            let mut left = up.send(Said::Head(answer.head)).is_err();
            for (at, bytes) in answer.chunks.iter() {
                sleep_until(start + at).await;
                if left && !goes_on.load(Ordering::Relaxed) {
                    break;
                }
                let chunk = Chunk {
                    at: start.elapsed(),
                    bytes,
                    held: false,
                };
                if let Some(recorder) = &mut recorder {
                    recorder.chunk(&chunk);
                }
                left = up.send(Said::Chunk(chunk, None)).is_err();
            }
            let ending = if left && !goes_on.load(Ordering::Relaxed) {
                Ending::ClientLeft
            } else {
                Ending::Complete
            };
            if let Some(recorder) = recorder {
                recorder.finish(ending);
            }
            drop(up.send(Said::End(ending)));
        });
        Exchange {
            said,
            reader: None,
            is_whole: false,
            body: None,
            drains,
            head_at: None,
            came: None,
        }
    }
}
