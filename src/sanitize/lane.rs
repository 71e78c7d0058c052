//! Keeps account of which bytes came in which chunk while some of them are held, replaced or dropped.

use std::collections::VecDeque;

/// Chunks on their way out, in their order. Each comes out once, when all its bytes are decided.
#[derive(Clone, Debug)]
pub(super) struct Lane<T> {
    chunks: VecDeque<Pending<T>>,
    /// The first chunk that may have undecided bytes. All before it have none.
    current: usize,
}

#[derive(Clone, Debug)]
struct Pending<T> {
    tag: T,
    /// How many of its bytes are undecided.
    undecided: usize,
    out: Vec<u8>,
}

impl<T: Copy> Lane<T> {
    pub(super) fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            current: 0,
        }
    }

    /// A chunk of so many bytes has come.
    pub(super) fn open(&mut self, tag: T, length: usize) {
        self.chunks.push_back(Pending {
            tag,
            undecided: length,
            out: Vec::with_capacity(length),
        });
    }

    /// The next bytes stay as they are.
    pub(super) fn keep(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(chunk) = self.at() else { return };
            let (now, later) = bytes.split_at(bytes.len().min(chunk.undecided));
            chunk.undecided -= now.len();
            chunk.out.extend_from_slice(now);
            bytes = later;
        }
    }

    /// The next so many bytes are dropped.
    pub(super) fn skip(&mut self, mut count: usize) {
        while count > 0 {
            let Some(chunk) = self.at() else { return };
            let now = count.min(chunk.undecided);
            chunk.undecided -= now;
            count -= now;
        }
    }

    /// These bytes stand where the next undecided byte came.
    pub(super) fn insert(&mut self, bytes: &[u8]) {
        if let Some(chunk) = self.at() {
            chunk.out.extend_from_slice(bytes);
        }
    }

    /// The chunks that are decided.
    pub(super) fn ready(&mut self) -> Vec<(T, Vec<u8>)> {
        let mut ready = Vec::new();
        while self
            .chunks
            .front()
            .is_some_and(|chunk| chunk.undecided == 0)
        {
            ready.extend(self.chunks.pop_front().map(|chunk| (chunk.tag, chunk.out)));
        }
        self.current = 0;
        ready
    }

    fn at(&mut self) -> Option<&mut Pending<T>> {
        while self.chunks.get(self.current)?.undecided == 0 {
            self.current += 1;
        }
        self.chunks.get_mut(self.current)
    }
}
