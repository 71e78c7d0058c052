//! Has a recording answer: finds it by the request's key, and does what the route wants where there is none.

use std::io;
use std::sync::Arc;

use super::body::Collected;
use super::served::{Chosen, Served};
use super::{Decided, Exchange};
use crate::cassette::Recording;
use crate::key::{Canonical, Key, KeyBody, OverLimit};
use crate::mode::OnMiss;
use crate::pump::{Client, Left, Upload};
use crate::refusal::Refused;
use crate::source::{Replay, Source};

impl Exchange<'_> {
    /// Lets the cassette answer, or what the route wants where that can't.
    pub(super) async fn replay<C: Client>(
        &self,
        served: &mut Served<'_, C>,
        collected: Collected,
    ) -> Decided {
        if collected.whole().is_none() && self.route.over_limit == OverLimit::Refuse {
            let refused = Refused::too_large(self.route.body_limit);
            return Ok(served.refusal(&refused, collected.is_through()));
        }
        let (canonical, key) = self.key(&collected);
        let on_miss = self.route.on_miss;
        let refused = match self.find(&key).await {
            Found::Recording(recording) => match self.play(served, recording, &collected) {
                Ok(chosen) => {
                    let rest = served.read_rest().await;
                    rest.map_err(|Left| served.left())?;
                    return Ok(chosen);
                }
                Err(refused) => refused,
            },
            Found::Unreadable(reason) => Refused::unreadable(&reason),
            Found::Exhausted(count) if on_miss == OnMiss::Refuse => {
                Refused::exhausted(&canonical, count)
            }
            Found::Nothing if on_miss == OnMiss::Refuse => self.explain(canonical).await,
            Found::Exhausted(_) | Found::Nothing => {
                return Ok(self.missed(served, collected, on_miss));
            }
        };
        Ok(served.refusal(&refused, collected.is_through()))
    }

    /// A recording as the source.
    ///
    /// # Errors
    /// The answer of our own, where it can't be read.
    fn play<C: Client>(
        &self,
        served: &mut Served<'_, C>,
        recording: Arc<Recording>,
        collected: &Collected,
    ) -> Result<Box<Chosen>, Refused> {
        let name = recording.name.clone();
        let replay = self
            .paced(recording, collected)
            .map_err(|error| Refused::unreadable(&format!("{name}: {error}")))?;
        served.stages.shape = self.shape(None);
        Ok(Box::new(Chosen {
            source: Source::Replay(replay),
            upload: Upload::through(),
            name: "replay",
            recording: Some(name),
        }))
    }

    /// A recording in the pace of the route, or in its own.
    fn paced(&self, recording: Arc<Recording>, collected: &Collected) -> io::Result<Replay> {
        let timing = match recording.play.speed {
            Some(own) => self.route.timing.faster(own),
            None => self.route.timing.clone(),
        };
        let body = collected.whole().map(|body| &body[..]);
        Replay::new(recording, self.pacer(&timing, body, false))
    }

    /// Does what the route wants where there is no recording.
    fn missed<C: Client>(
        &self,
        served: &mut Served<'_, C>,
        collected: Collected,
        on_miss: OnMiss,
    ) -> Box<Chosen> {
        match on_miss {
            OnMiss::Record => self.forward(served, collected.upload(), true),
            OnMiss::Forward => self.forward(served, collected.upload(), false),
            OnMiss::Synthesize | OnMiss::Refuse => self.synthesize(served, collected),
        }
    }

    /// What identifies the request: made from the redacted request, as the recorder does.
    fn key(&self, collected: &Collected) -> (Canonical, Key) {
        let mut redactor = self.plan.redact.exchange(&self.incoming.head);
        let head = redactor.request_head(&self.incoming.head).into_inner();
        let canonical = match collected.key_body() {
            KeyBody::Whole(body) => {
                let body = redactor
                    .request_body(&self.incoming.head, body)
                    .into_inner();
                self.route.key.canonical(&head, KeyBody::Whole(&body))
            }
            KeyBody::TooLarge => self.route.key.canonical(&head, KeyBody::TooLarge),
        };
        let key = canonical.key();
        (canonical, key)
    }

    /// The recording whose turn it is for a key.
    async fn find(&self, key: &Key) -> Found {
        let Some(cassette) = self.flow.state.cassette() else {
            return Found::Nothing;
        };
        let mut count = cassette.count(self.index, key);
        if count == 0 {
            // What was recorded a moment ago may be still on its way to the disk.
            cassette.settled().await;
            count = cassette.count(self.index, key);
        }
        if count == 0 {
            return Found::Nothing;
        }
        let client = self
            .route
            .is_per_client
            .then(|| self.incoming.client.clone());
        let Some(position) =
            self.flow
                .state
                .next_position(self.index, *key, client, count, self.route.exhausted)
        else {
            return Found::Exhausted(count);
        };
        let Some(id) = cassette.nth(self.index, key, position) else {
            return Found::Nothing;
        };
        match cassette.fetch(id).await {
            Ok(recording) => Found::Recording(recording),
            Err(error) => Found::Unreadable(error.to_string()),
        }
    }

    /// Says why there is no recording: which come nearest, and what differs.
    async fn explain(&self, canonical: Canonical) -> Refused {
        let Some(cassette) = self.flow.state.cassette().cloned() else {
            return Refused::missed(&canonical, "(no cassette)", &[]);
        };
        let path = cassette.folder().display().to_string();
        let explained = tokio::task::spawn_blocking(move || {
            let near = cassette.near(&canonical, NEAR_MAX);
            Refused::missed(&canonical, &path, &near)
        });
        explained
            .await
            .unwrap_or_else(|error| Refused::internal(&error.to_string()))
    }
}

/// What was found for a key.
enum Found {
    Recording(Arc<Recording>),
    Unreadable(String),
    Exhausted(usize),
    Nothing,
}

/// How many recordings are looked at to explain a miss.
const NEAR_MAX: usize = 32;
