//! Which hosts a route takes.

use super::glob::Glob;

/// A pattern for the host; the port counts only where the pattern has one.
#[derive(Clone, Debug)]
pub(super) struct HostGlob {
    name: Glob,
    port: Option<String>,
}

impl HostGlob {
    pub(super) fn compile(pattern: &str) -> Result<Self, String> {
        let lower = pattern.to_ascii_lowercase();
        let (name, port) = split_port(&lower);
        Ok(Self {
            name: Glob::text(name)?,
            port: port.map(str::to_owned),
        })
    }

    pub(super) fn matches(&self, asked: &[u8]) -> bool {
        let Ok(asked) = std::str::from_utf8(asked) else {
            return false;
        };
        let lower = asked.to_ascii_lowercase();
        let (name, port) = split_port(&lower);
        self.name.matches(name.as_bytes())
            && self.port.as_deref().is_none_or(|own| port == Some(own))
    }

    pub(super) fn name(&self) -> &Glob {
        &self.name
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        self.name.covers(&other.name) && (self.port.is_none() || self.port == other.port)
    }
}

/// Name and port of `name:port` and of `[::1]:port`.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port))
            if !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && !is_open(name) =>
        {
            (name, Some(port))
        }
        _ => (host, None),
    }
}

/// Whether a bracket of an IPv6 address is still open at the end.
fn is_open(name: &str) -> bool {
    name.contains('[') && !name.contains(']')
}
