//! The share of an organization's calls that goes to one drawn by chance instead of to whom its
//! policy compares best, so that what the others cost, and how good they are, is measured.
//!
//! Always holds: whoever is drawn may answer, and is of the tier that would have been asked first,
//! each as likely as the others; a call that its caller has wishes for, or whose session keeps its
//! model, is left alone. What each was likely to be is kept with the call.

use std::sync::Arc;

use shared::event::{self, Otherwise};

use super::{By, MOST_CANDIDATES, Place, Routing};
use crate::catalog::Model;

/// What chance had to do with who is asked first.
#[derive(Clone, Debug)]
pub struct Exploration {
    /// Of so many calls in a thousand it decides.
    pub per_mille: u16,
    /// The first so many of those that were considered are who it draws among.
    pub among: u16,
    /// Who would have been the first, where it did.
    pub otherwise: Option<Arc<Model>>,
}

impl By {
    /// Whether what is compared is what exploring measures. Who asks for the cheapest or the
    /// fastest gets that.
    pub(super) const fn is_explored(self) -> bool {
        match self {
            Self::Best | Self::Balanced(_) | Self::Auto(_) => true,
            Self::Cheapest | Self::Fastest | Self::Throughput | Self::Latency => false,
        }
    }
}

impl Exploration {
    pub const fn is_explored(&self) -> bool {
        self.otherwise.is_some()
    }

    /// How likely the one at `at` was to be the first, in millionths; nothing where it could not be.
    pub fn propensity_ppm(&self, at: usize, model: &Arc<Model>) -> Option<u32> {
        if at >= usize::from(self.among) {
            return None;
        }
        let is_choice = match &self.otherwise {
            Some(otherwise) => Arc::ptr_eq(otherwise, model),
            None => at == 0,
        };
        let explored = u32::from(self.per_mille) * 1_000;
        let drawn = explored / u32::from(self.among.max(1));
        Some(if is_choice { drawn + 1_000_000_u32.saturating_sub(explored) } else { drawn })
    }

    /// `5 %`, `0.5 %`.
    pub fn share(&self) -> String {
        let (whole, rest) = (self.per_mille / 10, self.per_mille % 10);
        if rest == 0 { format!("{whole} %") } else { format!("{whole}.{rest} %") }
    }

    pub fn told(&self) -> event::Exploration {
        let otherwise = self
            .otherwise
            .as_ref()
            .map(|it| Otherwise { model: it.name.clone(), provider: it.upstream.provider.clone() });
        let (per_mille, among) = (self.per_mille, self.among);
        event::Exploration { explored: self.is_explored(), per_mille, among, otherwise }
    }
}

impl<'a> Routing<'a> {
    /// Puts one of `places` before the others, for some calls. They stand in their order, and
    /// nobody was chosen before them.
    pub(super) fn explore(&mut self, places: &mut Vec<Place<'a>>) {
        let wishes = self.wishes();
        let is_wished = !wishes.order.is_empty()
            || wishes.no_fallbacks
            || wishes.least_throughput.is_some()
            || wishes.most_latency.is_some();
        if self.explore_per_mille == 0 || is_wished || !self.passes_over {
            return;
        }
        // A tier may name a model twice, and the second time is passed over.
        let mut met: Vec<&Arc<Model>> = Vec::with_capacity(places.len());
        places.retain(|it| {
            let is_new = !met.iter().any(|met| Arc::ptr_eq(met, it.model));
            met.push(it.model);
            is_new
        });
        let among = places.len().min(MOST_CANDIDATES);
        let Some(first) = places.first().filter(|_| among > 1) else { return };
        let first = first.model.clone();
        let among = u16::try_from(among).unwrap_or(u16::MAX);
        let is_explored = self.dice.explores(self.explore_per_mille);
        if is_explored {
            let at = usize::try_from(self.dice.below(among.into())).unwrap_or_default();
            if let Some(before) = places.get_mut(..=at) {
                before.rotate_right(1);
            }
        }
        let otherwise = is_explored.then_some(first);
        let per_mille = self.explore_per_mille;
        self.exploration = Some(Exploration { per_mille, among, otherwise });
    }
}
