//! A set of small numbers: the parameters of a statement, or the columns of a list.

/// The bits of one word.
const BITS: u16 = 64;

/// A set of numbers up to 65,535, in at most 8 KiB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexSet {
    /// Has no word of zeros at its end, so that equal sets are equal.
    words: Vec<u64>,
}

impl IndexSet {
    /// Whether the number is in the set.
    pub fn contains(&self, number: u16) -> bool {
        let word = self.words.get(usize::from(number / BITS)).copied().unwrap_or(0);
        word & (1 << (number % BITS)) != 0
    }

    /// Whether the set has no number.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// How much memory the set takes, in bytes.
    pub fn size(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }

    pub(crate) fn insert(&mut self, number: u16) {
        let at = usize::from(number / BITS);
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        if let Some(word) = self.words.get_mut(at) {
            *word |= 1 << (number % BITS);
        }
    }

    pub(crate) fn remove(&mut self, number: u16) {
        if let Some(word) = self.words.get_mut(usize::from(number / BITS)) {
            *word &= !(1 << (number % BITS));
        }
        while self.words.pop_if(|word| *word == 0).is_some() {}
    }

    /// The set of each number less one: `$1` is the first of a list.
    pub(crate) fn less_one(&self) -> IndexSet {
        let mut set = IndexSet::default();
        let last = u16::try_from(self.words.len() * usize::from(BITS)).unwrap_or(u16::MAX);
        (1..=last)
            .filter(|number| self.contains(*number))
            .for_each(|number| set.insert(number - 1));
        set
    }
}

impl FromIterator<u16> for IndexSet {
    fn from_iter<I: IntoIterator<Item = u16>>(numbers: I) -> IndexSet {
        let mut set = IndexSet::default();
        numbers.into_iter().for_each(|number| set.insert(number));
        set
    }
}
