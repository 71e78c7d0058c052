//! Reads all recordings of a cassette, on all cores, and says how far it came where that takes time.

use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use tracing::info;

/// Looks at each name, in pieces and on several threads, and hands what was seen to `take`, on this thread. The order is
/// that of the names within a piece, and nearly so between pieces.
pub(crate) fn each<T: Send>(
    folder: &Path,
    names: &[String],
    look: impl Fn(&str) -> T + Sync,
    mut take: impl FnMut(T),
) {
    if names.len() <= PIECE {
        return names.iter().for_each(|name| take(look(name)));
    }
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.min(MAX_THREADS).min(names.len().div_ceil(PIECE));
    let next = AtomicUsize::new(0);
    let (sender, receiver) = sync_channel::<Vec<T>>(2 * threads);
    let mut progress = Progress::new(folder, names.len());
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, look) = (sender.clone(), &next, &look);
            scope.spawn(move || {
                loop {
                    let piece = next.fetch_add(1, Ordering::Relaxed);
                    let names = names.chunks(PIECE).nth(piece).unwrap_or_default();
                    let seen = names.iter().map(|name| look(name)).collect();
                    // The receiver stays until all senders are gone.
                    if names.is_empty() || sender.send(seen).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for seen in receiver {
            progress.add(seen.len());
            seen.into_iter().for_each(&mut take);
        }
    });
    progress.end();
}

/// Tells how far it came, once a second.
struct Progress<'a> {
    folder: &'a Path,
    done: usize,
    total: usize,
    began: Instant,
    told: Option<Instant>,
}

impl<'a> Progress<'a> {
    fn new(folder: &'a Path, total: usize) -> Self {
        Self {
            folder,
            done: 0,
            total,
            began: Instant::now(),
            told: None,
        }
    }

    fn add(&mut self, count: usize) {
        self.done += count;
        if self.told.unwrap_or(self.began).elapsed() >= EVERY && self.done < self.total {
            self.told = Some(Instant::now());
            self.tell();
        }
    }

    /// Nothing is told at the end of what took no time.
    fn end(&self) {
        if self.told.is_some() {
            self.tell();
        }
    }

    fn tell(&self) {
        let (done, total) = (self.done, self.total);
        info!(
            "reading {}: {done} of {total} recordings",
            self.folder.display()
        );
    }
}

/// How many files a thread takes at a time; up to so many, a second thread costs more than it gives.
const PIECE: usize = 128;

/// More don't read faster from one disk.
const MAX_THREADS: usize = 8;

/// How often progress is told, and how long something takes before any is.
const EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_looked_at_once() {
        for count in [0, 1, PIECE, PIECE + 1, 1000, 10_000] {
            let names: Vec<_> = (0..count).map(|index| format!("{index}")).collect();
            let mut seen = Vec::new();
            each(
                Path::new("x"),
                &names,
                |name| name.parse::<usize>().unwrap(),
                |index| seen.push(index),
            );
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }
}
