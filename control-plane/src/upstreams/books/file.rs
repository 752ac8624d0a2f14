//! Files of prices: CSV for spreadsheets, JSON for programs. A file is read whole or not at all,
//! and everything that is wrong with it is said at once, line by line.
//!
//! A line of CSV is about the model that `provider` and `model` name. Its columns are the classes,
//! in dollars for a million tokens or for one piece, and further
//!
//! * `of`: `list`, which is what the vendor asks and what an empty one means, or `sell`, which is
//!   what is paid;
//! * `markup_bp`: by how much more than the list is paid, in basis points;
//! * `from`: when it begins, where it is not when the others do;
//! * `above_tokens`: the line is what longer calls cost;
//! * `service_tier` and `multiplier_bp`: by how much a tier of service multiplies it.
//!
//! A line with neither price nor markup says that the model has no price in the book any more.

use std::collections::BTreeMap;

use serde::Deserialize;
use shared::money::{Class, Price};
use time::OffsetDateTime;

use super::change::{MARKUPS, Sell};
use crate::{
    upstreams::known::{Above, TypedRates, typed_price},
    web,
};

/// What a file says of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it says so, from 1 on.
    pub number: usize,
    pub provider: String,
    pub model: String,
    pub from: Option<OffsetDateTime>,
    pub list: Option<Price>,
    pub sell: Option<Sell>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {message}")]
pub struct Wrong {
    pub number: usize,
    pub message: String,
}

impl Wrong {
    pub(super) fn new(number: usize, message: impl ToString) -> Self {
        Self { number, message: message.to_string() }
    }
}

/// More than all vendors together list.
const MOST: usize = 5_000;

/// Times that say no zone are in `zone`.
pub fn read(text: &str, zone: &str) -> Result<Vec<Line>, Vec<Wrong>> {
    let text = text.trim_start_matches('\u{feff}');
    let lines = match text.trim_start().starts_with('[') {
        true => of_json(text, zone),
        false => of_csv(text, zone),
    }?;
    match lines.len() {
        0 => Err(vec![Wrong::new(1, "there is no price in it")]),
        MOST.. => Err(vec![Wrong::new(MOST, "a file has at most 5,000 lines")]),
        _ => Ok(lines),
    }
}

/// A price before it is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    #[serde(default)]
    rates: TypedRates,
    #[serde(default)]
    above: Vec<Above>,
    #[serde(default)]
    services: BTreeMap<String, u32>,
}

impl Typed {
    fn price(&self) -> Result<Option<Price>, String> {
        if *self == Self::default() {
            return Ok(None);
        }
        typed_price(&self.rates, &self.above, &self.services).map(Some).map_err(|it| it.to_string())
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(skip)]
    number: usize,
    provider: String,
    model: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    list: Typed,
    #[serde(default)]
    sell: Typed,
    #[serde(default)]
    markup_bp: Option<i32>,
}

impl Entry {
    fn line(&self, zone: &str) -> Result<Line, Wrong> {
        let wrong = |message: String| Wrong::new(self.number, message);
        let list = self.list.price().map_err(|it| wrong(format!("list: {it}")))?;
        let sold = self.sell.price().map_err(|it| wrong(format!("sell: {it}")))?;
        let sell = match (sold, self.markup_bp) {
            (Some(_), Some(_)) => {
                return Err(wrong("say a price or a markup, not both".to_owned()));
            }
            (None, Some(it)) if !MARKUPS.contains(&it) => {
                return Err(wrong("a markup is -10,000 to 1,000,000 basis points".to_owned()));
            }
            (sold, markup) => sold.map(Sell::Price).or(markup.map(Sell::MarkupBp)),
        };
        let from = match self.from.trim() {
            "" => None,
            text => Some(
                web::instant(text, zone)
                    .or_else(|| web::instant(&format!("{text}T00:00"), zone))
                    .ok_or_else(|| wrong(format!("{text:?} is no day and no time")))?,
            ),
        };
        let (provider, model) = (self.provider.trim().to_owned(), self.model.trim().to_owned());
        if provider.is_empty() || model.is_empty() {
            return Err(wrong("say which provider's which model it is about".to_owned()));
        }
        Ok(Line { number: self.number, provider, model, from, list, sell })
    }
}

fn lines(entries: Vec<Entry>, zone: &str, mut wrongs: Vec<Wrong>) -> Result<Vec<Line>, Vec<Wrong>> {
    let mut lines: Vec<Line> = Vec::with_capacity(entries.len());
    let mut seen = BTreeMap::new();
    for entry in entries {
        match entry.line(zone) {
            Err(wrong) => wrongs.push(wrong),
            Ok(line) => {
                let about = (line.provider.clone(), line.model.clone(), line.from);
                match seen.insert(about, line.number) {
                    Some(before) => {
                        let message = format!("line {before} is about the same model");
                        wrongs.push(Wrong::new(line.number, message));
                    }
                    None => lines.push(line),
                }
            }
        }
    }
    wrongs.sort_by_key(|it| it.number);
    if wrongs.is_empty() { Ok(lines) } else { Err(wrongs) }
}

fn of_json(text: &str, zone: &str) -> Result<Vec<Line>, Vec<Wrong>> {
    let mut entries: Vec<Entry> = serde_json::from_str(text)
        .map_err(|error| vec![Wrong::new(error.line(), error.to_string())])?;
    for (entry, number) in entries.iter_mut().zip(1..) {
        entry.number = number;
    }
    lines(entries, zone, Vec::new())
}

fn of_csv(text: &str, zone: &str) -> Result<Vec<Line>, Vec<Wrong>> {
    let mut rows = records(text).map_err(|it| vec![it])?.into_iter();
    let Some((_, header)) = rows.next() else { return Ok(Vec::new()) };
    let header: Vec<_> = header.iter().map(|it| it.trim().to_lowercase()).collect();
    let (mut entries, mut wrongs) = (Vec::<Entry>::new(), Vec::new());
    for name in header.iter().filter(|it| !is_column(it)) {
        wrongs.push(Wrong::new(1, format!("there is no column called {name:?}")));
    }
    if !wrongs.is_empty() {
        return Err(wrongs);
    }
    for (number, cells) in rows {
        if cells.iter().all(|it| it.trim().is_empty()) {
            continue;
        }
        if cells.len() != header.len() {
            let message = format!("it has {} cells of {}", cells.len(), header.len());
            wrongs.push(Wrong::new(number, message));
            continue;
        }
        let named = header.iter().map(String::as_str).zip(cells.iter().map(|it| it.trim()));
        let row: BTreeMap<_, _> = named.filter(|it| !it.1.is_empty()).collect();
        if let Err(message) = take(&mut entries, number, &row) {
            wrongs.push(Wrong::new(number, message));
        }
    }
    lines(entries, zone, wrongs)
}

const COLUMNS: [&str; 8] = [
    "provider",
    "model",
    "of",
    "from",
    "markup_bp",
    "above_tokens",
    "service_tier",
    "multiplier_bp",
];

fn is_column(name: &str) -> bool {
    COLUMNS.contains(&name) || Class::ALL.into_iter().any(|it| it.name() == name)
}

/// Adds what a line says to what lines before it say of the same.
fn take(entries: &mut Vec<Entry>, number: usize, row: &BTreeMap<&str, &str>) -> Result<(), String> {
    let text = |name| row.get(name).copied().unwrap_or_default();
    let whole = |name: &str| -> Result<Option<u64>, String> {
        let parse = |it: &&str| it.replace([',', '_'], "").parse();
        let parsed: Result<Option<u64>, _> = row.get(name).map(parse).transpose();
        parsed.map_err(|_| format!("{name} is no whole number"))
    };
    let about = (text("provider"), text("model"), text("from"));
    let is_it = |it: &Entry| (it.provider.as_str(), it.model.as_str(), it.from.as_str()) == about;
    let (above, service) = (whole("above_tokens")?, row.get("service_tier"));
    let is_more = above.is_some() || service.is_some();
    let at = match entries.iter().position(is_it) {
        Some(at) => at,
        None if is_more => return Err("it follows no line about its model".to_owned()),
        None => {
            let (provider, model, from) = about;
            let (provider, model, from) = (provider.into(), model.into(), from.into());
            entries.push(Entry { number, provider, model, from, ..Entry::default() });
            entries.len() - 1
        }
    };
    let entry = entries.get_mut(at).ok_or("it is about nothing")?;
    if let Some(markup) = row.get("markup_bp") {
        let markup = markup.parse().map_err(|_| "markup_bp is no whole number")?;
        if entry.markup_bp.replace(markup).is_some() {
            return Err("its markup was said before".to_owned());
        }
    }
    let typed = match text("of") {
        "" | "list" => &mut entry.list,
        "sell" => &mut entry.sell,
        other => return Err(format!("of is list or sell, and not {other:?}")),
    };
    let classes = Class::ALL.into_iter().filter_map(|it| Some((it.name(), *row.get(it.name())?)));
    let rates: TypedRates = classes
        .map(|(name, text)| (name.to_owned(), text.trim_start_matches('$').to_owned()))
        .collect();
    match (above, service) {
        (Some(_), Some(_)) => Err("say above_tokens or service_tier, not both".to_owned()),
        (Some(tokens), None) => {
            typed.above.push(Above { tokens, price: rates });
            Ok(())
        }
        (None, Some(service)) => {
            let multiplier = whole("multiplier_bp")?.and_then(|it| u32::try_from(it).ok());
            let multiplier = multiplier.ok_or("a service tier has a multiplier_bp")?;
            match typed.services.insert((*service).to_owned(), multiplier) {
                None => Ok(()),
                Some(_) => Err("that service tier was said before".to_owned()),
            }
        }
        (None, None) if rates.is_empty() => Ok(()),
        (None, None) if typed.rates.is_empty() => {
            typed.rates = rates;
            Ok(())
        }
        (None, None) => Err("a line before it says what the same costs".to_owned()),
    }
}

/// Rows of cells with the numbers of their lines: RFC 4180, with line ends of either kind.
fn records(text: &str) -> Result<Vec<(usize, Vec<String>)>, Wrong> {
    let (mut rows, mut cells, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut number, mut began, mut is_quoted) = (1, 1, false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\n' {
            number += 1;
        }
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' if is_quoted => is_quoted = false,
            _ if is_quoted => cell.push(letter),
            '"' if cell.is_empty() => is_quoted = true,
            ',' => cells.push(std::mem::take(&mut cell)),
            '\r' => (),
            '\n' => {
                cells.push(std::mem::take(&mut cell));
                rows.push((began, std::mem::take(&mut cells)));
                began = number;
            }
            letter => cell.push(letter),
        }
    }
    if is_quoted {
        return Err(Wrong::new(began, "a quotation mark is never closed"));
    }
    if !cell.is_empty() || !cells.is_empty() {
        cells.push(cell);
        rows.push((began, cells));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    #[track_caller]
    fn wrong(text: &str, expected: &[(usize, &str)]) {
        let wrongs = read(text, "UTC").unwrap_err();
        assert_eq!(wrongs.len(), expected.len(), "{wrongs:?}");
        for (wrong, (number, words)) in wrongs.iter().zip(expected) {
            assert_eq!(wrong.number, *number, "{wrong}");
            assert!(wrong.message.contains(words), "{wrong}");
        }
    }

    #[test]
    fn a_table_and_a_list_say_the_same() {
        let csv = "\u{feff}provider,model,of,from,markup_bp,above_tokens,service_tier,multiplier_bp,input,cached_input,output\r\n\
                   OpenAI,gpt,,,2000,,,,\"2\",$0.50,8\r\n\
                   OpenAI,gpt,list,,,\"200,000\",,,4,1,16\r\n\
                   OpenAI,gpt,,,,,batch,5000,,,\r\n\
                   OpenAI,mini,,2027-01-01,,,,,1,,2\r\n\
                   OpenAI,mini,sell,2027-01-01,,,,,3,,4\r\n\
                   OpenAI,old,,,,,,,,,\r\n";
        let json = r#"[
            {"provider": "OpenAI", "model": "gpt", "markup_bp": 2000, "list": {
                "rates": {"input": "2", "cached_input": "0.50", "output": "8"},
                "above": [{"tokens": 200000, "price": {"input": "4", "cached_input": "1", "output": "16"}}],
                "services": {"batch": 5000}}},
            {"provider": "OpenAI", "model": "mini", "from": "2027-01-01T00:00:00Z",
             "list": {"rates": {"input": "1", "output": "2"}},
             "sell": {"rates": {"input": "3", "output": "4"}}},
            {"provider": "OpenAI", "model": "old"}]"#;
        let (csv, mut json) = (read(csv, "UTC").unwrap(), read(json, "UTC").unwrap());
        for (json, csv) in json.iter_mut().zip(&csv) {
            json.number = csv.number;
        }
        assert_eq!(csv, json);
        assert_eq!(csv.iter().map(|it| it.number).collect::<Vec<_>>(), [2, 5, 7]);
        assert_eq!(csv[1].from, Some(datetime!(2027-01-01 0:00 UTC)));
        assert_eq!((&csv[2].list, &csv[2].sell), (&None, &None));
        let gpt = csv[0].list.as_ref().unwrap();
        assert_eq!(gpt.standard().at(200_001).output.to_string(), "16.00");
        assert_eq!(gpt.service_tiers().len(), 1);
    }

    #[test]
    fn every_wrong_line_is_named_at_once() {
        wrong(
            "provider,model,of,above_tokens,input,output\n\
             a,one,,,1,2\n\
             a,two,,,1,\n\
             a,three,,,1.23456789,2\n\
             a,four,,9,1,2\n\
             a,five,buy,,1,2\n\
             a,six,,,1\n\
             ,seven,,,1,2\n\
             a,one,,,3,4\n",
            &[
                (3, "output"),
                (4, "input"),
                (5, "follows no line"),
                (6, "list or sell"),
                (7, "5 cells of 6"),
                (8, "which provider"),
                (9, "a line before it"),
            ],
        );
        wrong("provider,model,fee\na,b,1\n", &[(1, "no column called \"fee\"")]);
        wrong("provider,model\n\"a,b\n", &[(2, "never closed")]);
        wrong("", &[(1, "no price in it")]);
        wrong("provider,model,from,input,output\na,b,soon,1,2\n", &[(2, "no day and no time")]);
        wrong("provider,model,markup_bp\na,b,-10001\n", &[(2, "basis points")]);
        wrong(
            r#"[{"provider":"a","model":"b","list":{"rates":{"input":1,"output":"2"}}}]"#,
            &[(1, "string")],
        );
        let twice = r#"[{"provider":"a","model":"b"},{"provider":"a","model":"b"}]"#;
        wrong(twice, &[(2, "the same model")]);
    }

    proptest! {
        #[test]
        fn whatever_is_pasted_is_read_or_refused(text in ".{0,300}") {
            let _ = read(&text, "UTC");
            let _ = read(&format!("provider,model,input,output\n{text}"), "UTC");
            let _ = read(&format!("[{text}"), "UTC");
        }
    }
}
