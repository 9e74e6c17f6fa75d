//! The tensors that one weight consists of, held to what its state says.

use super::tensor;
use crate::shards::Place;
use crate::{Problem, Problems};

/// The parts of one weight and what is wrong with them.
pub(super) struct Parts<'a> {
    pub(super) weight: &'a str,
    pub(super) file: &'a str,
    pub(super) problems: Problems,
}

impl Parts<'_> {
    /// A part that must hold `bytes` bytes of any type.
    pub(super) fn container(&mut self, suffix: &str, place: Option<Place>, bytes: usize) -> Option<Place> {
        let expected = format!("{bytes} bytes, as the quant_state has it");
        self.checked(suffix, place, expected, |place| place.len() == bytes)
    }

    /// A part that must have `len` elements of a type.
    pub(super) fn part(
        &mut self,
        suffix: &str,
        place: Option<Place>,
        dtype: &str,
        len: usize,
    ) -> Option<Place> {
        self.checked(suffix, place, format!("{dtype} [{len}]"), |place| {
            place.dtype.name == dtype && place.shape.iter().product::<usize>() == len
        })
    }

    fn checked(
        &mut self,
        suffix: &str,
        place: Option<Place>,
        expected: String,
        fits: impl Fn(&Place) -> bool,
    ) -> Option<Place> {
        let found = match &place {
            Some(place) if fits(place) => None,
            Some(place) => Some(format!("{} {:?}", place.dtype.name, place.shape)),
            None => Some("no such tensor".into()),
        };
        let Some(found) = found else { return place };
        let file = place.map_or(self.file.to_string(), |place| place.file);
        let name = tensor(&format!("{}{suffix}", self.weight));
        self.problems.0.push(Problem::new(&file, name, expected, found));
        None
    }
}
