//! What it costs to look for secrets and personal data, in MiB/s, as a multiple of what a copy of the same bytes costs, and of one
//! pass for three characters (`memchr3`), which is the least that any search needs.
//!
//! `cargo bench -p placet-core --bench detect`. No threshold is held here: a machine with others beside it measures them.

#![expect(clippy::print_stdout, reason = "a benchmark tells what it measured")]

mod body;

use body::{filled, shortest};
use placet_core::detect::{Detect, Found, Group, Level};
use std::{hint::black_box, time::Duration};

fn looking(groups: &[Group]) -> Detect {
    let mut detect = Detect::default();
    groups.iter().flat_map(|group| group.kinds()).for_each(|kind| detect.set(kind, Level::Redact));
    detect
}

fn main() {
    let bodies = [
        (
            "json",
            filled(
                "{\"id\":\"ord_81\",\"customer\":\"42\",\"amount\":40.25,\"currency\":\"USD\",\"note\":\"left at the door\"},\n",
            ),
        ),
        (
            "prose",
            filled("Fish and chips are on the table; the door was open when we came, at half past nine.\n"),
        ),
        (
            "one long line",
            filled(
                "{\"id\":81,\"at\":\"2026-11-23T10:00:00Z\",\"uuid\":\"550e8400-e29b-41d4-a716-446655440000\"},",
            ),
        ),
        ("numbers", filled("20261123 4532 1234567 100-200-300 1700000000000 3.14159 42\n")),
        ("colons", filled("token: secret: password: key=value;\n")),
        ("full of e-mail", filled("to ann@example.com from bob@example.org;\n")),
    ];
    println!(
        "{:<16} {:<18} {:>10} {:>12} {:>14}",
        "1 MiB of", "looking for", "MiB/s", "x of a copy", "x of memchr3"
    );
    for (name, body) in &bodies {
        let copied = shortest(|| {
            black_box(black_box(body).clone());
        });
        // Of characters that aren't there, so that it goes to the end.
        let searched = shortest(|| {
            black_box(memchr::memchr3(1, 2, 3, black_box(body)));
        });
        for groups in [&[Group::Secrets][..], &[Group::Personal], &Group::ALL] {
            let detect = looking(groups);
            let took = shortest(|| {
                black_box(detect.bytes(black_box(body), &mut Found::default()));
            });
            let names: Vec<&str> = groups.iter().map(|group| group.as_str()).collect();
            let of = |other: Duration| took.as_secs_f64() / other.as_secs_f64();
            println!(
                "{name:<16} {:<18} {:>10.0} {:>12.1} {:>14.1}",
                names.join("+"),
                1.0 / took.as_secs_f64(),
                of(copied),
                of(searched)
            );
        }
    }
}
