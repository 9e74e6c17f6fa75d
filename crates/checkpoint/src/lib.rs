//! Model and adapter files: safetensors, GGUF, config.json, PEFT adapters; bytes in, no printing.
