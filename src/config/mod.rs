//! The configuration file: its sections, as they are written. What they mean together is compiled by `plan`.
//!
//! Each section is declared beside the mechanism that uses it, where there is one; here they are put together, read
//! with all mistakes at once, and checked across sections.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::certificate::TlsSettings;
use crate::fault::listen::ListenFault;
use crate::mode::RecordPolicy;
use crate::sanitize::redact::RedactSettings;
use crate::units::{ByteSize, Span};

pub use address::{Address, AddressError, Upstream};
pub use given::Given;
pub use header_value::{HeaderValue, HeaderValueError, Secret};

pub use render::{ConfigErrors, Excerpt, Mistake};
pub use route::RouteSettings;

mod address;
mod check;
pub(crate) mod file;
mod given;
mod header_value;
mod read;
mod render;
mod route;
mod secrets;
pub(crate) mod suggest;
mod tree;
mod words;

/// What `rehearsal` does: one file, in TOML.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The seed of all chance: with the same seed the same requests meet the same faults.
    pub seed: u64,
    /// Where clients connect.
    pub listen: Listen,
    /// Where recordings are kept.
    pub cassette: Cassette,
    /// What is refused, or waited for, because of its size.
    pub limits: Limits,
    /// How long is waited.
    pub timeouts: Timeouts,
    /// What is a secret, and never kept.
    pub redact: RedactSettings,
    /// Which requests are treated how: the first route that matches is taken. Without any, one that replays, and
    /// records from the built-in backend what was never recorded.
    #[serde(rename = "route")]
    pub routes: Vec<RouteSettings>,
    /// The folder of the file: `{ file = … }` starts here.
    #[serde(skip)]
    pub folder: PathBuf,
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// That the file can't be read, or all mistakes in it.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_with(path, &Given::default())
    }

    /// Reads the file, and puts what was given besides in the place of what it says.
    ///
    /// # Errors
    /// That the file can't be read, or all mistakes in it and in what was given.
    pub fn load_with(path: &Path, given: &Given) -> Result<Self, ConfigErrors> {
        file::load(path, given)
    }

    /// Reads the text of a file; `file` is for messages, and its folder is where `{ file = … }` starts.
    ///
    /// # Errors
    /// All mistakes at once, each with its place.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigErrors> {
        read::parse(text, file, &Given::default(), &|name| {
            std::env::var(name).ok()
        })
    }

    /// A configuration that was not read from a file, with what was given.
    ///
    /// # Errors
    /// All mistakes at once, each with its flag, or the way to its field, instead of a place in a file.
    pub fn with(mut self, given: &Given) -> Result<Self, ConfigErrors> {
        given.apply(&mut self);
        let findings = check::findings(&self, given, &|name| std::env::var(name).ok());
        if findings.is_empty() {
            Ok(self)
        } else {
            Err(ConfigErrors::without_file(findings, given))
        }
    }

    /// The name of a route: its own, or `route-N`, counted from 1.
    pub fn route_name(&self, index: usize) -> String {
        self.routes
            .get(index)
            .and_then(|route| route.name.clone())
            .unwrap_or_else(|| format!("route-{}", index + 1))
    }
}

impl Default for Config {
    /// What is served without a file.
    fn default() -> Self {
        Self {
            seed: 0,
            listen: Listen::default(),
            cassette: Cassette::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            redact: RedactSettings::default(),
            routes: vec![RouteSettings::built_in()],
            folder: PathBuf::new(),
        }
    }
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Host and port for HTTP; port 0 takes a free one.
    pub http: Address,
    /// Host and port for HTTPS, with the certificate in `tls`. Not set: nothing listens for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<Address>,
    /// The certificate that `https` shows. Its files are read again when they change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSettings>,
    /// Host and port for switching faults and for metrics. Not set: nothing listens for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Address>,
    /// Whether `admin` may be reached from other machines. It speaks plain HTTP, and its token opens everything.
    pub admin_remote: bool,
    /// What clients call `admin` in their `Host` header besides its address and this machine's own names: with a port, or alone for
    /// any port. Other names are refused, as a web page could have its own lead here.
    pub admin_hosts: Vec<String>,
    /// How long open exchanges may go on after the order to stop.
    pub grace: Span,
    /// The Unix domain socket through which `--take-over` gets the listeners. Not set: one in `$XDG_RUNTIME_DIR/rehearsal`, or
    /// in a folder of our own among the temporary ones, named by the address of `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handover: Option<PathBuf>,
    /// What is done to whole connections on purpose.
    #[serde(rename = "fault")]
    pub faults: Vec<ListenFault>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            http: Address::local(8080),
            https: None,
            tls: None,
            admin: None,
            admin_remote: false,
            admin_hosts: Vec::new(),
            grace: Span::secs(10),
            handover: None,
            faults: Vec::new(),
        }
    }
}

/// Where recordings are kept, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cassette {
    /// The directory; it is made when it is not there. Relative to the working directory.
    pub path: PathBuf,
    /// What recording does where there are recordings for a request; a route can say otherwise.
    pub record: RecordPolicy,
    /// How much of the recordings is held in memory, so that replaying one reads no file. What was not used for longest is
    /// put out first.
    pub memory: ByteSize,
    /// How many recordings are held in memory at most.
    pub entries: usize,
}

impl Default for Cassette {
    fn default() -> Self {
        Self {
            path: PathBuf::from("./cassettes/default"),
            record: RecordPolicy::default(),
            memory: ByteSize::mib(64),
            entries: 65_536,
        }
    }
}

/// What is refused, or waited for, because of its size.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The longest request line and headers together; more is answered 431.
    pub head: ByteSize,
    /// The longest target of a request, path and query; more is answered 414.
    pub url: ByteSize,
    /// The most header lines of a request; more is answered 431.
    pub headers: usize,
    /// The most requests at once on one HTTP/2 connection; more wait in the client, or are refused.
    pub streams: u32,
    /// How far the upstream is read ahead of the client.
    pub body_ahead: ByteSize,
    /// How much of an answer is still read for its recording after the client has left.
    pub drain: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: ByteSize::kib(64),
            url: ByteSize::kib(16),
            headers: 200,
            streams: 100,
            body_ahead: ByteSize::mib(1),
            drain: ByteSize::mib(4),
        }
    }
}

/// How long is waited for whom.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For a connection to the upstream, TLS included.
    pub connect: Span,
    /// For the upstream's head, from the end of the request on.
    pub first_byte: Span,
    /// The longest silence of the upstream between two pieces of an answer.
    pub idle: Span,
    /// How long an answer is still read for its recording after the client has left.
    pub drain: Span,
    /// How long a client's connection may be open without a request.
    pub keepalive: Span,
    /// The longest silence of the client inside its request.
    pub request: Span,
    /// The longest time in which a client takes nothing of what is written to it.
    pub write: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Span::secs(5),
            first_byte: Span::secs(600),
            idle: Span::secs(300),
            drain: Span::secs(30),
            keepalive: Span::secs(60),
            request: Span::secs(60),
            write: Span::secs(300),
        }
    }
}

/// The JSON Schema of the file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

/// The way to a value: `route[1].match.path`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Way(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Way {
    fn route(index: usize) -> Self {
        Self(vec![Step::Key("route".to_owned()), Step::Index(index)])
    }

    fn to(keys: &[&str]) -> Self {
        Self::default().then(keys)
    }

    fn then(mut self, keys: &[&str]) -> Self {
        self.0
            .extend(keys.iter().map(|&key| Step::Key(key.to_owned())));
        self
    }

    fn at(mut self, index: usize) -> Self {
        self.0.push(Step::Index(index));
        self
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => write!(f, "{key}")?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
