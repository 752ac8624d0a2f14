//! PDFs: what they say, that they stay, and what there is without a printer.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use actix_web::http::{Method, StatusCode};
use aws_lc_rs::digest::{SHA256, digest};
use shared::ids::ProjectId;

use super::*;
use crate::{
    access::Role,
    invoices::pdf::{NotPrinted, Printer, Seal, Sheet},
    testing::{
        Fixture,
        books::{Books, last_month},
    },
};

/// Where the printer is; `infra/test.sh` builds it, and demands that its tests run.
pub(super) fn printer() -> Option<Printer> {
    let program = std::env::var_os("TURNPIKE_INVOICE_PRINTER").map(std::path::PathBuf::from);
    if let Some(program) = program.filter(|it| it.is_file()) {
        return Some(Printer::new(Some(program), None));
    }
    let is_demanded = std::env::var_os("E2E_REQUIRED").is_some_and(|it| !it.is_empty());
    assert!(!is_demanded, "TURNPIKE_INVOICE_PRINTER names no program");
    eprintln!("*** SKIPPED: no printer of invoices. Build it: infra/invoice-pdf.sh dev ***");
    None
}

/// What a PDF says, as people read it.
pub(super) fn text(pdf: &[u8]) -> String {
    let mut reader = Command::new("pdftotext");
    reader.args(["-layout", "-", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reader = reader.stderr(Stdio::null()).spawn().expect("poppler-utils are installed");
    reader.stdin.take().unwrap().write_all(pdf).unwrap();
    let told = reader.wait_with_output().unwrap();
    assert!(told.status.success());
    String::from_utf8(told.stdout).unwrap()
}

/// The amount on the only line that has nothing but it and a label.
#[track_caller]
fn amount(text: &str, label: &str) -> Cents {
    let is_it = |it: &&str| {
        let rest = it.trim_start().strip_prefix(label).map(str::trim_start);
        rest.is_some_and(|it| it.starts_with(['$', '\u{2212}']))
    };
    let found: Vec<_> = text.lines().filter(is_it).collect();
    let [line] = found.as_slice() else { panic!("{label}: {found:?} in {text}") };
    cents(line.split_whitespace().last().unwrap())
}

fn cents(text: &str) -> Cents {
    let is_negative = text.starts_with('\u{2212}');
    let digits: String = text.chars().filter(|it| it.is_ascii_digit()).collect();
    let cents = Cents::from_cents(digits.parse().unwrap());
    if is_negative { -cents } else { cents }
}

/// What a PDF of all of an invoice says is what the document says: each total, each section, and
/// what lines and sections come to.
#[track_caller]
pub(super) fn says(pdf: &[u8], document: &Document) {
    let text = text(pdf);
    assert_eq!(amount(&text, "Amount due, USD"), document.due, "{text}");
    assert_eq!(amount(&text, "Total, USD"), document.total);
    assert_eq!(amount(&text, "Net"), document.net);
    assert_eq!(amount(&text, &document.tax.label()), document.tax.amount);
    for it in document.discount.iter().chain(&document.minimum) {
        assert_eq!(amount(&text, &it.label), it.amount);
    }
    for it in &document.credits {
        assert_eq!(amount(&text, &format!("Credit: {}", it.name)), -it.amount);
    }
    let mut used = Cents::ZERO;
    for section in &document.sections {
        let together = amount(&text, &format!("{}, together", section.name));
        assert_eq!(together, section.amount);
        used = [used, together].into_iter().sum();
    }
    assert_eq!(used, document.usage);
    // A line of a section has a price; nothing else has.
    let lines = text.lines().filter(|it| it.contains(" / M "));
    let lines: Vec<_> = lines.map(|it| cents(it.split_whitespace().last().unwrap())).collect();
    let all = document.sections.iter().map(|it| it.lines.len()).sum::<usize>();
    assert_eq!((lines.len(), lines.into_iter().sum::<Cents>()), (all, document.usage));
    let exactly = format!("came to ${}", document.usage_nano.exact());
    let flowing = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flowing.contains(&exactly), "{exactly} in {flowing}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

async fn closed(books: &mut Books, month: Month) -> InvoiceId {
    books.used(month, 90).await;
    let mut work = books.fixture.work(Role::Owner).await;
    let terms = Terms {
        discount_basis_points: 500,
        tax_name: "VAT".to_owned(),
        tax_basis_points: 1_900,
        ..Terms::default()
    };
    billing::change_terms(&mut work, terms).await.unwrap();
    let invoice = close(&mut work, month, "it is a test", "us").await.unwrap()[0];
    work.commit().await.unwrap();
    invoice
}

#[sqlx::test(migrations = "../migrations")]
async fn a_pdf_says_what_the_document_says_and_stays(root: PgPool) {
    let Some(again) = printer() else { return };
    let mut books = Books::new(root).await;
    let invoice = closed(&mut books, last_month()).await;
    let fixture = &books.fixture;
    let mut work = fixture.work(Role::Owner).await;
    let told = told(&mut work, invoice).await.unwrap();
    let found = find(&mut work, invoice).await.unwrap();
    assert_eq!(found.pdf_hash, None, "it is printed when somebody asks");
    drop(work);

    let billing = fixture.browser(Role::Billing).await;
    let path = format!("/orgs/ours/invoices/{invoice}");
    let first = billing.get(&format!("{path}/download?format=pdf")).await;
    assert_eq!((first.status, first.header("content-type")), (StatusCode::OK, "application/pdf"));
    let name = format!("attachment; filename=\"{}.pdf\"", found.number);
    assert_eq!(first.header("content-disposition"), name);
    says(&first.bytes, &told.document);
    assert!(text(&first.bytes).contains(&found.hash), "it says what seals it");

    // The same bytes, whoever asks where, and were it printed anew.
    let token = fixture.token(Role::Billing, false).await;
    let asked = format!("/orgs/ours/invoices/{invoice}");
    let api = fixture.api(Some(&token), Method::GET, &format!("{asked}/pdf"), None).await;
    assert!(api.bytes == first.bytes);
    let seal = Seal { id: invoice.to_string(), hash: found.hash };
    let anew = again.print(&Sheet::of(&told, Some(&seal))).await.unwrap();
    assert!(anew.bytes == first.bytes && anew.is_whole);
    let summary = fixture.api(Some(&token), Method::GET, &asked, None).await.json();
    let hash = hex(digest(&SHA256, &first.bytes).as_ref());
    assert_eq!(summary["pdf_hash"], hash);
    billing.get(&path).await.says(StatusCode::OK, &hash);
    for change in [
        "UPDATE invoice_prints SET pdf = '\\x00', hash = sha256('\\x00')",
        "DELETE FROM invoice_prints",
        "TRUNCATE invoice_prints",
    ] {
        let refused = sqlx::query(change).execute(&fixture.root).await.unwrap_err();
        assert!(refused.to_string().contains("what was printed is kept"), "{change}: {refused}");
    }

    // A project's part, of the page and of the API.
    let section = &told.document.sections[1];
    let part = format!("project={}", section.project);
    let page = billing.get(&format!("{path}/download?format=pdf&{part}")).await;
    let printed = text(&page.bytes);
    assert_eq!(amount(&printed, &format!("{}, together", section.name)), section.amount);
    assert_eq!(printed.matches(", together").count(), 1, "{printed}");
    assert!(printed.contains(&format!("Part of invoice {}", found.number)), "{printed}");
    let api = fixture.api(Some(&token), Method::GET, &format!("{asked}/pdf?{part}"), None).await;
    assert!(api.bytes == page.bytes);
    let none = format!("{path}/download?format=pdf&project={}", ProjectId::generate());
    assert_eq!(billing.get(&none).await.status, StatusCode::NOT_FOUND);

    // The year's files have it.
    let zip = billing.get(&format!("/orgs/ours/invoices.zip?year={}", last_month().year())).await;
    let entry = format!("{}.pdf", found.number);
    assert!(zip.bytes.windows(entry.len()).any(|it| it == entry.as_bytes()));
    assert!(zip.bytes.windows(first.bytes.len()).any(|it| it == first.bytes));
    for (who, file) in [(Role::Developer, "download?format=pdf"), (Role::Developer, "document")] {
        let seen = fixture.browser(who).await.get(&format!("{path}/{file}")).await;
        assert_eq!(seen.status, StatusCode::FORBIDDEN);
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn drafts_and_credit_notes_are_printed_too(root: PgPool) {
    let Some(_) = printer() else { return };
    let mut books = Books::new(root).await;
    {
        let billing = books.fixture.browser(Role::Billing).await;
        let empty = billing.get("/orgs/ours/invoices/draft/download?format=pdf").await;
        assert_eq!(amount(&text(&empty.bytes), "Amount due, USD"), Cents::ZERO);
    }
    let month = last_month();
    books.used(month, 30).await;
    let mut work = books.fixture.work(Role::Owner).await;
    let document = drafts(&mut work, month).await.unwrap().remove(0).document;
    drop(work);
    let billing = books.fixture.browser(Role::Billing).await;
    let draft = format!("/orgs/ours/invoices/draft/download?format=pdf&month={month}");
    let draft = billing.get(&draft).await;
    says(&draft.bytes, &document);
    assert!(text(&draft.bytes).contains("Draft of"));
    drop(billing);

    let invoice = closed(&mut books, month).await;
    let mut work = books.fixture.work(Role::Owner).await;
    let note = take_back(&mut work, invoice, Cents::from_cents(7), "*a* #mistake").await.unwrap();
    work.commit().await.unwrap();
    let billing = books.fixture.browser(Role::Billing).await;
    let printed = billing.get(&format!("/orgs/ours/invoices/{note}/download?format=pdf")).await;
    let printed = text(&printed.bytes);
    assert_eq!(amount(&printed, "Credited, USD"), Cents::from_cents(7));
    assert!(printed.contains("Credit note") && printed.contains("*a* #mistake"), "{printed}");
}

#[sqlx::test(migrations = "../migrations")]
async fn without_a_printer_the_other_formats_are_there(root: PgPool) {
    let mut books = Books::of(Fixture::printing_with(root, "/nowhere/invoice-pdf").await).await;
    let invoice = closed(&mut books, last_month()).await;
    let billing = books.fixture.browser(Role::Billing).await;
    let path = format!("/orgs/ours/invoices/{invoice}/download?format=");
    let refused = billing.get(&format!("{path}pdf")).await;
    refused.says(StatusCode::CONFLICT, "no PDFs are made here");
    assert_eq!(billing.get(&format!("{path}csv")).await.status, StatusCode::OK);
    let draft = billing.get("/orgs/ours/invoices/draft/download?format=pdf").await;
    assert_eq!(draft.status, StatusCode::CONFLICT);
    let zip = billing.get(&format!("/orgs/ours/invoices.zip?year={}", last_month().year())).await;
    assert_eq!(zip.status, StatusCode::OK);
    let token = books.fixture.token(Role::Billing, false).await;
    let asked = format!("/orgs/ours/invoices/{invoice}/pdf");
    let api = books.fixture.api(Some(&token), Method::GET, &asked, None).await;
    api.says(StatusCode::CONFLICT, "no PDFs are made here");
}

fn sheet() -> Sheet {
    let month = last_month();
    let document = draw::empty(&basis(OrganizationId::generate(), month)).document;
    Sheet::of(&Told { document, details: Vec::new(), only: None }, None)
}

/// A program that ends, says what is no answer, or says nothing: the caller is told, and nothing of
/// it is left.
#[tokio::test]
async fn a_printer_that_fails_is_ended() {
    let named = |program: &str| Printer::new(Some(Path::new(program).to_owned()), None);
    let ended = named("/bin/false").print(&sheet()).await;
    assert!(matches!(ended, Err(NotPrinted::Broken(_))));
    let babbling = named("/usr/bin/yes").print(&sheet()).await;
    assert!(matches!(babbling, Err(NotPrinted::Broken(_))));
    // It gives back what it got, and then waits for more as we do.
    let silent = named("/bin/cat").patient(Duration::from_millis(50));
    assert!(matches!(silent.print(&sheet()).await, Err(NotPrinted::Late)));
    assert!(silent.is_idle());
}

#[tokio::test]
async fn a_printer_that_was_ended_is_started_again() {
    let Some(printer) = printer() else { return };
    let sheet = sheet();
    let first = printer.print(&sheet).await.unwrap();
    printer.end().await;
    assert!(printer.print(&sheet).await.unwrap().bytes == first.bytes);
}
