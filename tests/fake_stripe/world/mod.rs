//! A stand-in for Stripe, as far as we use it: what it keeps, what it answers, what it tells.
//!
//! It has no clock and no dice but those it is given, so that a test sees the same each time. Like
//! Stripe it answers a key that it knows with what it said before, failures included; takes an
//! invoice's number once; charges a paid invoice no second time; and tells what happened once,
//! twice, late, in any order or never.

mod faults;
mod objects;
mod telling;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::faults::Faults;
pub use self::{
    faults::Fault,
    telling::{Delivery, Manners, signature},
};

/// For how long keys are kept, in seconds.
const KEYS_KEPT: i64 = 24 * 3_600;

/// A call as it came.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    pub path: String,
    pub form: Vec<(String, String)>,
    pub key: Option<String>,
}

impl Ask {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|it| it.0 == name).map(|it| it.1.as_str())
    }

    /// Fields like `metadata[name]`.
    fn metadata(&self) -> BTreeMap<String, String> {
        let inner =
            |name: &str| Some(name.strip_prefix("metadata[")?.strip_suffix(']')?.to_owned());
        self.form.iter().filter_map(|(name, value)| Some((inner(name)?, value.clone()))).collect()
    }

    fn print(&self) -> String {
        format!("{} {} {:?}", self.method, self.path, self.form)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
}

impl Reply {
    fn ok(body: Value) -> Self {
        Self { status: 200, body }
    }

    fn failed(status: u16, kind: &str, code: &str, message: &str) -> Self {
        let error = json!({ "type": kind, "code": code, "message": message });
        Self { status, body: json!({ "error": error }) }
    }

    fn refused(message: &str) -> Self {
        Self::failed(400, "invalid_request_error", "", message)
    }

    fn unknown(what: &str) -> Self {
        let message = format!("No such {what}");
        Self::failed(404, "invalid_request_error", "resource_missing", &message)
    }
}

/// A payment that went through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The invoice's number.
    pub number: String,
    pub cents: i64,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    print: String,
    reply: Reply,
    at: i64,
}

#[derive(Default, Serialize, Deserialize)]
struct World {
    /// Where its pages are.
    #[serde(skip)]
    base: String,
    now: i64,
    last_id: u64,
    /// By id; what was made later comes later.
    objects: BTreeMap<String, Value>,
    numbers: BTreeSet<String>,
    keys: BTreeMap<String, Kept>,
    charges: Vec<Charge>,
    #[serde(default)]
    refunds: Vec<Charge>,
    events: Vec<Value>,
    outbox: Vec<Value>,
    #[serde(skip)]
    faults: Faults,
}

#[derive(Default)]
pub struct Fake(Mutex<World>);

impl Fake {
    /// One whose pages begin with that address.
    pub fn new(base: &str) -> Self {
        let world = World { base: base.to_owned(), now: 1_700_000_000, ..World::default() };
        Self(Mutex::new(world))
    }

    /// One that goes on where another was when it was [saved](Fake::saved).
    pub fn of(base: &str, saved: &str) -> Result<Self, serde_json::Error> {
        let world: World = serde_json::from_str(saved)?;
        Ok(Self(Mutex::new(World { base: base.to_owned(), ..world })))
    }

    /// All that it keeps.
    pub fn saved(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&*self.world())
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_time(&self, unix_seconds: i64) {
        self.world().now = unix_seconds;
    }

    /// From now on so many calls of a thousand meet a fault, and so many charges of a thousand are
    /// declined.
    pub fn be_faulty(&self, seed: u64, faults_per_mille: u64, declines_per_mille: u64) {
        self.world().faults = Faults::random(seed, faults_per_mille, declines_per_mille);
    }

    /// What the next call meets that is one for an invoice's `draft`, `lines`, `finalize`, `pay` or
    /// `refund`.
    pub fn meet_at(&self, verb: &str, fault: Fault) {
        let end = match verb {
            "draft" => "/v1/invoices",
            "lines" => "/add_lines",
            "finalize" => "/finalize",
            "refund" => "/v1/credit_notes",
            _ => "/pay",
        };
        self.world().faults.at(end, fault);
    }

    pub fn charges(&self) -> Vec<Charge> {
        self.world().charges.clone()
    }

    pub fn refunds(&self) -> Vec<Charge> {
        self.world().refunds.clone()
    }

    /// The card's bank sends a refund back.
    pub fn refuse_refund(&self, id: &str) {
        self.world().refuse_refund(id);
    }

    /// Makes an object another than anybody asked for.
    pub fn alter(&self, id: &str, change: impl FnOnce(&mut Value)) {
        if let Some(object) = self.world().objects.get_mut(id) {
            change(object);
        }
    }

    /// An object as it is; null where there is none.
    pub fn object(&self, id: &str) -> Value {
        self.world().objects.get(id).cloned().unwrap_or_default()
    }

    /// All objects whose ids begin so, the oldest first.
    pub fn all(&self, prefix: &str) -> Vec<Value> {
        let world = self.world();
        let found = world.objects.iter().filter(|it| it.0.starts_with(prefix));
        found.map(|it| it.1.clone()).collect()
    }

    /// What is told next, signed, as it goes out.
    pub fn deliveries(&self, secrets: &[&str], manners: Manners) -> Vec<Delivery> {
        self.world().deliver(secrets, manners)
    }

    /// Somebody typed a card's number on the page of a session.
    pub fn choose(&self, session: &str, number: &str) -> Result<Value, String> {
        self.world().choose(session, number)
    }

    /// Somebody paid an invoice on its page.
    pub fn pay_on_page(&self, invoice: &str, number: &str) -> Result<(), String> {
        self.world().pay_on_page(invoice, number)
    }

    /// What a call is answered; nothing where it never is.
    pub fn answer(&self, ask: &Ask) -> Option<Reply> {
        let mut world = self.world();
        if ask.method == "GET" {
            return match world.faults.of_question() {
                Some(Fault::SilentBefore | Fault::SilentAfter) => None,
                Some(Fault::Busy) => Some(busy(429)),
                Some(Fault::Conflict) => Some(busy(409)),
                Some(Fault::BrokenBefore | Fault::BrokenAfter) => Some(broken()),
                None => Some(world.told(ask)),
            };
        }
        world.changed(ask)
    }
}

fn busy(status: u16) -> Reply {
    Reply::failed(status, "api_error", "lock_timeout", "Try again")
}

fn broken() -> Reply {
    Reply::failed(500, "api_error", "", "Something went wrong on our end")
}

impl World {
    fn changed(&mut self, ask: &Ask) -> Option<Reply> {
        let Some(key) = ask.key.clone() else {
            return Some(Reply::refused("every call of ours has a key"));
        };
        let now = self.now;
        self.keys.retain(|_, it| now - it.at < KEYS_KEPT);
        if let Some(kept) = self.keys.get(&key) {
            if kept.print != ask.print() {
                let message = "Keys can only be used with the same parameters";
                return Some(Reply::failed(400, "idempotency_error", "", message));
            }
            let reply = kept.reply.clone();
            // An answer gets lost at any time.
            return match self.faults.of_question() {
                Some(Fault::SilentBefore | Fault::SilentAfter) => None,
                Some(Fault::Busy | Fault::BrokenBefore | Fault::BrokenAfter) => Some(busy(429)),
                Some(Fault::Conflict) => Some(busy(409)),
                None => Some(reply),
            };
        }
        let (reply, is_heard) = match self.faults.of_change(&ask.path) {
            Some(Fault::Busy) => return Some(busy(429)),
            Some(Fault::Conflict) => return Some(busy(409)),
            Some(Fault::SilentBefore) => return None,
            Some(Fault::BrokenBefore) => (broken(), true),
            Some(Fault::BrokenAfter) => {
                self.told(ask);
                (broken(), true)
            }
            Some(Fault::SilentAfter) => (self.told(ask), false),
            None => (self.told(ask), true),
        };
        let kept = Kept { print: ask.print(), reply: reply.clone(), at: self.now };
        self.keys.insert(key, kept);
        is_heard.then_some(reply)
    }

    fn told(&mut self, ask: &Ask) -> Reply {
        let path = ask.path.trim_start_matches("/v1/").to_owned();
        let parts: Vec<_> = path.split('/').collect();
        let answered = match (ask.method.as_str(), parts.as_slice()) {
            ("POST", ["customers"]) => Ok(self.new_customer(ask)),
            ("POST", ["customers", id]) => self.change_customer(id, ask),
            ("GET", ["customers", id]) => self.customer(id),
            ("GET", ["customers", id, "payment_methods"]) => {
                let is_theirs = |it: &Value| it["customer"] == **id;
                Ok(self.list("pm_", ask, is_theirs))
            }
            ("GET", ["customers"]) => {
                let since = created_since(ask);
                Ok(self.list("cus_", ask, |it| it["created"].as_i64() >= since))
            }
            ("POST", ["checkout", "sessions"]) => self.new_session(ask),
            ("GET", ["checkout", "sessions", id]) => self.session(id),
            ("POST", ["billing_portal", "sessions"]) => self.new_portal(ask),
            ("POST", ["invoices"]) => self.new_invoice(ask),
            ("GET", ["invoices"]) => {
                let customer = ask.field("customer").unwrap_or_default();
                Ok(self.list("in_", ask, |it| it["customer"] == customer))
            }
            ("GET", ["invoices", id]) => self.get("invoice", id),
            ("DELETE", ["invoices", id]) => self.discard(id),
            ("POST", ["invoices", id, "add_lines"]) => self.add_lines(id, ask),
            ("POST", ["invoices", id, "finalize"]) => self.finalize(id),
            ("POST", ["invoices", id, "pay"]) => self.pay(id, ask),
            ("POST", ["invoices", id, "void"]) => self.void(id),
            ("POST", ["invoices", id, "mark_uncollectible"]) => self.give_up(id),
            ("POST", ["credit_notes"]) => self.new_note(ask),
            ("GET", ["credit_notes"]) => {
                let invoice = ask.field("invoice").unwrap_or_default();
                Ok(self.list("cn_", ask, |it| it["invoice"] == invoice))
            }
            ("GET", ["refunds", id]) => self.get("refund", id),
            ("GET", ["events"]) => Ok(self.list_events(ask)),
            _ => Err(Reply::unknown(&format!("endpoint: {} {}", ask.method, ask.path))),
        };
        match answered {
            Ok(body) => Reply::ok(body),
            Err(reply) => reply,
        }
    }

    fn id(&mut self, prefix: &str) -> String {
        self.last_id += 1;
        format!("{prefix}_{:012}", self.last_id)
    }

    fn get(&self, what: &str, id: &str) -> Result<Value, Reply> {
        self.objects.get(id).cloned().ok_or_else(|| Reply::unknown(what))
    }

    /// The newest first, page by page.
    fn list(&self, prefix: &str, ask: &Ask, is_meant: impl Fn(&Value) -> bool) -> Value {
        let found = self.objects.iter().filter(|it| it.0.starts_with(prefix)).rev();
        page(found.map(|it| it.1).filter(|it| is_meant(it)), ask)
    }
}

fn created_since(ask: &Ask) -> Option<i64> {
    ask.field("created[gte]").and_then(|it| it.parse().ok())
}

fn page<'a>(all: impl Iterator<Item = &'a Value>, ask: &Ask) -> Value {
    let limit = ask.field("limit").and_then(|it| it.parse().ok()).unwrap_or(10_usize).min(100);
    let all: Vec<_> = all.collect();
    let after = ask.field("starting_after");
    let begin = after.and_then(|after| all.iter().position(|it| it["id"] == *after));
    let rest = all.get(begin.map_or(0, |it| it + 1)..).unwrap_or_default();
    let data: Vec<_> = rest.iter().take(limit).map(|it| (*it).clone()).collect();
    json!({ "object": "list", "has_more": rest.len() > limit, "data": data })
}
