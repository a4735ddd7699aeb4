//! Exact decimal numbers, as JSON writes them.
//!
//! Invariant: a number is held exactly or it is an error. Nothing here rounds, and nothing here is a float.

use std::{cmp::Ordering, fmt};

/// Digits after the point that a [`Decimal`] can hold; also the largest power of ten that fits its mantissa.
const MAX_SCALE: u32 = 38;
/// Whole units beyond which an amount is refused (DESIGN §4: sums are integers of millionths within ±9·10¹² units).
const MAX_UNITS: i128 = 9_000_000_000_000;

/// An exact number: `mantissa × 10^-scale`. Equal values are one representation, so `1.0`, `1` and `1e0` are
/// equal, hash alike and compare as numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decimal {
    /// Never `i128::MIN`, so that negation always works; no trailing zero while `scale > 0`.
    mantissa: i128,
    scale: u32,
}

/// Why a text is not a number that can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// The text is not a JSON number (RFC 8259 §6).
    #[error("not a number")]
    Syntax,
    /// The number needs more than 38 digits and would have to be rounded.
    #[error("the number can't be held exactly (at most 38 digits)")]
    Inexact,
}

/// Why an amount can't be counted in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MillionthsError {
    /// More than 6 digits after the point.
    #[error("the amount has more than 6 fractional digits")]
    TooFine,
    /// Beyond ±9·10¹² units.
    #[error("the amount is beyond ±9000000000000")]
    TooLarge,
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self { mantissa: 0, scale: 0 };

    /// From a whole number.
    pub fn from_i64(whole: i64) -> Self {
        Self { mantissa: i128::from(whole), scale: 0 }
    }

    /// Reads a number in JSON's syntax (RFC 8259 §6), exponents included.
    ///
    /// # Errors
    /// [`DecimalError::Syntax`], or [`DecimalError::Inexact`] where holding it would take rounding.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (digits, exponent) = match rest.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, parse_exponent(exponent)?),
            None => (rest, 0),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(DecimalError::Syntax),
            Some((whole, fraction)) => (whole, fraction),
            None => (digits, ""),
        };
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty()
            || (whole.len() > 1 && whole.starts_with('0'))
            || !plain(whole)
            || !plain(fraction)
        {
            return Err(DecimalError::Syntax);
        }
        let fraction = fraction.trim_end_matches('0');
        // Trailing zeros of the whole part are only dropped where nothing follows them.
        let (whole, dropped) = if fraction.is_empty() {
            let kept = whole.trim_end_matches('0');
            (kept, whole.len() - kept.len())
        } else {
            (whole, 0)
        };
        let mut mantissa: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            mantissa = mantissa
                .checked_mul(10)
                .and_then(|shifted| shifted.checked_add(i128::from(byte - b'0')))
                .ok_or(DecimalError::Inexact)?;
        }
        if mantissa == 0 {
            return Ok(Self::ZERO);
        }
        let shift = |length: usize| i64::try_from(length).map_err(|_| DecimalError::Inexact);
        let power = exponent
            .checked_add(shift(dropped)?)
            .and_then(|power| power.checked_sub(shift(fraction.len()).ok()?))
            .ok_or(DecimalError::Inexact)?;
        let mantissa = if negative { -mantissa } else { mantissa };
        if power >= 0 {
            let factor = u32::try_from(power).ok().and_then(power_of_ten).ok_or(DecimalError::Inexact)?;
            Self::new(mantissa.checked_mul(factor).ok_or(DecimalError::Inexact)?, 0)
                .ok_or(DecimalError::Inexact)
        } else {
            // The lowest of all powers has no opposite.
            let scale = u32::try_from(power.unsigned_abs()).map_err(|_| DecimalError::Inexact)?;
            Self::new(mantissa, scale).ok_or(DecimalError::Inexact)
        }
    }

    /// From a JSON number's own text.
    ///
    /// # Errors
    /// As [`Decimal::parse`].
    pub fn from_json(number: &serde_json::Number) -> Result<Self, DecimalError> {
        Self::parse(number.as_str())
    }

    /// The whole number, where it is one and fits.
    pub fn to_i64(self) -> Option<i64> {
        if self.scale == 0 { i64::try_from(self.mantissa).ok() } else { None }
    }

    /// The whole part, the fraction cut off (towards zero), where it fits.
    pub(crate) fn truncate_to_i64(self) -> Option<i64> {
        i64::try_from(self.split().0).ok()
    }

    /// The largest whole number that is not above it, where that fits, and whether it lies above that.
    pub(crate) fn floor(self) -> Option<(i64, bool)> {
        let unit = power_of_ten(self.scale)?;
        let floor = i64::try_from(self.mantissa.div_euclid(unit)).ok()?;
        Some((floor, self.mantissa.rem_euclid(unit) != 0))
    }

    /// The sum, where it can be held exactly.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        Self::new(self.at_scale(scale)?.checked_add(other.at_scale(scale)?)?, scale)
    }

    /// The difference, where it can be held exactly.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(other.negate())
    }

    /// The product, where it can be held exactly.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        // Factors of ten that cancel are taken out first, so that 0.5 × 2·10³⁷ does not overflow on the way.
        let (mut left, mut right) = (self, other);
        left.cancel_tens(&mut right);
        right.cancel_tens(&mut left);
        Self::new(left.mantissa.checked_mul(right.mantissa)?, left.scale.checked_add(right.scale)?)
    }

    /// The quotient, where it is a decimal that can be held exactly; `None` also for a division by zero.
    pub fn checked_div(self, other: Self) -> Option<Self> {
        if other.mantissa == 0 {
            return None;
        }
        if self.mantissa == 0 {
            return Some(Self::ZERO);
        }
        // A fraction in lowest terms ends after as many digits as the higher power of 2 or 5 in its denominator.
        let divisor = gcd(self.mantissa.unsigned_abs(), other.mantissa.unsigned_abs());
        let divisor = i128::try_from(divisor).ok()?;
        let (mut top, mut bottom) = (self.mantissa / divisor, other.mantissa / divisor);
        if bottom < 0 {
            (top, bottom) = (-top, -bottom);
        }
        let twos = bottom.trailing_zeros();
        let mut rest = bottom >> twos;
        let mut fives = 0;
        while rest % 5 == 0 {
            rest /= 5;
            fives += 1;
        }
        if rest != 1 {
            return None;
        }
        let digits = twos.max(fives);
        let factor = 2_i128.checked_pow(digits - twos)?.checked_mul(5_i128.checked_pow(digits - fives)?)?;
        let mantissa = top.checked_mul(factor)?;
        let power = i64::from(other.scale) - i64::from(self.scale) - i64::from(digits);
        if power >= 0 {
            Self::new(mantissa.checked_mul(power_of_ten(u32::try_from(power).ok()?)?)?, 0)
        } else {
            Self::new(mantissa, u32::try_from(-power).ok()?)
        }
    }

    /// The number with its sign turned.
    #[must_use]
    pub fn negate(self) -> Self {
        Self { mantissa: -self.mantissa, scale: self.scale }
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// The amount in millionths, as limits count it (DESIGN §4).
    ///
    /// # Errors
    /// [`MillionthsError`] names which bound the amount broke.
    pub fn to_millionths(&self) -> Result<i64, MillionthsError> {
        if self.scale > 6 {
            return Err(MillionthsError::TooFine);
        }
        let factor = power_of_ten(6 - self.scale).ok_or(MillionthsError::TooLarge)?;
        let millionths = self.mantissa.checked_mul(factor).ok_or(MillionthsError::TooLarge)?;
        if millionths.abs() > MAX_UNITS * 1_000_000 {
            return Err(MillionthsError::TooLarge);
        }
        i64::try_from(millionths).map_err(|_| MillionthsError::TooLarge)
    }

    /// Brings `mantissa × 10^-scale` into the one representation of its value.
    fn new(mut mantissa: i128, mut scale: u32) -> Option<Self> {
        if mantissa == 0 {
            return Some(Self::ZERO);
        }
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        (scale <= MAX_SCALE && mantissa != i128::MIN).then_some(Self { mantissa, scale })
    }

    /// The mantissa that this number has with `scale` (not below its own) digits after the point.
    fn at_scale(self, scale: u32) -> Option<i128> {
        self.mantissa.checked_mul(power_of_ten(scale.checked_sub(self.scale)?)?)
    }

    /// Moves factors of ten from this mantissa into the other's scale.
    fn cancel_tens(&mut self, other: &mut Self) {
        while other.scale > 0 && self.mantissa != 0 && self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            other.scale -= 1;
        }
        // 2 in one and 5 in the other also make a ten.
        for (mine, theirs) in [(2, 5), (5, 2)] {
            while other.scale + self.scale > 0
                && self.mantissa != 0
                && other.mantissa != 0
                && self.mantissa % mine == 0
                && other.mantissa % theirs == 0
            {
                self.mantissa /= mine;
                other.mantissa /= theirs;
                if other.scale > 0 {
                    other.scale -= 1;
                } else {
                    self.scale -= 1;
                }
            }
        }
    }

    /// The whole part, and the fraction with [`MAX_SCALE`] digits; both with the number's sign.
    fn split(self) -> (i128, i128) {
        // Neither power can be missing: scales are at most MAX_SCALE, and 10^MAX_SCALE fits.
        let unit = power_of_ten(self.scale).unwrap_or(i128::MAX);
        let stretch = power_of_ten(MAX_SCALE - self.scale).unwrap_or(1);
        (self.mantissa / unit, (self.mantissa % unit).saturating_mul(stretch))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.scale == other.scale {
            return self.mantissa.cmp(&other.mantissa);
        }
        let scale = self.scale.max(other.scale);
        if let (Some(mine), Some(others)) = (self.at_scale(scale), other.at_scale(scale)) {
            return mine.cmp(&others);
        }
        self.split().cmp(&other.split())
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<i64> for Decimal {
    fn from(whole: i64) -> Self {
        Self::from_i64(whole)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.mantissa.unsigned_abs().to_string();
        let scale = self.scale as usize;
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at_checked(padded.len() - scale).unwrap_or((&padded, ""));
        let point = if fraction.is_empty() { "" } else { "." };
        f.pad_integral(self.mantissa >= 0, "", &format!("{whole}{point}{fraction}"))
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn power_of_ten(power: u32) -> Option<i128> {
    #[expect(clippy::indexing_slicing, reason = "a constant: the compiler has evaluated it")]
    const POWERS: [i128; MAX_SCALE as usize + 1] = {
        let mut powers = [1; MAX_SCALE as usize + 1];
        let mut power = 1;
        while power < powers.len() {
            powers[power] = powers[power - 1] * 10;
            power += 1;
        }
        powers
    };
    POWERS.get(power as usize).copied()
}

fn gcd(mut left: u128, mut right: u128) -> u128 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

/// The exponent; one that saturates can only belong to a number that is zero or not held.
fn parse_exponent(text: &str) -> Result<i64, DecimalError> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() {
        return Err(DecimalError::Syntax);
    }
    let mut exponent: i64 = 0;
    for byte in digits.bytes() {
        if !byte.is_ascii_digit() {
            return Err(DecimalError::Syntax);
        }
        exponent = exponent.saturating_mul(10).saturating_add(i64::from(byte - b'0'));
    }
    // Not clamped below i64::MAX: a text as long as its exponent (`0.000…1e1000`) stays exact.
    Ok(sign * exponent)
}

#[cfg(test)]
mod tests;
