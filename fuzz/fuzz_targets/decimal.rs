//! Exact numbers: the grammar is JSON's, what is written is read as the same, and the arithmetic takes back what it gave.
#![cfg_attr(fuzzing, no_main)]

use placet_core::decimal::{Decimal, DecimalError};
use std::cmp::Ordering;

pub(crate) fn run(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    let mut numbers = Vec::new();
    for text in data.split(' ').take(2) {
        let is_json = serde_json::from_str::<serde_json::Number>(text).is_ok()
            && text.bytes().all(|byte| !byte.is_ascii_whitespace());
        match Decimal::parse(text) {
            Ok(number) => {
                assert!(is_json, "`{text}` is no number of JSON");
                assert_eq!(Decimal::parse(&number.to_string()), Ok(number));
                numbers.push(number);
            }
            Err(DecimalError::Syntax) => assert!(!is_json, "`{text}` is a number of JSON"),
            Err(DecimalError::Inexact) => {}
        }
    }
    for number in &numbers {
        assert_eq!(number.negate().negate(), *number);
        if let Ok(millionths) = number.to_millionths() {
            assert_eq!(Decimal::parse(&format!("{millionths}e-6")), Ok(*number));
        }
        if let Some(whole) = number.to_i64() {
            assert_eq!(Decimal::from_i64(whole), *number);
        }
    }
    let [one, other] = numbers[..] else { return };
    assert_eq!(one.cmp(&other), other.cmp(&one).reverse());
    assert_eq!(one.cmp(&other) == Ordering::Equal, one == other);
    if let Some(sum) = one.checked_add(other) {
        assert_eq!(Some(sum), other.checked_add(one));
        if let Some(back) = sum.checked_sub(other) {
            assert_eq!(back, one);
        }
    }
    if let Some(difference) = one.checked_sub(other) {
        let order = if difference.is_zero() {
            Ordering::Equal
        } else if difference.is_negative() {
            Ordering::Less
        } else {
            Ordering::Greater
        };
        assert_eq!(one.cmp(&other), order);
    }
    if let Some(product) = one.checked_mul(other)
        && !other.is_zero()
        && let Some(back) = product.checked_div(other)
    {
        assert_eq!(back, one);
    }
    if let Some(quotient) = one.checked_div(other)
        && let Some(back) = quotient.checked_mul(other)
    {
        assert_eq!(back, one);
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
