//! Batches: shuffled, padded or packed, and resumable at any of them.
//!
//! Examples are taken in the epoch's order, a window of a few dozen batches at a time. Within a window, examples
//! of like length share a batch, or short ones share a row (packing). What fills no whole batch goes into the
//! next window. All of it follows from the seed and the [`Position`], so a resumed stream continues with the
//! same batches.

mod order;
mod rows;
mod stream;

use serde::{Deserialize, Serialize};

use crate::{DataError, EncodeError};
pub use stream::Batches;

/// Why there is no batch.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// A record can't be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A record can't become tokens.
    #[error("{file}:{line}: {error}")]
    Encode {
        /// The data file.
        file: String,
        /// The record's line.
        line: u64,
        /// What is wrong.
        error: EncodeError,
    },
    /// A whole epoch has nothing to train.
    #[error("{file}: none of the {records} records has a trained token; the first is on line {line}")]
    NothingTrained {
        /// The data file.
        file: String,
        /// Records in it.
        records: usize,
        /// The first record's line.
        line: u64,
    },
    /// A position that is not this data set's.
    #[error("{file}: the position to resume at names record {record}, but there are {records}")]
    Position {
        /// The data file.
        file: String,
        /// The position's record.
        record: usize,
        /// Records in the file.
        records: usize,
    },
}

impl BatchError {
    /// One line that says what to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Data(error) => error.hint(),
            Self::Encode { error, .. } => error.hint(),
            Self::NothingTrained { file, .. } => Some(format!("anylora check-data {file} --model MODEL")),
            Self::Position { .. } => Some("resume with the data file that the run began with".into()),
        }
    }
}

/// How examples become batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// Rows in a batch.
    pub batch_size: usize,
    /// Share rows between short examples, each row at most this many tokens; `None` pads instead.
    pub packing: Option<usize>,
    /// The seed of the order; `None` keeps the file's order.
    pub shuffle: Option<u64>,
    /// What fills rows. It is never trained.
    pub pad_id: u32,
    /// Rows are padded to a multiple of this.
    pub pad_to_multiple_of: usize,
}

/// One batch, `rows` x `length`, row-major.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The epoch that it belongs to, from 0.
    pub epoch: u64,
    /// Whether it is the epoch's last one.
    pub last_of_epoch: bool,
    /// Rows.
    pub rows: usize,
    /// Tokens in a row, padding included.
    pub length: usize,
    /// Token ids, `[rows, length]`.
    pub input_ids: Vec<u32>,
    /// The id that each position has to give, `[rows, length]`: shifted, so the next token's label, and
    /// [`crate::IGNORED`] where that is not trained, is padding, or belongs to another example.
    pub labels: Vec<i32>,
    /// Place of each token in its example, `[rows, length]`.
    pub positions: Vec<u32>,
    /// The example of each token, counted within the row, padding as one more, `[rows, length]`. Attention
    /// stays within a segment. `None` where rows hold one example each: causality keeps its padding out.
    pub segments: Option<Vec<u32>>,
    /// Labels that count.
    pub trained_tokens: usize,
    /// Tokens that are no padding.
    pub tokens: usize,
    /// The records in it, row by row.
    pub records: Vec<usize>,
}

/// Where a stream of batches is. Everything that comes after follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: u64,
    /// How many records of the epoch's order lie before the window.
    pub window: usize,
    /// Records from before the window that have found no batch yet.
    pub carried: Vec<usize>,
    /// Batches of the window that are out.
    pub batch: usize,
}
