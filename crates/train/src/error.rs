use std::path::{Path, PathBuf};

/// Why a run didn't start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The device or an operation.
    #[error(transparent)]
    Engine(#[from] anylora_engine::Error),
    /// A file of the run folder.
    #[error("{}: {what}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What happened.
        what: String,
    },
    /// The run folder holds a run already.
    #[error("{} holds a run already", path.display())]
    RunExists {
        /// The folder.
        path: PathBuf,
    },
    /// The file has results already.
    #[error("{} holds results already", path.display())]
    ResultsExist {
        /// The file.
        path: PathBuf,
    },
    /// Results of another evaluation.
    #[error("{}:{line}: these are no results of this evaluation: {what}", path.display())]
    OtherResults {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What differs.
        what: String,
    },
    /// There is no checkpoint to go on from.
    #[error("{} has no run to resume", path.display())]
    NothingToResume {
        /// The folder.
        path: PathBuf,
    },
    /// A checkpoint of another adapter, model or data.
    #[error("{}: the checkpoint doesn't fit this run: {what}", path.display())]
    CheckpointMismatch {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// A checkpoint that can't be read.
    #[error("{}: the checkpoint can't be read: {what}", path.display())]
    BrokenCheckpoint {
        /// Its file.
        path: PathBuf,
        /// What happened.
        what: String,
    },
    /// The data has changed since the run began.
    #[error("{file} is not the data that the run began with")]
    OtherData {
        /// The data file.
        file: String,
    },
    /// The data has nothing to train on.
    #[error("no example has a trained token")]
    NoTrainedTokens,
    /// Ten steps in a row gave no finite loss or gradient.
    #[error(
        "step {step}: the loss or the gradients were not finite ten steps in a row; the last good checkpoint is kept"
    )]
    NotFinite {
        /// The last of them.
        step: usize,
    },
    /// The model, or the layers that should get an adapter.
    #[error(transparent)]
    Model(#[from] anylora_models::ModelError),
    /// An adapter to start from.
    #[error("the adapter can't be trained on: {0}")]
    Adapter(String),
    /// A file of the adapter.
    #[error(transparent)]
    Checkpoint(#[from] anylora_checkpoint::CheckpointError),
    /// A data file.
    #[error(transparent)]
    DataFile(#[from] anylora_data::DataError),
    /// A format's name.
    #[error(transparent)]
    Format(#[from] anylora_data::UnknownFormatName),
    /// The tokenizer or the chat template.
    #[error(transparent)]
    Encode(#[from] anylora_data::EncodeError),
    /// Data that is no classification task.
    #[error(transparent)]
    Task(#[from] crate::evaluation::TaskError),
    /// Runs that can't be compared.
    #[error("{0}")]
    Compare(String),
    /// The data.
    #[error(transparent)]
    Data(#[from] anylora_data::BatchError),
}

impl TrainError {
    /// One line that says what to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::RunExists { path } => Some(format!(
                "--resume --out {} goes on with it; or give --out another folder",
                path.display()
            )),
            Self::ResultsExist { path } => Some(format!(
                "--resume --out {} goes on with them; or give --out another file",
                path.display()
            )),
            Self::OtherResults { .. } => Some("give --out another file".to_owned()),
            Self::NothingToResume { .. } => Some("leave --resume out to start one".to_owned()),
            Self::BrokenCheckpoint { path, .. } | Self::CheckpointMismatch { path, .. } => {
                let folder = path.parent().unwrap_or(path).display();
                Some(format!(
                    "remove the folder {folder}: --resume goes on from the checkpoint before it, or else from the start"
                ))
            }
            Self::OtherData { .. } => {
                Some("put the file back as it was, or start another run: --out FOLDER".to_owned())
            }
            Self::NoTrainedTokens => {
                Some("anylora check-data FILE --model M shows what would be trained".to_owned())
            }
            Self::NotFinite { .. } => Some("start again with a lower --lr, or with --dtype f32".to_owned()),
            Self::Model(error) => error.hint(),
            Self::Checkpoint(error) => error.hint(),
            Self::DataFile(error) => error.hint(),
            Self::Encode(error) => error.hint(),
            Self::Data(error) => error.hint(),
            _ => None,
        }
    }

    /// A checkpoint's file that can't be read.
    pub(crate) fn broken(path: &Path, error: impl std::fmt::Display) -> Self {
        Self::BrokenCheckpoint {
            path: path.to_owned(),
            what: error.to_string(),
        }
    }

    /// An error of a file operation.
    pub(crate) fn file(path: &Path, error: impl std::fmt::Display) -> Self {
        Self::File {
            path: path.to_owned(),
            what: error.to_string(),
        }
    }
}
