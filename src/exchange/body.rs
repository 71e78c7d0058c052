//! The body of a request, read before an answer is chosen: for its key, or for what its faults ask of it.
//!
//! It is read up to the limit of the route; what is beyond that the pump reads.

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::Exchange;
use super::served::Served;
use crate::key::KeyBody;
use crate::message::{Headers, ResponseHead};
use crate::pump::{Client, Left, Upload};

/// The request's body, as far as it is wanted before an answer can be chosen.
pub(super) enum Collected {
    Whole(Bytes),
    /// The beginning of one above the route's limit; the rest was not read.
    TooLarge(Bytes),
}

impl Collected {
    /// The body; `None` where it is too large to be kept.
    pub(super) fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::TooLarge(_) => None,
        }
    }

    /// As keys are made of it.
    pub(super) fn key_body(&self) -> KeyBody<'_> {
        match self {
            Self::Whole(bytes) => KeyBody::Whole(bytes),
            Self::TooLarge(_) => KeyBody::TooLarge,
        }
    }

    /// Whether the request was read to its end.
    pub(super) fn is_through(&self) -> bool {
        self.whole().is_some()
    }

    /// For the pump to send on.
    pub(super) fn upload(self) -> Upload {
        match self {
            Self::Whole(bytes) => Upload {
                read: Some(bytes).filter(|bytes| !bytes.is_empty()),
                is_through: true,
            },
            Self::TooLarge(bytes) => Upload {
                read: Some(bytes),
                is_through: false,
            },
        }
    }
}

impl Exchange<'_> {
    /// Reads the body before an answer is chosen, up to the limit for keys.
    pub(super) async fn collect<C: Client>(
        &mut self,
        served: &mut Served<'_, C>,
    ) -> Result<Collected, Left> {
        if self.incoming.head.headers.remove("expect") && self.incoming.body.is_some() {
            let head = ResponseHead {
                status: 100,
                reason: None,
                headers: Headers::new(),
            };
            served.client.interim(&head).await?;
        }
        let mut body = BytesMut::new();
        loop {
            match served.client.hear().await? {
                Some(bytes) if body.is_empty() && bytes.len() > self.route.body_limit => {
                    return Ok(Collected::TooLarge(bytes));
                }
                Some(bytes) => {
                    served.slow_down(bytes.len()).await?;
                    body.extend_from_slice(&bytes);
                    if body.len() > self.route.body_limit {
                        return Ok(Collected::TooLarge(body.freeze()));
                    }
                }
                None => {
                    served.tally.request_is_through = true;
                    served.request_end = Some(Instant::now());
                    return Ok(Collected::Whole(body.freeze()));
                }
            }
        }
    }
}
