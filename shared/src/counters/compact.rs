//! Scripts as Redis gets them. It runs all of a script for each question: every function that is
//! declared is made anew then, with a reference to each local that stands in it, and that takes
//! longer than most questions. So what is constant is put in where it is used, and functions that
//! a script does not call are left out.
//!
//! It knows no more of Lua than our scripts use: names of constants are in capitals, what is
//! declared for all begins in the first column, a function ends with an `end` that does, or on
//! its line, and texts are between single quotes without another in them.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    iter,
    sync::{Mutex, PoisonError},
};

/// A script out of its parts, for which Redis does less. Each is made once: tests ask for the same
/// ones very often.
pub fn compacted(parts: &[&'static str]) -> String {
    static MADE: Mutex<Vec<(Vec<&str>, String)>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, script)) = made.iter().find(|it| it.0 == parts) {
        return script.clone();
    }
    let script = compact(&parts.concat());
    made.push((parts.to_vec(), script.clone()));
    script
}

fn compact(code: &str) -> String {
    let mut constants = Constants::default();
    let mut parts: Vec<String> = Vec::new();
    let mut is_function = false;
    for line in code.lines() {
        let line = without_comment(line);
        let line = line.trim_end();
        if line.is_empty() || constants.learns(line) {
            continue;
        }
        let line = constants.put_into(line);
        match parts.last_mut().filter(|_| is_function) {
            Some(part) => {
                part.push('\n');
                part.push_str(line.trim_start());
            }
            None => parts.push(line.trim_start().to_owned()),
        }
        let begins = line.starts_with(FUNCTION) && !line.ends_with(" end");
        is_function = (is_function || begins) && line != "end";
    }
    called(&parts)
}

const FUNCTION: &str = "local function ";

/// Those parts that are no functions, and the functions that what comes behind them calls.
fn called(parts: &[String]) -> String {
    let (mut kept, mut names) = (Vec::with_capacity(parts.len()), HashSet::new());
    for part in parts.iter().rev() {
        let name = part.strip_prefix(FUNCTION).and_then(|it| it.split('(').next());
        if name.is_none_or(|it| names.contains(it)) {
            names.extend(pieces(part));
            kept.push(part.as_str());
        }
    }
    kept.reverse();
    kept.join("\n")
}

/// What constants are, by their names.
#[derive(Default)]
struct Constants(HashMap<String, String>);

impl Constants {
    /// Whether the line only says what constants are.
    fn learns(&mut self, line: &str) -> bool {
        let declared = line.strip_prefix("local ").and_then(|it| it.split_once(" = "));
        let Some((names, values)) = declared else { return false };
        let (names, values): (Vec<_>, Vec<_>) =
            (names.split(", ").collect(), values.split(", ").collect());
        let is_constant = |value: &&str| pieces(value).all(|it| self.knows(it));
        if !names.iter().copied().all(is_constant_name)
            || names.len() != values.len()
            || !values.iter().all(is_constant)
        {
            return false;
        }
        for (name, value) in names.into_iter().zip(values) {
            let value = self.put_into(value);
            let is_sum = pieces(&value).nth(1).is_some();
            let value = if is_sum { format!("({value})") } else { value };
            self.0.insert(name.to_owned(), value);
        }
        true
    }

    fn put_into(&self, line: &str) -> String {
        let mut put = String::with_capacity(line.len());
        for piece in pieces(line) {
            let is_field = put.ends_with('.');
            let constant = self.0.get(piece).filter(|_| !is_field);
            put.push_str(constant.map_or(piece, String::as_str));
        }
        put
    }

    /// A number, a text, a sum of such, or of constants.
    fn knows(&self, piece: &str) -> bool {
        let is_sum = |it: char| it.is_ascii_digit() || matches!(it, ' ' | '+' | '-');
        self.0.contains_key(piece) || piece.starts_with('\'') || piece.chars().all(is_sum)
    }
}

fn is_constant_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|it| it.is_ascii_uppercase() || it == '_')
}

fn without_comment(line: &str) -> Cow<'_, str> {
    match pieces(line).position(|it| it.starts_with("--")) {
        Some(at) => pieces(line).take(at).collect::<String>().into(),
        None => line.into(),
    }
}

/// Names, texts with their quotes, a comment, and what is between, in their order.
fn pieces(code: &str) -> impl Iterator<Item = &str> {
    let mut rest = code;
    iter::from_fn(move || {
        let is_name = |it: char| it.is_ascii_alphanumeric() || it == '_';
        let first = rest.chars().next()?;
        let length = if first == '\'' {
            rest[1..].find('\'').map_or(rest.len(), |it| it + 2)
        } else if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if is_name(first) {
            rest.find(|it| !is_name(it)).unwrap_or(rest.len())
        } else {
            let ends = |(at, it): (usize, char)| {
                is_name(it) || it == '\'' || at > 0 && rest[at..].starts_with("--")
            };
            rest.char_indices().find(|it| ends(*it)).map_or(rest.len(), |it| it.0)
        };
        let (piece, behind) = rest.split_at(length);
        rest = behind;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_constant_stands_where_it_is_used_and_what_nobody_calls_is_gone() {
        let script = "\
-- What this is.
local KEY, SIZE = 1, 160 -- bytes
local PRESENT, SPENT = 12, 2
local SPENT_NOW = PRESENT + SPENT
local FORM = '<i8i8'
local STATES = { W = 0 }

-- KEY of it.
local function short(it) return it[KEY] end
local function never(it)
  return short(it)
end
local function size_of(it)
  -- SIZE of it.
  if it then
    return struct.unpack(FORM, it.SIZE, 'SIZE -- it is')[SPENT_NOW] - SIZE
  end
end
local now = size_of(KEYS[KEY])
return STATES[now]
";
        let compacted = "\
local STATES = { W = 0 }
local function size_of(it)
if it then
return struct.unpack('<i8i8', it.SIZE, 'SIZE -- it is')[(12 + 2)] - 160
end
end
local now = size_of(KEYS[1])
return STATES[now]";
        assert_eq!(compact(script), compacted);
    }

    #[test]
    fn what_is_no_constant_stays() {
        for script in [
            "local A = redis.call('TIME')",
            "local A, B = 1",
            "local A = B + 1",
            "local a = 1",
            "local A = { 1 }",
        ] {
            assert_eq!(compact(script), script);
        }
    }

    proptest! {
        #[test]
        fn pieces_are_all_of_it(code in "[a-zA-Z0-9_' \\-\\n=é]{0,60}") {
            prop_assert_eq!(pieces(&code).collect::<String>(), code.as_str());
            prop_assert!(pieces(&code).all(|it| !it.is_empty()));
            compact(&code);
        }
    }
}
