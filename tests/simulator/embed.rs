//! Vectors for texts: texts that share words point the same way.

use super::digest::Digest;

/// A vector of length one.
pub(super) fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    const PLACES: u64 = 16;
    let mut vector = vec![0f32; dimensions];
    let lower = text.to_lowercase();
    let words = lower.split(|it: char| !it.is_alphanumeric()).filter(|it| !it.is_empty());
    for word in words.chain([""]) {
        let digest = Digest::new().with(word.as_bytes());
        for place in 0..PLACES {
            let drawn = digest.with_number(place).value();
            let sign = if drawn & 1 == 0 { 1.0 } else { -1.0 };
            vector[(drawn >> 1) as usize % dimensions] += sign;
        }
    }
    let length = vector.iter().map(|it| it * it).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|it| *it /= length);
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn likeness(a: &str, b: &str) -> f32 {
        vector(a, 256).iter().zip(vector(b, 256)).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn texts_that_share_words_are_alike() {
        let question = "How do I reset my password?";
        assert!((likeness(question, question) - 1.0).abs() < 1e-5);
        let near = likeness(question, "How can I reset the password?");
        assert!(near > likeness(question, "Bananas are yellow fruit."));
    }
}
