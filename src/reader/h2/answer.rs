//! The answer of one stream, as it is heard.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::ResponseFuture;
use http::response::Parts;
use http::{HeaderMap, Response};

/// What is heard of an answer.
pub(super) enum Heard {
    /// A head with a status from 100 to 199.
    Interim(Response<()>),
    /// The head, and whether it is all.
    Head(Parts, bool),
    /// Some bytes, and whether they are the last.
    Data(Bytes, bool),
    /// Header lines after the body; they are the end.
    Trailers(HeaderMap),
    /// The end.
    End,
}

/// An answer that is being read.
pub(super) struct Answer {
    stage: Stage,
    /// What `content-length` promised and has not come yet.
    missing: Option<u64>,
}

enum Stage {
    Head(ResponseFuture),
    /// The body, and whether it is through: then trailers may follow.
    Body(RecvStream, bool),
}

impl Answer {
    pub(super) fn new(head: ResponseFuture) -> Self {
        Self {
            stage: Stage::Head(head),
            missing: None,
        }
    }

    /// What is heard next. Cancel-safe. Not to be asked after an end or a failure.
    pub(super) async fn next(&mut self) -> Result<Heard, h2::Error> {
        if let Stage::Head(future) = &mut self.stage {
            match head(future).await? {
                Begun::Interim(head) => return Ok(Heard::Interim(head)),
                Begun::Head(response) => return Ok(self.begin(response)),
            }
        }
        let Stage::Body(body, is_through) = &mut self.stage else {
            return Ok(Heard::End);
        };
        if !*is_through {
            if let Some(bytes) = body.data().await {
                let bytes = bytes?;
                if let Some(missing) = &mut self.missing {
                    *missing = missing.saturating_sub(bytes.len() as u64);
                }
                return Ok(Heard::Data(bytes, body.is_end_stream()));
            }
            *is_through = true;
        }
        Ok(match body.trailers().await? {
            Some(trailers) => Heard::Trailers(trailers),
            None => Heard::End,
        })
    }

    fn begin(&mut self, response: Response<RecvStream>) -> Heard {
        let (head, body) = response.into_parts();
        self.missing = head
            .headers
            .get(http::header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let is_end = body.is_end_stream();
        self.stage = Stage::Body(body, false);
        Heard::Head(head, is_end)
    }

    /// Whether all came that `content-length` promised.
    pub(super) fn is_all_there(&self) -> bool {
        self.missing == Some(0)
    }

    /// So many bytes have found room: as many more may come.
    pub(super) fn release(&mut self, count: usize) {
        if let Stage::Body(body, _) = &mut self.stage {
            // More than came can't be released, as each piece is released once.
            drop(body.flow_control().release_capacity(count));
        }
    }
}

enum Begun {
    Interim(Response<()>),
    Head(Response<RecvStream>),
}

async fn head(future: &mut ResponseFuture) -> Result<Begun, h2::Error> {
    poll_fn(|cx| {
        if let Poll::Ready(Some(interim)) = future.poll_informational(cx) {
            return Poll::Ready(interim.map(Begun::Interim));
        }
        std::pin::Pin::new(&mut *future)
            .poll(cx)
            .map(|head| head.map(Begun::Head))
    })
    .await
}
