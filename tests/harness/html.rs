//! Reads our pages: elements with their attributes and text, and the forms among them.
//!
//! Stricter than browsers are: an element that is closed elsewhere than where it was
//! opened is an error, for in a page of ours it is a mistake.

use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub struct Element {
    pub name: String,
    pub attributes: BTreeMap<String, String>,
    /// The text directly within it.
    pub text: String,
    parent: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct Document {
    elements: Vec<Element>,
    /// In bytes.
    pub size: usize,
}

/// A form as a browser would send it untouched.
#[derive(Clone, Debug)]
pub struct Form {
    pub action: String,
    pub method: String,
    pub fields: Vec<(String, String)>,
    /// Every name that has a control, sent or not.
    pub names: Vec<String>,
}

const VOID: [&str; 14] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
];
/// Within these nothing is markup.
const RAW: [&str; 4] = ["script", "style", "textarea", "title"];
/// These end by themselves where the next one or their parent's end comes.
const LENIENT: [&str; 2] = ["path", "rect"];

impl Element {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    pub fn has(&self, name: &str) -> bool {
        self.attributes.contains_key(name)
    }
}

impl Document {
    pub fn parse(html: &str) -> Result<Self, String> {
        let mut document = Self { elements: Vec::new(), size: html.len() };
        let mut open: Vec<usize> = Vec::new();
        let mut rest = html;
        while let Some(at) = rest.find('<') {
            document.add_text(open.last(), &rest[..at]);
            rest = &rest[at..];
            if let Some(comment) = rest.strip_prefix("<!--") {
                rest = comment.split_once("-->").ok_or("a comment has no end")?.1;
            } else if rest.starts_with("<!") {
                rest = rest.split_once('>').ok_or("a declaration has no end")?.1;
            } else if let Some(close) = rest.strip_prefix("</") {
                let (name, after) = close.split_once('>').ok_or("a tag has no end")?;
                let name = name.trim().to_lowercase();
                let last = open.pop().ok_or_else(|| format!("</{name}> closes nothing"))?;
                let opened = &document.elements[last].name;
                if *opened != name {
                    return Err(format!("</{name}> where <{opened}> is open"));
                }
                rest = after;
            } else {
                let (element, closes_itself, after) = tag(rest, open.last().copied())?;
                let name = element.name.clone();
                document.elements.push(element);
                rest = after;
                let at = document.elements.len() - 1;
                if closes_itself || VOID.contains(&name.as_str()) {
                    continue;
                }
                if RAW.contains(&name.as_str()) {
                    let end = format!("</{name}>");
                    let (text, after) =
                        rest.split_once(&end).ok_or(format!("<{name}> has no end"))?;
                    document.elements[at].text = decode(text);
                    rest = after;
                } else if !LENIENT.contains(&name.as_str()) {
                    open.push(at);
                }
            }
        }
        match open.last() {
            Some(left) => Err(format!("<{}> is never closed", document.elements[*left].name)),
            None => Ok(document),
        }
    }

    fn add_text(&mut self, within: Option<&usize>, text: &str) {
        if let Some(within) = within {
            self.elements[*within].text.push_str(&decode(text));
        }
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &Element> {
        self.elements.iter().filter(move |it| it.name == name)
    }

    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.elements.iter()
    }

    pub fn by_id(&self, id: &str) -> Option<&Element> {
        self.elements.iter().find(|it| it.attribute("id") == Some(id))
    }

    pub fn title(&self) -> &str {
        self.all("title").next().map_or("", |it| &it.text)
    }

    /// The text of an element and of all within it.
    pub fn text_of(&self, element: &Element) -> String {
        let Some(at) = self.index(element) else { return String::new() };
        let within = (0..self.elements.len()).filter(|it| *it == at || self.is_within(*it, at));
        let words: Vec<_> = within.map(|it| self.elements[it].text.trim()).collect();
        words.join(" ").trim().to_owned()
    }

    /// Everything that can be read on the page, on one line.
    pub fn words(&self) -> String {
        let shown = self.elements.iter().filter(|it| !["style", "script"].contains(&&*it.name));
        let text: Vec<_> = shown.map(|it| it.text.as_str()).collect();
        text.join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    pub fn links(&self) -> impl Iterator<Item = &str> {
        self.all("a").filter_map(|it| it.attribute("href"))
    }

    /// The nearest element of that name around `element`.
    pub fn around(&self, element: &Element, name: &str) -> Option<&Element> {
        let mut at = element.parent;
        while let Some(parent) = at {
            let parent = &self.elements[parent];
            if parent.name == name {
                return Some(parent);
            }
            at = parent.parent;
        }
        None
    }

    /// The one form that posts to an address ending in `action`.
    pub fn form(&self, action: &str) -> Form {
        let mut found: Vec<_> =
            self.forms().into_iter().filter(|it| it.action.ends_with(action)).collect();
        // One in the page and one in the menu of small screens are the same form.
        found.dedup_by(|a, b| a.action == b.action && a.names == b.names);
        let actions: Vec<_> = self.forms().into_iter().map(|it| it.action).collect();
        assert!(!found.is_empty(), "“{}” has no form for {action}, only {actions:?}", self.title());
        found.swap_remove(0)
    }

    pub fn forms(&self) -> Vec<Form> {
        self.all("form").filter_map(|it| self.index(it)).map(|it| self.read_form(it)).collect()
    }

    fn read_form(&self, at: usize) -> Form {
        let form = &self.elements[at];
        let mut fields = Vec::new();
        let mut names = Vec::new();
        let mut is_pressed = false;
        for (index, control) in self.elements.iter().enumerate() {
            if !self.is_within(index, at) {
                continue;
            }
            let Some(name) = control.attribute("name") else { continue };
            if control.has("disabled") {
                continue;
            }
            let value = control.attribute("value").unwrap_or_default().to_owned();
            let kind = control.attribute("type").unwrap_or("text");
            let sent = match (control.name.as_str(), kind) {
                ("input", "checkbox" | "radio") if !control.has("checked") => None,
                ("input", "checkbox" | "radio") if value.is_empty() => Some("on".to_owned()),
                ("input", "submit" | "button") => None,
                ("input", _) => Some(value),
                ("textarea", _) => Some(control.text.clone()),
                ("select", _) => self.selected(index),
                // Who says nothing else presses the first one.
                ("button", _) => Some(value).filter(|_| !std::mem::replace(&mut is_pressed, true)),
                _ => continue,
            };
            names.push(name.to_owned());
            fields.extend(sent.map(|it| (name.to_owned(), it)));
        }
        let method = form.attribute("method").unwrap_or("get").to_lowercase();
        let action = form.attribute("action").unwrap_or_default().to_owned();
        Form { action, method, fields, names }
    }

    fn selected(&self, select: usize) -> Option<String> {
        let options: Vec<_> = (0..self.elements.len())
            .filter(|it| self.is_within(*it, select))
            .map(|it| &self.elements[it])
            .filter(|it| it.name == "option")
            .collect();
        let chosen = options.iter().find(|it| it.has("selected")).or(options.first())?;
        Some(chosen.attribute("value").map_or_else(|| chosen.text.clone(), ToOwned::to_owned))
    }

    fn index(&self, element: &Element) -> Option<usize> {
        self.elements.iter().position(|it| std::ptr::eq(it, element))
    }

    fn is_within(&self, element: usize, outer: usize) -> bool {
        let mut at = self.elements[element].parent;
        while let Some(parent) = at {
            if parent == outer {
                return true;
            }
            at = self.elements[parent].parent;
        }
        false
    }
}

/// The element that begins `text`, whether it closes itself, and what follows.
fn tag(text: &str, parent: Option<usize>) -> Result<(Element, bool, &str), String> {
    let body = &text[1..];
    let end = body.find(|it: char| it.is_whitespace() || it == '>' || it == '/');
    let end = end.ok_or("a tag has no end")?;
    let name = body[..end].to_lowercase();
    let mut element = Element { name, attributes: BTreeMap::new(), text: String::new(), parent };
    let mut rest = body[end..].trim_start();
    loop {
        if let Some(after) = rest.strip_prefix("/>") {
            return Ok((element, true, after));
        }
        if let Some(after) = rest.strip_prefix('>') {
            return Ok((element, false, after));
        }
        let end = rest.find(|it: char| it.is_whitespace() || "=>/".contains(it));
        let end =
            end.filter(|it| *it > 0).ok_or_else(|| format!("<{}> is broken", element.name))?;
        let attribute = rest[..end].to_lowercase();
        rest = rest[end..].trim_start();
        let mut value = "";
        if let Some(after) = rest.strip_prefix('=') {
            let after = after.trim_start();
            let quote = if after.starts_with('\'') { '\'' } else { '"' };
            let quoted = after.strip_prefix(quote).and_then(|it| it.split_once(quote));
            (value, rest) =
                quoted.ok_or_else(|| format!("{attribute} of <{}> has no quotes", element.name))?;
            rest = rest.trim_start();
        }
        if element.attributes.insert(attribute.clone(), decode(value)).is_some() {
            return Err(format!("<{}> has {attribute} twice", element.name));
        }
    }
}

fn decode(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        let entity = rest[1..].split_once(';').filter(|(name, _)| name.len() <= 8);
        match entity.and_then(|(name, after)| Some((character(name)?, after))) {
            Some((character, after)) => {
                decoded.push(character);
                rest = after;
            }
            None => {
                decoded.push('&');
                rest = &rest[1..];
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

fn character(name: &str) -> Option<char> {
    if let Some(hex) = name.strip_prefix("#x") {
        return char::from_u32(u32::from_str_radix(hex, 16).ok()?);
    }
    if let Some(number) = name.strip_prefix('#') {
        return char::from_u32(number.parse().ok()?);
    }
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some('\u{a0}'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_sent_as_a_browser_would() {
        let page = Document::parse(
            r#"<!doctype html><form action="/a" method="post"><p>Say &lt;b&gt;<br>
            <input name="x" value="1 &amp; 2"><input name="off" value="1" disabled><input type="checkbox" name="y" checked>
            <input type="checkbox" name="z"><textarea name="t"><b></textarea>
            <select name="s"><option value="1">A</option><option value="2" selected>B</option>
            </select><button name="b" value="3">Go</button><button name="c">Stop</button></p></form>"#,
        )
        .unwrap();
        let form = page.form("/a");
        let fields: Vec<_> = form.fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(fields, [("x", "1 & 2"), ("y", "on"), ("t", "<b>"), ("s", "2"), ("b", "3")]);
        assert_eq!(form.names, ["x", "y", "z", "t", "s", "b", "c"]);
        assert!(page.words().starts_with("Say <b>"));
    }

    #[test]
    fn mistakes_are_noticed() {
        for broken in
            ["<p><b></p></b>", "<div>", "</p>", "<p class=x></p>", "<p id=\"a\" id=\"b\"></p>"]
        {
            assert!(Document::parse(broken).is_err(), "{broken}");
        }
    }
}
