//! Typst, with our template and our fonts and nothing else: no files, no network, no clock.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde_json::Value;
use typst::{
    Library, LibraryExt, World, compile,
    diag::{FileError, FileResult, SourceDiagnostic},
    foundations::{Bytes, Datetime, Duration, Smart},
    syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot},
    text::{Font, FontBook},
    utils::LazyHash,
};
use typst_layout::PagedDocument;
use typst_pdf::{PdfOptions, PdfStandard, PdfStandards, pdf};

use crate::frames::Answer;

/// The first is what sheets are set in; the others have what it lacks.
const FONTS: [&[u8]; 4] = [
    include_bytes!("../fonts/Inter-Regular.otf"),
    include_bytes!("../fonts/Inter-Medium.otf"),
    include_bytes!("../fonts/Inter-SemiBold.otf"),
    include_bytes!("../fonts/DejaVuSans.ttf"),
];

/// How many fonts there are of the family that sheets are set in.
const OF_FAMILY: usize = 3;

/// Stands for a letter that no font has: PDF/A has no place for letters without a shape.
const UNKNOWN: char = '\u{25a1}';

/// How many sheets what was computed for one is kept for others.
const KEPT: usize = 8;

pub struct Press {
    library: LazyHash<Library>,
    book: LazyHash<FontBook>,
    fonts: Vec<Font>,
    template: Source,
    sheet: FileId,
    standards: PdfStandards,
}

impl Press {
    pub fn new() -> Self {
        let fonts: Vec<_> =
            FONTS.iter().chain(&more_fonts()).flat_map(|it| Font::iter(Bytes::new(*it))).collect();
        let template = include_str!("invoice.typ").to_owned();
        Self {
            library: LazyHash::new(Library::default()),
            book: LazyHash::new(FontBook::from_fonts(&fonts)),
            fonts,
            template: Source::new(file("/invoice.typ"), template),
            sheet: file("/sheet.json"),
            standards: PdfStandards::new(&[PdfStandard::A_3b])
                .unwrap_or_else(|_| unreachable!("one standard agrees with itself")),
        }
    }

    /// The PDF of a sheet, or why there is none. The same bytes for the same sheet.
    pub fn print(&self, sheet: Vec<u8>) -> Answer {
        let sheet: Value = match serde_json::from_slice(&sheet) {
            Ok(sheet) => sheet,
            Err(error) => return Answer::Refused(format!("no sheet: {error}")),
        };
        // Marks that no font has together with their letter are found out by setting them.
        let printed = self.set(&sheet, &self.fonts);
        let printed = printed.or_else(|_| self.set(&sheet, &self.fonts[..OF_FAMILY]));
        typst::comemo::evict(KEPT);
        printed.unwrap_or_else(Answer::Refused)
    }

    /// Typesets it with the letters that those fonts have.
    fn set(&self, sheet: &Value, fonts: &[Font]) -> Result<Answer, String> {
        let (mut sheet, mut lacks) = (sheet.clone(), false);
        let has = |letter: char| fonts.iter().any(|it| it.info().coverage.contains(letter.into()));
        spell(&mut sheet, &has, &mut lacks);
        let ident = sheet["ident"].as_str().unwrap_or_default().to_owned();
        let world = Desk { press: self, sheet: Bytes::from_string(sheet.to_string()) };
        let options = PdfOptions {
            ident: Smart::Custom(ident),
            creator: Smart::Custom(Some("Turnpike".to_owned())),
            standards: self.standards.clone(),
            ..PdfOptions::default()
        };
        let printed = catch_unwind(AssertUnwindSafe(|| {
            let document = compile::<PagedDocument>(&world).output.map_err(|it| told(&it))?;
            pdf(&document, &options).map_err(|it| told(&it))
        }));
        let pdf = printed.unwrap_or_else(|_| Err("the typesetter gave up".to_owned()))?;
        Ok(if lacks { Answer::Lacking(pdf) } else { Answer::Printed(pdf) })
    }
}

fn file(path: &str) -> FileId {
    let path = VirtualPath::new(path).unwrap_or_else(|_| unreachable!("{path} is a path"));
    RootedPath::new(VirtualRoot::Project, path).intern()
}

fn told(errors: &[SourceDiagnostic]) -> String {
    let all: Vec<_> = errors.iter().map(|it| it.message.as_str()).collect();
    all.join("; ")
}

/// Fonts of the machine that letters are taken from which ours lack, as operators say.
fn more_fonts() -> Vec<&'static [u8]> {
    let paths = std::env::var_os("TURNPIKE_INVOICE_FONTS").unwrap_or_default();
    let paths: BTreeSet<_> = std::env::split_paths(&paths).collect();
    let read = paths.into_iter().filter_map(|it| std::fs::read(it).ok());
    // They live as long as the program.
    read.map(|it| &*it.leak()).collect()
}

/// Replaces what no font has, in all texts. Names in what comes from us are plain.
fn spell(value: &mut Value, has: &dyn Fn(char) -> bool, lacks: &mut bool) {
    match value {
        Value::String(text) => {
            let shown = text.chars().filter_map(|it| shown(it, has));
            let shown: String = shown.inspect(|it| *lacks |= *it == UNKNOWN).collect();
            *text = shown;
        }
        Value::Array(values) => values.iter_mut().for_each(|it| spell(it, has, lacks)),
        Value::Object(values) => values.values_mut().for_each(|it| spell(it, has, lacks)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn shown(letter: char, has: &dyn Fn(char) -> bool) -> Option<char> {
    match letter {
        ' ' | '\u{a0}' => Some(letter),
        it if it.is_whitespace() => Some(' '),
        it if it.is_control() => None,
        it if has(it) => Some(it),
        // Joiners and marks of direction and variation show nothing.
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => None,
        '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ad}' => None,
        _ => Some(UNKNOWN),
    }
}

/// One sheet on the press.
struct Desk<'a> {
    press: &'a Press,
    sheet: Bytes,
}

impl World for Desk<'_> {
    fn library(&self) -> &LazyHash<Library> {
        &self.press.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        &self.press.book
    }

    fn main(&self) -> FileId {
        self.press.template.id()
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        if id == self.main() {
            return Ok(self.press.template.clone());
        }
        Err(FileError::AccessDenied)
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        if id == self.press.sheet {
            return Ok(self.sheet.clone());
        }
        Err(FileError::AccessDenied)
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.press.fonts.get(index).cloned()
    }

    /// A document says its date itself.
    fn today(&self, _offset: Option<Duration>) -> Option<Datetime> {
        None
    }
}
