//! One route of the file: which requests, treated how.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{HeaderValue, Upstream};
use crate::fault::settings::FaultSettings;
use crate::key::KeySettings;
use crate::link::{HttpVersion, UpstreamTls};
use crate::mode::{Exhausted, Mode, OnMiss, RecordPolicy};
use crate::route::{Rewrite, RouteMatch};
use crate::shape::pace::Pace;
use crate::shape::rechunk::RechunkSettings;

/// Which requests are treated how.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteSettings {
    /// Its name in logs, metrics and messages. `route-N` where it is not set.
    pub name: Option<String>,
    /// Which requests it takes; all where it is not set.
    #[serde(rename = "match")]
    pub matches: RouteMatch,
    /// The server behind it, `http://HOST` or `https://HOST`, or `fake` for the built-in backend.
    pub upstream: Option<Upstream>,
    /// How TLS is spoken with an `https://` upstream.
    pub tls: UpstreamTls,
    /// The HTTP that is spoken with the upstream.
    pub http: HttpVersion,
    /// Where its answers come from.
    pub mode: Mode,
    /// What replay does without a recording. Default `refuse`.
    pub on_miss: Option<OnMiss>,
    /// What recording does where there are recordings for a request. Default: as the cassette says.
    pub record: Option<RecordPolicy>,
    /// What replay does when a request has come more often than it was recorded.
    pub exhausted: Exhausted,
    /// Whether each client has its own place in a sequence of recordings.
    pub per_client: bool,
    /// What makes two requests the same.
    pub key: KeySettings,
    /// Headers put into the request to the upstream, in the place of the client's.
    pub set_headers: BTreeMap<String, HeaderValue>,
    /// Headers taken out of the request to the upstream.
    pub remove_headers: Vec<String>,
    /// Taken from the beginning of the path to the upstream, where it is there.
    pub strip_prefix: Option<String>,
    /// Put before the path to the upstream.
    pub add_prefix: Option<String>,
    /// Whether answers are without headers of `rehearsal`'s own.
    pub opaque: bool,
    /// The pace at which answers are sent.
    pub pace: Pace,
    /// Where writes to the client are cut.
    pub rechunk: RechunkSettings,
    /// What is done to its exchanges on purpose.
    #[serde(rename = "fault")]
    pub faults: Vec<FaultSettings>,
}

impl RouteSettings {
    /// The one route of a configuration without routes.
    pub fn built_in() -> Self {
        Self {
            upstream: Some(Upstream::Fake),
            mode: Mode::Replay,
            on_miss: Some(OnMiss::Record),
            ..Self::default()
        }
    }

    /// What replay does without a recording.
    pub fn on_miss(&self) -> OnMiss {
        self.on_miss.unwrap_or_default()
    }

    /// How the path is changed on its way to the upstream.
    pub fn rewrite(&self) -> Rewrite {
        Rewrite {
            strip_prefix: self.strip_prefix.clone(),
            add_prefix: self.add_prefix.clone(),
        }
    }
}
