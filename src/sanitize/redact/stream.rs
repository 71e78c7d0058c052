//! Redacts bodies on their way.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::Redacted;
use crate::sanitize::echo::EchoStream;
use crate::sanitize::members::Members;

/// Redacts a body that comes in chunks.
///
/// Each chunk comes out once, in order, under its own tag, as soon as all of it is decided; it may come out empty. A secret
/// that begins in one chunk and ends in another is replaced in the first. All that comes out, put together, is what
/// redacting all that went in would give, however it was cut. Held are the chunks with bytes that could still become a
/// part of a secret, so never more than one chunk and the longest spelling of a secret.
#[derive(Debug)]
pub struct StreamRedactor<T> {
    pub(super) members: Members,
    pub(super) echo: EchoStream<T>,
}

impl<T: Copy> StreamRedactor<T> {
    /// Takes the next chunk and gives those that are decided.
    pub fn push(&mut self, tag: T, bytes: &[u8]) -> Vec<(T, Redacted<Bytes>)> {
        let mut out = Vec::with_capacity(bytes.len());
        self.members.push(bytes, &mut out);
        redacted(self.echo.push(tag, out))
    }

    /// There is no more: gives the chunks that were held.
    pub fn finish(&mut self) -> Vec<(T, Redacted<Bytes>)> {
        self.members.finish();
        redacted(self.echo.finish())
    }

    /// Whether what came out so far is not what went in. Certain after [`StreamRedactor::finish`].
    pub fn changed(&self) -> bool {
        self.members.changed() || self.echo.changed()
    }

    /// The names of the rules that fired, sorted.
    pub fn applied(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.members.applied().chain(self.echo.applied()).collect();
        names.into_iter().cloned().collect()
    }
}

fn redacted<T>(chunks: Vec<(T, Vec<u8>)>) -> Vec<(T, Redacted<Bytes>)> {
    chunks
        .into_iter()
        .map(|(tag, bytes)| (tag, Redacted(Bytes::from(bytes))))
        .collect()
}
