//! Batches: shuffled, padded or packed, and resumable at any of them.
//!
//! Examples are taken in the epoch's order, a window of a few dozen batches at a time. Within a window, examples
//! of like length share a batch, or short ones share a row (packing). What fills no whole batch goes into the
//! next window. All of it follows from the seed and the [`Position`], so a resumed stream continues with the
//! same batches.

mod order;
mod rows;

use std::sync::Arc;

use order::SplitMix64;
use rows::Rows;
use serde::{Deserialize, Serialize};

use crate::{DataError, Dataset, EncodeError, Encoded, Encoder, IGNORED};

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
    #[error(
        "{file}: none of the {records} records has a trained token; the first is on line {line} (hint: anylora check-data {file})"
    )]
    NothingTrained {
        /// The data file.
        file: String,
        /// Records in it.
        records: usize,
        /// The first record's line.
        line: u64,
    },
    /// A position that is not this data set's.
    #[error(
        "{file}: the position to resume at names record {record}, but there are {records} (hint: resume with the data file that the run began with)"
    )]
    Position {
        /// The data file.
        file: String,
        /// The position's record.
        record: usize,
        /// Records in the file.
        records: usize,
    },
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
    /// [`IGNORED`] where that is not trained, is padding, or belongs to another example.
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

/// Batches that a window makes, roughly.
const WINDOW_BATCHES: usize = 32;

/// An endless stream of batches, epoch after epoch.
#[derive(Debug)]
pub struct Batches {
    dataset: Arc<Dataset>,
    encoder: Arc<Encoder>,
    options: BatchOptions,
    position: Position,
    order: Vec<usize>,
    window: Option<Window>,
    skipped: Vec<usize>,
}

/// A window's examples and what becomes of them.
#[derive(Debug)]
struct Window {
    examples: Vec<(usize, Encoded)>,
    batches: Vec<Rows>,
    carried: Vec<usize>,
    /// Records of the order up to its end.
    end: usize,
}

impl Batches {
    /// A stream that starts at `position` (`Position::default()` for the beginning).
    ///
    /// # Errors
    /// A position that is outside of the data set.
    pub fn new(
        dataset: Arc<Dataset>,
        encoder: Arc<Encoder>,
        options: BatchOptions,
        position: Position,
    ) -> Result<Self, BatchError> {
        let records = dataset.len();
        let highest = position
            .carried
            .iter()
            .map(|record| record + 1)
            .chain([position.window])
            .max();
        if let Some(highest) = highest.filter(|highest| *highest > records) {
            return Err(BatchError::Position {
                file: dataset.name().to_owned(),
                record: highest,
                records,
            });
        }
        let order = order::epoch_order(records, options.shuffle, position.epoch);
        Ok(Self {
            dataset,
            encoder,
            options,
            position,
            order,
            window: None,
            skipped: Vec::new(),
        })
    }

    /// Where the next batch is.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The records that the latest epoch has skipped so far because nothing in them is trained.
    pub fn skipped(&self) -> &[usize] {
        &self.skipped
    }

    /// The next batch; after an epoch's last one, the next epoch's first.
    ///
    /// # Errors
    /// A record that can't be read or encoded; a data set with nothing to train.
    pub fn next_batch(&mut self) -> Result<Batch, BatchError> {
        let window = match self.window.take() {
            Some(window) => window,
            None => self.next_window()?,
        };
        let at = self.position.batch;
        let last_of_epoch = at + 1 == window.batches.len() && self.ends_epoch(&window);
        let Some(rows) = window.batches.get(at) else {
            return Err(self.position_error(window.end));
        };
        let mut batch = self.assemble(&window.examples, rows);
        batch.epoch = self.position.epoch;
        batch.last_of_epoch = last_of_epoch;
        if at + 1 < window.batches.len() {
            self.position.batch += 1;
            self.window = Some(window);
        } else if last_of_epoch {
            self.begin_epoch(self.position.epoch + 1);
        } else {
            let Position { epoch, .. } = self.position;
            self.position = Position {
                epoch,
                window: window.end,
                carried: window.carried,
                batch: 0,
            };
        }
        Ok(batch)
    }

    /// How many batches `epoch` has. Reads and encodes all of it.
    ///
    /// # Errors
    /// Those of [`Batches::next_batch`].
    pub fn count(&self, epoch: u64) -> Result<usize, BatchError> {
        let position = Position {
            epoch,
            ..Position::default()
        };
        let mut batches = Self::new(self.dataset.clone(), self.encoder.clone(), self.options, position)?;
        let mut count = 0;
        loop {
            let window = batches.next_window()?;
            count += window.batches.len();
            if batches.ends_epoch(&window) {
                return Ok(count);
            }
            batches.position = Position {
                epoch,
                window: window.end,
                carried: window.carried,
                batch: 0,
            };
        }
    }

    fn position_error(&self, record: usize) -> BatchError {
        BatchError::Position {
            file: self.dataset.name().to_owned(),
            record,
            records: self.dataset.len(),
        }
    }

    fn begin_epoch(&mut self, epoch: u64) {
        self.position = Position {
            epoch,
            ..Position::default()
        };
        self.order = order::epoch_order(self.dataset.len(), self.options.shuffle, epoch);
        self.skipped.clear();
    }

    fn ends_epoch(&self, window: &Window) -> bool {
        window.end == self.order.len() && window.carried.is_empty()
    }

    /// The window that starts at the position.
    fn next_window(&mut self) -> Result<Window, BatchError> {
        let BatchOptions {
            batch_size,
            packing,
            shuffle,
            ..
        } = self.options;
        let mut examples = Vec::new();
        for record in self.position.carried.clone() {
            examples.extend(self.encode(record)?);
        }
        let target = WINDOW_BATCHES * batch_size * packing.unwrap_or(1);
        let size = |encoded: &Encoded| {
            if packing.is_some() {
                encoded.input_ids.len()
            } else {
                1
            }
        };
        let mut filled: usize = examples.iter().map(|(_, encoded)| size(encoded)).sum();
        let mut end = self.position.window;
        // Records with nothing to train are passed over here, also those after the last one that fits, so that
        // an epoch's last window is known to be the last.
        while let Some(record) = self.order.get(end).copied() {
            match self.encode(record)? {
                Some(_) if filled >= target => break,
                Some(example) => {
                    filled += size(&example.1);
                    examples.push(example);
                }
                None => self.skipped.push(record),
            }
            end += 1;
        }
        if examples.is_empty() {
            let (file, records, line) = (
                self.dataset.name().to_owned(),
                self.dataset.len(),
                self.dataset.line(0),
            );
            return Err(BatchError::NothingTrained { file, records, line });
        }
        let lengths: Vec<usize> = examples
            .iter()
            .map(|(_, encoded)| encoded.input_ids.len())
            .collect();
        let mut random = shuffle.map(|seed| SplitMix64::at(seed, self.position.epoch, end as u64));
        let sort = random.is_some();
        let rows = match packing {
            Some(capacity) => rows::pack(&lengths, capacity, sort),
            None => rows::one_each(&lengths, sort),
        };
        let (batches, rest) = rows::batches(rows, batch_size, end == self.order.len(), random.as_mut());
        let carried = rest.into_iter().flatten().map(|at| examples[at].0).collect();
        Ok(Window {
            examples,
            batches,
            carried,
            end,
        })
    }

    /// A record's tokens; `None` where nothing in it is trained.
    fn encode(&self, record: usize) -> Result<Option<(usize, Encoded)>, BatchError> {
        let example = self.dataset.example(record)?;
        let encoded = self
            .encoder
            .encode(&example)
            .map_err(|error| BatchError::Encode {
                file: self.dataset.name().to_owned(),
                line: self.dataset.line(record),
                error,
            })?;
        Ok((encoded.trained_tokens() > 0).then_some((record, encoded)))
    }

    fn assemble(&self, examples: &[(usize, Encoded)], rows: &Rows) -> Batch {
        let row_length = |row: &Vec<usize>| {
            row.iter()
                .map(|&at| examples[at].1.input_ids.len())
                .sum::<usize>()
        };
        let longest = rows.iter().map(row_length).max().unwrap_or(0);
        let rounded = longest.next_multiple_of(self.options.pad_to_multiple_of.max(1));
        // Never past the longest example that the run allows: its memory was planned for that.
        let limit = self.options.packing.or(self.encoder.options().max_length);
        let length = limit.map_or(rounded, |limit| rounded.min(limit.max(longest)));
        let mut batch = Batch {
            rows: rows.len(),
            length,
            ..Batch::default()
        };
        let mut segments = Vec::new();
        for row in rows {
            for (segment, (record, encoded)) in row.iter().map(|&at| &examples[at]).enumerate() {
                let tokens = encoded.input_ids.len();
                batch.records.push(*record);
                batch.tokens += tokens;
                batch.trained_tokens += encoded.trained_tokens();
                batch.input_ids.extend(&encoded.input_ids);
                // Shifted within the example: its last token has nothing to give.
                batch.labels.extend(&encoded.labels[1..]);
                batch.labels.push(IGNORED);
                batch.positions.extend(0..tokens as u32);
                segments.extend(std::iter::repeat_n(segment as u32, tokens));
            }
            let padding = length - row_length(row);
            batch
                .input_ids
                .extend(std::iter::repeat_n(self.options.pad_id, padding));
            batch.labels.extend(std::iter::repeat_n(IGNORED, padding));
            batch.positions.extend(0..padding as u32);
            segments.extend(std::iter::repeat_n(row.len() as u32, padding));
        }
        batch.segments = self.options.packing.map(|_| segments);
        batch
    }
}
