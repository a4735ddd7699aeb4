//! Forms of personal data: numbers with check digits, and what is written as addresses and telephone numbers are.
//!
//! Invariant: a search looks at no more than a few hundred bytes around where it begins.

use super::{
    Detect, Finding, Kind,
    text::{before, byte, in_word, is_word},
};
use std::ops::Range;

/// All of what is asked for.
pub(super) fn find(
    detect: &Detect,
    text: &[u8],
    from: usize,
    name: Option<&str>,
    findings: &mut Vec<Finding>,
) {
    let asked = |kind: Kind| detect.level(kind).is_some();
    if asked(Kind::Email) {
        for at in memchr::memchr_iter(b'@', text.get(from..).unwrap_or_default()).map(|at| from + at) {
            findings.extend(email(text, at).map(|range| Finding { kind: Kind::Email, range }));
        }
    }
    let numbers = asked(Kind::Card) || asked(Kind::Phone) || asked(Kind::Ssn) || asked(Kind::NationalId);
    let letters = asked(Kind::Iban) || asked(Kind::NationalId);
    if !numbers && !letters {
        return;
    }
    let name = name.unwrap_or_default();
    let mut add = |kind: Kind, range: Option<Range<usize>>| {
        if let Some(range) = range.filter(|_| asked(kind)) {
            findings.push(Finding { kind, range });
        }
    };
    let mut next = from;
    // All that something can begin with; most of a text is none of it.
    let begins = |byte: &u8| matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'+' | b'(');
    while let Some(skipped) = text.get(next..).and_then(|rest| rest.iter().position(begins)) {
        let at = next + skipped;
        let here = byte(text, at);
        next = at + 1;
        // A word that goes on was looked at where it began.
        if is_word(here) {
            next += text.get(next..).unwrap_or_default().iter().take_while(|byte| is_word(**byte)).count();
        }
        if in_word(text, at) {
            continue;
        }
        match here {
            b'0'..=b'9' if numbers => {
                // A part of a longer number, an address or a time.
                let earlier = before(text, at.saturating_sub(1));
                let joined = match before(text, at) {
                    // Behind a name it is what has that name.
                    b':' => earlier.is_ascii_digit(),
                    b'-' | b'.' | b'/' => earlier.is_ascii_alphanumeric(),
                    _ => false,
                };
                if joined {
                    continue;
                }
                // Most numbers are none of these by their first digits and what follows: seen before anything is written down.
                let digits = text.get(at..).unwrap_or_default().iter().take(20);
                let digits = digits.take_while(|byte| byte.is_ascii_digit()).count();
                match (digits, byte(text, at + digits)) {
                    (13..=16, _) | (4, b' ' | b'-') => add(Kind::Card, card(text, at)),
                    (3, b'-') => add(Kind::Ssn, ssn(text, at)),
                    _ => {}
                }
                match (digits, byte(text, at + digits)) {
                    (3, b'.') => add(Kind::NationalId, cpf(text, at)),
                    (1 | 13, b' ') | (15, _) => add(Kind::NationalId, nir(text, at)),
                    (8, b'-' | b'A'..=b'Z') => add(Kind::NationalId, dni(text, at, name)),
                    _ => {}
                }
                if asked(Kind::Phone) && before(text, at) != b'+' {
                    add(Kind::Phone, national_phone(text, at, name));
                }
            }
            b'+' if asked(Kind::Phone) => add(Kind::Phone, international_phone(text, at)),
            b'(' if asked(Kind::Phone) => {
                add(Kind::Phone, area_phone(text, at).or_else(|| national_phone(text, at, name)))
            }
            b'A'..=b'Z' if letters => {
                add(Kind::Iban, iban(text, at));
                add(Kind::NationalId, nie(text, at).or_else(|| codice_fiscale(text, at)));
            }
            _ => {}
        }
    }
}

/// Digits from a place on, with single separators between groups of them.
struct Digits {
    /// Their values.
    values: Vec<u8>,
    /// How long each group is.
    groups: Vec<usize>,
    /// The separator, where it is the same everywhere.
    separator: Option<u8>,
    end: usize,
}

impl Digits {
    /// At most `most` digits; `None` where there are more without a separator.
    fn read(text: &[u8], start: usize, most: usize, separators: &[u8]) -> Option<Self> {
        let mut digits =
            Self { values: Vec::with_capacity(most), groups: Vec::new(), separator: None, end: start };
        let mut at = start;
        loop {
            let group = text
                .get(at..)
                .unwrap_or_default()
                .iter()
                .take(most + 1)
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            if group == 0 || digits.values.len() + group > most {
                break;
            }
            digits.values.extend(text.get(at..at + group).unwrap_or_default().iter().map(|byte| byte - b'0'));
            digits.groups.push(group);
            digits.end = at + group;
            at = digits.end;
            let separator = byte(text, at);
            let is_one =
                separators.contains(&separator) && digits.separator.is_none_or(|known| known == separator);
            if !is_one || !byte(text, at + 1).is_ascii_digit() {
                break;
            }
            digits.separator = Some(separator);
            at += 1;
        }
        (!digits.groups.is_empty()).then_some(digits)
    }

    fn number(&self, range: Range<usize>) -> u64 {
        self.values
            .get(range)
            .unwrap_or_default()
            .iter()
            .fold(0, |number, digit| number * 10 + u64::from(*digit))
    }

    /// Keeps the first groups alone.
    fn cut(&mut self, groups: usize) {
        let kept: usize = self.groups.iter().take(groups).sum();
        self.values.truncate(kept);
        self.groups.truncate(groups);
    }
}

/// Whether what stands there is the end of a number: no letter, no digit, and no fraction or further group.
fn ends(text: &[u8], end: usize) -> bool {
    let next = byte(text, end);
    !(is_word(next) || matches!(next, b'.' | b'-') && byte(text, end + 1).is_ascii_digit())
}

/// The check of ISO/IEC 7812-1 annex B.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether cards with this beginning have so many digits.
fn is_issued(digits: &Digits) -> bool {
    let first = |count: usize| digits.number(0..count);
    match digits.values.len() {
        13 => first(1) == 4,
        14 => matches!(first(3), 300..=305 | 309) || matches!(first(2), 36 | 38 | 39),
        15 => matches!(first(2), 34 | 37),
        16 => {
            first(1) == 4
                || matches!(first(2), 51..=55 | 62 | 64 | 65)
                || matches!(first(4), 2200..=2204 | 2221..=2720 | 3528..=3589 | 6011)
        }
        19 => first(2) == 62 || first(1) == 4,
        _ => false,
    }
}

fn card(text: &[u8], at: usize) -> Option<Range<usize>> {
    // Behind a group of four stand four or six: dates go on otherwise.
    let group = |at: usize| {
        text.get(at..).unwrap_or_default().iter().take(20).take_while(|byte| byte.is_ascii_digit()).count()
    };
    if group(at) == 4 && !matches!(group(at + 5), 4 | 6) {
        return None;
    }
    let mut digits = Digits::read(text, at, 19, b" -")?;
    let layouts: [&[usize]; 5] = [&[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4], &[4, 4, 4, 4, 3], &[4, 4, 4, 1]];
    // What follows a card's number may be digits again: the date, the code.
    for count in (1..=digits.groups.len().min(5)).rev() {
        let had = digits.groups.len();
        if count < had {
            let (dropped, between): (usize, usize) = (digits.groups.iter().skip(count).sum(), had - count);
            digits.end -= dropped + between;
            digits.cut(count);
        }
        // Nineteen in a row are rather an id.
        let laid_out = match &digits.groups[..] {
            [one] => (13..=16).contains(one),
            groups => layouts.contains(&groups),
        };
        let after = byte(text, digits.end) == b' ' || ends(text, digits.end);
        if laid_out && after && is_issued(&digits) && luhn(&digits.values) {
            return Some(at..digits.end);
        }
    }
    None
}

fn ssn(text: &[u8], at: usize) -> Option<Range<usize>> {
    let all = text.get(at..at + 11)?;
    let laid_out = all.iter().enumerate().all(|(place, byte)| match place {
        3 | 6 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if !laid_out || !ends(text, at + 11) {
        return None;
    }
    let digits = Digits::read(text, at, 9, b"-")?;
    let (area, group, serial) = (digits.number(0..3), digits.number(3..5), digits.number(5..9));
    let given = !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0;
    // Numbers that were printed as examples are nobody's.
    let example = matches!((area, group, serial), (78, 5, 1120) | (219, 9, 9999));
    (given && !example).then_some(at..at + 11)
}

/// Brazil: `123.456.789-09`, two digits by weights modulo 11.
fn cpf(text: &[u8], at: usize) -> Option<Range<usize>> {
    let all = text.get(at..at + 14)?;
    let laid_out = all.iter().enumerate().all(|(place, byte)| match place {
        3 | 7 => *byte == b'.',
        11 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if !laid_out || !ends(text, at + 14) {
        return None;
    }
    let digits: Vec<u32> =
        all.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0')).collect();
    let check = |count: usize| {
        let weights = (2..).take(count).collect::<Vec<u32>>();
        let sum: u32 =
            digits.iter().take(count).zip(weights.iter().rev()).map(|(digit, weight)| digit * weight).sum();
        sum * 10 % 11 % 10
    };
    let same = digits.iter().all(|digit| Some(digit) == digits.first());
    let good = !same && digits.get(9) == Some(&check(9)) && digits.get(10) == Some(&check(10));
    good.then_some(at..at + 14)
}

/// France: `1 84 12 76 451 089 46`, 13 digits and 97 less their remainder by 97.
fn nir(text: &[u8], at: usize) -> Option<Range<usize>> {
    if !matches!(byte(text, at), b'1' | b'2') {
        return None;
    }
    let digits = Digits::read(text, at, 15, b" ")?;
    let layouts: [&[usize]; 3] = [&[15], &[13, 2], &[1, 2, 2, 2, 3, 3, 2]];
    let month = digits.number(3..5);
    let good = layouts.contains(&&digits.groups[..])
        && matches!(month, 1..=12 | 20..=42 | 50..=99)
        && digits.number(13..15) == 97 - digits.number(0..13) % 97
        && ends(text, digits.end);
    // A time in microseconds has as many digits.
    (good && (digits.groups.len() > 1 || (1..=12).contains(&month))).then_some(at..digits.end)
}

const DNI: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";

/// Spain: eight digits and a letter by their remainder by 23.
fn dni(text: &[u8], at: usize, name: &str) -> Option<Range<usize>> {
    let digits = text.get(at..at + 8)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let hyphen = byte(text, at + 8) == b'-';
    let end = at + 9 + usize::from(hyphen);
    let number = digits.iter().fold(0, |number: usize, digit| number * 10 + usize::from(digit - b'0'));
    let good = DNI.get(number % 23) == text.get(end - 1) && ends(text, end);
    let told = || hyphen || beside(text, at, name, &["dni", "nif", "nie"], false);
    (good && told()).then_some(at..end)
}

/// Spain: `X`, `Y` or `Z`, seven digits and the letter.
fn nie(text: &[u8], at: usize) -> Option<Range<usize>> {
    let lead = match byte(text, at) {
        b'X' => 0,
        b'Y' => 1,
        b'Z' => 2,
        _ => return None,
    };
    let first = at + 1 + usize::from(byte(text, at + 1) == b'-');
    let digits = text.get(first..first + 7)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let end = first + 8 + usize::from(byte(text, first + 7) == b'-');
    let number = digits.iter().fold(lead, |number: usize, digit| number * 10 + usize::from(digit - b'0'));
    (DNI.get(number % 23) == text.get(end - 1) && ends(text, end)).then_some(at..end)
}

/// Italy: sixteen characters of which the last is by the values of the others modulo 26.
fn codice_fiscale(text: &[u8], at: usize) -> Option<Range<usize>> {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let all = text.get(at..at + 16)?;
    let laid_out = all.iter().enumerate().all(|(place, byte)| match place {
        6 | 7 | 9 | 10 | 12..=14 => byte.is_ascii_digit() || matches!(byte, b'L'..=b'N' | b'P'..=b'V'),
        8 => matches!(byte, b'A'..=b'E' | b'H' | b'L' | b'M' | b'P' | b'R'..=b'T'),
        _ => byte.is_ascii_uppercase(),
    });
    if !laid_out || !ends(text, at + 16) {
        return None;
    }
    let value =
        |byte: u8| usize::from(if byte.is_ascii_digit() { byte - b'0' } else { byte.wrapping_sub(b'A') });
    let sum: u32 = all
        .iter()
        .take(15)
        .enumerate()
        .map(|(place, byte)| match place % 2 {
            0 => ODD.get(value(*byte)).copied().unwrap_or(0),
            _ => u32::try_from(value(*byte)).unwrap_or(0),
        })
        .sum();
    (u32::from(byte(text, at + 15).wrapping_sub(b'A')) == sum % 26).then_some(at..at + 16)
}

/// Countries and how long their IBANs are (the registry of ISO 13616).
const IBANS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// The length of a country's IBANs.
pub(super) fn iban_length(country: &[u8]) -> Option<usize> {
    IBANS.iter().find(|(known, _)| known.as_slice() == country).map(|(_, length)| *length)
}

fn iban(text: &[u8], at: usize) -> Option<Range<usize>> {
    let begin = text.get(at..at + 4)?;
    if !begin.iter().skip(2).all(u8::is_ascii_digit) {
        return None;
    }
    let length = iban_length(begin.get(..2)?)?;
    let (mut all, mut end) = (Vec::with_capacity(length), at);
    // In groups of four, with single blanks or without any.
    let blank = byte(text, at + 4) == b' ';
    while all.len() < length {
        if blank && !all.is_empty() && all.len().is_multiple_of(4) {
            if byte(text, end) != b' ' {
                return None;
            }
            end += 1;
        }
        let next = byte(text, end);
        if !next.is_ascii_uppercase() && !next.is_ascii_digit() {
            return None;
        }
        all.push(next);
        end += 1;
    }
    (mod97(&all) == 1 && !is_word(byte(text, end))).then_some(at..end)
}

/// What ISO 7064 MOD 97-10 makes of an IBAN: its first four characters last, letters as 10 to 35.
pub(super) fn mod97(iban: &[u8]) -> u32 {
    let (front, back) = (iban.get(..4).unwrap_or_default(), iban.get(4..).unwrap_or_default());
    back.iter().chain(front).fold(0, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        letter => (sum * 100 + u32::from(letter.wrapping_sub(b'A')) + 10) % 97,
    })
}

/// What files and pictures end with stands behind an `@` too (`logo@2x.png`).
const FILES: [&[u8]; 16] = [
    b"png", b"jpg", b"jpeg", b"gif", b"webp", b"svg", b"avif", b"ico", b"css", b"scss", b"js", b"mjs",
    b"json", b"html", b"tgz", b"map",
];

fn email(text: &[u8], at: usize) -> Option<Range<usize>> {
    let of_local = |byte: &&u8| {
        byte.is_ascii_alphanumeric()
            || **byte >= 0x80
            || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'' | b'=' | b'!' | b'#' | b'$' | b'*')
    };
    let local = text.get(..at)?.iter().rev().take(64).take_while(of_local).count();
    let mut start = at - local;
    // What quotes, lists or assigns it is none of it.
    while start < at
        && !(byte(text, start).is_ascii_alphanumeric()
            || byte(text, start) >= 0x80
            || byte(text, start) == b'_')
    {
        start += 1;
    }
    // Nor is half a character.
    while (0x80..0xc0).contains(&byte(text, start)) {
        start += 1;
    }
    let assigned = text.get(start..at)?.iter().rposition(|byte| matches!(byte, b'=' | b'\''));
    start = assigned.map_or(start, |assigned| start + assigned + 1);
    // Nor the letter of an escape.
    if start + 1 < at && is_word(byte(text, start)) && !in_word(text, start + 1) {
        start += 1;
    }
    if is_in_url(text, start) {
        return None;
    }
    let rest = text.get(at + 1..)?;
    let of_domain =
        |byte: &&u8| byte.is_ascii_alphanumeric() || **byte >= 0x80 || matches!(byte, b'.' | b'-');
    let domain = rest.get(..rest.iter().take(253).take_while(of_domain).count())?;
    // The last part is in ASCII: what is not is what comes after it.
    let last = domain.iter().rposition(|byte| *byte == b'.')?;
    let foreign = domain.iter().skip(last).position(|byte| *byte >= 0x80);
    let mut domain = foreign.map_or(Some(domain), |foreign| domain.get(..last + foreign))?;
    while let Some(shorter) = domain.strip_suffix(b".").or_else(|| domain.strip_suffix(b"-")) {
        domain = shorter;
    }
    let dot = domain.iter().rposition(|byte| *byte == b'.')?;
    let top = domain.get(dot + 1..)?;
    let is_name = top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic) || top.starts_with(b"xn--");
    let is_file = FILES.iter().any(|known| top.eq_ignore_ascii_case(known));
    let labels =
        domain.split(|byte| *byte == b'.').all(|label| !label.is_empty() && !label.starts_with(b"-"));
    (start < at && before(text, at) != b'.' && is_name && !is_file && labels)
        .then(|| start..at + 1 + domain.len())
}

/// Whether it is the user or the password of a URL: what stands before it, back to `://`, is of its authority.
fn is_in_url(text: &[u8], at: usize) -> bool {
    let head = text.get(..at).unwrap_or_default();
    let of_authority =
        |byte: &&u8| **byte > b' ' && !matches!(byte, b'/' | b'"' | b'\'' | b'<' | b'>' | b'@');
    let length = head.iter().rev().take(128).take_while(of_authority).count();
    head.get(..head.len() - length).unwrap_or_default().ends_with(b"://")
}

/// The country codes of E.164 that are given out, by their first digits.
fn has_country(digits: &[u8]) -> bool {
    let first = |count: usize| {
        digits.iter().take(count).fold(0, |number: u32, digit| number * 10 + u32::from(*digit))
    };
    match first(1) {
        // North America: an area and an exchange begin with 2 to 9.
        1 => {
            digits.len() == 11 && matches!(digits.get(1), Some(2..=9)) && matches!(digits.get(4), Some(2..=9))
        }
        7 => digits.len() == 11,
        _ => {
            matches!(first(2), 20 | 27 | 30..=34 | 36 | 39..=41 | 43..=49 | 51..=58 | 60..=66 | 81 | 82 | 84 | 86 | 90..=95 | 98)
                || matches!(first(3), 211..=213 | 216 | 218 | 220..=269 | 290..=291 | 297..=299 | 350..=359 | 370..=383 | 385..=387 | 389
                    | 420 | 421 | 423 | 500..=509 | 590..=599 | 670..=692 | 800 | 808 | 850 | 852 | 853 | 855 | 856 | 880 | 886 | 960..=968 | 970..=977 | 992..=998)
        }
    }
}

/// How many digits stand from a place on as telephone numbers are written, and where they end; none where there are more than
/// any number has.
fn dialled(text: &[u8], at: usize) -> (usize, usize) {
    let (mut digits, mut end, mut open) = (0, at, false);
    let mut between = 0;
    for (place, byte) in text.get(at..).unwrap_or_default().iter().take(40).enumerate() {
        let place = at + place;
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                between = 0;
                if digits > 15 {
                    return (0, at);
                }
                end = place + 1;
            }
            b'(' if !open && between < 2 => (open, between) = (true, between + 1),
            b')' if open && between == 0 => (open, between, end) = (false, 1, place + 1),
            b' ' | b'-' | b'.' | b'/' if between < 2 => between += 1,
            _ => break,
        }
    }
    (digits, end)
}

fn international_phone(text: &[u8], at: usize) -> Option<Range<usize>> {
    if !matches!(byte(text, at + 1), b'1'..=b'9') || in_word(text, at) {
        return None;
    }
    let (count, end) = dialled(text, at + 1);
    if !(8..=15).contains(&count) || is_word(byte(text, end)) {
        return None;
    }
    let number = text.get(at + 1..end)?.iter().filter(|byte| byte.is_ascii_digit());
    let digits: Vec<u8> = number.map(|byte| byte - b'0').collect();
    has_country(&digits).then_some(at..end)
}

/// `(415) 555-2671`.
fn area_phone(text: &[u8], at: usize) -> Option<Range<usize>> {
    let all = text.get(at..at + 14)?;
    let laid_out = all.iter().enumerate().all(|(place, byte)| match place {
        0 => *byte == b'(',
        4 => *byte == b')',
        5 => *byte == b' ',
        9 => *byte == b'-',
        1 | 6 => matches!(byte, b'2'..=b'9'),
        _ => byte.is_ascii_digit(),
    });
    (laid_out && ends(text, at + 14)).then_some(at..at + 14)
}

const PHONES: [&str; 9] = ["phone", "mobile", "whatsapp", "telefon", "tel", "cell", "fax", "handy", "msisdn"];

/// Digits beside a word that says what they are.
fn national_phone(text: &[u8], at: usize, name: &str) -> Option<Range<usize>> {
    let rest = text.get(at..at + 7)?;
    let begins = rest.iter().filter(|byte| byte.is_ascii_digit()).count() >= 2;
    if !begins {
        return None;
    }
    let (digits, end) = dialled(text, at);
    if !(7..=15).contains(&digits) || is_word(byte(text, end)) {
        return None;
    }
    let is_date = rest
        .iter()
        .enumerate()
        .all(|(place, byte)| if place == 4 { *byte == b'-' } else { byte.is_ascii_digit() });
    (!is_date && beside(text, at, name, &PHONES, true)).then_some(at..end)
}

/// Whether one of the words stands shortly before, on the same line, or in the name of the member. `within`: also as a part of
/// a longer word, where it is long enough to be no part of another.
fn beside(text: &[u8], at: usize, name: &str, words: &[&str], within: bool) -> bool {
    let near = text.get(at.saturating_sub(24)..at).unwrap_or_default();
    let near = near
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(near, |line| near.get(line + 1..).unwrap_or_default());
    let says = |text: &[u8]| {
        let is_it = |at: usize, word: &&str| {
            let here = text.get(at..at + word.len());
            let alone = || {
                !before(text, at).is_ascii_alphabetic() && !byte(text, at + word.len()).is_ascii_alphabetic()
            };
            here.is_some_and(|here| here.eq_ignore_ascii_case(word.as_bytes()))
                && ((within && word.len() >= 5) || alone())
        };
        text.iter().enumerate().any(|(at, letter)| {
            let begins = |word: &&&str| word.as_bytes().first() == Some(&letter.to_ascii_lowercase());
            letter.is_ascii_alphabetic() && words.iter().filter(begins).any(|word| is_it(at, word))
        })
    };
    says(near) || (!name.is_empty() && name.len() <= 64 && says(name.as_bytes()))
}
