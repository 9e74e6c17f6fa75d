//! Whole models against what transformers and PEFT computed (`tests/fixtures/tiny`).

mod forward;
mod goldens;
mod greedy;
mod tape;
mod training;
