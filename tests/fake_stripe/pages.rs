//! The pages that Stripe would host: choosing a card, paying one invoice, seeing one's cards.

use actix_web::{
    HttpResponse,
    http::header::LOCATION,
    web::{self, Data, Form, Path},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Desk, now};

pub(super) fn doors(app: &mut web::ServiceConfig) {
    app.service(
        web::resource("/checkout/{id}")
            .route(web::get().to(show_checkout))
            .route(web::post().to(choose)),
    );
    app.service(
        web::resource("/pay/{id}").route(web::get().to(show_invoice)).route(web::post().to(pay)),
    );
    app.service(web::resource("/portal/{id}").route(web::get().to(show_portal)));
}

#[derive(Deserialize)]
struct CardForm {
    number: String,
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:30rem;margin:3rem auto;\
    padding:0 1rem;color:#1a1a2e;background:#f6f7fb}main{background:#fff;border:1px solid #d9dce8;\
    border-radius:10px;padding:1.5rem}label,input,button{display:block;width:100%;\
    box-sizing:border-box}input{font:inherit;padding:.6rem;margin:.3rem 0 1rem;\
    border:1px solid #9aa0b5;border-radius:6px}button{font:inherit;font-weight:600;padding:.7rem;\
    border:0;border-radius:6px;background:#4338ca;color:#fff;cursor:pointer}.bad{color:#a01616}\
    small{color:#565b70}";

fn page(title: &str, content: &str) -> HttpResponse {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{title}</title><style>{STYLE}\
         </style></head><body><main><h1>{title}</h1>{content}</main><p><small>A stand-in for the \
         payment provider: no money moves here. 4242 4242 4242 4242 pays, 4000 0000 0000 0002 is \
         declined.</small></p></body></html>"
    );
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(html)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

fn card_form(button: &str, problem: &str) -> String {
    let problem = match problem {
        "" => String::new(),
        text => format!("<p class=\"bad\" role=\"alert\">{}</p>", escaped(text)),
    };
    format!(
        "{problem}<form method=\"post\"><label for=\"number\">Card number</label><input id=\"number\" \
         name=\"number\" inputmode=\"numeric\" autocomplete=\"off\" value=\"4242 4242 4242 4242\">\
         <button type=\"submit\">{}</button></form>",
        escaped(button)
    )
}

fn dollars(cents: &Value) -> String {
    let cents = cents.as_i64().unwrap_or_default();
    format!("${}.{:02}", cents / 100, cents % 100)
}

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap_or_default()
}

async fn show_checkout(id: Path<String>, desk: Data<Desk>) -> HttpResponse {
    let session = desk.fake.object(&id);
    match text(&session, "status") {
        "open" => page("Save a card", &card_form("Save card", "")),
        _ => page("Save a card", "<p>There is no such page, or you were here already.</p>"),
    }
}

async fn choose(id: Path<String>, desk: Data<Desk>, form: Form<CardForm>) -> HttpResponse {
    desk.fake.set_time(now());
    let chosen = desk.fake.choose(&id, &form.number);
    desk.news.notify_one();
    match chosen {
        Ok(session) => HttpResponse::SeeOther()
            .insert_header((LOCATION, text(&session, "success_url")))
            .finish(),
        Err(why) => page("Save a card", &card_form("Save card", &why)),
    }
}

fn invoice_page(invoice: &Value, problem: &str) -> HttpResponse {
    let title = format!("Invoice {}", escaped(text(invoice, "number")));
    let lines = invoice["lines"]["data"].as_array().into_iter().flatten();
    let line = |it: &Value| {
        format!("<li>{}: {}</li>", escaped(text(it, "description")), dollars(&it["amount"]))
    };
    let lines: String = lines.map(line).collect();
    let rest = match text(invoice, "status") {
        "open" | "uncollectible" => {
            let button = format!("Pay {}", dollars(&invoice["amount_remaining"]));
            card_form(&button, problem)
        }
        "paid" => "<p>Paid. Thank you. You can close this page.</p>".to_owned(),
        _ => "<p>There is nothing to pay here.</p>".to_owned(),
    };
    page(&title, &format!("<ul>{lines}</ul>{rest}"))
}

async fn show_invoice(id: Path<String>, desk: Data<Desk>) -> HttpResponse {
    invoice_page(&desk.fake.object(&id), "")
}

async fn pay(id: Path<String>, desk: Data<Desk>, form: Form<CardForm>) -> HttpResponse {
    desk.fake.set_time(now());
    let paid = desk.fake.pay_on_page(&id, &form.number);
    desk.news.notify_one();
    invoice_page(&desk.fake.object(&id), paid.err().as_deref().unwrap_or_default())
}

async fn show_portal(id: Path<String>, desk: Data<Desk>) -> HttpResponse {
    let portal = desk.fake.object(&id);
    let customer = text(&portal, "customer");
    let cards = desk.fake.all("pm_").into_iter().filter(|it| it["customer"] == *customer);
    let card = |it: Value| {
        let card = &it["card"];
        format!("<li>{} ending in {}</li>", text(card, "brand"), text(card, "last4"))
    };
    let cards: String = cards.map(card).collect();
    let invoices = desk.fake.all("in_").into_iter().filter(|it| it["customer"] == *customer);
    let invoice = |it: Value| {
        let (number, status) = (escaped(text(&it, "number")), escaped(text(&it, "status")));
        format!("<li>{number}: {} ({status})</li>", dollars(&it["total"]))
    };
    let invoices: String = invoices.map(invoice).collect();
    let back = escaped(text(&portal, "return_url"));
    let content = format!(
        "<h2>Cards</h2><ul>{cards}</ul><h2>Invoices</h2><ul>{invoices}</ul><p><a href=\"{back}\">\
         Back</a></p>"
    );
    page("Cards and receipts", &content)
}
