//! The commands that serve: `serve`, `record`, `replay` and `fake`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, ValueEnum};

use super::{Failure, Listen, config_file, no_file};
use crate::config::{Config, Given, RouteSettings, Upstream};
use crate::fault::distribution::Distribution;
use crate::link::UpstreamTls;
use crate::mode::{Mode, OnMiss, RecordPolicy};
use crate::shape::pace::{Pace, TokenPace};
use crate::shape::profile::{NAMES, Profile};

use start::run;

mod admin;
mod itself;
mod start;
mod stop;

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
    /// Play so many times faster than recorded, above 0 and at most 1000. Default: 1.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        conflicts_with = "instant",
        value_parser = parse_speed
    )]
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
    /// From the end of a request to its first token, such as 200ms or "200ms +- 40ms" (mean and standard deviation). Default: as
    /// the profile says.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    ttft: Option<Distribution>,
    /// From one token to the next, such as 10ms or "10ms +- 2ms". Default: as the profile says.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    gap: Option<Distribution>,
    #[arg(long, value_name = "NAME", default_value_t, help = profiles())]
    profile: Profile,
    /// The seed of the times, a whole number: the same seed and the same requests draw the same times.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t,
        value_parser = parse_seed
    )]
    seed: u64,
    #[command(flatten)]
    listen: Listen,
}

fn profiles() -> String {
    format!("The model whose times are kept: {}", NAMES.join(", "))
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

fn parse_seed(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

fn parse_speed(text: &str) -> Result<Pace, String> {
    let speed: f64 = text
        .parse()
        .map_err(|_| "expected a number above 0 and at most 1000".to_owned())?;
    Pace::recorded(speed).map_err(|error| error.to_string())
}

pub(super) fn serve(serve: &Serve) -> Result<ExitCode, Failure> {
    let file = config_file(serve.config.as_ref());
    let given = serve.listen.given();
    let config = match &file {
        Some(file) => Config::load_with(file, &given),
        None => Config::default().with(&given),
    }
    .map_err(|errors| Failure::Unusable(anyhow!("{errors}")))?;
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
    no_file(&replay.cassette).map_err(Failure::Unusable)?;
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

fn with_flags(config: Config, listen: &Listen, what: &str) -> Result<ExitCode, Failure> {
    let given = Given {
        others: FLAGS,
        ..listen.given()
    };
    let config = config
        .with(&given)
        .map_err(|errors| Failure::Unusable(anyhow!("{errors}")))?;
    run(&config, listen, what, false)
}

/// Where what flags say stands in a config that is made of them.
const FLAGS: &[(&str, &str)] = &[
    ("route[0].tls.ca", "--ca"),
    ("route[0].tls", "--ca"),
    ("cassette.path", "--cassette"),
];
