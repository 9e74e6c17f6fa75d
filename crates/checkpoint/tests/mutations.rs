//! Mutated files: flipped bits, cuts, splices and overwritten lengths never make a parser panic, and never make it hold
//! more than the file's own size warrants.

mod files;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use anylora_checkpoint::{Adapter, Checkpoint, CheckpointError, Result, ShardReader};
use files::{tiny, tiny_files};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

/// The system's allocator, counting what each thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: isize) {
    // A thread that is ending has no counter any more.
    let _ = HELD.try_with(|held| {
        let (now, peak) = held.get();
        held.set((now + bytes, peak.max(now + bytes)));
    });
}

// SAFETY: every call goes to the system's allocator with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `work` holds at once on this thread beyond what was held before.
fn peak(work: impl FnOnce()) -> usize {
    let before = HELD.get().0;
    HELD.set((before, before));
    work();
    usize::try_from(HELD.get().1 - before).unwrap_or(0)
}

#[derive(Debug, Clone)]
enum Mutation {
    Flip {
        at: usize,
        bit: u8,
    },
    Set {
        at: usize,
        byte: u8,
    },
    /// A length, count or offset.
    Word {
        at: usize,
        word: u64,
    },
    Cut {
        len: usize,
    },
    Splice {
        from: usize,
        to: usize,
        len: usize,
    },
    Remove {
        at: usize,
        len: usize,
    },
}

fn mutation() -> impl Strategy<Value = Mutation> {
    // Half of the places are near the start, where the headers are.
    let at = || prop_oneof![0..200usize, any::<usize>()];
    let word = prop_oneof![
        Just(u64::MAX),
        Just(1 << 63),
        Just(1 << 40),
        Just(1 << 31),
        0..70_000u64,
        any::<u64>()
    ];
    prop_oneof![
        3 => (at(), 0..8u8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        3 => (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set { at, byte }),
        2 => (at(), word).prop_map(|(at, word)| Mutation::Word { at, word }),
        1 => any::<usize>().prop_map(|len| Mutation::Cut { len }),
        1 => (at(), at(), 1..300usize).prop_map(|(from, to, len)| Mutation::Splice { from, to, len }),
        1 => (at(), 1..300usize).prop_map(|(at, len)| Mutation::Remove { at, len }),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutations: &[Mutation]) {
    for mutation in mutations {
        let n = bytes.len();
        if n == 0 {
            return;
        }
        match *mutation {
            Mutation::Flip { at, bit } => bytes[at % n] ^= 1 << bit,
            Mutation::Set { at, byte } => bytes[at % n] = byte,
            Mutation::Word { at, word } => {
                let at = at % n;
                let end = (at + 8).min(n);
                bytes[at..end].copy_from_slice(&word.to_le_bytes()[..end - at]);
            }
            Mutation::Cut { len } => bytes.truncate(len % n),
            Mutation::Splice { from, to, len } => {
                let from = from % n;
                let piece = bytes[from..(from + len).min(n)].to_vec();
                let to = to % n;
                bytes.splice(to..to, piece);
            }
            Mutation::Remove { at, len } => {
                let at = at % n;
                bytes.drain(at..(at + len).min(n));
            }
        }
    }
}

/// Uses everything that an opened checkpoint offers.
fn exercise(checkpoint: Result<Checkpoint>) {
    match checkpoint {
        Ok(checkpoint) => {
            let names: Vec<_> = checkpoint.names().collect();
            for name in names {
                let info = checkpoint.info(name);
                // Errors are fine: a type may have become one that no weight has.
                if let Ok(tensor) = checkpoint.read(name) {
                    assert_eq!(tensor.to_f32().len(), tensor.len());
                    assert!(info.is_ok_and(|info| info.shape == tensor.shape));
                }
            }
            let _ = (checkpoint.tokenizer_json(), checkpoint.chat_template());
        }
        Err(error) => assert!(!error.to_string().is_empty() && error.hint().is_some()),
    }
}

/// Runs `work` and holds its memory to a multiple of the files' size: parsed JSON and dequantized tensors are larger
/// than their bytes, by small factors.
fn check(size: usize, work: impl FnOnce()) -> std::result::Result<(), TestCaseError> {
    let peak = peak(work);
    prop_assert!(
        peak <= 64 * size + (1 << 20),
        "{peak} bytes for {size} bytes of files"
    );
    Ok(())
}

fn fixture(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/gguf");
    std::fs::read(Path::new(path).join(name)).unwrap_or_default()
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    vec(mutation(), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gguf_tokenizer(mutations in mutations()) {
        let mut bytes = fixture("spm.gguf");
        mutate(&mut bytes, &mutations);
        check(bytes.len(), || exercise(Checkpoint::from_gguf("mutated.gguf", bytes.into())))?;
    }

    #[test]
    fn gguf_tensors(mutations in mutations()) {
        let mut bytes = fixture("tiny-llama.gguf");
        // The metadata and the table of tensors are in the first 40 KB.
        let mut head: Vec<u8> = bytes.drain(..40_000).collect();
        mutate(&mut head, &mutations);
        head.append(&mut bytes);
        check(head.len(), || exercise(Checkpoint::from_gguf("mutated.gguf", head.into())))?;
    }

    #[test]
    fn safetensors(mutations in mutations()) {
        let mut files = tiny_files("tiny-mistral");
        let mut bytes = files["model.safetensors"].to_vec();
        mutate(&mut bytes, &mutations);
        let size = bytes.len();
        files.insert("model.safetensors".into(), bytes.into());
        check(size, || exercise(Checkpoint::from_files(files)))?;
    }

    #[test]
    fn quant_state(mutations in mutations(), weight in 0..14usize) {
        let mut files = tiny_files("tiny-llama-bnb-nf4");
        let (mut header, mut data) = files::split(&files["model.safetensors"]);
        let states: Vec<_> = header.keys().filter(|name| name.contains("quant_state")).cloned().collect();
        let name = &states[weight % states.len()];
        // The state goes to the end, where its length may change.
        let mut state = br#"{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [128, 320], "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.2}"#.to_vec();
        mutate(&mut state, &mutations);
        let at = |value: &serde_json::Value| value.as_u64().unwrap_or_default() as usize;
        let offsets = &header[name.as_str()]["data_offsets"];
        let (start, end) = (at(&offsets[0]), at(&offsets[1]));
        data.splice(start..end, state.clone());
        for entry in header.values_mut().filter_map(|entry| entry.get_mut("data_offsets")) {
            for offset in entry.as_array_mut().into_iter().flatten() {
                if at(offset) >= end {
                    *offset = (at(offset) + state.len() - (end - start)).into();
                }
            }
        }
        header[name.as_str()]["shape"] = vec![state.len()].into();
        let bytes = files::with_header(&header, &data);
        let size = bytes.len();
        files.insert("model.safetensors".into(), bytes.into());
        check(size, || exercise(Checkpoint::from_files(files)))?;
    }

    #[test]
    fn config_and_tokenizer_files(mutations in mutations(), which in 0..4usize) {
        let mut files = tiny_files("tiny-qwen3");
        let name = ["config.json", "generation_config.json", "tokenizer_config.json", "chat_template.jinja"][which];
        let mut bytes = files[name].to_vec();
        mutate(&mut bytes, &mutations);
        let size: usize = files.values().map(|file| file.len()).sum();
        files.insert(name.into(), bytes.into());
        check(size, || exercise(Checkpoint::from_files(files)))?;
    }

    #[test]
    fn adapter(of_config in mutations(), of_weights in mutations(), which in 0..3usize) {
        let path = tiny("tiny-mistral").join("reference/adapter_init");
        let read = |name: &str| std::fs::read(path.join(name)).unwrap_or_default();
        let (mut config, mut weights) = (read("adapter_config.json"), read("adapter_model.safetensors"));
        if which != 0 {
            mutate(&mut config, &of_config);
        }
        if which != 1 {
            mutate(&mut weights, &of_weights);
        }
        check(config.len() + weights.len(), || {
            match Adapter::from_bytes(&config, &weights) {
                Ok(adapter) => {
                    let again = Adapter::from_bytes(adapter.config.to_json().as_bytes(), &adapter.weights_bytes());
                    assert!(again.is_ok());
                }
                Err(error) => assert!(!error.to_string().is_empty() && error.hint().is_some()),
            }
        })?;
    }

    #[test]
    fn shard_that_arrives(mutations in mutations(), size in 16..5000usize, off in -2..3isize) {
        let mut bytes = tiny_files("tiny-llama")["model.safetensors"].to_vec();
        mutate(&mut bytes, &mutations);
        let len = bytes.len().saturating_add_signed(off);
        check(bytes.len(), || {
            let names = |size: usize| {
                let mut reader = ShardReader::new("model.safetensors", len);
                let mut names: Vec<(String, usize)> = Vec::new();
                for piece in bytes.chunks(size.max(1)) {
                    reader.push(piece, |piece| {
                        if piece.offset == 0 {
                            names.push((piece.name.into(), 0));
                        }
                        let Some((_, held)) = names.last_mut() else { panic!("a piece before its first") };
                        assert_eq!(*held, piece.offset);
                        *held += piece.bytes.len();
                        assert_eq!(piece.is_last(), *held == piece.len);
                        Ok::<_, CheckpointError>(())
                    })?;
                }
                reader.finish().map(|()| names)
            };
            match (names(size), names(bytes.len())) {
                (Ok(pieces), Ok(whole)) => assert_eq!(pieces, whole),
                (pieces, whole) => assert!(pieces.is_err() && whole.is_err()),
            }
        })?;
    }
}
