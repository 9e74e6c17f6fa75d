//! The stream of batches, window by window.

use std::sync::Arc;

use super::{
    Batch, BatchError, BatchOptions, Position,
    order::{self, SplitMix64},
    rows::{self, Rows},
};
use crate::{Dataset, Encoded, Encoder, IGNORED};

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

    /// The data set.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
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
