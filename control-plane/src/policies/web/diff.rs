//! What differs between two documents, line by line.

use shared::snapshot::Document;

/// A line of either.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// `+`, `-` or a space.
    pub sign: &'static str,
    pub text: String,
}

/// As people write it.
pub fn written(document: &Document) -> String {
    serde_json::to_string_pretty(document).unwrap_or_default()
}

/// Lines that are the same in both stand in their order; nothing where all are.
pub fn diff(before: &Document, after: &Document) -> Vec<Line> {
    if before == after {
        return Vec::new();
    }
    let (before, after) = (written(before), written(after));
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    // How many lines from there on the two have in common.
    let width = new.len() + 1;
    let mut common = vec![0_usize; (old.len() + 1) * width];
    let at = |i: usize, j: usize| i * width + j;
    for (i, line) in old.iter().enumerate().rev() {
        for (j, other) in new.iter().enumerate().rev() {
            let most = match line == other {
                true => common.get(at(i + 1, j + 1)).map_or(0, |it| it + 1),
                false => {
                    common.get(at(i + 1, j)).max(common.get(at(i, j + 1))).copied().unwrap_or(0)
                }
            };
            if let Some(cell) = common.get_mut(at(i, j)) {
                *cell = most;
            }
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    loop {
        let (sign, text) = match (old.get(i), new.get(j)) {
            (None, None) => return lines,
            (Some(line), Some(other)) if line == other => {
                (i, j) = (i + 1, j + 1);
                (" ", *line)
            }
            (Some(line), other)
                if other.is_none() || common.get(at(i + 1, j)) >= common.get(at(i, j + 1)) =>
            {
                i += 1;
                ("-", *line)
            }
            (_, Some(other)) => {
                j += 1;
                ("+", *other)
            }
            (Some(line), None) => {
                i += 1;
                ("-", *line)
            }
        };
        lines.push(Line { sign, text: text.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_and_what_came_is_marked() {
        let document = |model: &str| -> Document {
            let text = format!(
                r#"{{"otherwise": {{"tiers": [{{"targets": [{{"model": "{model}"}}]}}]}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        assert_eq!(diff(&document("a"), &document("a")), []);
        let lines = diff(&document("a"), &document("b"));
        let marked: Vec<_> = lines.iter().filter(|it| it.sign != " ").collect();
        assert_eq!(marked.iter().map(|it| it.sign).collect::<String>(), "-+");
        assert!(marked[0].text.contains("\"a\"") && marked[1].text.contains("\"b\""));
        // Without what was added it is the one, and without what is gone the other.
        let side = |gone: &str| {
            let kept = lines.iter().filter(|it| it.sign != gone).map(|it| it.text.as_str());
            kept.collect::<Vec<_>>().join("\n")
        };
        assert_eq!((side("+"), side("-")), (written(&document("a")), written(&document("b"))));
    }
}
