//! The admin listener of the serving commands: bound before anything is made, opened when there is something to ask about.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::token::{Token, TokenFile};
use crate::admin::{Admin, Stages};
use crate::board::Board;
use crate::cli::ask::TOKEN;
use crate::cli::succession::{ADMIN, Succession};
use crate::config::Listen;
use crate::handover::Successor;

/// Bound; what connects waits.
pub(super) struct Door {
    listener: TcpListener,
    /// Whether it was the process's before, which goes on answering until we do.
    is_taken: bool,
    host: String,
    /// What else it is called.
    hosts: Vec<String>,
}

/// Ready to answer.
pub(super) struct Ready {
    admin: Admin,
    file: Option<TokenFile>,
}

/// Answers while it is there.
pub(super) struct Open {
    address: SocketAddr,
    stages: Arc<Stages>,
    _task: AbortOnDropHandle<()>,
    _file: Option<TokenFile>,
}

/// Takes the listener of the process before, or binds, if the config wants one.
pub(super) async fn listen(
    settings: &Listen,
    succession: &mut Succession,
) -> anyhow::Result<Option<Door>> {
    let Some(address) = &settings.admin else {
        return Ok(None);
    };
    let (listener, is_taken) = succession
        .listen(ADMIN, address)
        .await
        .context("for admin")?;
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
        is_taken,
        host: address.host.clone(),
        hosts: settings.admin_hosts.clone(),
    }))
}

impl Door {
    /// Makes all ready, so that nothing can fail when it opens.
    pub(super) fn furnish(self, board: &Arc<Board>) -> anyhow::Result<Ready> {
        let port = self.listener.local_addr()?.port();
        let (token, file) = self.token(port)?;
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
        Ok(Ready { admin, file })
    }

    /// What opens it, and where that was left if nobody chose it.
    fn token(&self, port: u16) -> anyhow::Result<(Token, Option<TokenFile>)> {
        if let Some(token) = given_token()? {
            return Ok((token, None));
        }
        // Whoever has read the file of the process before need not notice that there is another.
        let before = if self.is_taken {
            Token::find(port).context("could not read the token of the process before")?
        } else {
            None
        };
        let (token, file) = match before {
            Some(token) => token.leave(port).map(|file| (token, file)),
            None => Token::make(port),
        }
        .context("could not keep the token of the admin listener")?;
        Ok((token, Some(file)))
    }
}

impl Ready {
    /// To be passed on.
    pub(super) fn listener(&self) -> &TcpListener {
        self.admin.listener()
    }

    /// Answers from now on.
    pub(super) fn open(self) -> Open {
        let (address, stages) = (self.admin.address(), self.admin.stages());
        let task = tokio::spawn(async move {
            if let Err(error) = self.admin.run().await {
                tracing::error!(%error, "the admin listener ended");
            }
        });
        Open {
            address,
            stages,
            _task: AbortOnDropHandle::new(task),
            _file: self.file,
        }
    }
}

impl Open {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// No new connections are taken from now on.
    pub(super) fn end(&self) {
        self.stages.end();
    }

    /// Another process takes them, and those of the admin listener too, if it has that. What is given resolves when nobody waits
    /// for an answer here any more.
    pub(super) fn hand_over(&self, successor: &Successor) -> impl Future<Output = ()> + use<> {
        let is_taken = successor.has(ADMIN);
        if is_taken {
            self.stages.leave();
        } else {
            self.end();
        }
        let stages = Arc::clone(&self.stages);
        async move {
            if is_taken {
                stages.drained().await;
            }
        }
    }
}

/// The token that somebody chose.
fn given_token() -> anyhow::Result<Option<Token>> {
    std::env::var_os(TOKEN)
        .map(|text| Token::given(&text.to_string_lossy()).context(TOKEN))
        .transpose()
}
