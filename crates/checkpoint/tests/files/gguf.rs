//! GGUF files of a few bytes.

fn raw_text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A metadata value: its type and bytes.
pub fn text(text: &str) -> Vec<u8> {
    [&8u32.to_le_bytes()[..], &raw_text(text)].concat()
}

pub fn texts(texts: &[String]) -> Vec<u8> {
    let items = texts.iter().flat_map(|text| raw_text(text));
    let len = (texts.len() as u64).to_le_bytes();
    [9u32, 8]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .chain(len)
        .chain(items)
        .collect()
}

pub fn number(number: u32) -> Vec<u8> {
    [4u32.to_le_bytes(), number.to_le_bytes()].concat()
}

pub fn float(number: f32) -> Vec<u8> {
    [6u32.to_le_bytes(), number.to_le_bytes()].concat()
}

/// A file of metadata and of tensors (name, type, dimensions as GGUF orders them, bytes).
pub fn file(metadata: &[(String, Vec<u8>)], tensors: &[(&str, u32, &[u64], &[u8])]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        out.extend(raw_text(key));
        out.extend(value);
    }
    let mut offset = 0;
    for (name, kind, dimensions, bytes) in tensors {
        out.extend(raw_text(name));
        out.extend((dimensions.len() as u32).to_le_bytes());
        out.extend(dimensions.iter().flat_map(|size| size.to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += bytes.len().next_multiple_of(32);
    }
    for (.., bytes) in tensors {
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend_from_slice(bytes);
    }
    out
}
