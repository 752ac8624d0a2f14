//! Customers, what they pay with, invoices and what becomes of those.

use serde_json::{Value, json};

use super::{Ask, Charge, Reply, World};

/// The most lines of an invoice.
const MOST_LINES: usize = 250;

type Answered = Result<Value, Reply>;

impl World {
    pub(super) fn new_customer(&mut self, ask: &Ask) -> Value {
        let id = self.id("cus");
        let customer = json!({
            "id": id, "object": "customer", "created": self.now, "name": ask.field("name"),
            "email": ask.field("email"), "metadata": ask.metadata(), "livemode": false,
            "invoice_settings": { "default_payment_method": null },
        });
        self.put(customer.clone());
        self.tell("customer.created", &customer);
        customer
    }

    pub(super) fn change_customer(&mut self, id: &str, ask: &Ask) -> Answered {
        let mut customer = self.get("customer", id)?;
        if let Some(method) = ask.field("invoice_settings[default_payment_method]") {
            let known = self.get("payment method", method)?;
            if known["customer"] != *id {
                return Err(Reply::refused("The payment method is not the customer's"));
            }
            customer["invoice_settings"]["default_payment_method"] = method.into();
        }
        self.put(customer.clone());
        self.tell("customer.updated", &customer);
        Ok(customer)
    }

    /// With what they prefer to pay with told whole.
    pub(super) fn customer(&self, id: &str) -> Answered {
        let mut customer = self.get("customer", id)?;
        let settings = &mut customer["invoice_settings"];
        let method =
            settings["default_payment_method"].as_str().and_then(|it| self.objects.get(it));
        settings["default_payment_method"] = method.cloned().unwrap_or_default();
        Ok(customer)
    }

    pub(super) fn new_session(&mut self, ask: &Ask) -> Answered {
        let customer = ask.field("customer").unwrap_or_default();
        self.get("customer", customer)?;
        if ask.field("mode") != Some("setup") {
            return Err(Reply::refused("only sessions that set up are known here"));
        }
        let id = self.id("cs");
        let done = ask.field("success_url").unwrap_or_default();
        let session = json!({
            "id": id, "object": "checkout.session", "mode": "setup", "status": "open",
            "customer": customer, "created": self.now, "livemode": false, "setup_intent": null,
            "success_url": done.replace("{CHECKOUT_SESSION_ID}", &id),
            "cancel_url": ask.field("cancel_url"), "url": format!("{}/checkout/{id}", self.base),
        });
        self.put(session.clone());
        Ok(session)
    }

    /// With its setup intent told whole.
    pub(super) fn session(&self, id: &str) -> Answered {
        let mut session = self.get("checkout session", id)?;
        let intent = session["setup_intent"].as_str().and_then(|it| self.objects.get(it));
        session["setup_intent"] = intent.cloned().unwrap_or_default();
        Ok(session)
    }

    pub(super) fn new_portal(&mut self, ask: &Ask) -> Answered {
        let customer = ask.field("customer").unwrap_or_default();
        self.get("customer", customer)?;
        let id = self.id("bps");
        let portal = json!({
            "id": id, "object": "billing_portal.session", "customer": customer,
            "return_url": ask.field("return_url"), "url": format!("{}/portal/{id}", self.base),
        });
        self.put(portal.clone());
        Ok(portal)
    }

    pub(super) fn new_invoice(&mut self, ask: &Ask) -> Answered {
        let customer = ask.field("customer").unwrap_or_default();
        self.get("customer", customer)?;
        let number = ask.field("number").unwrap_or_default().to_owned();
        if !self.numbers.insert(number.clone()) {
            return Err(Reply::refused("The invoice number is in use already"));
        }
        if ask.field("auto_advance") != Some("false") {
            return Err(Reply::refused("nothing is charged here that nobody asked for"));
        }
        let id = self.id("in");
        let invoice = json!({
            "id": id, "object": "invoice", "status": "draft", "customer": customer,
            "number": number, "currency": ask.field("currency"), "created": self.now,
            "description": ask.field("description"), "metadata": ask.metadata(),
            "total": 0, "amount_due": 0, "amount_paid": 0, "amount_remaining": 0,
            "lines": { "object": "list", "data": [], "has_more": false },
            "payments": { "object": "list", "data": [], "has_more": false },
            "hosted_invoice_url": null, "livemode": false,
        });
        self.put(invoice.clone());
        self.tell("invoice.created", &invoice);
        Ok(invoice)
    }

    pub(super) fn discard(&mut self, id: &str) -> Answered {
        let invoice = self.in_state(id, &["draft"])?;
        if let Some(number) = invoice["number"].as_str() {
            self.numbers.remove(number);
        }
        self.objects.remove(id);
        self.tell("invoice.deleted", &invoice);
        Ok(json!({ "id": id, "object": "invoice", "deleted": true }))
    }

    pub(super) fn add_lines(&mut self, id: &str, ask: &Ask) -> Answered {
        let mut invoice = self.in_state(id, &["draft"])?;
        let mut lines = invoice["lines"]["data"].as_array().cloned().unwrap_or_default();
        for at in 0.. {
            let Some(amount) = ask.field(&format!("lines[{at}][amount]")) else { break };
            let amount: i64 =
                amount.parse().map_err(|_| Reply::refused("an amount is a whole number"))?;
            let about = ask.field(&format!("lines[{at}][description]"));
            let line = json!({ "id": self.id("il"), "amount": amount, "description": about });
            lines.push(line);
        }
        if lines.len() > MOST_LINES {
            return Err(Reply::refused("An invoice has at most 250 lines"));
        }
        let total: i64 = lines.iter().filter_map(|it| it["amount"].as_i64()).sum();
        invoice["lines"]["data"] = lines.into();
        for name in ["total", "amount_due", "amount_remaining"] {
            invoice[name] = total.into();
        }
        self.keep("invoice.updated", invoice)
    }

    pub(super) fn finalize(&mut self, id: &str) -> Answered {
        let mut invoice = self.in_state(id, &["draft"])?;
        invoice["status"] = "open".into();
        invoice["hosted_invoice_url"] = format!("{}/pay/{id}", self.base).into();
        self.keep("invoice.finalized", invoice)
    }

    pub(super) fn pay(&mut self, id: &str, ask: &Ask) -> Answered {
        let invoice = self.in_state(id, &["open", "uncollectible"])?;
        if ask.field("paid_out_of_band") == Some("true") {
            return self.settled(invoice, None);
        }
        let method = ask.field("payment_method").unwrap_or_default();
        let method = self.get("payment method", method)?;
        if method["customer"] != invoice["customer"] {
            return Err(Reply::refused("The payment method is not the customer's"));
        }
        if let Some(why) = self.decline(&method) {
            self.tell("invoice.payment_failed", &invoice);
            return Err(Reply::failed(402, "card_error", "card_declined", why));
        }
        self.charged(invoice)
    }

    /// What a bank says to cards whose numbers end so.
    fn decline(&mut self, method: &Value) -> Option<&'static str> {
        match method["card"]["last4"].as_str() {
            Some("0002" | "0341") => Some("Your card was declined."),
            Some("9995") => Some("Your card has insufficient funds."),
            Some(_) | None if self.faults.declines() => Some("Your card was declined."),
            Some(_) | None => None,
        }
    }

    fn charged(&mut self, invoice: Value) -> Answered {
        let cents = invoice["amount_remaining"].as_i64().unwrap_or_default();
        let number = invoice["number"].as_str().unwrap_or_default().to_owned();
        self.charges.push(Charge { number, cents });
        let payment = json!({
            "id": self.id("inpay"), "object": "invoice_payment", "status": "paid",
            "amount_paid": cents,
            "payment": { "type": "payment_intent", "payment_intent": self.id("pi") },
        });
        self.settled(invoice, Some(payment))
    }

    fn settled(&mut self, mut invoice: Value, payment: Option<Value>) -> Answered {
        if let Some(data) = invoice["payments"]["data"].as_array_mut() {
            data.extend(payment);
        }
        invoice["status"] = "paid".into();
        invoice["amount_paid"] = invoice["amount_remaining"].clone();
        invoice["amount_remaining"] = 0.into();
        self.keep("invoice.paid", invoice)
    }

    pub(super) fn void(&mut self, id: &str) -> Answered {
        let mut invoice = self.in_state(id, &["open", "uncollectible"])?;
        invoice["status"] = "void".into();
        self.keep("invoice.voided", invoice)
    }

    pub(super) fn give_up(&mut self, id: &str) -> Answered {
        let mut invoice = self.in_state(id, &["open"])?;
        invoice["status"] = "uncollectible".into();
        self.keep("invoice.marked_uncollectible", invoice)
    }

    pub(super) fn new_note(&mut self, ask: &Ask) -> Answered {
        let of = ask.field("invoice").unwrap_or_default().to_owned();
        let cents = |name| ask.field(name).and_then(|it| it.parse::<i64>().ok());
        let amount = cents("amount").unwrap_or_default();
        if let Some(refunded) = cents("refund_amount") {
            return self.new_refund(&of, amount, refunded, ask);
        }
        let mut invoice = self.in_state(&of, &["open", "uncollectible"])?;
        let remaining = invoice["amount_remaining"].as_i64().unwrap_or_default();
        if amount <= 0 || amount > remaining {
            return Err(Reply::refused("A credit note takes back no more than is to be paid"));
        }
        let note = json!({
            "id": self.id("cn"), "object": "credit_note", "invoice": of, "amount": amount,
            "customer": invoice["customer"],
        });
        self.put(note.clone());
        self.tell("credit_note.created", &note);
        invoice["amount_remaining"] = (remaining - amount).into();
        if remaining == amount {
            invoice["status"] = "paid".into();
        }
        self.keep("invoice.updated", invoice)?;
        Ok(note)
    }

    /// A credit note on what was paid, which gives it back.
    fn new_refund(&mut self, of: &str, amount: i64, refunded: i64, ask: &Ask) -> Answered {
        let mut invoice = self.in_state(of, &["paid"])?;
        let paid = invoice["payments"]["data"].as_array().into_iter().flatten();
        let paid: i64 = paid.filter_map(|it| it["amount_paid"].as_i64()).sum();
        let before = invoice["refunded"].as_i64().unwrap_or_default();
        if amount <= 0 || amount != refunded || before + refunded > paid {
            return Err(Reply::refused("No more can be given back than was paid"));
        }
        let number = invoice["number"].as_str().unwrap_or_default().to_owned();
        self.refunds.push(Charge { number, cents: refunded });
        let refund = json!({
            "id": self.id("re"), "object": "refund", "amount": refunded, "status": "succeeded",
            "failure_reason": null,
        });
        let note = json!({
            "id": self.id("cn"), "object": "credit_note", "invoice": of, "amount": amount,
            "customer": invoice["customer"], "metadata": ask.metadata(),
            "refunds": [{ "amount_refunded": refunded, "refund": refund, "type": "refund" }],
        });
        invoice["refunded"] = (before + refunded).into();
        self.put(invoice);
        self.put(refund.clone());
        self.put(note.clone());
        self.tell("refund.created", &refund);
        self.tell("credit_note.created", &note);
        Ok(note)
    }

    /// The card's bank sends it back.
    pub(super) fn refuse_refund(&mut self, id: &str) {
        let Ok(mut refund) = self.get("refund", id) else { return };
        refund["status"] = "failed".into();
        refund["failure_reason"] = "lost_or_stolen_card".into();
        self.put(refund.clone());
        self.tell("refund.failed", &refund);
    }

    // ---- What people do on its pages --------------------------------------------

    pub(super) fn choose(&mut self, session: &str, number: &str) -> Result<Value, String> {
        let gone = |_| "There is no such page".to_owned();
        let mut session = self.get("checkout session", session).map_err(gone)?;
        if session["status"] != "open" {
            return Err("You were here already".to_owned());
        }
        let customer = session["customer"].clone();
        let method = self.card(number, &customer)?;
        let intent = json!({
            "id": self.id("seti"), "object": "setup_intent", "status": "succeeded",
            "customer": customer, "payment_method": method["id"],
        });
        session["setup_intent"] = intent["id"].clone();
        session["status"] = "complete".into();
        self.put(intent);
        self.put(session.clone());
        self.tell("payment_method.attached", &method);
        self.tell("checkout.session.completed", &session);
        Ok(session)
    }

    fn card(&mut self, number: &str, customer: &Value) -> Result<Value, String> {
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        let brand = match digits.as_bytes().first() {
            Some(b'4') => "visa",
            Some(b'5') => "mastercard",
            _ => return Err("That is no card's number. 4242 4242 4242 4242 is one".to_owned()),
        };
        if digits.len() != 16 {
            return Err("A card's number has 16 digits".to_owned());
        }
        let method = json!({
            "id": self.id("pm"), "object": "payment_method", "type": "card", "customer": customer,
            "created": self.now,
            "card": { "brand": brand, "last4": &digits[12..], "exp_month": 4, "exp_year": 2031 },
        });
        self.put(method.clone());
        Ok(method)
    }

    pub(super) fn pay_on_page(&mut self, invoice: &str, number: &str) -> Result<(), String> {
        let invoice = self.in_state(invoice, &["open", "uncollectible"]);
        let invoice = invoice.map_err(|_| "There is nothing to pay here".to_owned())?;
        let mut method = self.card(number, &Value::Null)?;
        // It is used once, and kept for nobody.
        method["customer"] = Value::Null;
        if let Some(why) = self.decline(&method) {
            return Err(why.to_owned());
        }
        self.charged(invoice).map(drop).map_err(|_| "It was not paid".to_owned())
    }

    // ---- Keeping ----------------------------------------------------------------

    fn put(&mut self, object: Value) {
        if let Some(id) = object["id"].as_str() {
            self.objects.insert(id.to_owned(), object);
        }
    }

    fn keep(&mut self, event: &str, invoice: Value) -> Answered {
        self.put(invoice.clone());
        self.tell(event, &invoice);
        Ok(invoice)
    }

    fn in_state(&self, id: &str, states: &[&str]) -> Answered {
        let invoice = self.get("invoice", id)?;
        let state = invoice["status"].as_str().unwrap_or_default();
        if states.contains(&state) {
            return Ok(invoice);
        }
        let message = format!("This invoice is {state}, so that cannot be done with it");
        let code = if state == "paid" { "invoice_already_paid" } else { "invoice_not_editable" };
        Err(Reply::failed(400, "invalid_request_error", code, &message))
    }
}
