//! Numbers in decimal text, exactly.

/// An integer: `-12`, and, since JSON may write the same number so, `1.0` and `12e3`. A leading `+` and leading zeros are
/// taken, as Go's strconv takes them in strings. `None`: not an integer, or beyond 64 bits with either sign.
pub(super) fn integer(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return scaled(digits).map(|value| if negative { -value } else { value });
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    let value = i128::from(value);
    Some(if negative { -value } else { value })
}

/// An integer with a fraction of zeros or an exponent, without sign.
#[cold]
fn scaled(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let mut value = 0i128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    if whole.is_empty() || value == 0 {
        return (!whole.is_empty()).then_some(0);
    }
    let mut shift = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    // At most 39 rounds either way: a value that is not zero overflows or leaves a remainder.
    while shift != 0 {
        if shift > 0 {
            value = value.checked_mul(10)?;
            shift -= 1;
        } else if value % 10 == 0 {
            value /= 10;
            shift += 1;
        } else {
            return None;
        }
    }
    (value <= i128::from(u64::MAX)).then_some(value)
}

/// A double in text that is no JSON number: `NaN`, `Infinity`, `-Infinity` in any case, and numbers in quotes. `None`: not
/// a number, or too large for a double.
pub(super) fn double(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (value.is_finite() || !text.iter().any(u8::is_ascii_digit)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        let check =
            |text: &str, expected: Option<i128>| assert_eq!(integer(text.as_bytes()), expected, "{text}");
        check("0", Some(0));
        check("-0", Some(0));
        check("007", Some(7));
        check("+7", Some(7));
        check("18446744073709551615", Some(u64::MAX.into()));
        check("18446744073709551616", None);
        check("-9223372036854775808", Some(i64::MIN.into()));
        check("-9223372036854775809", Some(i128::from(i64::MIN) - 1));
        check("1.0", Some(1));
        check("-1.000", Some(-1));
        check("1.5", None);
        check("1e3", Some(1000));
        check("-1E+3", Some(-1000));
        check("1200e-2", Some(12));
        check("1250e-2", None);
        check("1.25e2", Some(125));
        check("1.8446744073709551615e19", Some(u64::MAX.into()));
        check("1.8446744073709551616e19", None);
        check("1e19", Some(10_000_000_000_000_000_000));
        check("1e20", None);
        check("0e999999999999", Some(0));
        check("1e999999999999", None);
        check("1e-999999999999", None);
        check("1e99999999999999999999", None);
        check("0.0", Some(0));
        check(&format!("1.{}", "0".repeat(1000)), Some(1));
        check(&"9".repeat(1000), None);
        for text in [
            "", "-", "+", "--1", "1-", "a", "0x10", "1_000", " 1", "1 ", ".5", "e3", "1e", "-.0", "１",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn doubles() {
        let check = |text: &str, expected: Option<f64>| {
            let got = double(text.as_bytes());
            assert_eq!(got.map(f64::to_bits), expected.map(f64::to_bits), "{text}");
        };
        check("0", Some(0.));
        check("-0", Some(-0.));
        check("1.5", Some(1.5));
        check("5e-324", Some(5e-324));
        check("1e-999", Some(0.));
        check("1.7976931348623157e308", Some(f64::MAX));
        check("NaN", Some(f64::NAN));
        check("nan", Some(f64::NAN));
        check("Infinity", Some(f64::INFINITY));
        check("+Inf", Some(f64::INFINITY));
        check("-Infinity", Some(f64::NEG_INFINITY));
        check("1e999", None);
        check("-1e999", None);
        for text in ["", "-", "1,5", "0x1p3", "one", " 1", "infinit"] {
            check(text, None);
        }
    }
}
