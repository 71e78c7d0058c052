//! The admin listener of the serving commands: bound before anything is made, opened when there is something to ask about.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, anyhow};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::Admin;
use crate::admin::token::{Token, TokenFile};
use crate::board::Board;
use crate::cli::ask::TOKEN;
use crate::config::Listen;
use crate::server::Server;

/// Bound; what connects waits.
pub(super) struct Door {
    listener: TcpListener,
    host: String,
    /// What else it is called.
    hosts: Vec<String>,
}

/// Answers while it is there.
pub(super) struct Open {
    address: SocketAddr,
    is_ending: Arc<AtomicBool>,
    _task: AbortOnDropHandle<()>,
    _file: Option<TokenFile>,
}

/// Binds, if the config wants it.
pub(super) async fn listen(settings: &Listen) -> anyhow::Result<Option<Door>> {
    let Some(address) = &settings.admin else {
        return Ok(None);
    };
    let listener = Server::listen(&address.to_string())
        .await
        .with_context(|| format!("could not listen on {address} for admin"))?;
    // `localhost` means what the system's resolver says.
    let ip = listener.local_addr()?.ip();
    if !(settings.admin_remote || ip.is_loopback()) {
        return Err(anyhow!(
            "`{address}` is {ip} here, which may be reached from other machines; if they are meant to reach it, \
             set `admin_remote = true` in `[listen]`"
        ));
    }
    Ok(Some(Door {
        listener,
        host: address.host.clone(),
        hosts: settings.admin_hosts.clone(),
    }))
}

impl Door {
    pub(super) fn open(self, board: &Arc<Board>) -> anyhow::Result<Open> {
        let port = self.listener.local_addr()?.port();
        let (token, file) = if let Some(token) = given_token()? {
            (token, None)
        } else {
            let (token, file) =
                Token::make(port).context("could not keep the token of the admin listener")?;
            (token, Some(file))
        };
        if let Some(file) = &file {
            tracing::info!(file = %file.path().display(), "the token of the admin listener is in this file");
        }
        let admin = Admin::new(
            self.listener,
            &self.host,
            &self.hosts,
            token,
            Arc::clone(board),
        )?;
        let (address, is_ending) = (admin.address(), admin.is_ending());
        let task = tokio::spawn(async move {
            if let Err(error) = admin.run().await {
                tracing::error!(%error, "the admin listener ended");
            }
        });
        Ok(Open {
            address,
            is_ending,
            _task: AbortOnDropHandle::new(task),
            _file: file,
        })
    }
}

impl Open {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// No new connections are taken from now on.
    pub(super) fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }
}

/// The token that somebody chose.
fn given_token() -> anyhow::Result<Option<Token>> {
    std::env::var_os(TOKEN)
        .map(|text| Token::given(&text.to_string_lossy()).context(TOKEN))
        .transpose()
}
