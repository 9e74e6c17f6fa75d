//! Numbers as people read them, the same in every form of the report.

/// `1.23 GiB`.
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            let digits = usize::from(unit != "B") * 2;
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.2} TiB")
}

/// `84.8 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// `+5.0 %`, `-60.0 %`.
pub fn signed(share: f64) -> String {
    format!("{:+.1} %", share * 100.0)
}

/// Four digits that count: `0.01234`, `12.34`, `1234`.
pub fn digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let whole = value.abs().log10().floor() as i32;
    format!("{value:.*}", (3 - whole).clamp(0, 8) as usize)
}

/// Thousands apart: `4,194,304`.
pub fn thousands(number: usize) -> String {
    let text = number.to_string();
    let mut out = String::with_capacity(text.len() + text.len() / 3);
    for (place, digit) in text.chars().enumerate() {
        if place > 0 && (text.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 step`, `6 steps`.
pub fn steps(count: usize) -> String {
    format!("{count} step{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!((bytes(12).as_str(), bytes(1536).as_str()), ("12 B", "1.50 KiB"));
        assert_eq!(bytes(3 << 40), "3.00 TiB");
        assert_eq!(
            (percent(0.8475).as_str(), signed(-0.6).as_str()),
            ("84.8 %", "-60.0 %")
        );
        assert_eq!(
            [0.012_345, 12.345, 12_345.6, 0.0].map(digits),
            ["0.01235", "12.35", "12346", "0"]
        );
        assert_eq!(
            (thousands(4_194_304).as_str(), thousands(999).as_str()),
            ("4,194,304", "999")
        );
    }
}
