//! Asks the admin listener of a proxy that runs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::Value;

use super::Failure;
use crate::admin::token::Token;
use crate::config::{Address, AddressError};
use crate::origin::has_password;

/// Which proxy is meant, and what opens it.
#[derive(Debug, Args)]
pub(super) struct Where {
    /// The admin listener, as it was printed at the start.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "REHEARSAL_ADMIN",
        default_value = "http://127.0.0.1:8081",
        value_parser = parse_admin
    )]
    admin: Address,
    /// A file with the token. Default: `REHEARSAL_ADMIN_TOKEN`, else the file that a proxy on this machine left.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// `http://HOST:PORT` or `HOST:PORT`, so that one variable can serve both sides.
pub(super) fn parse_admin(text: &str) -> Result<Address, String> {
    let inside = text.strip_prefix("http://").unwrap_or(text);
    let inside = inside.strip_suffix('/').unwrap_or(inside);
    if has_password(inside) {
        return Err(
            "no user and no password opens an admin listener, but a token: name it with --token-file or REHEARSAL_ADMIN_TOKEN"
                .to_owned(),
        );
    }
    if inside.contains('/') {
        return Err(format!(
            "`{text}` is not an address of an admin listener, which speaks plain HTTP and is named without a path, \
             expected `http://HOST:PORT` or `HOST:PORT`"
        ));
    }
    inside
        .parse()
        .map_err(|error: AddressError| error.to_string())
}

/// Talks to one proxy.
pub(super) struct Ask {
    agent: ureq::Agent,
    url: String,
    token: Token,
}

impl Where {
    /// Finds the token.
    pub(super) fn ask(&self) -> Result<Ask, Failure> {
        let config = ureq::Agent::config_builder()
            // The token is for this machine, or the one that was named.
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build();
        Ok(Ask {
            agent: config.into(),
            url: format!("http://{}", self.admin),
            token: self.token().map_err(Failure::Unusable)?,
        })
    }

    fn token(&self) -> anyhow::Result<Token> {
        if let Some(file) = &self.token_file {
            return Token::read(file).context("could not read the token");
        }
        if let Some(text) = std::env::var_os(TOKEN) {
            return Token::given(&text.to_string_lossy()).context(TOKEN);
        }
        // What this machine knows is sent nowhere else.
        let is_here = self.admin.is_loopback() || self.admin.host == "0.0.0.0";
        let found = if is_here {
            Token::find(self.admin.port).context("could not read the token")?
        } else {
            None
        };
        found.ok_or_else(|| {
            anyhow!(
                "there is no token for http://{}: nothing listens there for admin, or its token is elsewhere; \
                 name the listener with --admin, or the token with --token-file or {TOKEN}",
                self.admin
            )
        })
    }
}

impl Ask {
    /// Asks for something.
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        let request = self
            .agent
            .get(format!("{}{path}", self.url))
            .header("authorization", self.bearer());
        self.read(request.call())
    }

    /// Tells something.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let request = self
            .agent
            .post(format!("{}{path}", self.url))
            .header("authorization", self.bearer());
        self.read(request.send_json(body))
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token.reveal())
    }

    fn read(
        &self,
        answer: Result<http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, Failure> {
        let read = || -> anyhow::Result<Value> {
            let mut answer = answer.with_context(|| format!("could not ask {}", self.url))?;
            let status = answer.status();
            let body: Value = answer.body_mut().read_json().with_context(|| {
                format!("{} answered {status} with something unexpected", self.url)
            })?;
            if status.is_success() {
                return Ok(body);
            }
            let message = body["error"]["message"]
                .as_str()
                .unwrap_or("it did not say why");
            Err(anyhow!("{} answered {status}: {message}", self.url))
        };
        read().map_err(Failure::FellShort)
    }
}

/// The environment variable for a token that somebody chose.
pub(super) const TOKEN: &str = "REHEARSAL_ADMIN_TOKEN";

/// For a whole answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_named_by_its_address_or_its_url() {
        for text in ["127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1/"] {
            assert_eq!(parse_admin(text).unwrap().to_string(), "127.0.0.1:1");
        }
        for text in ["https://127.0.0.1:1", "ftp://a:1", "127.0.0.1:1/metrics"] {
            let error = parse_admin(text).unwrap_err();
            assert!(
                error.contains("plain HTTP and is named without a path"),
                "{error}"
            );
        }
    }
}
