use crate::DType;

/// What an operation or a device can answer instead of a result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// An argument has a shape that the operation can't take.
    #[error("{op}: {argument} should be {expected}, found {found:?}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The argument's name.
        argument: &'static str,
        /// The shape wanted, in the names of the operation's doc comment.
        expected: String,
        /// The shape passed.
        found: Vec<usize>,
    },
    /// An argument has an element type that the operation can't take.
    #[error("{op}: {argument} should be {expected}, found {found}")]
    DType {
        /// The operation.
        op: &'static str,
        /// The argument's name.
        argument: &'static str,
        /// The types wanted.
        expected: &'static str,
        /// The type passed.
        found: DType,
    },
    /// A setting of the operation is out of its range.
    #[error("{op}: {what}")]
    Argument {
        /// The operation.
        op: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The device refused an allocation. What the failed step held is free again.
    #[error(
        "out of device memory: {requested} bytes wanted, {live} bytes in use, {peak} bytes at the highest ({reason}); \
         a smaller --batch-size or --max-length needs less"
    )]
    OutOfMemory {
        /// Bytes asked for.
        requested: u64,
        /// Bytes in use when it was asked for.
        live: u64,
        /// The most bytes that were in use at once.
        peak: u64,
        /// Who refused, and its limit where it's known.
        reason: String,
    },
    /// One row (or one sequence) is larger than what the device can bind at once.
    #[error("{op}: one {unit} takes {bytes} bytes and the device binds at most {limit} at once")]
    BindingLimit {
        /// The operation.
        op: &'static str,
        /// What can't be split further.
        unit: &'static str,
        /// Its size.
        bytes: u64,
        /// The device's limit.
        limit: u64,
    },
    /// The device is gone (driver reset, unplugged, destroyed): open it again.
    #[error("the device was lost: {0}")]
    DeviceLost(String),
    /// The driver or the API rejected a command, or a kernel failed.
    #[error("the device reported an error: {0}")]
    Device(String),
    /// The engine has no kernel for this.
    #[error("{op}: {what} is not supported by {engine}")]
    Unsupported {
        /// The operation.
        op: &'static str,
        /// What was asked for.
        what: String,
        /// The engine's name.
        engine: String,
    },
    /// A tensor was read before anything was written to it.
    #[error("{0}: a tensor was read before it was written")]
    Uninitialised(&'static str),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An [`Error::Shape`], to be returned by a check.
pub(crate) fn shape_error(
    op: &'static str,
    argument: &'static str,
    expected: impl Into<String>,
    found: &[usize],
) -> Error {
    Error::Shape {
        op,
        argument,
        expected: expected.into(),
        found: found.to_vec(),
    }
}
