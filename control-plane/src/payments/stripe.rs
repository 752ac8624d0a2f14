//! Stripe, by the few calls that we make of it.
//!
//! Forms go out and JSON comes in, of which what we need not know is not read: a field more or
//! less at Stripe breaks nothing. The version of its API is ours to choose.

use std::{collections::BTreeMap, time::Duration};

use futures::future::BoxFuture;
use reqwest::{
    Method,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use shared::{
    ids::{InvoiceId, OrganizationId},
    money::Cents,
};
use time::OffsetDateTime;
use url::Url;

use super::provider::{
    Answering, Call, Card, Changed, Chosen, Event, Pages, PaymentProvider, ProviderError,
    RefundState, RemoteInvoice, RemoteRefund, RemoteStatus,
};
use crate::egress::{Asked, Egress, NoAnswer};

/// What its answers look like. Another one is chosen with care, here.
const VERSION: &str = "2026-06-24.dahlia";
/// Charging a card may take its bank a while.
const PATIENCE: Duration = Duration::from_secs(40);
/// A page of a hundred invoices with their lines.
const LONGEST: usize = 8 * 1024 * 1024;
/// More pages than this of customers made within a day are not looked through.
const MOST_PAGES: usize = 50;
/// In metadata: which of ours it is.
const INVOICE: &str = "turnpike_invoice";
const ORGANIZATION: &str = "turnpike_organization";

/// A call as it goes out.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub path: String,
    pub form: Vec<(String, String)>,
    pub key: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

/// How calls get there.
pub trait Transport: Send + Sync {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, NoAnswer>>;
}

/// Over the network, by the one way out.
pub struct Network {
    pub egress: Egress,
    pub base: Url,
    pub key: SecretString,
}

impl Transport for Network {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, NoAnswer>> {
        Box::pin(async move {
            let form = encode(&request.form);
            let is_question = request.method == Method::GET;
            let (query, body) =
                if is_question { (form, String::new()) } else { (String::new(), form) };
            let (status, body) = self
                .egress
                .exchange(Asked {
                    method: request.method,
                    address: &self.base.join(&request.path).map_err(|_| NoAnswer)?,
                    query: &query,
                    headers: self.headers(request.key.as_deref()).ok_or(NoAnswer)?,
                    body,
                    patience: PATIENCE,
                    most: LONGEST,
                })
                .await?;
            Ok(Response { status: status.as_u16(), body })
        })
    }
}

impl Network {
    fn headers(&self, key: Option<&str>) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {}", self.key.expose_secret())).ok()?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        let version = HeaderName::from_static("stripe-version");
        headers.insert(version, HeaderValue::from_static(VERSION));
        if let Some(key) = key {
            let name = HeaderName::from_static("idempotency-key");
            headers.insert(name, HeaderValue::from_str(key).ok()?);
        }
        Some(headers)
    }
}

fn encode(form: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}

pub struct Stripe<T> {
    pub transport: T,
}

/// A form, field by field.
#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn new() -> Self {
        Self::default()
    }

    fn with(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.0.push((name.into(), value.to_string()));
        self
    }
}

impl<T: Transport> Stripe<T> {
    async fn ask<A: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        Fields(form): Fields,
        key: Option<&str>,
    ) -> Result<A, ProviderError> {
        let request = Request { method, path, form, key: key.map(str::to_owned) };
        let answer = self.transport.send(request).await.map_err(|_| ProviderError::NoAnswer)?;
        if (200..300).contains(&answer.status) {
            return serde_json::from_slice(&answer.body).map_err(|_| ProviderError::Unreadable);
        }
        let told: Failed = serde_json::from_slice(&answer.body).unwrap_or_default();
        Err(failure(answer.status, told.error))
    }

    async fn get<A: DeserializeOwned>(
        &self,
        path: String,
        form: Fields,
    ) -> Result<A, ProviderError> {
        self.ask(Method::GET, path, form, None).await
    }

    async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        form: Fields,
        key: &str,
    ) -> Result<A, ProviderError> {
        self.ask(Method::POST, path.to_owned(), form, Some(key)).await
    }

    async fn invoice_after(
        &self,
        path: String,
        form: Fields,
        key: &str,
    ) -> Result<Changed, ProviderError> {
        let told: Invoice = self.post(&path, form.with("expand[]", "payments"), key).await?;
        Ok(Changed::Invoice(told.read()?))
    }

    async fn make(&self, call: &Call, key: &str) -> Result<Changed, ProviderError> {
        let of = |remote: &str, verb: &str| format!("/v1/invoices/{remote}{verb}");
        let form = Fields::new();
        match call {
            Call::Customer { organization, name, email } => {
                let mut form =
                    form.with("name", name).with(format!("metadata[{ORGANIZATION}]"), organization);
                if let Some(email) = email {
                    form = form.with("email", email);
                }
                let told: Named = self.post("/v1/customers", form, key).await?;
                Ok(Changed::Customer(told.id))
            }
            Call::Draft { customer, invoice, number, about } => {
                let form = form
                    .with("customer", customer)
                    .with("auto_advance", false)
                    .with("collection_method", "charge_automatically")
                    .with("currency", "usd")
                    .with("number", number)
                    .with("description", about)
                    .with("pending_invoice_items_behavior", "exclude")
                    .with(format!("metadata[{INVOICE}]"), invoice);
                self.invoice_after("/v1/invoices".to_owned(), form, key).await
            }
            Call::Lines { remote, lines } => {
                let mut form = form;
                for (at, (about, amount)) in lines.iter().enumerate() {
                    form = form
                        .with(format!("lines[{at}][amount]"), amount.cents())
                        .with(format!("lines[{at}][description]"), about);
                }
                self.invoice_after(of(remote, "/add_lines"), form, key).await
            }
            Call::Finalize { remote, .. } => {
                let form = form.with("auto_advance", false);
                self.invoice_after(of(remote, "/finalize"), form, key).await
            }
            Call::Pay { remote, method } => {
                let form = form.with("payment_method", method).with("off_session", true);
                self.invoice_after(of(remote, "/pay"), form, key).await
            }
            Call::Settle { remote } => {
                let form = form.with("paid_out_of_band", true);
                self.invoice_after(of(remote, "/pay"), form, key).await
            }
            Call::Void { remote } => self.invoice_after(of(remote, "/void"), form, key).await,
            Call::GiveUp { remote } => {
                self.invoice_after(of(remote, "/mark_uncollectible"), form, key).await
            }
            Call::Discard { remote } => {
                let _: Named = self.ask(Method::DELETE, of(remote, ""), form, Some(key)).await?;
                Ok(Changed::Gone)
            }
            Call::TakeOff { remote, amount, .. } => {
                let form = form
                    .with("invoice", remote)
                    .with("amount", amount.cents())
                    .with("email_type", "none");
                let _: Named = self.post("/v1/credit_notes", form, key).await?;
                let now = self.read(remote).await?.ok_or(ProviderError::Unreadable)?;
                Ok(Changed::Invoice(now))
            }
            Call::Refund { remote, note, number, amount } => {
                let form = form
                    .with("invoice", remote)
                    .with("amount", amount.cents())
                    .with("refund_amount", amount.cents())
                    .with("memo", number)
                    // We write to the customer ourselves.
                    .with("email_type", "none")
                    .with(format!("metadata[{INVOICE}]"), note)
                    .with("expand[]", "refunds.refund");
                let told: Note = self.post("/v1/credit_notes", form, key).await?;
                told.refund().map(Changed::Refund).ok_or(ProviderError::Unreadable)
            }
        }
    }

    async fn read(&self, remote: &str) -> Result<Option<RemoteInvoice>, ProviderError> {
        let form = Fields::new().with("expand[]", "payments");
        match self.get::<Invoice>(format!("/v1/invoices/{remote}"), form).await {
            Ok(told) if told.deleted => Ok(None),
            Ok(told) => told.read().map(Some),
            Err(ProviderError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Goes through a list, the newest first, until something is found.
    async fn search<A: DeserializeOwned + HasId, F>(
        &self,
        path: &str,
        fields: impl Fn() -> Fields,
        found: impl Fn(A) -> Option<F>,
    ) -> Result<Option<F>, ProviderError> {
        let mut after: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut form = fields().with("limit", 100);
            if let Some(after) = &after {
                form = form.with("starting_after", after);
            }
            let list: List<A> = self.get(path.to_owned(), form).await?;
            let has_more = list.has_more;
            after = list.data.last().map(|it| it.id().to_owned());
            if let Some(it) = list.data.into_iter().find_map(&found) {
                return Ok(Some(it));
            }
            if !has_more || after.is_none() {
                return Ok(None);
            }
        }
        Err(ProviderError::Unreadable)
    }

    async fn paying_with(&self, customer: &str) -> Result<Option<Card>, ProviderError> {
        let form = Fields::new().with("expand[]", "invoice_settings.default_payment_method");
        let path = format!("/v1/customers/{customer}");
        let told: Customer = self.get(path.clone(), form).await?;
        if let Some(Reference::Whole(method)) = told.invoice_settings.default_payment_method {
            return Ok(Some(method.read(true)));
        }
        let form = Fields::new().with("limit", 1);
        let list: List<Payer> = self.get(format!("{path}/payment_methods"), form).await?;
        Ok(list.data.into_iter().next().map(|it| it.read(false)))
    }
}

impl<T: Transport> PaymentProvider for Stripe<T> {
    fn change<'a>(&'a self, call: &'a Call, key: &'a str) -> Answering<'a, Changed> {
        Box::pin(self.make(call, key))
    }

    fn invoice<'a>(&'a self, remote: &'a str) -> Answering<'a, Option<RemoteInvoice>> {
        Box::pin(self.read(remote))
    }

    fn find_invoice<'a>(
        &'a self,
        customer: &'a str,
        invoice: InvoiceId,
    ) -> Answering<'a, Option<RemoteInvoice>> {
        Box::pin(async move {
            let fields = || Fields::new().with("customer", customer);
            let id = invoice.to_string();
            let is_ours = |it: Invoice| (it.metadata.get(INVOICE) == Some(&id)).then_some(it.id);
            match self.search("/v1/invoices", fields, is_ours).await? {
                Some(remote) => self.read(&remote).await,
                None => Ok(None),
            }
        })
    }

    fn find_customer(
        &self,
        organization: OrganizationId,
        since: OffsetDateTime,
    ) -> Answering<'_, Option<String>> {
        Box::pin(async move {
            let fields = || Fields::new().with("created[gte]", since.unix_timestamp());
            let id = organization.to_string();
            let is_theirs =
                |it: Customer| (it.metadata.get(ORGANIZATION) == Some(&id)).then_some(it.id);
            self.search("/v1/customers", fields, is_theirs).await
        })
    }

    fn find_refund<'a>(
        &'a self,
        remote: &'a str,
        note: InvoiceId,
    ) -> Answering<'a, Option<RemoteRefund>> {
        Box::pin(async move {
            let fields =
                || Fields::new().with("invoice", remote).with("expand[]", "data.refunds.refund");
            let id = note.to_string();
            let is_ours =
                |it: Note| (it.metadata.get(INVOICE) == Some(&id)).then(|| it.refund()).flatten();
            self.search("/v1/credit_notes", fields, is_ours).await
        })
    }

    fn refund<'a>(&'a self, refund: &'a str) -> Answering<'a, RemoteRefund> {
        Box::pin(async move {
            let told: Refund = self.get(format!("/v1/refunds/{refund}"), Fields::new()).await?;
            Ok(told.read())
        })
    }

    fn card<'a>(&'a self, customer: &'a str) -> Answering<'a, Option<Card>> {
        Box::pin(self.paying_with(customer))
    }

    fn prefer<'a>(&'a self, customer: &'a str, method: &'a str) -> Answering<'a, ()> {
        Box::pin(async move {
            let form = Fields::new().with("invoice_settings[default_payment_method]", method);
            // What is so already is made so again: any key does.
            let key = shared::random::base62(32);
            let _: Named = self.post(&format!("/v1/customers/{customer}"), form, &key).await?;
            Ok(())
        })
    }

    fn set_up<'a>(&'a self, customer: &'a str, pages: &'a Pages) -> Answering<'a, Url> {
        Box::pin(async move {
            let done = match pages.done.query() {
                Some(_) => format!("{}&session={{CHECKOUT_SESSION_ID}}", pages.done),
                None => format!("{}?session={{CHECKOUT_SESSION_ID}}", pages.done),
            };
            let form = Fields::new()
                .with("mode", "setup")
                .with("currency", "usd")
                .with("customer", customer)
                .with("success_url", done)
                .with("cancel_url", &pages.cancelled);
            let key = shared::random::base62(32);
            let told: Session = self.post("/v1/checkout/sessions", form, &key).await?;
            address(told.url)
        })
    }

    fn chosen<'a>(&'a self, session: &'a str) -> Answering<'a, Option<Chosen>> {
        Box::pin(async move {
            let form = Fields::new().with("expand[]", "setup_intent");
            let path = format!("/v1/checkout/sessions/{session}");
            let told: Session = self.get(path, form).await?;
            let method = match told.setup_intent {
                Some(Reference::Whole(it)) => it.payment_method,
                Some(Reference::Name(_)) | None => None,
            };
            Ok(told.customer.zip(method).map(|(customer, method)| Chosen {
                customer: customer.name(),
                method: method.name(),
            }))
        })
    }

    fn portal<'a>(&'a self, customer: &'a str, back: &'a Url) -> Answering<'a, Url> {
        Box::pin(async move {
            let form = Fields::new().with("customer", customer).with("return_url", back);
            let key = shared::random::base62(32);
            let told: Session = self.post("/v1/billing_portal/sessions", form, &key).await?;
            address(told.url)
        })
    }

    fn events<'a>(
        &'a self,
        since: OffsetDateTime,
        after: Option<&'a str>,
    ) -> Answering<'a, (Vec<Event>, bool)> {
        Box::pin(async move {
            let mut form =
                Fields::new().with("created[gte]", since.unix_timestamp()).with("limit", 100);
            if let Some(after) = after {
                form = form.with("starting_after", after);
            }
            let list: List<Told> = self.get("/v1/events".to_owned(), form).await?;
            Ok((list.data.into_iter().map(Told::read).collect(), list.has_more))
        })
    }
}

/// An event in a webhook's body, with what it is signed for: whether it is about real money, and
/// whose account it is of where that is not our own.
pub fn event(body: &[u8]) -> Option<(Event, bool, Option<String>)> {
    let told: Told = serde_json::from_slice(body).ok()?;
    let (livemode, account) = (told.livemode, told.account.clone());
    Some((told.read(), livemode, account)).filter(|it| !it.0.id.is_empty())
}

/// Where somebody may be sent.
fn address(text: Option<String>) -> Result<Url, ProviderError> {
    let url = text.and_then(|it| it.parse::<Url>().ok());
    url.filter(|it| matches!(it.scheme(), "https" | "http")).ok_or(ProviderError::Unreadable)
}

fn failure(status: u16, told: ToldError) -> ProviderError {
    let about = told.message.unwrap_or_default().chars().take(300).collect();
    match status {
        402 => ProviderError::Declined(about),
        409 | 429 => ProviderError::Later(status),
        // The key was used for other words: what came of those is looked up.
        400 if told.kind.as_deref() == Some("idempotency_error") => ProviderError::Broken(status),
        500.. => ProviderError::Broken(status),
        _ => ProviderError::Refused { status, about },
    }
}

// ---- What it says ---------------------------------------------------------------

#[derive(Default, Deserialize)]
#[serde(default)]
struct Failed {
    error: ToldError,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ToldError {
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

trait HasId {
    fn id(&self) -> &str;
}

#[derive(Deserialize)]
struct List<A> {
    #[serde(default = "Vec::new")]
    data: Vec<A>,
    #[serde(default)]
    has_more: bool,
}

impl<A> Default for List<A> {
    fn default() -> Self {
        Self { data: Vec::new(), has_more: false }
    }
}

/// What is named only, or told whole where it was asked for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Reference<A> {
    Name(String),
    Whole(A),
}

impl<A: HasId> Reference<A> {
    fn name(self) -> String {
        match self {
            Self::Name(it) => it,
            Self::Whole(it) => it.id().to_owned(),
        }
    }
}

impl HasId for Named {
    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Invoice {
    id: String,
    deleted: bool,
    status: Option<String>,
    customer: Option<Reference<Named>>,
    number: Option<String>,
    currency: Option<String>,
    total: i64,
    amount_remaining: i64,
    hosted_invoice_url: Option<String>,
    #[serde(deserialize_with = "or_empty")]
    metadata: BTreeMap<String, String>,
    lines: List<serde::de::IgnoredAny>,
    payments: List<InvoicePayment>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InvoicePayment {
    id: String,
    status: String,
    amount_paid: Option<i64>,
    payment: PaymentOf,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PaymentOf {
    #[serde(rename = "type")]
    kind: String,
}

impl InvoicePayment {
    /// Whether it is money that Stripe received, and not something that somebody said of it.
    fn received(self) -> Option<(String, Cents)> {
        let is_money = matches!(self.payment.kind.as_str(), "payment_intent" | "charge");
        let amount = self.amount_paid.filter(|it| *it > 0 && is_money && self.status == "paid")?;
        Some((self.id, Cents::from_cents(amount)))
    }
}

impl HasId for Invoice {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Invoice {
    fn read(self) -> Result<RemoteInvoice, ProviderError> {
        let status = match self.status.as_deref() {
            Some("draft") => RemoteStatus::Draft,
            Some("open") => RemoteStatus::Open,
            Some("paid") => RemoteStatus::Paid,
            Some("void") => RemoteStatus::Void,
            Some("uncollectible") => RemoteStatus::Uncollectible,
            _ => return Err(ProviderError::Unreadable),
        };
        Ok(RemoteInvoice {
            status,
            customer: self.customer.map(Reference::name).unwrap_or_default(),
            invoice: self.metadata.get(INVOICE).and_then(|it| it.parse().ok()),
            number: self.number,
            currency: self.currency.unwrap_or_default(),
            total: Cents::from_cents(self.total),
            remaining: Cents::from_cents(self.amount_remaining),
            has_lines: !self.lines.data.is_empty(),
            hosted_url: self.hosted_invoice_url,
            received: self.payments.data.into_iter().filter_map(InvoicePayment::received).collect(),
            id: self.id,
        })
    }
}

/// A credit note.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Note {
    id: String,
    #[serde(deserialize_with = "or_empty")]
    metadata: BTreeMap<String, String>,
    refunds: Vec<NoteRefund>,
}

#[derive(Deserialize)]
struct NoteRefund {
    refund: Reference<Refund>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refund {
    id: String,
    status: Option<String>,
    failure_reason: Option<String>,
}

impl HasId for Note {
    fn id(&self) -> &str {
        &self.id
    }
}

impl HasId for Refund {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Note {
    fn refund(self) -> Option<RemoteRefund> {
        Some(match self.refunds.into_iter().next()?.refund {
            Reference::Name(id) => RemoteRefund { id, state: RefundState::Pending },
            Reference::Whole(it) => it.read(),
        })
    }
}

impl Refund {
    fn read(self) -> RemoteRefund {
        let state = match self.status.as_deref() {
            Some("succeeded") => RefundState::Done,
            Some(status @ ("failed" | "canceled")) => {
                let why = self.failure_reason.unwrap_or_else(|| status.to_owned());
                RefundState::Failed(why.replace('_', " ").chars().take(300).collect())
            }
            Some(_) | None => RefundState::Pending,
        };
        RemoteRefund { id: self.id, state }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Customer {
    id: String,
    #[serde(deserialize_with = "or_empty")]
    metadata: BTreeMap<String, String>,
    invoice_settings: InvoiceSettings,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InvoiceSettings {
    default_payment_method: Option<Reference<Payer>>,
}

impl HasId for Customer {
    fn id(&self) -> &str {
        &self.id
    }
}

/// Something to pay with.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Payer {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    card: Option<ToldCard>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ToldCard {
    brand: String,
    last4: String,
    exp_month: u32,
    exp_year: u32,
}

impl Payer {
    fn read(self, is_preferred: bool) -> Card {
        let (method, kind) = (self.id, self.kind);
        match self.card {
            Some(it) => Card {
                method,
                brand: it.brand,
                last4: it.last4,
                expires: format!("{:02}/{}", it.exp_month, it.exp_year),
                is_preferred,
            },
            None => Card {
                method,
                brand: kind,
                last4: String::new(),
                expires: String::new(),
                is_preferred,
            },
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Session {
    url: Option<String>,
    customer: Option<Reference<Named>>,
    setup_intent: Option<Reference<SetupIntent>>,
}

#[derive(Deserialize)]
struct SetupIntent {
    #[serde(default)]
    payment_method: Option<Reference<Named>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    livemode: bool,
    account: Option<String>,
    data: ToldData,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ToldData {
    object: ToldObject,
    previous_attributes: Option<ToldObject>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ToldObject {
    id: Option<String>,
    customer: Option<Reference<Named>>,
    invoice: Option<Reference<Named>>,
}

impl Told {
    fn read(self) -> Event {
        let ToldData { object, previous_attributes } = self.data;
        let before = previous_attributes.unwrap_or_default();
        let named = [object.customer, object.invoice, before.customer];
        let refs = object.id.into_iter().chain(named.into_iter().flatten().map(Reference::name));
        Event { id: self.id, kind: self.kind, refs: refs.collect() }
    }
}

/// Stripe says null of what is not there, here and there.
fn or_empty<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::<BTreeMap<String, String>>::deserialize(from)?.unwrap_or_default())
}
