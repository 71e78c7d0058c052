//! Memory of recordings: a directory with one JSON file per recording, side files for what is binary or large, and
//! one journal.
//!
//! Writing belongs to one thread of its own: the flow hands over what passes through a [`Ticket`], which never waits and
//! never fails, and the thread redacts, journals, and makes the files. *Committed in the journal means finished.*
//! Reading goes through an index without bodies, and a bounded memory of what was used last. It knows nothing of
//! routes or modes: the rules by which a request is keyed are handed in.

mod item;
mod side;

mod encoded;

mod recording;

mod files;
mod format;
mod names;
mod playback;

mod error;
mod id;

mod entry;
mod index;
mod memory;
mod near;
mod scan;
mod shelf;

mod refresh;
mod watch;

mod draft;
mod event;
mod journal;
mod recover;

mod asked;
mod coding;
mod filing;
mod intake;
mod opening;
mod policy;
mod queue;
mod spool;
mod ticket;
mod wire;
mod writer;

mod store;

pub use encoded::{Again, Encoded, Flaw, Playback, WireChunk};
pub use entry::{Entry, Keying};
pub use error::CassetteError;
pub use format::BrokenFile;
pub use id::RecordingId;
pub use item::{Direction, Item, ItemBody, ItemKind};
pub use memory::MemoryStats;
pub use queue::{Begin, Claim};
pub use recording::{Matching, Play, RecordedBody, Recording};
pub use side::SideFile;
pub use store::{Access, Cassette};
pub use ticket::Ticket;

#[cfg(test)]
mod tests;
