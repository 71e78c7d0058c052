//! Whose API a request speaks, and which part of it.
//!
//! The path of an operation decides where only one provider has it; headers decide where several do (`/v1/models`). The name
//! of the header with the key decides nothing: Anthropic's clients send it as `x-api-key` or as a bearer, and so do others.

use super::{Dialect, Surface};
use crate::message::RequestHead;

impl Dialect {
    /// Whose API a request speaks, from its path, query and headers alone. `Plain` where nothing tells.
    pub fn of(head: &RequestHead) -> Self {
        let has = |name: &str| head.headers.contains(name);
        let path = Path::new(&head.path);
        if path.is_anthropic() {
            return Self::Anthropic;
        }
        if path.gemini_verb().is_some() {
            return Self::Gemini;
        }
        if path.is_azure(head) {
            return Self::AzureOpenAi;
        }
        if path.ends_with(&["chat", "completions"]) {
            return Self::OpenAi;
        }
        if has("anthropic-version") || has("anthropic-beta") {
            return Self::Anthropic;
        }
        let has_key = || query_value(head, "key").is_some() && path.after("v1") == Some("models");
        if has("x-goog-api-key") || has("x-goog-api-client") || has_key() {
            return Self::Gemini;
        }
        if path.is_gemini() {
            return Self::Gemini;
        }
        let is_openai = path
            .after("v1")
            .is_some_and(|first| OPENAI.contains(&first));
        if is_openai || has("openai-organization") || has("openai-project") || has("openai-beta") {
            return Self::OpenAi;
        }
        Self::Plain
    }
}

impl Surface {
    /// Which part of the API of this dialect a request asks.
    pub fn of(dialect: Dialect, head: &RequestHead) -> Self {
        let path = Path::new(&head.path);
        match dialect {
            Dialect::OpenAi | Dialect::AzureOpenAi => match path.last() {
                Some("completions") if path.ends_with(&["chat", "completions"]) => Self::Chat,
                Some("completions") => Self::Completions,
                Some("responses") => Self::Responses,
                // `GET /v1/responses/ID?stream=true` goes on with a stream.
                _ if path.before_last() == Some("responses") => Self::Responses,
                Some(_) | None => Self::Other,
            },
            Dialect::Anthropic => match path.last() {
                Some("messages") => Self::Messages,
                Some(last) if last.ends_with("awPredict") => Self::Messages,
                Some(_) | None => Self::Other,
            },
            Dialect::Gemini => match path.gemini_verb() {
                Some(verb) => Self::Generate {
                    is_vertex: path.contains("publishers"),
                    is_array: verb == "streamGenerateContent"
                        && query_value(head, "alt") != Some("sse"),
                },
                None => Self::Other,
            },
            Dialect::Plain => Self::Other,
        }
    }
}

/// The first value of a name in a query, undecoded.
pub(super) fn query_value<'a>(head: &'a RequestHead, name: &str) -> Option<&'a str> {
    head.query
        .as_deref()?
        .split('&')
        .find_map(|pair| match pair.split_once('=') {
            Some((have, value)) => (have == name).then_some(value),
            None => None,
        })
}

/// Whether it is what a path does with a model, at Gemini or at Vertex.
pub(super) fn is_model_verb(verb: &str) -> bool {
    GEMINI_VERBS.contains(&verb) || verb == "rawPredict" || verb == "streamRawPredict"
}

/// The segments of a path. Routes put prefixes before it and gateways too, so it is looked at from its end, or from its
/// version on.
struct Path<'a>(&'a str);

impl<'a> Path<'a> {
    fn new(path: &'a str) -> Self {
        Self(path)
    }

    fn segments(&self) -> impl DoubleEndedIterator<Item = &'a str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    fn last(&self) -> Option<&'a str> {
        self.segments().next_back()
    }

    fn before_last(&self) -> Option<&'a str> {
        self.segments().rev().nth(1)
    }

    fn contains(&self, segment: &str) -> bool {
        self.segments().any(|have| have == segment)
    }

    /// What follows the first segment of this name.
    fn after(&self, segment: &str) -> Option<&'a str> {
        self.segments().skip_while(|have| *have != segment).nth(1)
    }

    fn ends_with(&self, end: &[&str]) -> bool {
        self.segments()
            .rev()
            .take(end.len())
            .eq(end.iter().rev().copied())
    }

    /// `/v1/messages` and what is below it; not a thread's messages. Or a model of Anthropic's at Vertex.
    fn is_anthropic(&self) -> bool {
        matches!(self.after("v1"), Some("messages" | "complete"))
            || (self.after("publishers") == Some("anthropic")
                && self.last().is_some_and(|last| last.ends_with("awPredict")))
    }

    /// What is done with a model: `models/NAME:generateContent`. Names of other providers' models have colons too.
    fn gemini_verb(&self) -> Option<&'a str> {
        let last = self.last()?;
        let verb = match last.rsplit_once(':') {
            Some((_, verb)) => verb,
            None => {
                last.rsplit_once("%3A")
                    .or_else(|| last.rsplit_once("%3a"))?
                    .1
            }
        };
        GEMINI_VERBS.contains(&verb).then_some(verb)
    }

    /// `/v1beta/models` and its like, or a project at Vertex; not the shapes of `OpenAI` that are served below it.
    fn is_gemini(&self) -> bool {
        let beta = ["v1beta", "v1beta1", "v1alpha"]
            .iter()
            .find_map(|version| self.after(version));
        beta.is_some_and(|first| GEMINI.contains(&first))
            || (self.after("v1") == Some("projects") && self.contains("locations"))
    }

    /// A deployment; or what lies below `openai` where a version or a key is sent as only Azure wants it.
    fn is_azure(&self, head: &RequestHead) -> bool {
        let first = self.after("openai");
        let has_key = head.headers.contains("api-key");
        let has_version = query_value(head, "api-version").is_some();
        match first {
            Some("deployments") => true,
            Some(_) => has_key || has_version,
            None => has_key && has_version,
        }
    }
}

/// What is done with models of Gemini.
const GEMINI_VERBS: &[&str] = &[
    "generateContent",
    "streamGenerateContent",
    "countTokens",
    "computeTokens",
    "embedContent",
    "batchEmbedContents",
    "asyncBatchEmbedContent",
    "batchGenerateContent",
    "predict",
    "predictLongRunning",
    "generateAnswer",
];

/// What lies below the versions of Gemini's API.
const GEMINI: &[&str] = &[
    "models",
    "tunedModels",
    "files",
    "cachedContents",
    "batches",
    "operations",
    "corpora",
    "projects",
    "publishers",
    "fileSearchStores",
    "interactions",
];

/// What lies below `/v1` in the API of `OpenAI`, and is served by everything that speaks like it.
const OPENAI: &[&str] = &[
    "chat",
    "completions",
    "responses",
    "conversations",
    "embeddings",
    "models",
    "moderations",
    "images",
    "audio",
    "videos",
    "files",
    "uploads",
    "batches",
    "fine_tuning",
    "assistants",
    "threads",
    "vector_stores",
    "containers",
    "evals",
    "realtime",
];
