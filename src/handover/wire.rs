//! Lines, and file descriptors with them, over a Unix domain socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Sends a line, and these with its first byte.
pub(super) async fn send(
    stream: &UnixStream,
    line: &str,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let line = format!("{line}\n");
    let mut rest = line.as_bytes();
    let mut fds = fds;
    while !rest.is_empty() {
        let sent = stream
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
                    return Err(io::Error::other(format!(
                        "{} listeners, expected at most {MAX_FDS}",
                        fds.len()
                    )));
                }
                let flags = SendFlags::NOSIGNAL;
                Ok(sendmsg(
                    stream,
                    &[IoSlice::new(rest)],
                    &mut ancillary,
                    flags,
                )?)
            })
            .await?;
        fds = &[];
        rest = &rest[sent..];
    }
    Ok(())
}

/// Receives a line, and what came with it.
pub(super) async fn receive(stream: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut line = Vec::new();
    let mut fds = Vec::new();
    while !line.ends_with(b"\n") {
        let mut bytes = [0; 4096];
        let count = stream
            .async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
                let mut ancillary = RecvAncillaryBuffer::new(&mut space);
                let mut into = [IoSliceMut::new(&mut bytes)];
                let flags = RecvFlags::CMSG_CLOEXEC;
                let received = recvmsg(stream, &mut into, &mut ancillary, flags)?;
                for message in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(received) = message {
                        fds.extend(received);
                    }
                }
                Ok(received.bytes)
            })
            .await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.extend_from_slice(&bytes[..count]);
        if line.len() > MAX_LINE {
            return Err(io::Error::other(format!(
                "a line of more than {MAX_LINE} bytes"
            )));
        }
    }
    line.pop();
    let line = String::from_utf8(line).map_err(io::Error::other)?;
    Ok((line, fds))
}

/// Receives a line with which nothing comes.
pub(super) async fn receive_line(stream: &UnixStream) -> io::Result<String> {
    Ok(receive(stream).await?.0)
}

/// How many listeners are passed on at most.
const MAX_FDS: usize = 16;

/// In bytes: a path may have 4 KiB, and more where it is not ASCII; how one fault rule stands takes up to 1.5 KiB.
const MAX_LINE: usize = 16 * 1024 * 1024;
