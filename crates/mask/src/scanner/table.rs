//! [`Table`]: at which bytes the pass stops.

/// Kinds of candidates a byte may begin or be part of.
pub(super) const DIGIT: u8 = 1;
pub(super) const PLUS: u8 = 2;
pub(super) const AT: u8 = 4;
pub(super) const KEY: u8 = 8;
pub(super) const TOKEN: u8 = 16;
pub(super) const BEGIN: u8 = 32;
pub(super) const BACKSLASH: u8 = 64;

/// Bytes looked at together where none of them is of interest.
const STRIDE: usize = 8;

/// For each byte the kinds of candidates.
#[derive(Clone, Debug)]
pub(super) struct Table([u8; 256]);

impl Default for Table {
    fn default() -> Self {
        Self([0; 256])
    }
}

impl Table {
    pub(super) fn add(&mut self, byte: u8, class: u8) {
        if let Some(entry) = self.0.get_mut(usize::from(byte)) {
            *entry |= class;
        }
    }

    pub(super) fn with(mut self, byte: u8, class: u8) -> Self {
        self.add(byte, class);
        self
    }

    fn class(&self, byte: u8) -> u8 {
        self.0.get(usize::from(byte)).copied().unwrap_or_default()
    }

    /// The next byte of interest and its kinds.
    pub(super) fn next(&self, text: &[u8], from: usize) -> Option<(usize, u8)> {
        let (strides, _) = text.get(from..)?.as_chunks::<STRIDE>();
        let quiet = |bytes: &&[u8; STRIDE]| bytes.iter().fold(0, |all, byte| all | self.class(*byte)) == 0;
        let start = from + strides.iter().take_while(quiet).count() * STRIDE;
        text.get(start..)?.iter().enumerate().find_map(|(place, byte)| {
            let class = self.class(*byte);
            (class != 0).then_some((start + place, class))
        })
    }
}
