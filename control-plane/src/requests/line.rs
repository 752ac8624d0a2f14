//! A request in a few words.

use shared::{
    event::{Event, Outcome, UsageSource},
    money::Money,
};

use super::Request;
use crate::web::Moment;

/// A request as a row shows it.
pub(super) struct Line {
    pub request: Request,
    pub at: Moment,
}

impl Line {
    pub fn of(request: Request, zone: &str) -> Self {
        Self { at: Moment::new(request.event.started_at, zone), request }
    }

    pub fn event(&self) -> &Event {
        &self.request.event
    }

    pub fn project(&self) -> &str {
        self.request.project_name.as_deref().unwrap_or("unknown")
    }

    pub fn key(&self) -> &str {
        self.request.key_name.as_deref().unwrap_or("unknown")
    }

    pub fn badge(&self) -> &'static str {
        match self.event().outcome {
            Outcome::Success => "ok",
            Outcome::ClientError => "warn",
            Outcome::ServerError | Outcome::Broken => "bad",
            Outcome::Gone => "",
        }
    }

    /// `200`, `429 Refused`, `Client gone`.
    pub fn status(&self) -> String {
        match (self.event().status, self.event().outcome) {
            (0, outcome) => outcome.title().to_owned(),
            (status, Outcome::Success) => status.to_string(),
            (status, outcome) => format!("{status} {}", outcome.title()),
        }
    }

    /// Why it went where it went, in a few words.
    pub fn why(&self) -> String {
        let event = self.event();
        let why = match (&event.policy, event.reason.as_deref()) {
            (Some(policy), _) => format!("Policy {}, version {}", policy.name, policy.version),
            (None, Some("asked")) => "Asked for by name".to_owned(),
            (None, Some(reason)) => reason.replace('_', " "),
            (None, None) => return event.error.as_deref().unwrap_or_default().replace('_', " "),
        };
        match event.attempts.len() {
            0 | 1 => why,
            count => format!("{why}; {count} attempts"),
        }
    }

    pub fn tokens(&self) -> Option<(String, String)> {
        let usage = self.event().usage;
        let is_known = self.event().usage_source != UsageSource::None;
        is_known.then(|| (grouped(usage.total_input()), grouped(usage.total_output())))
    }

    /// Nothing where nobody settled it.
    pub fn cost(&self) -> Option<Money> {
        self.event().settlement.map(|_| self.event().cost)
    }

    pub fn total(&self) -> String {
        took(self.event().total_ms)
    }

    pub fn first_byte(&self) -> Option<String> {
        self.event().first_byte_ms.map(took)
    }
}

/// `1,038`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `87 ms`, `1.42 s`
pub(super) fn took(milliseconds: u32) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        _ => format!("{}.{:02} s", milliseconds / 1_000, milliseconds % 1_000 / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_easily() {
        for (number, text) in [(0, "0"), (999, "999"), (1_038, "1,038"), (12_345_678, "12,345,678")]
        {
            assert_eq!(grouped(number), text);
        }
        for (milliseconds, text) in
            [(0, "0 ms"), (999, "999 ms"), (1_000, "1.00 s"), (61_429, "61.42 s")]
        {
            assert_eq!(took(milliseconds), text);
        }
    }
}
