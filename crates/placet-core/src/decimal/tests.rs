use super::*;

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn spellings_of_one_number_are_equal() {
    for (left, right) in
        [("1.0", "1"), ("1e0", "1"), ("100", "1e2"), ("-0.0", "0"), ("0.10", "1e-1"), ("1.5E+1", "15")]
    {
        assert_eq!(decimal(left), decimal(right));
    }
    let zeros = format!("0.{}1e1001", "0".repeat(1000));
    assert_eq!(decimal(&zeros), decimal("1"));
    assert_eq!(decimal("0e999999999999999999999999"), Decimal::ZERO);
}

#[test]
fn what_is_not_a_number_or_not_held() {
    for text in [
        "", "-", "01", "1.", ".5", "1e", "1e+", "+1", "1 ", "0x1", "NaN", "Infinity", "1_0", "--1", "1e1.5",
        "é",
    ] {
        assert_eq!(Decimal::parse(text), Err(DecimalError::Syntax), "{text}");
    }
    for text in [
        "1e39",
        "1e-39",
        "1e999999999999999999999999",
        "1e-9223372036854775808",
        // One digit behind the point below the lowest exponent that there is.
        "0.5e-9223372036854775807",
        "990.5e-9999999999999960000",
        "1e400",
        "0.000000000000000000000000000000000000001",
        "999999999999999999999999999999999999999",
    ] {
        assert_eq!(Decimal::parse(text), Err(DecimalError::Inexact), "{text}");
    }
}

#[test]
fn millionths_name_the_bound_that_broke() {
    assert_eq!(decimal("12.345678").to_millionths(), Ok(12_345_678));
    assert_eq!(decimal("-0.000001").to_millionths(), Ok(-1));
    assert_eq!(decimal("9e12").to_millionths(), Ok(9_000_000_000_000_000_000));
    assert_eq!(decimal("-9e12").to_millionths(), Ok(-9_000_000_000_000_000_000));
    assert_eq!(decimal("9000000000000.000001").to_millionths(), Err(MillionthsError::TooLarge));
    assert_eq!(decimal("1e38").to_millionths(), Err(MillionthsError::TooLarge));
    assert_eq!(decimal("1.0000001").to_millionths(), Err(MillionthsError::TooFine));
    assert_eq!(decimal("1.0000000").to_millionths(), Ok(1_000_000));
}

mod oracle {
    //! Digit by digit, on numbers of any length.

    use super::*;
    use proptest::prelude::*;

    /// `digits × 10^-scale`, least digit first.
    #[derive(Clone, Debug)]
    struct Big {
        negative: bool,
        digits: Vec<u8>,
        scale: i64,
    }

    impl Big {
        fn read(text: &str) -> Self {
            let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
            let fraction = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            let mut digits: Vec<u8> =
                mantissa.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect();
            digits.reverse();
            let exponent: i64 = exponent.trim_start_matches('+').parse().unwrap();
            Self { negative: text.starts_with('-'), digits, scale: fraction as i64 - exponent }.canonical()
        }

        /// No zeros at either end; the scale may then be negative.
        fn canonical(mut self) -> Self {
            while self.digits.last() == Some(&0) {
                self.digits.pop();
            }
            let zeros = self.digits.iter().take_while(|digit| **digit == 0).count();
            self.digits.drain(..zeros);
            self.scale -= zeros as i64;
            if self.digits.is_empty() {
                (self.negative, self.scale) = (false, 0);
            }
            self
        }

        fn at_scale(&self, scale: i64) -> Vec<u8> {
            let mut digits = vec![0; usize::try_from(scale - self.scale).unwrap()];
            digits.extend(&self.digits);
            digits
        }

        fn add(&self, other: &Self) -> Self {
            let scale = self.scale.max(other.scale);
            let (left, right) = (self.at_scale(scale), other.at_scale(scale));
            let sign = |negative: bool| if negative { -1_i32 } else { 1 };
            let digit = |digits: &[u8], index: usize| i32::from(digits.get(index).copied().unwrap_or(0));
            let length = left.len().max(right.len()) + 1;
            let mut sums: Vec<i32> = (0..length)
                .map(|at| sign(self.negative) * digit(&left, at) + sign(other.negative) * digit(&right, at))
                .collect();
            let negative = sums.iter().rev().find(|sum| **sum != 0).is_some_and(|sum| *sum < 0);
            if negative {
                sums.iter_mut().for_each(|sum| *sum = -*sum);
            }
            let mut carry = 0;
            let digits = sums
                .into_iter()
                .map(|sum| {
                    let sum = sum + carry;
                    carry = sum.div_euclid(10);
                    u8::try_from(sum.rem_euclid(10)).unwrap()
                })
                .collect();
            assert_eq!(carry, 0);
            Self { negative, digits, scale }.canonical()
        }

        fn multiply(&self, other: &Self) -> Self {
            let mut sums = vec![0_u32; self.digits.len() + other.digits.len() + 1];
            for (at, left) in self.digits.iter().enumerate() {
                for (further, right) in other.digits.iter().enumerate() {
                    sums[at + further] += u32::from(*left) * u32::from(*right);
                }
            }
            let mut carry = 0;
            let digits = sums
                .into_iter()
                .map(|sum| {
                    let sum = sum + carry;
                    carry = sum / 10;
                    u8::try_from(sum % 10).unwrap()
                })
                .collect();
            Self { negative: self.negative != other.negative, digits, scale: self.scale + other.scale }
                .canonical()
        }

        /// Plain text: what a decimal must show.
        fn text(&self) -> String {
            let mut digits = if self.scale < 0 { self.at_scale(0) } else { self.digits.clone() };
            let scale = usize::try_from(self.scale.max(0)).unwrap();
            while digits.len() <= scale {
                digits.push(0);
            }
            let mut text = String::new();
            for (index, digit) in digits.iter().enumerate().rev() {
                text.push(char::from(b'0' + digit));
                if index == scale && scale > 0 {
                    text.push('.');
                }
            }
            if self.negative { format!("-{text}") } else { text }
        }

        /// Whether an `i128` and at most 38 digits after the point hold it.
        fn fits(&self) -> bool {
            if self.scale > 38 || self.digits.len() as i64 - self.scale.min(0) > 40 {
                return false;
            }
            let digits = if self.scale < 0 { self.at_scale(0) } else { self.digits.clone() };
            let text: String = digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect();
            text.is_empty() || text.parse::<i128>().is_ok()
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,42})?([eE][+-]?[0-9]{1,2})?",
            "-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,8})?",
            "-?[1-9]0{0,38}(e-?[0-9])?",
            "-?(1|2|5|4|25|1024|390625)(e-?[12]?[0-9])?",
            "-?1701411834604692317316873037158841057(27|28|26|3)",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        #[test]
        fn reading_is_exact_or_an_error(text in texts()) {
            let big = Big::read(&text);
            match Decimal::parse(&text) {
                Ok(number) => {
                    prop_assert_eq!(number.to_string(), big.text());
                    prop_assert_eq!(Decimal::parse(&number.to_string()), Ok(number));
                }
                Err(error) => {
                    prop_assert_eq!(error, DecimalError::Inexact);
                    prop_assert!(!big.fits(), "{} was refused", text);
                }
            }
        }

        #[test]
        fn arithmetic_is_exact_or_nothing(left in texts(), right in texts()) {
            let (Ok(a), Ok(b)) = (Decimal::parse(&left), Decimal::parse(&right)) else { return Ok(()) };
            let (big_a, big_b) = (Big::read(&left), Big::read(&right));
            let product = big_a.multiply(&big_b);
            match a.checked_mul(b) {
                Some(number) => prop_assert_eq!(number.to_string(), product.text()),
                None => prop_assert!(!product.fits(), "{} * {}", left, right),
            }
            let sum = big_a.add(&big_b);
            match a.checked_add(b) {
                Some(number) => prop_assert_eq!(number.to_string(), sum.text()),
                None => {
                    let scale = big_a.scale.max(big_b.scale).max(0);
                    // Either of them or their sum, written with that many digits after the point.
                    let is_held = |big: &Big| {
                        let digits = big.at_scale(scale);
                        let text: String = digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect();
                        text.is_empty() || text.parse::<i128>().is_ok()
                    };
                    prop_assert!(![&big_a, &big_b, &sum].into_iter().all(is_held), "{} + {}", left, right);
                }
            }
            if let Some(difference) = a.checked_sub(b) {
                prop_assert_eq!(difference.is_negative(), a < b);
                prop_assert_eq!(difference.is_zero(), a == b);
            }
            let negated = Big { negative: !big_b.negative && !big_b.digits.is_empty(), ..big_b.clone() };
            let difference = big_a.add(&negated);
            let expected = if difference.digits.is_empty() { Ordering::Equal }
                else if difference.negative { Ordering::Less } else { Ordering::Greater };
            prop_assert_eq!(a.cmp(&b), expected, "{} ? {}", left, right);
            prop_assert_eq!(a == b, expected.is_eq());
            if let Some(quotient) = a.checked_div(b) {
                prop_assert_eq!(Big::read(&quotient.to_string()).multiply(&big_b).text(), big_a.text());
            }
            if let Some(back) = a.checked_mul(b).filter(|_| !b.is_zero()) {
                // What was a product divides back, whatever its factors.
                prop_assert_eq!(back.checked_div(b), Some(a));
            }
        }

        #[test]
        fn millionths_are_exact_or_an_error(text in texts()) {
            let Ok(number) = Decimal::parse(&text) else { return Ok(()) };
            let big = Big::read(&text);
            match number.to_millionths() {
                Ok(millionths) => {
                    prop_assert_eq!(Big::read(&format!("{millionths}e-6")).text(), big.text());
                    prop_assert!(millionths.abs() <= 9_000_000_000_000_000_000);
                }
                Err(MillionthsError::TooFine) => prop_assert!(big.scale > 6),
                Err(MillionthsError::TooLarge) => {
                    prop_assert!(number > Decimal::from_i64(9_000_000_000_000) || number < Decimal::from_i64(-9_000_000_000_000));
                }
            }
        }
    }
}
