//! Invoices as PDFs: of the same document as everything else, and of an issued one always the same
//! bytes. Who typesets them is a program of its own (`invoice-pdf/`), so that neither our builds nor
//! what runs here has a typesetter in it.

mod printer;
mod sheet;

use actix_web::{HttpRequest, HttpResponse, Responder, body::BoxBody};
use shared::ids::InvoiceId;
use utoipa::openapi::{
    ContentBuilder, KnownFormat, ObjectBuilder, ResponseBuilder, SchemaFormat, schema::Type,
};

use self::printer::Print;
pub use self::printer::{NotPrinted, Printer};
pub(super) use self::sheet::{Seal, Sheet};
use super::{Invoice, InvoiceError, files::Told, store};
use crate::access::{self, Describe, Grant};

/// A PDF, and what the file is called without what it ends with.
#[derive(Debug)]
pub(super) struct Pdf {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Of an issued invoice or credit note: what was printed of it first. Of one project's part, which
/// is no document of its own, what it comes to now, and that is the same.
pub(super) async fn issued<P>(
    grant: &Grant<P>,
    invoice: &Invoice,
    told: &Told,
) -> Result<Pdf, InvoiceError> {
    let name = told.file_name();
    let is_part = told.only.is_some();
    if !is_part && let Some(bytes) = kept(grant, invoice.id).await? {
        return Ok(Pdf { name, bytes });
    }
    let seal = Seal { id: invoice.id.to_string(), hash: invoice.hash.clone() };
    let Print { bytes, is_whole } =
        grant.platform.printer.print(&Sheet::of(told, Some(&seal))).await?;
    // What lacks letters is made anew until there is a font that has them.
    if is_part || !is_whole {
        return Ok(Pdf { name, bytes });
    }
    let mut work = grant.begin().await?;
    let organization = work.organization;
    store::keep_print(&mut work, organization, invoice.id, &bytes).await?;
    work.commit().await?;
    // Somebody else may have been first.
    let bytes = kept(grant, invoice.id).await?.ok_or(InvoiceError::NotFound)?;
    Ok(Pdf { name, bytes })
}

async fn kept<P>(grant: &Grant<P>, invoice: InvoiceId) -> Result<Option<Vec<u8>>, InvoiceError> {
    let mut work = grant.begin().await?;
    let organization = work.organization;
    Ok(store::print(&mut work, organization, invoice).await?)
}

pub(super) async fn draft(printer: &Printer, told: &Told) -> Result<Pdf, InvoiceError> {
    let print = printer.print(&Sheet::of(told, None)).await?;
    Ok(Pdf { name: told.file_name(), bytes: print.bytes })
}

impl Responder for Pdf {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let named = format!("attachment; filename=\"{}.pdf\"", self.name);
        HttpResponse::Ok()
            .content_type("application/pdf")
            .insert_header(("content-disposition", named))
            .body(self.bytes)
    }
}

impl Describe for Pdf {
    fn describe(sheet: &mut access::Sheet) {
        let bytes = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
        let content = ContentBuilder::new().schema(Some(bytes)).build();
        let given =
            ResponseBuilder::new().description("The PDF.").content("application/pdf", content);
        let none = ResponseBuilder::new().description("No PDFs are made here.");
        let operation = std::mem::take(&mut sheet.operation);
        sheet.operation = operation.response("200", given.build()).response("409", none.build());
    }
}
