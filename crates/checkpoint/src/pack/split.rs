//! Tensors that are larger than a shard: the names of their parts, and the way back.

use std::collections::BTreeMap;

use crate::shards::Place;
use crate::{Problem, Problems, Result};

/// `T.part-00002-of-00003` for the second part, `i` counting from 0.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn part_name(tensor: &str, i: usize, count: usize) -> String {
    format!("{tensor}.part-{:05}-of-{count:05}", i + 1)
}

/// The tensor, the number from 1 and the count of a split tensor's part (`T.part-00002-of-00003`), from its name.
pub fn split_part(name: &str) -> Option<(&str, usize, usize)> {
    let (rest, count) = name.rsplit_once("-of-")?;
    let (tensor, number) = rest.rsplit_once(".part-")?;
    let five = |digits: &str| {
        let is_number = digits.len() == 5 && digits.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    Some((tensor, five(number)?, five(count)?))
}

/// Replaces the parts of split tensors by the tensors.
///
/// # Errors
/// [`crate::CheckpointError::Malformed`] with every tensor of which a part is missing or does not fit the first.
pub(crate) fn join(tensors: &mut BTreeMap<String, Place>) -> Result<()> {
    // By tensor, and in a map by name the parts come in order.
    let mut found: BTreeMap<String, Vec<(usize, usize, String)>> = BTreeMap::new();
    for name in tensors.keys() {
        if let Some((tensor, number, count)) = split_part(name) {
            let parts = found.entry(tensor.to_owned()).or_default();
            parts.push((number, count, name.clone()));
        }
    }
    let mut problems = Problems::default();
    for (tensor, parts) in found {
        let places = parts.iter().filter_map(|(.., name)| tensors.remove(name));
        let places: Vec<Place> = places.collect();
        let Some(file) = places.first().map(|place| place.file.clone()) else {
            continue;
        };
        let count = parts[0].1;
        let in_order = parts.iter().zip(1..);
        let complete = parts.len() == count
            && in_order
                .into_iter()
                .all(|((number, of, _), i)| (*number, *of) == (i, count));
        let joined = complete.then(|| fitted(places)).flatten();
        let place = format!("tensor `{tensor}`");
        match joined {
            Some(joined) => {
                if tensors.insert(tensor, joined).is_some() {
                    let expected = "it whole or in parts";
                    problems.0.push(Problem::new(&file, place, expected, "both"));
                }
            }
            None => problems.0.push(Problem::new(
                &file,
                place,
                format!("{count} parts of one type and row, numbered from 1"),
                match complete {
                    true => "parts of several".to_owned(),
                    false => format!("{} parts", parts.len()),
                },
            )),
        }
    }
    problems.into_result()
}

/// One tensor of parts that agree in everything but their first dimension.
fn fitted(parts: Vec<Place>) -> Option<Place> {
    let mut parts = parts.into_iter();
    let mut whole = parts.next()?;
    whole.shape.first()?;
    for part in parts {
        if part.dtype != whole.dtype || part.shape.get(1..) != whole.shape.get(1..) {
            return None;
        }
        whole.shape[0] = whole.shape[0].checked_add(*part.shape.first()?)?;
        whole.pieces.extend(part.pieces);
    }
    // What readers multiply later.
    let count = whole.shape.iter();
    count.copied().try_fold(1usize, usize::checked_mul)?;
    Some(whole)
}
