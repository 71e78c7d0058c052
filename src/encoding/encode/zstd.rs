//! Zstandard, in one frame.

use std::io;

use ::zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation as _, OutBuffer};

use super::ROOM;
use crate::encoding::recipe::Flush;

/// An encoder of one frame.
pub(super) struct Zstd {
    encoder: Encoder<'static>,
}

impl Zstd {
    /// At a level, and with the size of all that is to be encoded, in bytes, where the frame has it.
    pub(super) fn new(level: u8, size: Option<u64>, has_checksum: bool) -> io::Result<Self> {
        let mut encoder = Encoder::new(i32::from(level))?;
        encoder.set_parameter(CParameter::ContentSizeFlag(size.is_some()))?;
        encoder.set_parameter(CParameter::ChecksumFlag(has_checksum))?;
        encoder.set_pledged_src_size(size)?;
        Ok(Self { encoder })
    }

    pub(super) fn run(&mut self, bytes: &[u8], flush: Flush, out: &mut Vec<u8>) -> io::Result<()> {
        let mut input = InBuffer::around(bytes);
        let mut room = vec![0; ROOM];
        while input.pos() < bytes.len() {
            let mut output = OutBuffer::around(room.as_mut_slice());
            self.encoder.run(&mut input, &mut output)?;
            out.extend_from_slice(output.as_slice());
        }
        if flush == Flush::None {
            return Ok(());
        }
        drain(out, |room| self.encoder.flush(room))
    }

    pub(super) fn finish(mut self, out: &mut Vec<u8>) -> io::Result<()> {
        drain(out, |room| self.encoder.finish(room, true))
    }
}

/// Until nothing is left inside.
fn drain(
    out: &mut Vec<u8>,
    mut step: impl FnMut(&mut OutBuffer<'_, [u8]>) -> io::Result<usize>,
) -> io::Result<()> {
    let mut room = vec![0; ROOM];
    loop {
        let mut output = OutBuffer::around(room.as_mut_slice());
        let left = step(&mut output)?;
        out.extend_from_slice(output.as_slice());
        if left == 0 {
            return Ok(());
        }
    }
}
