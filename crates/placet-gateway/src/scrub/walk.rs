//! Matches a known ASCII text against bytes in which any of its characters may be escaped.
//!
//! Escapes: `%41` and `%2541` (repeated percent-encoding), `+` for a space, `\u0041`, `\x41`, `\/` with any small
//! number of backslashes (JSON within JSON), `&amp;`, `&#65;`, `&#x41;`. Which characters are escaped is free: the set
//! of places the match may have reached is carried along, so that a text that looks like an escape is found both ways.
//!
//! Invariant: bounded work per starting place, whatever the bytes: the set, the run of backslashes and the nesting of
//! percents are capped.

/// Levels of repeated escaping that are seen through.
const NESTING: usize = 4;
/// Longest run of backslashes read as one escape: [`NESTING`] levels double it each time.
const BACKSLASHES: usize = 16;
/// Most places a match is followed to at once.
const PLACES: usize = 16;

/// The entities that have names everywhere.
const ENTITIES: [(&[u8], u8); 5] =
    [(b"amp;", b'&'), (b"lt;", b'<'), (b"gt;", b'>'), (b"quot;", b'"'), (b"apos;", b'\'')];
/// The most bytes that one character can take, escaped: `&`, `amp;` at each level, `#x`, digits, `;`.
pub(super) const LONGEST: usize = 32;

/// Room for the places a match has reached, kept between matches.
#[derive(Default)]
pub(super) struct Places {
    now: Vec<usize>,
    next: Vec<usize>,
}

/// The end of the longest occurrence of `needle` (letter case ignored) that begins at `at`.
pub(super) fn longest(needle: &[u8], bytes: &[u8], at: usize, places: &mut Places) -> Option<usize> {
    follow(needle, bytes, at, true, places);
    places.now.iter().copied().max()
}

/// Whether `bytes` is `needle`, escaped or not, and nothing else. Letter case counts.
pub(super) fn is_whole(needle: &[u8], bytes: &[u8]) -> bool {
    let mut places = Places::default();
    follow(needle, bytes, 0, false, &mut places);
    places.now.contains(&bytes.len())
}

/// Whether an occurrence of `needle` that begins at `at` may go on behind the end of `bytes`; `open` says that even a
/// complete one at the very end may.
pub(super) fn goes_on(needle: &[u8], bytes: &[u8], at: usize, open: bool, places: &mut Places) -> bool {
    let Places { now, next } = places;
    now.clear();
    now.push(at);
    for &wanted in needle {
        next.clear();
        for &place in now.iter() {
            match bytes.get(place..) {
                None | Some([]) => return true,
                Some(rest) if is_cut(rest) => return true,
                Some(_) => step(wanted, bytes, place, true, next),
            }
        }
        if next.len() > 1 {
            next.sort_unstable();
            next.dedup();
            next.truncate(PLACES);
        }
        std::mem::swap(now, next);
        if now.is_empty() {
            return false;
        }
    }
    open && now.contains(&bytes.len())
}

/// Whether `rest` is the beginning of an escape whose end isn't there yet.
fn is_cut(rest: &[u8]) -> bool {
    let Some((&first, mut rest)) = rest.split_first() else { return false };
    let hex = |rest: &[u8], wanted: usize| rest.len() < wanted && rest.iter().all(u8::is_ascii_hexdigit);
    match first {
        b'%' => {
            for _ in 0..=NESTING {
                if hex(rest, 2) {
                    return true;
                }
                match rest.strip_prefix(b"25") {
                    Some(after) => rest = after,
                    None => return false,
                }
            }
            false
        }
        b'\\' => {
            let run = rest.iter().take(BACKSLASHES).take_while(|&&b| b == b'\\').count();
            match rest.get(run..).and_then(<[u8]>::split_first) {
                None => true,
                Some((b'u', after)) => hex(after, 4),
                Some((b'x', after)) => hex(after, 2),
                Some(_) => false,
            }
        }
        b'&' => {
            for _ in 0..=NESTING {
                let named =
                    ENTITIES.iter().any(|(name, _)| name.len() > rest.len() && name.starts_with(rest));
                let numeric = rest.first() == Some(&b'#')
                    && rest.len() < 11
                    && rest.iter().skip(1).all(|b| b.is_ascii_hexdigit() || matches!(b, b'x' | b'X'));
                if named || numeric {
                    return true;
                }
                match rest.strip_prefix(b"amp;") {
                    Some(after) => rest = after,
                    None => return false,
                }
            }
            false
        }
        _ => false,
    }
}

/// Leaves in `places.now` where `needle` may end if it begins at `at`.
fn follow(needle: &[u8], bytes: &[u8], at: usize, fold: bool, places: &mut Places) {
    let Places { now, next } = places;
    now.clear();
    now.push(at);
    for &wanted in needle {
        next.clear();
        for &place in now.iter() {
            step(wanted, bytes, place, fold, next);
        }
        if next.len() > 1 {
            next.sort_unstable();
            next.dedup();
            next.truncate(PLACES);
        }
        std::mem::swap(now, next);
        if now.is_empty() {
            break;
        }
    }
}

/// All places just after one character `wanted` that begins at `at`.
fn step(wanted: u8, bytes: &[u8], at: usize, fold: bool, next: &mut Vec<usize>) {
    let same = |byte: u32| {
        u8::try_from(byte).is_ok_and(|b| b == wanted || (fold && b.eq_ignore_ascii_case(&wanted)))
    };
    let Some((&first, rest)) = bytes.get(at..).and_then(<[u8]>::split_first) else { return };
    if same(first.into()) || (first == b'+' && wanted == b' ') {
        next.push(at.saturating_add(1));
    }
    let after = |consumed: usize| at.saturating_add(1).saturating_add(consumed);
    match first {
        b'%' => {
            for level in 0..=NESTING {
                let skip = level.saturating_mul(2);
                if number(rest, skip, 2, 16).is_some_and(same) {
                    next.push(after(skip.saturating_add(2)));
                }
                if rest.get(skip..skip.saturating_add(2)) != Some(b"25") {
                    break;
                }
            }
        }
        b'\\' => {
            let run = rest.iter().take(BACKSLASHES).take_while(|&&b| b == b'\\').count();
            if wanted == b'\\' {
                // Each level of escaping doubles them; `run` is of those after the first.
                let consumed = [1, 3, 7, 15].into_iter().filter(|&consumed| consumed <= run);
                next.extend(consumed.map(after));
            }
            let (digits, skip) = match rest.get(run) {
                Some(b'u') => (4, 1),
                Some(b'x') => (2, 1),
                Some(&b) if b.is_ascii_punctuation() && b != b'\\' && same(b.into()) => {
                    next.push(after(run.saturating_add(1)));
                    return;
                }
                _ => return,
            };
            if number(rest, run.saturating_add(skip), digits, 16).is_some_and(same) {
                next.push(after(run.saturating_add(skip).saturating_add(digits)));
            }
        }
        b'&' => {
            // `&` may itself have been escaped before: `&amp;#65;`.
            let mut skip = 0_usize;
            for _ in 0..=NESTING {
                if let Some((code, consumed)) = entity(rest.get(skip..).unwrap_or_default())
                    && same(code)
                {
                    next.push(after(skip.saturating_add(consumed)));
                }
                if !rest.get(skip..).is_some_and(|rest| rest.starts_with(b"amp;")) {
                    break;
                }
                skip = skip.saturating_add(4);
            }
        }
        _ => {}
    }
}

/// What an HTML entity stands for, without its `&`, and its length.
fn entity(rest: &[u8]) -> Option<(u32, usize)> {
    if let Some((name, byte)) = ENTITIES.iter().find(|(name, _)| rest.starts_with(name)) {
        return Some((u32::from(*byte), name.len()));
    }
    let (skip, radix) = match rest {
        [b'#', b'x' | b'X', ..] => (2_usize, 16),
        [b'#', ..] => (1, 10),
        _ => return None,
    };
    let digits = rest.iter().skip(skip).take(8).position(|&b| b == b';')?;
    let code = number(rest, skip, digits, radix)?;
    Some((code, skip.saturating_add(digits).saturating_add(1)))
}

fn number(bytes: &[u8], from: usize, digits: usize, radix: u32) -> Option<u32> {
    let digits = bytes.get(from..from.saturating_add(digits))?;
    // `from_str_radix` would take a sign.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}
