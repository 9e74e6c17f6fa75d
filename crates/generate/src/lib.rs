//! Prefill, KV cache, sampling, streaming text.
