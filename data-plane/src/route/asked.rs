//! What a decision has to know of a call: of one that is there, with its body, or of one that was
//! decided before and is decided again from what was kept of it.

use std::collections::BTreeMap;

use routing_engine::{Judged, Turn, router};
use shared::{
    ids::PolicyId,
    snapshot::{Digest, Goal, Key, Worth},
};
use tokio::time::Instant;

use super::sessions::{Kept, Session, Sessions};

use crate::{
    ask::{Ask, Needs, Outline, Wishes},
    call::{Breakers, Live, Pulse},
    catalog::Model,
};

/// Qualities and ease are known to so many parts: what is kept of them is then all of them.
const PARTS: f32 = 1_000_000.0;

pub trait Asked: Send + Sync {
    fn outline(&self) -> &Outline;
    fn wishes(&self) -> &Wishes;
    fn tags(&self) -> &BTreeMap<String, String>;
    /// How many tokens it is, roughly.
    fn input(&self) -> u64;
    fn needs(&self) -> Needs;
    fn metadata(&self) -> BTreeMap<String, String>;
    fn user(&self) -> String;
    /// What the user's last turn is like, and how many tokens it is, roughly.
    fn judged(&self, needs: &Needs) -> (Judged, u64);
    /// Whether the caller named a model.
    fn names_a_model(&self) -> bool;
    /// What tells the call's session from others of its project, unreadable.
    fn session(&self, key: &Key) -> Option<u128>;
    /// The call itself, where it is there.
    fn body(&self) -> Option<&Ask>;
    /// How many of a thousand calls were explored when this was decided before.
    fn explore_per_mille(&self) -> Option<u16> {
        None
    }
    /// What a policy spent a dollar for when this was decided before, where it was asked.
    fn worth(&self, _: PolicyId, _: Goal) -> Option<Worth> {
        None
    }
    /// Whether somebody wants to know what those offer that are compared.
    fn weighs(&self) -> bool {
        false
    }
    /// What was expected of a model when this was decided before.
    fn expected(&self, _: &Model) -> Option<f32> {
        None
    }
}

/// How places did lately.
pub trait Health: Send + Sync {
    fn pulse(&self, model: &Model, now: Instant) -> Pulse;
}

/// Where nobody gets through at present.
pub trait Breaking: Send + Sync {
    fn rests(&self, model: &Model, now: Instant) -> bool;
}

/// Who answered sessions.
pub trait Remembering: Send + Sync {
    fn kept(&self, session: Session) -> Option<Kept>;
}

impl Breaking for Breakers {
    /// Whether none of its secrets opens it to anybody.
    fn rests(&self, model: &Model, now: Instant) -> bool {
        model.upstream.credentials.iter().all(|it| Breakers::rests(self, it.id, now))
    }
}

impl Remembering for Sessions {
    fn kept(&self, session: Session) -> Option<Kept> {
        Sessions::kept(self, session)
    }
}

impl Health for Live {
    fn pulse(&self, model: &Model, now: Instant) -> Pulse {
        Live::pulse(self, model, now)
    }
}

impl Asked for Ask {
    fn outline(&self) -> &Outline {
        self
    }

    fn wishes(&self) -> &Wishes {
        &self.wishes
    }

    fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    fn input(&self) -> u64 {
        self.estimated_input()
    }

    fn needs(&self) -> Needs {
        Self::needs(self)
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        Self::metadata(self)
    }

    fn user(&self) -> String {
        Self::user(self)
    }

    fn judged(&self, needs: &Needs) -> (Judged, u64) {
        let (text, images) = self.turn(needs);
        let wants_json = needs.json || needs.json_schema;
        let judged = router().judge(&Turn { text: &text, images, wants_json });
        let ease = whole(millionths(judged.ease));
        (Judged { ease, ..judged }, Self::estimated(&text))
    }

    fn names_a_model(&self) -> bool {
        Self::names_a_model(self)
    }

    fn session(&self, key: &Key) -> Option<u128> {
        let called = Self::session(self)?;
        let whose = [key.organization.uuid(), key.project.uuid()];
        let mut text: Vec<u8> = whose.iter().flat_map(|it| *it.as_bytes()).collect();
        text.extend(called.as_bytes());
        Some(Digest::of(&text).mark())
    }

    fn body(&self) -> Option<&Ask> {
        Some(self)
    }
}

/// What the user's last turn is like.
pub fn judged(ask: &Ask) -> Judged {
    Asked::judged(ask, &Ask::needs(ask)).0
}

/// As it is kept, and what is made of that again.
pub fn millionths(it: f32) -> i32 {
    (it * PARTS).round() as i32
}

pub fn whole(millionths: i32) -> f32 {
    millionths as f32 / PARTS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_kept_is_all_that_is_known(it in -1.0_f32..=1.0) {
            let known = whole(millionths(it));
            prop_assert!((known - it).abs() < 1e-6);
            prop_assert_eq!(whole(millionths(known)).to_bits(), known.to_bits());
        }
    }
}
