//! Randomness for secrets, from the one cryptographic provider.

/// `N` bytes that nobody can guess.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `length` letters and digits, each equally likely: a byte that would favour some is
/// thrown away.
pub fn base62(length: usize) -> String {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let usable = bytes::<64>().into_iter().filter(|it| *it < 248);
        let letters = usable.map(|it| char::from(BASE62[usize::from(it) % 62]));
        text.extend(letters.take(length - text.len()));
    }
    text
}

/// `number` in six letters and digits, which is room for any 32 bits.
pub fn base62_of(number: u32) -> [u8; 6] {
    let mut rest = number;
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_the_length_asked_for() {
        for length in [0, 1, 8, 32, 100] {
            let text = base62(length);
            assert!(text.len() == length && text.bytes().all(|it| it.is_ascii_alphanumeric()));
        }
    }

    #[test]
    fn the_largest_number_fits() {
        assert_eq!(&base62_of(0), b"000000");
        assert_eq!(&base62_of(u32::MAX), b"4gfFC3");
    }
}
