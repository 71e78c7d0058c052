//! The admin listener: what people and scripts ask of a proxy that runs, and tell it.
//!
//! Its own listener and its own web framework, so that nothing of it can be reached through the proxied port. Whoever may use it
//! can break and mend all traffic, so it asks for a token and for a host that is ours, and answers no web page of another origin.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::board::Board;

use guard::Guard;
use listener::{Bounded, CONNECTIONS_MAX};
use token::Token;

mod faults;
mod guard;
mod listener;
mod metrics;
pub mod token;

/// What answers on the admin listener.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    stages: Arc<Stages>,
}

/// How far a proxy is on its way to its end, as its admin listener has to know it.
#[derive(Debug)]
pub struct Stages {
    is_ending: AtomicBool,
    is_left: watch::Sender<bool>,
    /// A permit for each connection that there may be.
    room: Arc<Semaphore>,
}

impl Stages {
    /// The proxy takes no new connections any more: it is not ready.
    pub fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    /// Another process accepts on this listener: we don't any more, and whoever is still connected is told to come back to that
    /// one. It is ready as long as that one is.
    pub fn leave(&self) {
        self.is_left.send_replace(true);
    }

    /// Resolves when nobody is connected any more; to be asked when it was [left](Self::leave).
    pub async fn drained(&self) {
        // Nobody closes the semaphore.
        drop(self.room.acquire_many(CONNECTIONS_MAX).await);
    }

    fn is_left(&self) -> bool {
        *self.is_left.borrow()
    }
}

impl Admin {
    /// On a bound listener. `host` is how the config names it, and `hosts` what else it is called, with a port or for any;
    /// whoever calls it so is let in, with the token.
    ///
    /// # Errors
    /// If the system does not know where it listens.
    pub fn new(
        listener: TcpListener,
        host: &str,
        hosts: &[String],
        token: Token,
        board: Arc<Board>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let stages = Arc::new(Stages {
            is_ending: AtomicBool::new(false),
            is_left: watch::Sender::new(false),
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX as usize)),
        });
        let shared = Arc::new(Shared {
            board,
            guard: Guard::new(token, host, hosts, address),
            stages: Arc::clone(&stages),
        });
        Ok(Self {
            listener,
            address,
            router: router(shared),
            stages,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// To be passed on.
    pub fn listener(&self) -> &TcpListener {
        &self.listener
    }

    /// To be told of the end of the proxy.
    pub fn stages(&self) -> Arc<Stages> {
        Arc::clone(&self.stages)
    }

    /// Answers until it is dropped.
    ///
    /// # Errors
    /// None that are known: what can't be accepted is tried again.
    pub async fn run(self) -> io::Result<()> {
        let (room, is_left) = (&self.stages.room, self.stages.is_left.subscribe());
        let listener = Bounded::new(self.listener, Arc::clone(room), is_left);
        axum::serve(listener, self.router).await
    }
}

/// What all answers are made from.
struct Shared {
    board: Arc<Board>,
    guard: Guard,
    stages: Arc<Stages>,
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/faults", get(faults::list))
        .route("/v1/faults/kill", post(faults::kill))
        .route(
            "/v1/faults/explain/{rule}",
            get(faults::explain).post(faults::switch_of_explain),
        )
        .route("/v1/faults/{route}/{rule}", post(faults::switch))
        .route("/v1/faults/{route}/{rule}/ttl", post(faults::set_ttl))
        .fallback(async || {
            Refusal::new(
                StatusCode::NOT_FOUND,
                "there is nothing at this path, expected /v1/faults, /metrics, /healthz or /readyz",
            )
        })
        .method_not_allowed_fallback(async || {
            Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path has another method",
            )
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), watch))
        .with_state(shared)
}

impl Shared {
    /// What an order is carried out on, once it was heard to its end.
    fn take_order(&self) -> Result<&Board, Refusal> {
        if self.stages.is_left() {
            // The successor knows how faults stood before this order, and would not hear of it.
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "another process has taken over: ask again, on a new connection, and that one answers",
            ));
        }
        Ok(&self.board)
    }
}

/// `GET /readyz`: whether new connections are taken.
async fn readyz(State(shared): State<Arc<Shared>>) -> Result<&'static str, Refusal> {
    if shared.stages.is_ending.load(Ordering::Relaxed) {
        let message = "the proxy is about to end, and takes no new connections";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message));
    }
    Ok("ready\n")
}

/// Asks the guard before anything else is looked at.
async fn watch(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let mut response = match shared.guard.admit(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if shared.stages.is_left() {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// An answer that says why not.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": { "message": self.message } }));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"rehearsal\""),
            );
        }
        response
    }
}

/// The longest body of a request.
const BODY_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests;
