//! The program as others see it: sheets in, PDFs out. Reading them takes poppler-utils and qpdf.

use std::{
    fs,
    io::{Read, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

/// A printer that runs.
struct Printer {
    child: Child,
    to: Option<ChildStdin>,
    from: ChildStdout,
}

impl Printer {
    fn new() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_invoice-pdf"));
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (to, from) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, to, from }
    }

    /// An answer's mark, and what follows.
    fn ask(&mut self, sheet: &[u8]) -> (u8, Vec<u8>) {
        let to = self.to.as_mut().unwrap();
        to.write_all(&u32::try_from(sheet.len()).unwrap().to_be_bytes()).unwrap();
        to.write_all(sheet).unwrap();
        let mut head = [0; 5];
        self.from.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        self.from.read_exact(&mut bytes).unwrap();
        (head[0], bytes)
    }

    fn set(&mut self, sheet: &Value) -> Vec<u8> {
        let (mark, pdf) = self.ask(sheet.to_string().as_bytes());
        assert_eq!(mark, 0, "{}", String::from_utf8_lossy(&pdf));
        pdf
    }
}

impl Drop for Printer {
    /// It ends by itself when nobody has anything to print any more.
    fn drop(&mut self) {
        drop(self.to.take());
        let ended = self.child.wait().unwrap();
        assert!(std::thread::panicking() || ended.success());
    }
}

fn sheet() -> Value {
    serde_json::from_str(include_str!("sheet.json")).unwrap()
}

/// A file for the programs that read PDFs, gone with its value.
struct Kept(PathBuf);

impl Kept {
    fn new(name: &str, pdf: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("{name}-{}.pdf", std::process::id()));
        fs::write(&path, pdf).unwrap();
        Self(path)
    }

    fn told(&self, program: &str, before: &[&str], after: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(before).arg(&self.0).args(after);
        let told = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(told.status.success(), "{program}: {}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8_lossy(&told.stdout).into_owned()
    }

    fn text(&self) -> String {
        self.told("pdftotext", &["-layout"], &["-"])
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn a_sheet_becomes_an_archivable_tagged_pdf() {
    let pdf = Kept::new("archivable", &Printer::new().set(&sheet()));
    pdf.told("qpdf", &["--check"], &[]);
    let objects = pdf.told("qpdf", &["--qdf", "--object-streams=disable"], &["-"]);
    for said in [
        "<pdfaid:part>3</pdfaid:part>",
        "<pdfaid:conformance>B</pdfaid:conformance>",
        "/Marked true",
        "/StructTreeRoot",
        "/Lang (en)",
        "2026-11-03",
    ] {
        assert!(objects.contains(said), "{said}");
    }
    let text = pdf.text();
    for said in ["TP-2026-000042", "Amount due", "$18,246.31", "Page 1 of"] {
        assert!(text.contains(said), "{said} in {text}");
    }
}

#[test]
fn the_same_sheet_is_the_same_bytes_whatever_was_printed_before() {
    let (mut one, mut other) = (Printer::new(), Printer::new());
    let first = one.set(&sheet());
    assert_eq!(one.set(&sheet()), first);
    let mut changed = sheet();
    changed["number"] = "another".into();
    assert_ne!(other.set(&changed), first);
    assert_eq!(other.set(&sheet()), first);
}

/// Every text of a sheet, and where it is.
fn texts(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(values) => {
            for (index, it) in values.iter().enumerate() {
                texts(it, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(values) => {
            for (name, it) in values {
                texts(it, &format!("{at}/{name}"), found);
            }
        }
        Value::String(_) => found.push(at.to_owned()),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn no_name_is_markup() {
    const NAMES: [&str; 12] = [
        "#import \"a.typ\": *",
        "*bold*",
        "_thin_",
        "$x^2$",
        "`code`",
        "<label>",
        "@someone",
        "= Title",
        "- item",
        "\\u{41} ~ --- ...",
        "#read(\"/etc/passwd\")",
        "// gone /* too */",
    ];
    let mut printer = Printer::new();
    for name in NAMES {
        let mut sheet = sheet();
        let mut all = Vec::new();
        texts(&sheet, "", &mut all);
        for at in all {
            // What a sheet is and not what it says.
            if !at.ends_with("weight") {
                *sheet.pointer_mut(&at).unwrap() = name.into();
            }
        }
        let text = Kept::new("markup", &printer.set(&sheet)).text();
        // More than once: as the number, the buyer, a project, a model, and so on.
        assert!(text.matches(name).count() > 20, "{name} in {text}");
    }
}

#[test]
fn what_is_no_sheet_is_refused_and_the_next_one_printed() {
    let mut printer = Printer::new();
    let good = printer.set(&sheet());
    for bad in ["", "{", "null", "[]", "{}", "\"\"", "7", "{\"title\": 1}"] {
        assert_eq!(printer.ask(bad.as_bytes()).0, 1, "{bad}");
    }
    assert_eq!(printer.ask(b"\xff\xfe").0, 1);
    assert_eq!(printer.set(&sheet()), good);
}

/// Whatever stands wherever: an answer comes, and the program goes on.
#[test]
fn nothing_ends_it() {
    let mut printer = Printer::new();
    let good = printer.set(&sheet());
    let mut all = Vec::new();
    texts(&sheet(), "", &mut all);
    all.extend(
        ["/date/0", "/date", "/facts", "/sections", "/totals/0", "/draft"].map(str::to_owned),
    );
    let deep = (0..60).fold(json!(1), |inner, _| json!([inner]));
    for at in all.iter().step_by(7).chain(all.iter().rev().take(6)) {
        for other in
            [json!(null), json!(-9e99), json!(["", {}]), json!("x\u{0}\n\u{7f}"), deep.clone()]
        {
            let mut sheet = sheet();
            *sheet.pointer_mut(at).unwrap() = other;
            let _answered = printer.ask(sheet.to_string().as_bytes());
        }
    }
    assert_eq!(printer.set(&sheet()), good);
}

#[test]
fn letters_that_no_font_has_have_a_place_held() {
    let mut sheet = sheet();
    sheet["buyer"]["name"] = "Ωmega Žižka Ärzte עברית العربية 東京 👩‍💻 e\u{301}x\u{20dd}".into();
    let (mark, pdf) = Printer::new().ask(sheet.to_string().as_bytes());
    assert_eq!(mark, 2, "who asked is told");
    let text = Kept::new("letters", &pdf).text();
    for said in ["Ωmega Žižka Ärzte", "\u{25a1}\u{25a1}"] {
        assert!(text.contains(said), "{said} in {text}");
    }
}

#[test]
fn a_long_table_has_its_head_on_every_page() {
    let mut sheet = sheet();
    let line = sheet["sections"][0]["lines"][0].clone();
    sheet["sections"][0]["lines"] = vec![line; 150].into();
    let pdf = Kept::new("long", &Printer::new().set(&sheet));
    let text = pdf.text();
    let pages = text.trim_end_matches('\u{c}').split('\u{c}');
    let with_lines: Vec<_> = pages.filter(|it| it.contains("Input tokens")).collect();
    assert!(with_lines.len() > 3);
    for page in with_lines {
        assert!(page.contains("Unit price"), "{page}");
        assert!(page.contains("Page "), "{page}");
    }
    assert_eq!(text.matches("Input tokens").count(), 150);
}
