//! One thing so many times, and nothing measured: for a profile, and for a count of instructions, which says the same on a
//! busy machine. The difference of two counts is that of the times between them.

use crate::decision::{GENERAL, LIMITED, SIMPLE, action, among, chain, request, source};
use placet_core::{
    judge::{self, Verdict},
    policy::Policy,
    yaml,
};
use std::hint::black_box;

/// Does it.
pub(crate) fn repeat(what: &str, times: usize) {
    let mix = match what {
        "simple" => SIMPLE,
        "limited" => LIMITED,
        "general" => GENERAL,
        _ => return repeat_loading(what, times),
    };
    let (chain, action) = (chain(), action());
    let bound = among(mix, 3).bind(&chain);
    let request = request(&chain, &action);
    for _ in 0..times {
        let judgement = judge::judge(black_box(&bound), black_box(&request));
        assert_eq!(judgement.verdict, Verdict::Allow, "{:?}", judgement.reasons);
    }
}

fn repeat_loading(what: &str, times: usize) {
    for number in 0..times {
        let source = source(if number % 2 == 0 { SIMPLE } else { GENERAL }, number, false);
        match what {
            "read" => drop(black_box(yaml::parse(source.as_bytes(), None).unwrap())),
            "load" => drop(black_box(Policy::load(source.as_bytes(), None, 1, &[]).unwrap())),
            "again" => drop(black_box(Policy::load_again(source.as_bytes(), "p", 1, &[]).unwrap())),
            _ => panic!("one of simple, limited, general, read, load, again, not {what}"),
        }
    }
}
