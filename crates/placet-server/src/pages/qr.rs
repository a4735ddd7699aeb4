//! A QR code as a drawing inside of a page, so that a phone can read what a person would otherwise type.
//!
//! Invariant: nothing is fetched and nothing is written anywhere: what is drawn is in the page and nowhere else.

use maud::{Markup, html};
use placet_core::secret::Secret;
use qrcodegen::{QrCode, QrCodeEcc};
use std::fmt::Write as _;

/// The margin that readers need, in modules.
const QUIET: i32 = 4;

/// The drawing; none where the text is too long for one.
pub(super) fn drawn(text: &Secret) -> Option<Markup> {
    let code = QrCode::encode_text(text.expose_str()?, QrCodeEcc::Medium).ok()?;
    let mut path = String::new();
    for y in 0..code.size() {
        for x in (0..code.size()).filter(|x| code.get_module(*x, y)) {
            // Writing into a `String` can't fail.
            let _ = write!(path, "M{},{}h1v1h-1z", x + QUIET, y + QUIET);
        }
    }
    let size = code.size() + 2 * QUIET;
    Some(html! {
        svg.qr viewBox={ "0 0 " (size) " " (size) } role="img" aria-label="The same as a QR code" {
            path d=(path) fill="#000" {}
        }
    })
}
