//! What it costs to look for a credential in answers, as a multiple of what a copy of the same bytes costs, and of one pass
//! for three characters (`memchr3`), which is the least that finds the beginning of an escape.
//!
//! `cargo bench -p placet-gateway --bench scrub`. No threshold is held here: a machine with others beside it measures them.

#![expect(clippy::print_stdout, reason = "a benchmark tells what it measured")]

#[path = "../../placet-core/benches/detect/body.rs"]
mod body;

use base64::Engine as _;
use body::{filled, shortest};
use placet_core::secret::Secret;
use placet_gateway::Scrubber;
use std::{hint::black_box, time::Duration};

const SECRET: &str = "sk_live_4eC39HqLyjWDarjtT1zdp7dc";

fn main() {
    let scrubber = Scrubber::new(&Secret::new(SECRET));
    let encoded = base64::engine::general_purpose::STANDARD.encode([0xa7; 600]);
    let order =
        r#"{"id":"ord_81","customer":"42","amount":40.25,"currency":"USD","note":"left at the door"},"#;
    let bodies = [
        ("json", filled(order)),
        (
            "json with escapes",
            filled(r#"{"text":"line\nline \"quoted\" \u00e9","url":"https:\/\/shop.example\/a?b=%20c&d"},"#),
        ),
        ("html", filled("<p>Fish &amp; chips &#8212; <a href=\"/a?b=c&amp;d=e\">100%</a></p>\n")),
        ("base64", filled(&encoded)),
        ("one secret", [filled(order), SECRET.as_bytes().to_vec()].concat()),
    ];
    println!("{:<20} {:>10} {:>12} {:>12}", "1 MiB of", "MiB/s", "x of a copy", "x of memchr3");
    for (name, body) in &bodies {
        let scrubbed = shortest(|| {
            black_box(scrubber.scrub_bytes(black_box(body)));
        });
        let copied = shortest(|| {
            black_box(black_box(body).clone());
        });
        // Of characters that aren't there, so that it goes to the end.
        let searched = shortest(|| {
            black_box(memchr::memchr3(1, 2, 3, black_box(body)));
        });
        let times = |floor: Duration| scrubbed.as_secs_f64() / floor.as_secs_f64();
        println!(
            "{name:<20} {:>10.0} {:>12.1} {:>12.1}",
            1.0 / scrubbed.as_secs_f64(),
            times(copied),
            times(searched)
        );
    }
}
