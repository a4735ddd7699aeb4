//! Forms of secrets: what providers write at the beginning of their tokens, private keys, signed tokens, passwords in URLs,
//! and what stands beside a name.
//!
//! Invariant: a search looks at no more than a few thousand bytes from where it begins.

use super::{
    Detect, Finding, Kind, ident,
    text::{before, byte, in_word, is_word},
};
use aho_corasick::{AhoCorasick, MatchKind};
use std::{ops::Range, sync::LazyLock};

/// The longest token that is taken whole.
const LONGEST: usize = 8192;

/// What a token is made of after its beginning.
#[derive(Debug, Clone, Copy)]
enum Made {
    /// Letters and digits.
    Alnum,
    /// Capital letters and digits.
    Upper,
    /// Letters, digits and `_`.
    Word,
    /// Letters, digits, `_` and `-`: base64url.
    Url,
    /// The same and `.`.
    Dotted,
    /// The same and `/`.
    Path,
    /// Hexadecimal digits.
    Hex,
}

impl Made {
    fn has(self, byte: u8) -> bool {
        match self {
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Word => byte.is_ascii_alphanumeric() || byte == b'_',
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'),
            Self::Path => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/'),
            Self::Hex => byte.is_ascii_hexdigit(),
        }
    }
}

/// Beginning, kind, what follows, and how much of that at least and at most.
type Form = (&'static str, Kind, Made, usize, usize);

const FORMS: [Form; 43] = [
    ("ghp_", Kind::GithubToken, Made::Alnum, 36, 255),
    ("gho_", Kind::GithubToken, Made::Alnum, 36, 255),
    ("ghu_", Kind::GithubToken, Made::Alnum, 36, 255),
    ("ghs_", Kind::GithubToken, Made::Alnum, 36, 255),
    ("ghr_", Kind::GithubToken, Made::Alnum, 36, 255),
    ("github_pat_", Kind::GithubToken, Made::Word, 50, 255),
    ("glpat-", Kind::GitlabToken, Made::Dotted, 20, 300),
    ("gldt-", Kind::GitlabToken, Made::Url, 20, 300),
    ("glrt-", Kind::GitlabToken, Made::Dotted, 20, 300),
    ("glptt-", Kind::GitlabToken, Made::Url, 20, 300),
    ("glsoat-", Kind::GitlabToken, Made::Url, 20, 300),
    ("xoxb-", Kind::SlackToken, Made::Url, 20, 500),
    ("xoxp-", Kind::SlackToken, Made::Url, 20, 500),
    ("xoxa-", Kind::SlackToken, Made::Url, 20, 500),
    ("xoxr-", Kind::SlackToken, Made::Url, 20, 500),
    ("xoxs-", Kind::SlackToken, Made::Url, 20, 500),
    ("xoxe-", Kind::SlackToken, Made::Url, 20, 500),
    ("xoxe.xoxp-", Kind::SlackToken, Made::Url, 20, 500),
    ("xapp-", Kind::SlackToken, Made::Url, 20, 500),
    ("hooks.slack.com/services/", Kind::SlackToken, Made::Path, 20, 200),
    ("sk_live_", Kind::StripeKey, Made::Alnum, 16, 255),
    ("sk_test_", Kind::StripeKey, Made::Alnum, 16, 255),
    ("rk_live_", Kind::StripeKey, Made::Alnum, 16, 255),
    ("rk_test_", Kind::StripeKey, Made::Alnum, 16, 255),
    ("whsec_", Kind::StripeKey, Made::Alnum, 24, 255),
    ("AKIA", Kind::AwsKey, Made::Upper, 16, 16),
    ("ASIA", Kind::AwsKey, Made::Upper, 16, 16),
    ("AIza", Kind::GoogleKey, Made::Url, 35, 35),
    ("GOCSPX-", Kind::GoogleKey, Made::Url, 24, 64),
    ("ya29.", Kind::GoogleKey, Made::Dotted, 20, 2048),
    ("npm_", Kind::NpmToken, Made::Alnum, 36, 36),
    ("pypi-AgEI", Kind::PypiToken, Made::Url, 50, 2048),
    ("sk-proj-", Kind::OpenaiKey, Made::Url, 40, 300),
    ("sk-svcacct-", Kind::OpenaiKey, Made::Url, 40, 300),
    ("sk-admin-", Kind::OpenaiKey, Made::Url, 40, 300),
    ("sk-ant-", Kind::AnthropicKey, Made::Url, 40, 300),
    ("hf_", Kind::HuggingfaceToken, Made::Alnum, 34, 40),
    ("SG.", Kind::SendgridKey, Made::Dotted, 64, 72),
    ("dop_v1_", Kind::DigitaloceanToken, Made::Hex, 64, 64),
    ("doo_v1_", Kind::DigitaloceanToken, Made::Hex, 64, 64),
    ("dor_v1_", Kind::DigitaloceanToken, Made::Hex, 64, 64),
    ("eyJ", Kind::Jwt, Made::Dotted, 32, LONGEST),
    ("://", Kind::UrlPassword, Made::Url, 0, 0),
];

/// Shopify's differ in one letter group alone.
const SHOPIFY: [&str; 4] = ["shpat_", "shpss_", "shpca_", "shppa_"];

static BEGINNINGS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let texts = FORMS.iter().map(|form| form.0).chain(SHOPIFY);
    // No two of them that can follow each other in a token overlap.
    AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts).ok()
});

/// Everything but private keys.
pub(super) fn find(detect: &Detect, text: &[u8], from: usize, findings: &mut Vec<Finding>) {
    let asked = |kind: Kind| detect.level(kind).is_some();
    if FORMS.iter().any(|form| asked(form.1)) || asked(Kind::ShopifyToken) {
        let rest = text.get(from..).unwrap_or_default();
        for hit in BEGINNINGS.iter().flat_map(|beginnings| beginnings.find_iter(rest)) {
            let (start, end) = (from + hit.start(), from + hit.end());
            let form = FORMS.get(hit.pattern().as_usize()).copied();
            let (_, kind, made, least, most) = form.unwrap_or(("", Kind::ShopifyToken, Made::Hex, 32, 64));
            if !asked(kind) {
                continue;
            }
            let range = match kind {
                Kind::Jwt => signed_token(text, start),
                Kind::UrlPassword => url_password(text, end),
                _ => token(text, start..end, made, least, most),
            };
            findings.extend(range.map(|range| Finding { kind, range }));
        }
    }
    if asked(Kind::NamedSecret) {
        beside_names(text, from, findings);
    }
}

/// How many bytes from a place on are of a kind, at most [`LONGEST`].
fn run(text: &[u8], at: usize, is: impl Fn(u8) -> bool) -> usize {
    text.get(at..).unwrap_or_default().iter().take(LONGEST).take_while(|byte| is(**byte)).count()
}

fn token(
    text: &[u8],
    beginning: Range<usize>,
    made: Made,
    least: usize,
    most: usize,
) -> Option<Range<usize>> {
    let first = before(text, beginning.start);
    // A long one begins where its characters do: so no stretch is read again and again.
    if in_word(text, beginning.start) || (most > 1000 && made.has(first) && !is_word(first)) {
        return None;
    }
    let rest = text.get(beginning.end..).unwrap_or_default();
    let length = rest.iter().take(most + 1).take_while(|byte| made.has(**byte)).count();
    // One of a fixed length that goes on is another thing.
    let end = beginning.end + length.min(most);
    let goes_on = length > most && least == most;
    // A sentence ends after it; a beginning's own dot is none of what follows it.
    let end = if length > 0 && before(text, end) == b'.' { end - 1 } else { end };
    (!goes_on && end - beginning.end >= least && !(least == most && is_word(byte(text, end))))
        .then_some(beginning.start..end)
}

/// `header.claims.signature`, each in base64url.
fn signed_token(text: &[u8], start: usize) -> Option<Range<usize>> {
    if in_word(text, start) || matches!(before(text, start), b'-' | b'.') {
        return None;
    }
    let part = |at: usize| run(text, at, |byte| Made::Url.has(byte));
    let header = part(start);
    let claims_at = start + header + 1;
    let claims = part(claims_at);
    let signature_at = claims_at + claims + 1;
    let signature = part(signature_at);
    let dots = byte(text, start + header) == b'.' && byte(text, signature_at - 1) == b'.';
    let is_one =
        dots && header >= 12 && claims >= 4 && signature >= 16 && header + claims + signature < LONGEST;
    is_one.then(|| start..signature_at + signature)
}

/// Of `user:password@` what is between.
fn url_password(text: &[u8], at: usize) -> Option<Range<usize>> {
    let part = |at: usize| {
        let is = |byte: u8| {
            byte > b' '
                && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b':' | b'"' | b'\'' | b'<' | b'>' | b'\\')
        };
        text.get(at..).unwrap_or_default().iter().take(512).take_while(|byte| is(**byte)).count()
    };
    let user = part(at);
    let start = at + user + 1;
    let password = if byte(text, at + user) == b':' { part(start) } else { 0 };
    let value = text.get(start..start + password).unwrap_or_default();
    let is_one = password > 0
        && byte(text, start + password) == b'@'
        && !value.starts_with(b"[")
        && !value.starts_with(b"$");
    is_one.then_some(start..start + password)
}

/// What stands behind a name and `:` or `=`.
fn beside_names(text: &[u8], from: usize, findings: &mut Vec<Finding>) {
    let mut done = from;
    for at in memchr::memchr2_iter(b':', b'=', text.get(from..).unwrap_or_default()).map(|at| from + at) {
        if at < done {
            continue;
        }
        let Some(named) = name_before(text, at).and_then(ident::named) else { continue };
        let value = value_after(text, at + 1);
        let of = text.get(value.clone()).unwrap_or_default();
        if let Some(range) = ident::secret(named, of) {
            let range = value.start + range.start..value.start + range.end;
            done = range.end;
            findings.push(Finding { kind: Kind::NamedSecret, range });
        } else if value.len() > 256 {
            // So no stretch is read again and again.
            done = value.end;
        }
    }
}

/// The name that ends before a separator: quotes and what escapes them may stand between.
fn name_before(text: &[u8], at: usize) -> Option<&[u8]> {
    let longest = text.get(at.saturating_sub(ident::LONGEST_NAME + 8)..at)?;
    let rest = longest
        .iter()
        .rev()
        .take(8)
        .take_while(|byte| matches!(byte, b'"' | b'\'' | b'\\' | b' ' | b'\t' | b'`' | b'*'));
    let name = longest.get(..longest.len().saturating_sub(rest.count()))?;
    let length = name
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        .count();
    name.get(name.len() - length..)
}

/// The value behind a separator; empty where what is in quotes is no single word.
fn value_after(text: &[u8], at: usize) -> Range<usize> {
    let space = run(text, at, |byte| matches!(byte, b' ' | b'\t' | b'>' | b'=' | b'*')).min(8);
    let mut start = at + space;
    start += run(text, start, |byte| byte == b'\\').min(8);
    let quote = Some(byte(text, start)).filter(|byte| matches!(byte, b'"' | b'\'' | b'`'));
    start += usize::from(quote.is_some());
    let ends = |byte: u8| match quote {
        Some(quote) => byte == quote || byte <= b' ',
        None => {
            byte <= b' '
                || matches!(
                    byte,
                    b'"' | b'\'' | b'`' | b',' | b';' | b'&' | b'<' | b'>' | b'\\' | b')' | b'}' | b']'
                )
        }
    };
    let word = |at: usize| at + run(text, at, |byte| !ends(byte)).min(ident::LONGEST_VALUE);
    let mut end = word(start);
    // A scheme is followed by what it is for.
    let scheme = text.get(start..end).unwrap_or_default();
    if byte(text, end) == b' ' && SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        end = word(end + 1);
    }
    match quote {
        Some(quote) if byte(text, end) != quote => start..start,
        // The quote may be escaped, and so may what escapes it.
        Some(_) => {
            start
                ..end
                    - text
                        .get(start..end)
                        .unwrap_or_default()
                        .iter()
                        .rev()
                        .take_while(|byte| **byte == b'\\')
                        .count()
        }
        // A sentence ends after it.
        None => start..end - usize::from(end > start && before(text, end) == b'.'),
    }
}

/// Schemes of `Authorization`, with what is shown by them behind.
const SCHEMES: [&[u8]; 6] = [b"bearer", b"basic", b"token", b"bot", b"apikey", b"dpop"];

/// Private keys from `from` on, of which one goes on there where it is `continued`; where the last begins, if it is open at the end.
pub(super) fn private_keys(
    text: &[u8],
    from: usize,
    continued: bool,
    findings: &mut Vec<Finding>,
) -> Option<usize> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let mut at = from;
    let mut start = continued.then_some(from);
    loop {
        let begin = match start.take() {
            Some(begin) => {
                at = line_start(text, begin);
                begin
            }
            None => {
                let begin = at + memchr::memmem::find(text.get(at..)?, BEGIN)?;
                at = begin + BEGIN.len();
                let label =
                    run(text, at, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ')
                        .min(64);
                let label_end = at + label;
                let named = text.get(at..label_end).unwrap_or_default();
                if !(named.ends_with(b"PRIVATE KEY") || named.ends_with(b"PRIVATE KEY BLOCK"))
                    || !text.get(label_end..).unwrap_or_default().starts_with(b"-----")
                {
                    continue;
                }
                at = label_end + 5;
                begin
            }
        };
        let (end, is_open) = key_body(text, at);
        findings.push(Finding { kind: Kind::PrivateKey, range: begin..end });
        if is_open {
            return Some(begin);
        }
        at = end;
    }
}

/// What a key is made of, where its lines are written one after another too.
fn is_of_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'\\' | b'\r')
}

/// The end of a key's body, and whether it is the text's end.
fn key_body(text: &[u8], mut at: usize) -> (usize, bool) {
    loop {
        let rest = text.get(at..).unwrap_or_default();
        match rest.first() {
            None => return (at, true),
            Some(b'-') if rest.starts_with(END) => {
                let label =
                    rest.iter().skip(9).take(64).take_while(|byte| **byte != b'-' && **byte != b'\n').count();
                let dashes = rest.iter().skip(9 + label).take(5).take_while(|byte| **byte == b'-').count();
                return (at + 9 + label + dashes, false);
            }
            Some(b'\n') => {
                at += 1;
                if at < text.len() && !goes_on(text, at) {
                    return (at, false);
                }
                at = line_start(text, at);
            }
            Some(_) if ends_line(rest) > 0 => at += ends_line(rest),
            Some(b' ') if before_escaped_end(rest) > 0 => at += before_escaped_end(rest),
            Some(b' ') => {
                let next = behind_escaped_end(text, at).unwrap_or(at + 1);
                if run(text, next, is_of_key) < 16 && !text.get(next..).unwrap_or_default().starts_with(END) {
                    return (at, false);
                }
                at = next;
            }
            Some(byte) if is_of_key(*byte) => at += rest.iter().take_while(|byte| is_of_key(**byte)).count(),
            Some(_) => match behind_escaped_end(text, at) {
                Some(next) => at = next,
                None => return (at, false),
            },
        }
    }
}

const END: &[u8] = b"-----END ";
/// The longest of what stands before each line of a key: signs of a difference, numbers of lines, quotes.
const LONGEST_BEFORE: usize = 48;
/// A line is at least so long where words stand before it: who changed it, where it is.
const SURELY: usize = 40;
/// How much of a line is looked at: lines of keys have 64 or 76 letters.
const LONGEST_LINE: usize = 512;

/// How much behind a line of a key is of no key, and ends the line: quotes, what joins texts. The line's end is none of it.
fn ends_line(rest: &[u8]) -> usize {
    let is = |byte: &&u8| {
        matches!(byte, b'"' | b'\'' | b'`' | b',' | b';' | b')' | b'.' | b'|' | b' ' | b'\t' | b'+' | b'\r')
    };
    let count = rest.iter().take(16).take_while(is).count();
    if rest.get(count) == Some(&b'\n') { count } else { 0 }
}

/// How many blanks stand before an end of a line that is written as `\n`.
fn before_escaped_end(rest: &[u8]) -> usize {
    let blanks = rest.iter().take(16).take_while(|byte| **byte == b' ').count();
    let ends = |ending: &[u8]| rest.get(blanks..).is_some_and(|rest| rest.starts_with(ending));
    if ends(b"\\n") || ends(b"\\r\\n") { blanks } else { 0 }
}

/// Where a key goes on behind an end of a line that is written as `\n`, and what stands before its lines.
fn behind_escaped_end(text: &[u8], at: usize) -> Option<usize> {
    // A number was taken for a part of the key.
    let head = text.get(..at)?;
    let digits = head.iter().rev().take(8).take_while(|byte| byte.is_ascii_digit()).count();
    if !head.get(..at - digits)?.ends_with(b"\\n") {
        return None;
    }
    let is_mark = |byte: &&u8| !byte.is_ascii_alphabetic() && !matches!(byte, b'"' | b'\n' | b'\\');
    let marks = text.get(at..)?.iter().take(16).take_while(is_mark).count();
    (1..=marks).map(|count| at + count).find(|next| {
        run(text, *next, is_of_key) >= 16 || text.get(*next..).unwrap_or_default().starts_with(END)
    })
}

/// What may stand before each line of a key: blanks, quoting, the name of an event's data.
fn indent(text: &[u8], at: usize) -> usize {
    let blanks = |at: usize| run(text, at, |byte| matches!(byte, b' ' | b'\t' | b'>' | b'|')).min(32);
    let first = blanks(at);
    if text.get(at + first..).unwrap_or_default().starts_with(b"data:") {
        return first + 5 + blanks(at + first + 5);
    }
    first
}

/// Where what counts of a line begins: behind what stands before it; at its end, where it is a header.
fn line_start(text: &[u8], at: usize) -> usize {
    let at = of_key(text, at).unwrap_or(at);
    if !header(text, at) {
        return at;
    }
    let rest = text.get(at..).unwrap_or_default();
    at + memchr::memchr(b'\n', rest).unwrap_or(rest.len())
}

fn header(text: &[u8], at: usize) -> bool {
    let rest = text.get(at..).unwrap_or_default();
    [&b"Proc-Type:"[..], b"DEK-Info:", b"Comment:", b"Version:", b"Hash:", b"Charset:"]
        .iter()
        .any(|name| rest.starts_with(name))
}

/// Whether a line can be one of a key.
pub(super) fn goes_on(text: &[u8], at: usize) -> bool {
    of_key(text, at).is_some()
}

/// Where what a line has of a key begins, if it can be one of a key.
fn of_key(text: &[u8], at: usize) -> Option<usize> {
    let first = at + indent(text, at);
    let rest = text.get(first..).unwrap_or_default();
    let run = run(text, first, is_of_key);
    let is_all = matches!(rest.get(run), None | Some(b'\n'));
    if is_all || run >= 16 || rest.starts_with(END) || header(text, first) {
        return Some(first);
    }
    let rest = text.get(at..).unwrap_or_default();
    let line = rest.get(..memchr::memchr(b'\n', rest).filter(|end| *end <= LONGEST_LINE)?)?;
    let is_mark = |byte: &&u8| !byte.is_ascii_alphabetic();
    let marks = line.iter().take(LONGEST_BEFORE).take_while(is_mark).count();
    if let Some(end) = memchr::memmem::find(line, END).filter(|end| *end <= marks) {
        return Some(at + end);
    }
    if header(text, at + marks) {
        return Some(at + marks);
    }
    let mut kept = line;
    while let Some((last, head)) = kept.split_last()
        && ends_line(&[*last, b'\n']) > 0
    {
        kept = head;
    }
    let body = kept.iter().rev().take_while(|byte| is_of_key(**byte)).count();
    let before = kept.len() - body;
    (body > 0 && (before <= marks || body >= SURELY)).then_some(at + before)
}
