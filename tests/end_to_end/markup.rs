//! What every page's markup promises to people, to browsers and to screen readers.

use std::{cell::RefCell, collections::BTreeSet};

use harness::html::{Document, Element};

const MOST_BYTES: usize = 40 * 1024;

/// What is wrong with a page, one line each.
pub fn faults(page: &Document) -> Vec<String> {
    let faults = RefCell::new(Vec::new());
    let fault = |is_wrong: bool, text: String| {
        if is_wrong {
            faults.borrow_mut().push(text);
        }
    };
    let headings = page.all("h1").count();
    fault(headings != 1, format!("{headings} first headings"));
    let title = page.title();
    fault(page.size > MOST_BYTES, format!("{} bytes", page.size));
    fault(!title.ends_with(" · Turnpike") || title.len() < 13, format!("titled {title:?}"));
    fault(page.all("main").count() != 1, "not one main part".to_owned());
    let language = page.all("html").next().and_then(|it| it.attribute("lang"));
    fault(language != Some("en"), "without its language".to_owned());

    let mut ids = BTreeSet::new();
    for id in page.elements().filter_map(|it| it.attribute("id")) {
        fault(!ids.insert(id), format!("id {id} twice"));
    }
    for element in page.elements() {
        let name = &element.name;
        for (attribute, value) in &element.attributes {
            let is_inline = attribute == "style" || attribute.starts_with("on");
            fault(is_inline, format!("<{name}> has {attribute}={value:?}"));
            if ["aria-labelledby", "aria-describedby", "aria-controls", "for", "list"]
                .contains(&attribute.as_str())
            {
                for id in value.split_whitespace() {
                    fault(!ids.contains(id), format!("<{name} {attribute}> names no {id}"));
                }
            }
        }
        fault(name == "style", "an inline style sheet".to_owned());
        let is_foreign = !element.attribute("src").is_some_and(|it| it.starts_with("/assets/"));
        fault(name == "script" && is_foreign, "a script that is not a file of ours".to_owned());
        fault(name == "script" && !element.text.trim().is_empty(), "an inline script".to_owned());
        let found = unnamed(page, element).or_else(|| strays(element));
        faults.borrow_mut().extend(found);
    }
    for form in page.forms() {
        let (action, method) = (&form.action, form.method.as_str());
        let tokens = form.names.iter().filter(|it| *it == "csrf").count();
        let is_guarded = tokens == usize::from(method == "post");
        fault(!is_guarded, format!("the form for {action} has {tokens} tokens"));
        let is_ours = ["get", "post"].contains(&method) && action.starts_with('/');
        fault(!is_ours, format!("a form goes by {method} to {action}"));
    }
    faults.into_inner()
}

/// A control, picture or region that has no name to call it by.
fn unnamed(page: &Document, element: &Element) -> Option<String> {
    let is_named = || {
        let labels = ["aria-label", "aria-labelledby", "title"];
        labels.iter().any(|it| element.attribute(it).is_some_and(|it| !it.trim().is_empty()))
    };
    let is_labelled = || {
        let id = element.attribute("id");
        let by_id = page.all("label").any(|it| id.is_some() && it.attribute("for") == id);
        by_id || page.around(element, "label").is_some()
    };
    let kind = element.attribute("type").unwrap_or("text");
    if element.has("hidden") {
        return None;
    }
    let wanting = match element.name.as_str() {
        "input" if ["hidden", "submit"].contains(&kind) => return None,
        "input" | "select" | "textarea" => !is_labelled() && !is_named(),
        "button" | "a" | "summary" => page.text_of(element).is_empty() && !is_named(),
        "img" => !element.has("alt"),
        "svg" => element.attribute("aria-hidden") != Some("true") && !is_named(),
        "nav" => !is_named(),
        "th" => !element.has("scope"),
        "table" => {
            let region = page.around(element, "div").or_else(|| page.around(element, "section"));
            let has_caption = page.all("caption").next().is_some();
            !has_caption
                && !is_named()
                && !region.is_some_and(|it| it.has("aria-label"))
                && !region.is_some_and(|it| it.has("aria-labelledby"))
        }
        _ => false,
    };
    wanting.then(|| format!("<{} {:?}> has no name", element.name, element.attributes))
}

/// A link that leaves by other means than the web.
fn strays(element: &Element) -> Option<String> {
    let address = element.attribute("href").or_else(|| element.attribute("action"))?;
    let is_web = ["/", "#", "https://", "http://"].iter().any(|it| address.starts_with(it));
    let is_data = address.starts_with("data:image/");
    (!is_web && !is_data).then(|| format!("<{}> leads to {address}", element.name))
}

#[test]
fn faults_are_found() {
    let page = |body: &str| {
        let html = format!(
            r#"<!doctype html><html lang="en"><head><title>Keys · Turnpike</title></head><body><main><h1>Keys</h1>{body}</main></body></html>"#
        );
        Document::parse(&html).unwrap()
    };
    assert_eq!(faults(&page("<p>Fine</p>")), [""; 0]);
    for wrong in [
        r#"<h1>Again</h1>"#,
        r#"<p id="a"></p><p id="a"></p>"#,
        r#"<input name="x">"#,
        r#"<p style="color: red">x</p>"#,
        r#"<p onclick="x()">x</p>"#,
        r#"<script>x()</script>"#,
        r#"<script src="https://cdn.test/x.js"></script>"#,
        r#"<form method="post" action="/x"><button>Go</button></form>"#,
        r#"<form method="get" action="/x"><input type="hidden" name="csrf" value="1"></form>"#,
        r#"<a href="javascript:x()">x</a>"#,
        r#"<a href="/x"></a>"#,
        r#"<p aria-describedby="nothing">x</p>"#,
        r#"<svg></svg>"#,
    ] {
        assert!(!faults(&page(wrong)).is_empty(), "{wrong}");
    }
}
