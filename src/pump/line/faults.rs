//! The faults of one exchange, and whether they may go on.

use std::sync::Arc;
use std::time::Duration;

use super::FAR;
use crate::alarm::Alarm;
use crate::board::Watch;
use crate::fault::script::Script;

/// The faults of one exchange: what they do, and whether they still may.
#[derive(Debug)]
pub struct Faults {
    /// What they do.
    pub script: Box<Script>,
    /// Whether they still may.
    pub watch: Watch,
    /// What keeps their times more exactly than the runtime does.
    pub alarm: Option<Arc<Alarm>>,
}

impl Faults {
    /// How long no more of the request may be read after so many bytes.
    pub(crate) fn pause_for(&mut self, bytes: usize) -> Option<Duration> {
        self.script.upload_rate()?;
        let lifted = self.watch.lifted();
        self.script.lift(&lifted);
        for fault in lifted {
            self.watch.release(fault);
        }
        let (fault, rate) = self.script.upload_rate()?;
        self.script.mark_injected(fault);
        // Up to 2^52 bytes a number of bytes is exact as a float.
        #[expect(
            clippy::cast_precision_loss,
            reason = "a piece of a request is far smaller"
        )]
        let seconds = bytes as f64 / rate.max(1) as f64;
        Some(Duration::from_secs_f64(seconds.min(FAR.as_secs_f64())))
    }
}
