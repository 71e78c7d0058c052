//! The one thread that writes: takes what the tickets say, journals it, and makes files of what was finished.
//!
//! Where the disk refuses, it says so once and stops recording; nobody waits for it, so nothing else changes.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::cassette::coding::Hunches;
use crate::cassette::event::{Event, Line};
use crate::cassette::files::{self, WriteError};
use crate::cassette::filing::{Ready, place, prove, sync};
use crate::cassette::intake::{Finished, Intake};
use crate::cassette::journal::{JOURNAL, Journal};
use crate::cassette::policy::Run;
use crate::cassette::queue::{Batch, Message, Queue};
use crate::cassette::shelf::Shelf;
use crate::cassette::side::BODIES;
use crate::cassette::spool::Spool;
use crate::message::Ending;

/// What the thread holds.
#[derive(Debug)]
pub(crate) struct Writer {
    shelf: Arc<Shelf>,
    queue: Arc<Queue>,
    journal: Journal,
    /// Lines that are not in the journal yet.
    lines: Vec<u8>,
    open: HashMap<u64, Intake>,
    run: Run,
    hunches: Hunches,
    /// Committed, with files that are not in place yet; in the order of their commits.
    ready: Vec<Ready>,
    /// How long the journal may become before it's written anew.
    long_journal: u64,
    /// Other processes are kept out as long as this is open.
    _lock: File,
}

impl Writer {
    /// A writer for a journal that was emptied.
    pub(crate) fn new(
        shelf: Arc<Shelf>,
        queue: Arc<Queue>,
        run: Run,
        journal: Journal,
        lock: File,
    ) -> Self {
        Self {
            shelf,
            queue,
            journal,
            lines: Vec::new(),
            open: HashMap::new(),
            run,
            hunches: Hunches::default(),
            ready: Vec::new(),
            long_journal: LONG_JOURNAL,
            _lock: lock,
        }
    }

    /// Works until the queue is closed.
    pub(crate) fn run(mut self) {
        // Last to be dropped, after the lock: whoever waits for the end may open the cassette again at once.
        let _done = Done(Arc::clone(&self.queue));
        loop {
            let batch = self.queue.take();
            let is_last = batch.is_last;
            self.work(batch);
            if is_last {
                break;
            }
        }
        drop(self);
    }

    fn work(&mut self, batch: Batch) {
        let mut finished = 0;
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        let mut freed = batch.bytes;
        for message in batch.messages {
            match message {
                Message::Settle(sender) => waiting.push(sender),
                message => {
                    finished += usize::from(matches!(message, Message::End(..)));
                    let id = id_of(&message);
                    let before = self.held(id);
                    let result = self.take(message);
                    // What an exchange holds on to goes on counting, and stops when it lets go.
                    freed = (freed + before).saturating_sub(self.held(id));
                    self.check(result);
                }
            }
        }
        if batch.is_last {
            let left: Vec<u64> = self.open.keys().copied().collect();
            for id in left {
                let result = self.finish(id, Ending::Interrupted);
                self.check(result);
            }
        }
        let result = self.flush().and_then(|()| self.settle());
        self.check(result);
        self.queue.release(freed);
        self.queue.settle(finished);
        for sender in waiting {
            // Whoever asked may have gone.
            sender.send(()).unwrap_or_default();
        }
    }

    fn held(&self, id: Option<u64>) -> usize {
        id.and_then(|id| self.open.get(&id)).map_or(0, Intake::held)
    }

    fn take(&mut self, message: Message) -> Result<(), WriteError> {
        let lines = &mut self.lines;
        match message {
            Message::Begin(id, begin) => {
                if self.queue.stopped().is_none()
                    && let Some(intake) = Intake::new(id, &self.shelf.folder, *begin, lines)
                {
                    self.open.insert(id, intake);
                }
            }
            Message::RequestBody(id, bytes) => {
                if let Some(intake) = self.open.get_mut(&id) {
                    intake.asked.push(bytes);
                }
            }
            Message::TooLarge(id) => {
                if let Some(intake) = self.open.get_mut(&id) {
                    intake.asked.too_large();
                }
            }
            Message::Protocol(id, protocol) => {
                if let Some(intake) = self.open.get_mut(&id) {
                    intake.protocol(protocol, lines);
                }
            }
            Message::Head(id, head, after) => {
                if let Some(intake) = self.open.get_mut(&id) {
                    intake.head(&head, after, lines)?;
                }
            }
            Message::Chunk(id, chunk) => {
                if let Some(intake) = self.open.get_mut(&id) {
                    intake.chunk(&chunk, lines)?;
                }
            }
            Message::Trailers(id, trailers) => {
                if let Some(intake) = self.open.get_mut(&id) {
                    intake.trailers(trailers, lines);
                }
            }
            Message::End(id, ending) => return self.finish(id, ending),
            Message::Discard(id) => {
                if let Some(intake) = self.open.remove(&id) {
                    let (spool, sides) = intake.discard();
                    return self.discard(id, spool, &sides);
                }
            }
            Message::Settle(_) => {}
        }
        Ok(())
    }

    /// Commits an exchange.
    fn finish(&mut self, id: u64, ending: Ending) -> Result<(), WriteError> {
        let Some(intake) = self.open.remove(&id) else {
            return Ok(());
        };
        let folder = Arc::clone(&self.shelf.folder);
        let Finished {
            draft,
            mut end,
            rules,
            policy,
            spool,
            sides,
        } = match intake.finish(ending, &mut self.hunches, &mut self.lines)? {
            Ok(finished) => finished,
            Err(sides) => return self.discard(id, None, &sides),
        };
        let request = draft.request.clone();
        let mut recording = draft.recording(&folder, &end);
        if let Err(why) = prove(&recording, &folder, &rules, end.key) {
            let key = end.key.short();
            warn!(
                key,
                "an exchange is not kept, because it could not be found again: {why}"
            );
            return self.discard(id, spool, &sides);
        }
        let decision = {
            let change = self.shelf.change();
            self.run
                .decide(&self.shelf, &change, &request, &end, policy)
        };
        let Some(decision) = decision else {
            return self.discard(id, spool, &sides);
        };
        recording.name.clone_from(&decision.file);
        end.file = decision.file;
        end.replaces.clone_from(&decision.replaces);
        let event = Event::End(Box::new(end));
        Line { id, event }.write(&mut self.lines);
        self.flush()?;
        if let Some(spool) = spool {
            spool.remove();
        }
        decision.edits.apply(&mut recording);
        let ready = Ready::new(id, &folder, recording, decision.replaces, sides)?;
        self.ready.push(ready);
        Ok(())
    }

    /// An exchange is not kept.
    fn discard(
        &mut self,
        id: u64,
        spool: Option<Spool>,
        sides: &[String],
    ) -> Result<(), WriteError> {
        let event = Event::Discard;
        Line { id, event }.write(&mut self.lines);
        if let Some(spool) = spool {
            spool.remove();
        }
        self.remove_sides(sides)
    }

    /// Removes side files that no recording needs, nor one that is on its way.
    fn remove_sides(&self, sides: &[String]) -> Result<(), WriteError> {
        for side in sides {
            let is_wanted = self.shelf.index().needs(side)
                || self.open.values().any(|intake| intake.sides.contains(side))
                || self.ready.iter().any(|ready| ready.sides.contains(side));
            if !is_wanted {
                let path = self.shelf.folder.join(BODIES).join(side);
                files::remove(&path).map_err(WriteError::at(&path))?;
            }
        }
        Ok(())
    }

    /// Appends what there is to tell to the journal.
    fn flush(&mut self) -> Result<(), WriteError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let result = self.journal.append(&self.lines);
        self.lines.clear();
        result.map_err(WriteError::at(&self.shelf.folder.join(JOURNAL)))
    }

    /// Puts the files of what was committed in place, and shortens the journal where it can be.
    fn settle(&mut self) -> Result<(), WriteError> {
        if !self.ready.is_empty() {
            sync(&self.ready)?;
            let unused = place(
                std::mem::take(&mut self.ready),
                &self.shelf,
                &mut self.lines,
            )?;
            self.remove_sides(&unused)?;
        }
        let path = self.shelf.folder.join(JOURNAL);
        if self.open.is_empty() {
            self.lines.clear();
            if self.journal.len() > 0 {
                self.journal.clear().map_err(WriteError::at(&path))?;
            }
            self.long_journal = LONG_JOURNAL;
        } else if self.journal.len() > self.long_journal {
            self.lines.clear();
            let mut lines = Vec::new();
            for (&id, intake) in &self.open {
                for event in intake.draft.events() {
                    Line { id, event }.write(&mut lines);
                }
            }
            // Where the exchanges under way are large themselves, the next time comes later.
            self.long_journal = LONG_JOURNAL.max(2 * lines.len() as u64);
            self.journal
                .replace(&self.shelf.folder, &lines)
                .map_err(WriteError::at(&path))?;
        }
        Ok(())
    }

    /// Stops recording at the first thing that can't be written.
    fn check(&mut self, result: Result<(), WriteError>) {
        let Err(failure) = result else { return };
        if self.queue.stopped().is_none() {
            error!("recording stopped: {failure}; what passes is not recorded any more");
        }
        self.queue.stop(failure.to_string());
        self.lines.clear();
        self.open.clear();
        self.ready.clear();
    }
}

/// Says that the writer came to its end, however it did.
pub(crate) struct Done(Arc<Queue>);

impl Done {
    /// When it is dropped.
    pub(crate) fn of(queue: &Arc<Queue>) -> Self {
        Self(Arc::clone(queue))
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop("the writer failed".to_owned());
        }
        self.0.done();
    }
}

fn id_of(message: &Message) -> Option<u64> {
    match message {
        Message::Begin(id, _)
        | Message::RequestBody(id, _)
        | Message::TooLarge(id)
        | Message::Protocol(id, _)
        | Message::Head(id, ..)
        | Message::Chunk(id, _)
        | Message::Trailers(id, _)
        | Message::End(id, _)
        | Message::Discard(id) => Some(*id),
        Message::Settle(_) => None,
    }
}

/// 64 MiB: beyond it a journal that is never empty is written anew.
const LONG_JOURNAL: u64 = 64 * 1024 * 1024;
