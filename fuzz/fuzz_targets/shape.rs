//! Paths into answers: what is written is read as the same. And patterns of subjects, with a text to match.
#![no_main]

use libfuzzer_sys::fuzz_target;
use placet_core::{federation::Glob, shape::Path};

fuzz_target!(|data: &str| {
    if let Ok(path) = Path::parse(data) {
        assert_eq!(Path::parse(&path.to_string()).as_ref(), Ok(&path));
    }
    if let Some((pattern, text)) = data.split_once('\n')
        && let Ok(glob) = pattern.parse::<Glob>()
    {
        let _ = glob.matches(text);
        assert_eq!(glob.as_str(), pattern);
    }
});
