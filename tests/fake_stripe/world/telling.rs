//! What happened, as it is told: by signed webhooks, and by the list for what they missed.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::{Ask, World, created_since, page};

/// How webhooks come: of a thousand, so many never, so many twice, so many later, and whether in
/// any order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    pub dropped: u64,
    pub doubled: u64,
    pub delayed: u64,
    pub is_shuffled: bool,
}

/// A webhook as it goes out.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub body: String,
    /// `stripe-signature`
    pub signature: String,
}

impl World {
    pub(super) fn tell(&mut self, kind: &str, object: &Value) {
        let event = json!({
            "id": self.id("evt"), "object": "event", "type": kind, "created": self.now,
            "livemode": false, "api_version": "2026-06-24.dahlia", "data": { "object": object },
        });
        self.events.push(event.clone());
        self.outbox.push(event);
    }

    pub(super) fn list_events(&self, ask: &Ask) -> Value {
        let since = created_since(ask);
        page(self.events.iter().rev().filter(|it| it["created"].as_i64() >= since), ask)
    }

    pub(super) fn deliver(&mut self, secrets: &[&str], manners: Manners) -> Vec<Delivery> {
        let (mut told, mut later) = (Vec::new(), Vec::new());
        for event in std::mem::take(&mut self.outbox) {
            let roll = self.faults.roll(1_000);
            let Manners { dropped, doubled, delayed, .. } = manners;
            if roll < dropped {
                continue;
            }
            if roll < dropped + delayed {
                later.push(event);
                continue;
            }
            if roll < dropped + delayed + doubled {
                told.push(event.clone());
            }
            told.push(event);
        }
        self.outbox = later;
        if manners.is_shuffled {
            for at in (1..told.len()).rev() {
                let below = u64::try_from(at + 1).unwrap_or(1);
                let other = usize::try_from(self.faults.roll(below)).unwrap_or_default();
                told.swap(at, other);
            }
        }
        let sign = |event: Value| {
            let body = event.to_string();
            Delivery { signature: signature(secrets, self.now, &body), body }
        };
        told.into_iter().map(sign).collect()
    }
}

/// As Stripe signs, once by each secret.
pub fn signature(secrets: &[&str], at: i64, body: &str) -> String {
    let mut header = format!("t={at}");
    for secret in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, format!("{at}.{body}").as_bytes());
        let hex: String = tag.as_ref().iter().map(|it| format!("{it:02x}")).collect();
        header.push_str(&format!(",v1={hex}"));
    }
    header
}
