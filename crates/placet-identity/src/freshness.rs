//! For how long a document may be kept (RFC 9111), within our own bound.
//!
//! Invariant: what its publisher does not want kept is not kept, and nothing for longer than [`LONGEST_KEPT`], so that
//! a key or an address that is taken back is gone within that.

use http::{
    HeaderMap,
    header::{AGE, CACHE_CONTROL},
};
use placet_core::time::Timestamp;
use std::time::Duration;

/// For how long anything is kept at most.
pub const LONGEST_KEPT: Duration = Duration::from_secs(3600);
/// For how long what says nothing about it is kept.
const UNSAID: Duration = Duration::from_secs(300);

/// Until when a document that came with these headers may be used.
pub(crate) fn kept_until(headers: &HeaderMap, now: Timestamp) -> Timestamp {
    let said = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|directive| directive.trim().to_ascii_lowercase());
    let mut longest = UNSAID;
    for directive in said {
        match directive.split_once('=') {
            None if directive == "no-store" || directive == "no-cache" => return now,
            Some(("no-store" | "no-cache", _)) => return now,
            Some(("max-age", seconds)) => {
                // What can't be read is stale (RFC 9111 §4.2.1).
                let seconds = seconds.trim_matches('"').parse::<u64>().unwrap_or(0);
                longest = Duration::from_secs(seconds);
            }
            _ => {}
        }
    }
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
    now.plus(longest.saturating_sub(Duration::from_secs(age)).min(LONGEST_KEPT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_publisher_says_for_how_long_within_bounds() {
        let now = Timestamp::from_seconds(1000);
        let kept = |control: &[&'static str], age: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            for value in control {
                headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
            }
            if let Some(age) = age {
                headers.insert(AGE, HeaderValue::from_static(age));
            }
            now.until(kept_until(&headers, now)).as_secs()
        };
        assert_eq!(kept(&[], None), 300);
        assert_eq!(kept(&["public, max-age=60"], None), 60);
        assert_eq!(kept(&["Max-Age=\"60\""], None), 60);
        assert_eq!(kept(&["max-age=60"], Some("45")), 15);
        assert_eq!(kept(&["max-age=60"], Some("90")), 0);
        assert_eq!(kept(&["max-age=31536000"], None), 3600);
        assert_eq!(kept(&["max-age=99999999999999999999"], None), 0);
        assert_eq!(kept(&["max-age=600", "no-store"], None), 0);
        assert_eq!(kept(&["no-cache=\"set-cookie\""], None), 0);
        assert_eq!(kept(&["private"], None), 300);
    }
}
