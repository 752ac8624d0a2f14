//! What models cost. A price is never changed: another one follows it, from now on or from a
//! later moment. What a call was charged by is kept with the call.

use serde::Serialize;
use shared::{
    ids::UpstreamId,
    money::{BadUnitPrice, Class, PinnedPrice, Price, Rates, UnitPrice},
};
use time::OffsetDateTime;

use super::{Upstream, UpstreamError, find, find_to_change, known, models, store};
use crate::{
    access::Work,
    audit::{self, Entry},
};

/// A price that a model had, or that it had none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Revision {
    pub revision: i64,
    /// Null where the model had no price from then on.
    pub price: Option<Price>,
    /// Which book says so, where it is not what everybody pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub book: Option<String>,
    pub created_by: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    /// When it begins to hold, or began.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub valid_from: OffsetDateTime,
}

/// The latest first.
pub async fn history(
    work: &mut Work,
    upstream: UpstreamId,
    name: &str,
) -> Result<Vec<Revision>, UpstreamError> {
    let organization = work.organization;
    find(work, upstream).await?;
    Ok(store::prices(work, organization, upstream, name).await?)
}

/// Says what a model costs from now on; nothing says that nobody knows.
pub async fn set(
    work: &mut Work,
    upstream: UpstreamId,
    name: &str,
    price: Option<&Price>,
) -> Result<(), UpstreamError> {
    let place = find_to_change(work, upstream).await?;
    let before = models::one(work, upstream, name).await?.model.price;
    put(work, &place, name, before.as_ref(), price).await
}

pub(super) async fn put(
    work: &mut Work,
    place: &Upstream,
    name: &str,
    before: Option<&PinnedPrice>,
    price: Option<&Price>,
) -> Result<(), UpstreamError> {
    let before = before.map(|it| &it.price);
    if before == price {
        return Ok(());
    }
    let (organization, by) = (work.organization, work.actor.person());
    store::insert_price(work, organization, place.id, name, price, None, by).await?;
    let told = |price| serde_json::json!({ "model": name, "price": price });
    let entry = Entry::new("provider.price_changed", place.id, &place.name);
    audit::record(work, entry.before(told(before)).after(told(price))).await?;
    Ok(())
}

/// Plans what the vendor said that a model of the catalogue will cost.
pub(super) async fn plan_known(
    work: &mut Work,
    place: &Upstream,
    name: &str,
) -> Result<(), UpstreamError> {
    let (organization, by) = (work.organization, work.actor.person());
    let now = OffsetDateTime::now_utc() + MOMENT;
    for (from, price) in known::planned(&place.vendor, name) {
        if from > now {
            let (price, from) = (Some(&price), Some(from));
            store::insert_price(work, organization, place.id, name, price, from, by).await?;
            let told = serde_json::json!({ "model": name, "price": price, "from": from });
            let entry = Entry::new("provider.price_planned", place.id, &place.name);
            audit::record(work, entry.after(told)).await?;
        }
    }
    Ok(())
}

/// By so much may the database's clock be ahead of ours.
const MOMENT: time::Duration = time::Duration::minutes(1);

/// A price that is declared and not kept yet. It gets its number where it is kept.
pub(super) fn declared(price: Price) -> PinnedPrice {
    PinnedPrice { revision: 0, price }
}

/// A price as people write it: for a million tokens, or for one of what is counted in
/// pieces.
pub(super) fn read(class: Class, text: &str) -> Result<UnitPrice, BadUnitPrice> {
    if class.is_tokens() { UnitPrice::per_million(text) } else { UnitPrice::each(text) }
}

/// As [`read`] reads it.
pub(super) fn written(class: Class, price: UnitPrice) -> String {
    if class.is_tokens() { price.to_string() } else { price.dollars_each() }
}

/// The price that a class has of its own, and not by falling back.
pub(super) fn own(rates: &Rates, class: Class) -> Option<UnitPrice> {
    match class {
        Class::Input => Some(rates.input),
        Class::CachedInput => rates.cached_input,
        Class::CacheWrite => rates.cache_write,
        Class::CacheWrite1h => rates.cache_write_1h,
        Class::Output => Some(rates.output),
        Class::Reasoning => rates.reasoning,
        Class::AudioInput => rates.audio_input,
        Class::CachedAudioInput => rates.cached_audio_input,
        Class::AudioOutput => rates.audio_output,
        Class::ImageOutputTokens => rates.image_output_tokens,
        Class::ImageOutput => rates.image_output,
        Class::Search => rates.search,
        Class::Request => rates.request,
    }
}

/// Gives a class a price of its own.
pub(super) fn with(rates: Rates, class: Class, price: UnitPrice) -> Rates {
    let own = Some(price);
    match class {
        Class::Input => Rates { input: price, ..rates },
        Class::CachedInput => Rates { cached_input: own, ..rates },
        Class::CacheWrite => Rates { cache_write: own, ..rates },
        Class::CacheWrite1h => Rates { cache_write_1h: own, ..rates },
        Class::Output => Rates { output: price, ..rates },
        Class::Reasoning => Rates { reasoning: own, ..rates },
        Class::AudioInput => Rates { audio_input: own, ..rates },
        Class::CachedAudioInput => Rates { cached_audio_input: own, ..rates },
        Class::AudioOutput => Rates { audio_output: own, ..rates },
        Class::ImageOutputTokens => Rates { image_output_tokens: own, ..rates },
        Class::ImageOutput => Rates { image_output: own, ..rates },
        Class::Search => Rates { search: own, ..rates },
        Class::Request => Rates { request: own, ..rates },
    }
}

/// What a million tokens cost, in the fewest words: `$1.25 in, $10.00 out`.
pub(crate) fn in_short(model: &shared::snapshot::Model) -> Option<String> {
    let rates = model.price.as_ref()?.price.standard().rates;
    if rates.input == UnitPrice::FREE && rates.output == UnitPrice::FREE {
        return Some("Free".to_owned());
    }
    Some(match model.max_output_tokens {
        0 => format!("${} in", rates.input),
        _ => format!("${} in, ${} out", rates.input, rates.output),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_own_price() {
        for class in Class::ALL {
            let price = read(class, "0.5").unwrap();
            let rates = with(Rates::default(), class, price);
            assert_eq!(own(&rates, class), Some(price), "{}", class.name());
            assert_eq!(rates.of(class), Some(price), "{}", class.name());
            assert_eq!(written(class, price), "0.50", "{}", class.name());
            let others = Class::ALL.into_iter().filter(|it| *it != class);
            let priced = others.filter(|it| own(&rates, *it).is_some_and(|it| it.picos() > 0));
            assert_eq!(priced.count(), 0, "{}", class.name());
        }
    }
}
