//! The commands that serve: `serve`, `record`, `replay` and `fake`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

mod admin;

use super::succession::Succession;
use super::{Failure, Listen, config_file, print};
use crate::cassette::{Access, Cassette};
use crate::certificate::{Certificate, TlsSettings};
use crate::config::{self, Address, Config, RouteSettings, Upstream};
use crate::exchange::Flow;
use crate::fault::distribution::Distribution;
use crate::handover::{Hold, Successor};
use crate::link::UpstreamTls;
use crate::mode::{Mode, OnMiss, RecordPolicy};
use crate::plan::Plan;
use crate::proxy::Proxy;
use crate::server::{COURTESY, Server, Stop, Stopped};
use crate::shape::pace::{Pace, TokenPace};
use crate::shape::profile::Profile;
use crate::state::State;
use crate::tokens;
use crate::upstream::Upstreams;

/// `rehearsal serve`
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The config file. Default: ./rehearsal.toml if it is there, else the embedded default.
    #[arg(short, long, value_name = "FILE", env = "REHEARSAL_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    listen: Listen,
}

/// `rehearsal record`
#[derive(Debug, Args)]
pub(super) struct Record {
    /// The API to stand in front of: http:// or https://, a host, and at most a path to put in front.
    #[arg(long, value_name = "URL", env = "REHEARSAL_UPSTREAM")]
    upstream: Upstream,
    /// The directory for the recordings; it is made if it is not there.
    #[arg(long, value_name = "DIR", env = "REHEARSAL_CASSETTE")]
    cassette: PathBuf,
    /// A file with the certificate of the API's CA (PEM), known besides those of the system.
    #[arg(long, value_name = "FILE", env = "REHEARSAL_CA")]
    ca: Option<PathBuf>,
    /// What a recording does to earlier ones of the same request.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t)]
    policy: Policy,
    #[command(flatten)]
    listen: Listen,
}

/// `rehearsal replay`
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The directory with the recordings.
    #[arg(long, value_name = "DIR", env = "REHEARSAL_CASSETTE")]
    cassette: PathBuf,
    /// Play so many times faster than recorded, above 0 and at most 1000.
    #[arg(long, value_name = "N", conflicts_with = "instant", value_parser = parse_speed)]
    speed: Option<Pace>,
    /// Play without any waiting.
    #[arg(long)]
    instant: bool,
    #[command(flatten)]
    listen: Listen,
}

/// `rehearsal fake`
#[derive(Debug, Args)]
pub(super) struct Fake {
    /// From the end of a request to its first token, such as 200ms or "200ms ± 40ms". Default: as the profile says.
    #[arg(long, value_name = "TIME")]
    ttft: Option<Distribution>,
    /// From one token to the next, such as 10ms or "10ms ± 2ms". Default: as the profile says.
    #[arg(long, value_name = "TIME")]
    gap: Option<Distribution>,
    /// The model whose times are kept, such as gpt-4o or claude-sonnet.
    #[arg(long, value_name = "NAME", default_value_t)]
    profile: Profile,
    /// The seed of the times: the same seed and the same requests draw the same times.
    #[arg(long, value_name = "N", default_value_t)]
    seed: u64,
    #[command(flatten)]
    listen: Listen,
}

/// [`RecordPolicy`] as a flag.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Policy {
    /// The first recording of a run takes the place of those before it.
    #[default]
    Replace,
    /// New recordings follow those that are there.
    Append,
    /// What was recorded once is not recorded again.
    Once,
}

impl From<Policy> for RecordPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Replace => Self::Replace,
            Policy::Append => Self::Append,
            Policy::Once => Self::Once,
        }
    }
}

fn parse_speed(text: &str) -> Result<Pace, String> {
    let speed: f64 = text
        .parse()
        .map_err(|_| "expected a number above 0 and at most 1000".to_owned())?;
    Pace::recorded(speed).map_err(|error| error.to_string())
}

pub(super) fn serve(serve: &Serve) -> Result<ExitCode, Failure> {
    let file = config_file(serve.config.as_ref());
    let mut config = match &file {
        Some(file) => {
            Config::load(file).map_err(|errors| Failure::Unusable(anyhow!("{errors}")))?
        }
        None => Config::default(),
    };
    serve.listen.apply(&mut config);
    if serve.listen.admin.is_some() {
        config
            .check()
            .map_err(|errors| Failure::Unusable(anyhow!("{errors}")))?;
    }
    let what = match &file {
        Some(file) => format!("serving {}", file.display()),
        None => format!(
            "no config: replaying {}, recording what is missing from the built-in fake backend",
            config.cassette.path.display()
        ),
    };
    run(&config, &serve.listen, &what, file.is_none())
}

pub(super) fn record(record: &Record) -> Result<ExitCode, Failure> {
    let mut config = Config::default();
    config.cassette.path.clone_from(&record.cassette);
    config.cassette.record = record.policy.into();
    config.routes = vec![RouteSettings {
        name: Some("record".to_owned()),
        upstream: Some(record.upstream.clone()),
        mode: Mode::Record,
        tls: UpstreamTls {
            ca: record.ca.clone(),
            ..UpstreamTls::default()
        },
        ..RouteSettings::default()
    }];
    let what = format!(
        "recording {} into {}",
        record.upstream,
        record.cassette.display()
    );
    with_flags(config, &record.listen, &what)
}

pub(super) fn replay(replay: &Replay) -> Result<ExitCode, Failure> {
    if !replay.cassette.is_dir() {
        return Err(Failure::Unusable(anyhow!(
            "there is no cassette in {}",
            replay.cassette.display()
        )));
    }
    let mut config = Config::default();
    config.cassette.path.clone_from(&replay.cassette);
    config.routes = vec![RouteSettings {
        name: Some("replay".to_owned()),
        mode: Mode::Replay,
        on_miss: Some(OnMiss::Refuse),
        pace: if replay.instant {
            Pace::Instant
        } else {
            replay.speed.clone().unwrap_or_default()
        },
        ..RouteSettings::default()
    }];
    with_flags(
        config,
        &replay.listen,
        &format!("replaying {}", replay.cassette.display()),
    )
}

pub(super) fn fake(fake: &Fake) -> Result<ExitCode, Failure> {
    let TokenPace { ttft, gap } = fake.profile.pace();
    let config = Config {
        seed: fake.seed,
        routes: vec![RouteSettings {
            name: Some("fake".to_owned()),
            upstream: Some(Upstream::Fake),
            mode: Mode::Synthesize,
            pace: Pace::Tokens(TokenPace {
                ttft: fake.ttft.clone().unwrap_or(ttft),
                gap: fake.gap.clone().unwrap_or(gap),
            }),
            ..RouteSettings::default()
        }],
        ..Config::default()
    };
    let what = match (&fake.ttft, &fake.gap) {
        (Some(_), Some(_)) => "faking an API, at the pace asked for".to_owned(),
        _ => format!("faking an API, at the pace `{}`", fake.profile),
    };
    with_flags(config, &fake.listen, &what)
}

fn with_flags(mut config: Config, listen: &Listen, what: &str) -> Result<ExitCode, Failure> {
    listen.apply(&mut config);
    config
        .check()
        .map_err(|errors| Failure::Unusable(anyhow!("{errors}")))?;
    run(&config, listen, what, false)
}

/// Starts everything, or nothing.
fn run(
    config: &Config,
    listen: &Listen,
    what: &str,
    is_default: bool,
) -> Result<ExitCode, Failure> {
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
    let plan = Plan::compile(config).map_err(|error| Failure::Unusable(error.into()))?;
    for warning in plan.warnings() {
        tracing::warn!("{warning}");
    }
    if plan.counts_tokens() {
        drop(tokio::task::spawn_blocking(tokens::warm));
    }
    let mut succession = Succession::begin(&config.listen, listen.take_over)
        .await
        .map_err(Failure::Unusable)?;
    // Binding comes first: a port in use must not leave a new cassette behind.
    let (listener, _) = succession
        .listen("http", &config.listen.http)
        .await
        .map_err(Failure::Unusable)?;
    let tls = match (&config.listen.https, &config.listen.tls) {
        (Some(address), Some(settings)) => Some(
            listen_with_tls(&mut succession, address, settings, &config.folder)
                .await
                .map_err(Failure::Unusable)?,
        ),
        // A check has found the one without the other.
        (Some(_), None) | (None, _) => None,
    };
    let door = admin::listen(&config.listen, &mut succession)
        .await
        .map_err(Failure::Unusable)?;
    let cassette =
        open_cassette(&config.cassette, &plan, &mut succession).map_err(Failure::Unusable)?;
    let mut signals = Signals::new()
        .context("could not wait for signals")
        .map_err(Failure::Unusable)?;
    let upstreams = Arc::new(Upstreams::new(POOLED));
    let state = Arc::new(State::new(plan, cassette.clone()));
    let admin = door
        .map(|door| door.furnish(state.board()))
        .transpose()
        .map_err(Failure::Unusable)?;
    let flow = Flow {
        state,
        upstreams: Arc::clone(&upstreams),
    };
    let mut server = Server::new(listener, Arc::new(Proxy::new(flow)));
    if let Some((listener, certificate)) = tls {
        server = server
            .with_tls(listener, certificate)
            .map_err(|error| Failure::Unusable(error.into()))?;
    }
    let addresses = server
        .addresses()
        .map_err(|error| Failure::Unusable(error.into()))?;
    let handing_over = succession
        .complete(
            &config.listen,
            &server,
            admin.as_ref().map(admin::Ready::listener),
            cassette.as_ref(),
        )
        .await
        .map_err(Failure::Unusable)?;
    // Not before we are responsible: the process before answers until then.
    let admin = admin.map(admin::Ready::open);
    let written = cassette.clone();
    let grace = config.listen.grace.0;
    let admin_address = admin.as_ref().map(admin::Open::address);
    announce(
        &addresses,
        admin_address,
        what,
        is_default,
        cassette.as_ref(),
    )?;
    let finishing = async {
        upstreams.drained().await;
        if let Some(cassette) = written {
            // A writer that panicked has said so itself.
            drop(tokio::task::spawn_blocking(move || cassette.close(grace.max(CLOSING))).await);
        }
    };
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

/// Serves until the first signal, or until another process takes over; lets what is in flight go on for the grace time, then
/// finishes; a second signal ends at once.
async fn serve_until_stopped(
    server: Server,
    grace: Duration,
    signals: &mut Signals,
    handing_over: impl Future<Output = Successor>,
    cassette: Option<Cassette>,
    admin: Option<&admin::Open>,
    finishing: impl Future<Output = ()>,
) -> Result<ExitCode, Failure> {
    let (stop, is_stopping) = tokio::sync::oneshot::channel();
    let ending = async {
        let stop = async { is_stopping.await.unwrap_or(Stop::Ordered) };
        if let Stopped::GraceOver(busy) = server.run_until(stop, grace).await {
            tracing::warn!(busy, "the grace time is over; connections were cut");
        }
        // What is still read for the recorder alone has the grace time too.
        if timeout(grace.max(FINISHING_MIN), finishing).await.is_err() {
            tracing::warn!("what was still being recorded was cut");
        }
    };
    tokio::pin!(ending);
    let mut last_orders = None;
    tokio::select! {
        () = &mut ending => return Ok(ExitCode::SUCCESS),
        () = signals.next() => {
            if let Some(admin) = admin {
                admin.end();
            }
            tracing::info!(?grace, "stopping; a second signal ends at once");
            // The server is still there to be told.
            stop.send(Stop::Ordered).ok();
        }
        successor = handing_over => {
            last_orders = admin.map(|admin| timeout(COURTESY.min(grace), admin.hand_over(&successor)));
            tracing::info!(pid = successor.pid(), ?grace, "another process has taken over; a signal ends at once");
            stop.send(Stop::HandedOver).ok();
            let hold = successor.confirm().await;
            if let Some(cassette) = cassette {
                tokio::spawn(let_go(cassette, grace.max(CLOSING), hold));
            }
        }
    }
    let ended = async {
        // Both at once: each has had its time when the other has.
        tokio::join!(ending, async {
            if let Some(orders) = last_orders {
                // Who has not come back until then has no request on its way.
                orders.await.unwrap_or_default();
            }
        });
    };
    tokio::select! {
        () = ended => Ok(ExitCode::SUCCESS),
        () = signals.next() => Ok(ended_at_once()),
    }
}

/// Lets the successor have the cassette as soon as nothing is recorded here any more, and `within` so long of it what was
/// is written: this process may wait for the one before it itself.
async fn let_go(cassette: Cassette, within: Duration, hold: Hold) {
    // Until then a connection may still bring a request.
    tokio::time::sleep(COURTESY + COURTESY / 8).await;
    if cassette.retire(within).await {
        tracing::info!("let the cassette go");
        drop(hold);
    } else {
        // The end of the process lets go.
        std::future::pending::<()>().await;
    }
}

fn ended_at_once() -> ExitCode {
    tracing::warn!("ended at once by a second signal");
    // What is committed in the journal is made into files at the next start.
    ExitCode::from(130)
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
        let count = cassette.replayable();
        let noun = if count == 1 {
            "recording"
        } else {
            "recordings"
        };
        lines.push(format!("{count} {noun} can be replayed"));
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

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// How many idle connections to upstreams are kept in all.
const POOLED: usize = 256;

/// How long the writing of what was recorded may take at the end.
const CLOSING: Duration = Duration::from_secs(20);

/// How long the recorder may take at the end, however short the grace time is.
const FINISHING_MIN: Duration = Duration::from_secs(30);
