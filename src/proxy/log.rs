//! What is logged of an exchange.

use std::time::Duration;

use crate::exchange::Report;
use crate::message::RequestHead;
use crate::plan::Plan;
use crate::pump::Outcome;

/// The one line that is logged of an exchange. Never a body, a query or a secret.
pub(crate) struct LogLine {
    method: String,
    path: String,
}

impl LogLine {
    /// Of this request; its path is redacted as the plan says.
    pub(crate) fn of(head: &RequestHead, plan: &Plan) -> Self {
        let path = if tracing::enabled!(tracing::Level::INFO) {
            plan.redact.path(head).into_inner()
        } else {
            String::new()
        };
        Self {
            method: head.method.clone(),
            path,
        }
    }

    /// The connection became a tunnel of this route.
    pub(super) fn write_upgrade(&self, route: &str) {
        tracing::info!(method = %self.method, path = %self.path, route, source = "tunnel", status = 101, "upgrade");
    }

    /// The exchange is over, and took so long.
    pub(crate) fn write(&self, report: &Report, took: Duration) {
        let tally = &report.tally;
        let outcome = match &report.outcome {
            Outcome::Completed => "completed".to_owned(),
            Outcome::UpstreamFailed(ending) => format!("upstream-failed ({ending})"),
            Outcome::NoAnswer(error) => format!("upstream-failed ({error})"),
            Outcome::SourceFailed(reason) => format!("source-failed ({reason})"),
            Outcome::Cut => "cut".to_owned(),
            Outcome::ClientLeft => "client-left".to_owned(),
        };
        tracing::info!(
            method = %self.method,
            path = %self.path,
            route = %report.route,
            source = report.source,
            recording = report.recording.as_deref().unwrap_or("-"),
            status = tally.status.unwrap_or(0),
            // Left out where no byte of an answer was sent.
            ttfb_ms = tally.first_byte.map(millis),
            took_ms = millis(took),
            chunks = tally.chunks,
            bytes = tally.bytes,
            outcome = %outcome,
            faults = %report.faults.join(","),
            "exchange"
        );
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
