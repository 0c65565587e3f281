//! Pages of `docs/reference/`, which are made from the code.

use std::path::Path;

/// Fails where the page isn't this text. With `UPDATE_DOCS=1` it writes the page instead.
pub fn is_current(page: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let mut lines = page.lines().zip(text.lines());
    let differs = lines.find(|(page, text)| page != text);
    assert!(
        page == text,
        "`{}` is not what the code says; `UPDATE_DOCS=1` and this test write it again. First \
         difference: {differs:?}",
        path.display()
    );
}
