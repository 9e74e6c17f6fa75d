//! Datasets, chat templates, tokenizer, loss mask, packing, batches.
