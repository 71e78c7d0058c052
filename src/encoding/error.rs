//! What goes wrong with encodings.

/// Why a body could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// The sender used an encoding that is not known here.
    #[error("unknown content encoding `{0}`, expected gzip, deflate, br, zstd or identity")]
    Unsupported(String),
    /// The body is not what its encoding claims, or it ends early.
    #[error("the body is not valid {0}")]
    Broken(String),
    /// The decoded body is larger than this many bytes.
    #[error("the decoded body is larger than {0} bytes")]
    TooLarge(usize),
    /// The encoder failed; with what it said.
    #[error("the encoder failed: {0}")]
    Impossible(String),
}
