//! The places of a template of `format`: `%I`, `%L` and `%s`, with a position or a width.

use super::{Layer, State};
use crate::mask::chars::{Char, Name};

/// A place being read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    number: u16,
    /// The position, where it is given.
    position: Option<u16>,
}

impl Layer {
    pub(super) fn place(&mut self, ch: Char, place: Place, out: &mut Vec<u8>) {
        out.extend_from_slice(ch.spelling());
        self.last = ch.byte;
        self.state = match ch.byte {
            digit @ b'0'..=b'9' => {
                let number =
                    place.number.saturating_mul(10).saturating_add(u16::from(digit - b'0'));
                State::Place(Place { number, ..place })
            }
            b'$' if place.position.is_none() => {
                State::Place(Place { number: 0, position: Some(place.number) })
            }
            b'-' => State::Place(place),
            b'%' => State::Code,
            b'I' => {
                self.number_place(place);
                self.grammar.quoted_name(&Name::default());
                State::Code
            }
            b'L' => {
                let number = self.number_place(place);
                let secret = self.grammar.value();
                if let (true, Some((_, places))) = (secret, &mut self.places) {
                    places.insert(number);
                }
                State::Code
            }
            // Any text may be put in here.
            _ => State::Raw,
        };
    }

    /// The number of a place: the next one, where no position is given.
    fn number_place(&mut self, place: Place) -> u16 {
        let Some((count, _)) = &mut self.places else { return 0 };
        *count = place.position.unwrap_or(count.saturating_add(1));
        *count
    }
}
