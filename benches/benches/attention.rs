//! Attention forward and backward in GFLOP/s, decode and cache_append in GB/s.
//!
//! FLOPs are those of the matrix products under the causal mask, which hides about half of the scores: forward
//! `2 * 2 * B * Hq * D * T * (T + 1) / 2`, backward two and a half times as many, whatever a kernel recomputes.
//! Decode's bytes are the keys and values that count.

use std::hint::black_box;
use std::time::Duration;

use anylora_benches::device;
use anylora_engine::ops::{self, AttentionInput};
use anylora_engine::{DType, Mask, MemoryKind, Result, Tensor};
use anylora_engine_wgpu::Wgpu;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
