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
        let rest = text.get(from..)?;
        // Where candidates are dense the next one is near; where they are rare, strides are faster.
        let near = rest.get(..STRIDE).unwrap_or(rest);
        if let Some((place, class)) = self.first(near) {
            return Some((from + place, class));
        }
        let (strides, _) = rest.get(near.len()..)?.as_chunks::<STRIDE>();
        let quiet = |bytes: &&[u8; STRIDE]| bytes.iter().fold(0, |all, byte| all | self.class(*byte)) == 0;
        let start = from + near.len() + strides.iter().take_while(quiet).count() * STRIDE;
        self.first(text.get(start..)?).map(|(place, class)| (start + place, class))
    }

    fn first(&self, bytes: &[u8]) -> Option<(usize, u8)> {
        bytes.iter().enumerate().find_map(|(place, byte)| {
            let class = self.class(*byte);
            (class != 0).then_some((place, class))
        })
    }
}
