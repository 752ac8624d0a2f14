//! Making the weights, and measuring them: no part of a proxy.

mod common_words;
mod csv;
mod data;
pub mod evaluate;
mod exemplars;
mod fit;

use std::{fs, io, path::PathBuf};

pub use self::{
    data::{Data, Outcomes, Prompt},
    fit::train,
};
use crate::{Router, weights};

/// Where the data is: `TURNPIKE_ROUTING_DATA`, or beside the checkout.
pub fn directory() -> PathBuf {
    std::env::var_os("TURNPIKE_ROUTING_DATA").map_or_else(|| "../shared/data".into(), PathBuf::from)
}

/// The file as it is committed.
pub fn file(router: &Router, data: &Data) -> Vec<u8> {
    weights::write(router, &data.sources)
}

/// Where it is committed.
pub fn place() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/router.weights"))
}

pub fn write_file(bytes: &[u8]) -> io::Result<()> {
    fs::write(place(), bytes)
}

/// Numbers that look drawn and are the same each time.
#[derive(Clone, Debug)]
pub struct Draws(u64);

impl Draws {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let it = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.draw() % bound).unwrap_or(0)
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        task::Task,
        train::data::{Labelled, Text},
    };

    /// A little of each kind.
    fn slice() -> Data {
        let text = |text: &str, language: &str| Text {
            text: text.into(),
            language: language.into(),
            is_sentence: true,
        };
        let labelled =
            |prompt: &str, task| Labelled { prompt: prompt.into(), task, source: "s".into() };
        let rows: String = (0..60)
            .map(|it| format!("{it},\"What is {it} and {it}?\nA. 1\",{},1\n", it % 2))
            .collect();
        let csv = format!("id,prompt,weak,strong\n{rows}");
        Data {
            languages: vec![text("the cat sleeps", "en"), text("die Katze schläft", "de")],
            tasks: vec![
                labelled("write a poem", Task::Creative),
                labelled("def f(): pass", Task::Code),
            ],
            tasks_dev: vec![labelled("how many apples are there", Task::MathReasoning)],
            outcomes: vec![Outcomes::parse("slice", &csv, "strong", "weak").unwrap()],
            sources: vec!["slice".into()],
        }
    }

    #[test]
    fn training_twice_makes_the_same_bytes() {
        let data = slice();
        let [one, other] = [(); 2].map(|()| file(&train(&data), &data));
        assert!(one == other, "the files differ");
        let router = crate::read(&one).unwrap();
        let known = router.prior().known("strong").unwrap();
        assert_eq!(known.seen, 60);
        assert!(known.quality.iter().flatten().all(|it| *it > 0.9), "{known:?}");
    }

    /// Where the data is. Elsewhere there is nothing to compare with.
    #[test]
    fn what_is_shipped_is_what_training_makes() {
        let Ok(data) = Data::load(&PathBuf::from("../../shared/data")) else { return };
        assert!(file(&train(&data), &data) == crate::SHIPPED, "run make train-router");
    }
}
