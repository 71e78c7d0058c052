//! Calls to upstreams, and how the pump listens to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pingora::http::ResponseHeader;
use pingora::protocols::http::v1::client::HttpSession;
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

/// A call under way. Dropping it ends the call, unless it was [told to go on](Self::leave).
pub struct Exchange {
    said: mpsc::UnboundedReceiver<Said>,
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
        let said = match self.said.recv().await {
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

    /// When what was said last came, from the head on.
    pub fn came(&self) -> Option<Instant> {
        self.came
    }

    /// Whether [`Self::next`] would return at once.
    pub fn is_ready(&self) -> bool {
        self.is_whole || !self.said.is_empty()
    }

    /// Where the pieces of the request's body go. `None` if it was asked for before.
    pub fn body(&mut self) -> Option<mpsc::Sender<Piece>> {
        self.body.take()
    }

    /// Lets the call go on when this is dropped, for the recorder only.
    pub fn leave(&self) {
        self.drains.store(true, Ordering::Relaxed);
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
        let drains = Arc::new(AtomicBool::new(false));
        let reader = Reader::new(
            Arc::clone(&self.pool),
            call,
            up,
            pieces,
            recorder,
            Arc::clone(&drains),
        );
        self.calls.spawn(reader.run());
        Exchange {
            said,
            is_whole: false,
            body: Some(body),
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
            for (at, bytes) in answer.chunks {
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
            is_whole: false,
            body: None,
            drains,
            head_at: None,
            came: None,
        }
    }
}
