//! Starts all that a plan needs, in the order in which nothing is left behind where a later part fails.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;

use super::admin;
use super::itself::{self, Ours};
use super::stop::{CLOSING, Signals, serve_until_stopped};
use crate::alarm::Alarm;
use crate::board::Board;
use crate::cassette::{Access, Cassette};
use crate::certificate::{Certificate, TlsSettings};
use crate::cli::succession::Succession;
use crate::cli::{Failure, Listen, no_file, print};
use crate::config::{self, Address, Config};
use crate::exchange::Flow;
use crate::plan::Plan;
use crate::proxy::Proxy;
use crate::server::Server;
use crate::state::State;
use crate::tokens;
use crate::units::counted;
use crate::upstream::Upstreams;

/// Starts everything, or nothing.
pub(super) fn run(
    config: &Config,
    listen: &Listen,
    what: &str,
    is_default: bool,
) -> Result<ExitCode, Failure> {
    // Also on one core: the runtime of one thread costs less there, and keeps times worse (99 of 100 within 10 ms, not 3).
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")
        .map_err(Failure::Unusable)?;
    let result = runtime.block_on(run_in_runtime(config, listen, what, is_default));
    // Whatever still runs was asked to end and did not.
    runtime.shutdown_background();
    result
}

async fn run_in_runtime(
    config: &Config,
    listen: &Listen,
    what: &str,
    is_default: bool,
) -> Result<ExitCode, Failure> {
    let plan = compile(config).map_err(Failure::Unusable)?;
    let mut succession = Succession::begin(&config.listen, listen.take_over)
        .await
        .map_err(Failure::Unusable)?;
    // Binding comes first: a port in use must not leave a new cassette behind.
    let doors = Doors::bind(config, &mut succession)
        .await
        .map_err(Failure::Unusable)?;
    doors.refuse_ourselves(config).map_err(Failure::Unusable)?;
    let cassette =
        open_cassette(&config.cassette, &plan, &mut succession).map_err(Failure::Unusable)?;
    let mut signals = Signals::new()
        .context("could not wait for signals")
        .map_err(Failure::Unusable)?;
    let House {
        server,
        admin,
        upstreams,
        board,
    } = doors
        .furnish(plan, cassette.clone())
        .map_err(Failure::Unusable)?;
    let addresses = server
        .addresses()
        .map_err(|error| Failure::Unusable(error.into()))?;
    let handing_over = succession
        .complete(
            &config.listen,
            &server,
            admin.as_ref().map(admin::Ready::listener),
            cassette.as_ref(),
            &board,
        )
        .await
        .map_err(Failure::Unusable)?;
    // Not before we are responsible: the process before answers until then.
    let admin = admin.map(admin::Ready::open);
    let admin_address = admin.as_ref().map(admin::Open::address);
    announce(
        &addresses,
        admin_address,
        what,
        is_default,
        cassette.as_ref(),
    )?;
    let grace = config.listen.grace.0;
    let finishing = finish(upstreams, cassette.clone(), grace);
    serve_until_stopped(
        server,
        grace,
        &mut signals,
        handing_over,
        cassette,
        admin.as_ref(),
        finishing,
    )
    .await
}

/// The plan, with what is to be said of it, and warm where that takes a moment.
fn compile(config: &Config) -> anyhow::Result<Plan> {
    let plan = Plan::compile(config)?;
    for warning in plan.warnings() {
        tracing::warn!("{warning}");
    }
    if plan.counts_tokens() {
        drop(tokio::task::spawn_blocking(tokens::warm));
    }
    Ok(plan)
}

/// What is bound before anything is made.
struct Doors {
    http: TcpListener,
    https: Option<(TcpListener, Certificate)>,
    admin: Option<admin::Door>,
}

/// What stands behind the doors.
struct House {
    server: Server,
    admin: Option<admin::Ready>,
    upstreams: Arc<Upstreams>,
    board: Arc<Board>,
}

impl Doors {
    /// Binds what the config names, or takes it from the process before.
    async fn bind(config: &Config, succession: &mut Succession) -> anyhow::Result<Self> {
        let (http, _) = succession.listen("http", &config.listen.http).await?;
        let https = match (&config.listen.https, &config.listen.tls) {
            (Some(address), Some(settings)) => {
                Some(listen_with_tls(succession, address, settings, &config.folder).await?)
            }
            // A check has found the one without the other.
            (Some(_), None) | (None, _) => None,
        };
        let admin = admin::listen(&config.listen, succession).await?;
        Ok(Self { http, https, admin })
    }

    /// An error where a route leads back to one of the doors.
    fn refuse_ourselves(&self, config: &Config) -> anyhow::Result<()> {
        let https = self.https.as_ref().map(|(listener, _)| (true, listener));
        let doors = std::iter::once((false, &self.http)).chain(https);
        let ours = doors
            .map(|(is_tls, listener)| {
                let address = listener.local_addr()?;
                Ok(Ours { is_tls, address })
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        itself::refuse(config, &ours)
    }

    /// Makes what answers there.
    fn furnish(self, plan: Plan, cassette: Option<Cassette>) -> anyhow::Result<House> {
        let upstreams = Arc::new(Upstreams::new(POOLED));
        let state = Arc::new(State::new(plan, cassette));
        let admin = self
            .admin
            .map(|door| door.furnish(state.board()))
            .transpose()?;
        let board = Arc::clone(state.board());
        let flow = Flow {
            state,
            upstreams: Arc::clone(&upstreams),
            alarm: Some(Alarm::start().context("could not start a timer")?),
        };
        let mut server = Server::new(self.http, Arc::new(Proxy::new(flow)));
        if let Some((listener, certificate)) = self.https {
            server = server.with_tls(listener, certificate)?;
        }
        Ok(House {
            server,
            admin,
            upstreams,
            board,
        })
    }
}

/// Waits until nothing is read for the recorder any more, and what was recorded is written.
async fn finish(upstreams: Arc<Upstreams>, cassette: Option<Cassette>, grace: Duration) {
    upstreams.drained().await;
    if let Some(cassette) = cassette {
        // A writer that panicked has said so itself.
        drop(tokio::task::spawn_blocking(move || cassette.close(grace.max(CLOSING))).await);
    }
}

async fn listen_with_tls(
    succession: &mut Succession,
    address: &Address,
    settings: &TlsSettings,
    folder: &Path,
) -> anyhow::Result<(TcpListener, Certificate)> {
    let certificate =
        Certificate::load(settings, folder).context("could not use the certificate")?;
    let (listener, _) = succession.listen("https", address).await?;
    Ok((listener, certificate))
}

/// The cassette that the plan needs, with the rights that it needs.
fn open_cassette(
    settings: &config::Cassette,
    plan: &Plan,
    succession: &mut Succession,
) -> anyhow::Result<Option<Cassette>> {
    let path = &settings.path;
    if !plan.needs_cassette() {
        return Ok(None);
    }
    no_file(path)?;
    let cassette = if plan.records() {
        match succession.run_of(path) {
            Some((since, turn)) => Cassette::open_behind(path, since, turn),
            None => Cassette::open(path, Access::Write),
        }
    } else if path.exists() {
        Cassette::open(path, Access::Read)
    } else {
        tracing::warn!(cassette = %path.display(), "there is no cassette yet, so nothing can be replayed");
        return Ok(None);
    };
    let cassette =
        cassette.with_context(|| format!("could not open the cassette {}", path.display()))?;
    cassette.limit_memory(settings.entries, settings.memory.as_usize());
    cassette.index(plan.keying());
    cassette
        .watch()
        .with_context(|| format!("could not watch the cassette {}", path.display()))?;
    for broken in cassette.broken() {
        tracing::warn!(%broken, "left out a recording that can't be read");
    }
    Ok(Some(cassette))
}

/// Says on stdout where it listens, and what there is to try.
fn announce(
    addresses: &[SocketAddr],
    admin: Option<SocketAddr>,
    what: &str,
    is_default: bool,
    cassette: Option<&Cassette>,
) -> Result<(), Failure> {
    let mut lines: Vec<_> = ["http", "https"]
        .iter()
        .zip(addresses)
        .map(|(scheme, address)| format!("listening on {scheme}://{address}"))
        .collect();
    lines.extend(admin.map(|address| format!("admin on http://{address}")));
    lines.push(what.to_owned());
    if let Some(cassette) = cassette {
        let count = counted(cassette.replayable(), "recording");
        lines.push(format!("{count} can be replayed"));
    }
    if let Some(address) = addresses.first().filter(|_| is_default) {
        lines.push(format!(
            "try it, twice each: the first answer is made up and recorded, the second is replayed in the same time\n  \
             curl -N http://{address}/v1/chat/completions -H 'content-type: application/json' \\\n    \
             -d '{{\"model\":\"gpt-4o\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n  \
             curl -i http://{address}/v1/models"
        ));
    }
    print(&(lines.join("\n") + "\n"))
}

/// How many idle connections to upstreams are kept in all.
const POOLED: usize = 256;
