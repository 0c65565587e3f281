//! How an input tells a story: each step is a byte, whose upper bits say what happens and whose lower five say
//! how many of the bytes behind it belong to it.

/// The steps of an input; one that is cut short has what is left.
pub(crate) fn steps(mut rest: &[u8]) -> Vec<(u8, &[u8])> {
    let mut steps = Vec::new();
    while let Some((head, after)) = rest.split_first() {
        let length = usize::from(head & 0x1f);
        let (bytes, after) = after.split_at_checked(length).unwrap_or((after, &[]));
        steps.push((head >> 5, bytes));
        rest = after;
    }
    steps
}
