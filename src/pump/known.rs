//! The playing of an answer that is known from its beginning and to which nothing is done: there is only its time to wait for,
//! and the client to listen to.
//!
//! What it writes and when is what the loop for all answers would. It is apart because streams that are made up or replayed
//! come by the thousand, and an event takes two thirds of the instructions that it takes there.

use std::pin::pin;

use tokio::time::Instant;

use super::line::{end, mark};
use super::{BURST, Client, Cut, Left, Outcome, Tally, reach};
use crate::message::Headers;
use crate::source::{EARLY, Known, What};

/// Plays it to its end.
pub(super) async fn play<C: Client>(
    client: &mut C,
    mut known: Known<'_>,
    request_end: Instant,
    marks: &Headers,
    tally: &mut Tally,
) -> Result<Outcome, Left> {
    let mut sleep = pin!(None);
    let mut burst = 0;
    let mut now = Instant::now();
    loop {
        let due = known.due(request_end);
        if due.is_some_and(|due| due > now + EARLY) {
            burst = 0;
            tokio::select! {
                biased;
                () = reach(sleep.as_mut(), None, due) => {}
                () = gone(client) => return Err(Left),
            }
            now = Instant::now();
        } else if burst == BURST {
            burst = 0;
            tokio::select! {
                biased;
                () = gone(client) => return Err(Left),
                // Others on this thread have their turn too.
                () = tokio::task::yield_now() => {}
            }
        } else {
            burst += 1;
        }
        match known.say() {
            What::Chunk(bytes, _) => {
                tally.bytes += bytes.len() as u64;
                tally.chunks += 1;
                let more = known.is_due(request_end, now);
                client.write(bytes, more).await?;
            }
            What::Head(mut head) => {
                mark(&mut head, marks);
                tally.status = Some(head.status);
                let more = known.is_due(request_end, now);
                client.head(&head, more).await?;
                tally.first_byte = Some(request_end.elapsed());
            }
            What::Trailers(trailers) => client.trailers(&trailers).await?,
            What::End(ending) => return end(ending, client).await,
            What::Unreadable(reason) => {
                client.cut(Cut::Close).await;
                return Ok(Outcome::SourceFailed(reason));
            }
            What::Interim(_) | What::Failed(_) => {}
        }
    }
}

/// Resolves when the client has left, whose request is through.
async fn gone<C: Client>(client: &mut C) {
    while client.hear().await.is_ok() {}
}
