//! The door at which the provider tells what happened.
//!
//! A body counts by its bytes as they came, signed with one of our secrets not long ago. Whatever
//! else is so is told nothing. What counts is kept and answered at once, and handled afterwards.

use actix_web::{HttpRequest, HttpResponse, web::Bytes};
use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use tracing::warn;

use super::{PaymentError, events::is_heeded, store, stripe};
use crate::{
    access::{Doors, Visitor},
    web::Failure,
};

pub fn doors(doors: &mut Doors) {
    doors.post("/stripe/webhooks", take);
}

/// How far a signature's time may be from ours, in seconds.
const TOLERANCE: i64 = 300;
/// More signatures than secrets are ever rolled at once.
const MOST_SIGNATURES: usize = 16;

async fn take(
    visitor: Visitor,
    request: HttpRequest,
    body: Bytes,
) -> Result<HttpResponse, Failure> {
    let platform = &visitor.platform;
    let Some(rail) = &platform.payments else {
        return Err(PaymentError::NotFound.into());
    };
    let now = OffsetDateTime::now_utc();
    let header = request.headers().get("stripe-signature").and_then(|it| it.to_str().ok());
    let header = header.unwrap_or_default();
    if !is_signed(&rail.secrets, header, &body, now.unix_timestamp()) {
        warn!("a webhook of payments was not signed");
        return Err(PaymentError::Forged.into());
    }
    let told = stripe::event(&body).filter(|(_, is_live, account)| {
        // Of another account, or of test money where ours is real, is none of ours.
        *is_live == rail.is_live && account.is_none()
    });
    let Some((mut event, _, _)) = told else { return Err(PaymentError::Forged.into()) };
    if !is_heeded(&event.kind) {
        event.refs.clear();
    }
    let mut conn = platform.db.acquire().await?;
    let is_new = store::insert_event(&mut conn, &event, "webhook", now).await;
    if is_new.map_err(PaymentError::from)? {
        platform.nudges.payment_events.notify_one();
    }
    Ok(HttpResponse::Ok().json(serde_json::json!({ "received": true })))
}

/// Whether any of a header's `v1` signatures is of these bytes, by any of our secrets, not long
/// ago. Secrets that are rolled sign twice, and either counts.
pub(super) fn is_signed(secrets: &[SecretString], header: &str, body: &[u8], now: i64) -> bool {
    let mut times = Vec::new();
    let mut signatures = Vec::new();
    for (name, value) in header.split(',').filter_map(|it| it.trim().split_once('=')) {
        match name {
            "t" => times.push(value),
            "v1" if signatures.len() < MOST_SIGNATURES => signatures.push(value),
            _ => {}
        }
    }
    let [time] = times.as_slice() else { return false };
    let is_recent = time.parse().is_ok_and(|at: i64| now.abs_diff(at) <= TOLERANCE.unsigned_abs());
    if !is_recent {
        return false;
    }
    let signed = [time.as_bytes(), b".", body].concat();
    let signatures: Vec<_> = signatures.into_iter().filter_map(bytes).collect();
    secrets.iter().any(|secret| {
        let secret = secret.expose_secret().as_bytes();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        !secret.is_empty() && signatures.iter().any(|it| hmac::verify(&key, &signed, it).is_ok())
    })
}

/// What hexadecimal says.
fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}
