//! The models that an upstream serves.

use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::{ids::UpstreamId, snapshot::Model};

use super::{
    UpstreamError, disabled, find, find_to_change, is_anothers, known_models, prices, store,
};
use crate::{
    access::Work,
    audit::{self, Entry},
    web::Problems,
};

/// A model at an upstream, and whether it can be called there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OfferedModel {
    #[serde(flatten)]
    pub model: Model,
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}

/// More than any vendor serves.
pub(super) const MOST: i64 = 500;

/// In the order in which they were added.
pub async fn list(
    work: &mut Work,
    upstream: UpstreamId,
) -> Result<Vec<OfferedModel>, UpstreamError> {
    let organization = work.organization;
    find(work, upstream).await?;
    Ok(store::models(work, organization, upstream).await?)
}

pub async fn one(
    work: &mut Work,
    upstream: UpstreamId,
    name: &str,
) -> Result<OfferedModel, UpstreamError> {
    let all = list(work, upstream).await?;
    all.into_iter().find(|it| it.model.name == name).ok_or(UpstreamError::NoModel)
}

/// Adds a model, or replaces the one of its name. A price that it brings is in force from
/// now on; without one its price stays as it was.
pub async fn put(
    work: &mut Work,
    upstream: UpstreamId,
    offered: &OfferedModel,
) -> Result<(), UpstreamError> {
    let place = find_to_change(work, upstream).await?;
    let organization = work.organization;
    let all = store::models(work, organization, upstream).await?;
    let count = i64::try_from(all.len()).unwrap_or(MOST);
    let before = all.into_iter().find(|it| it.model.name == offered.model.name);
    if before.is_none() && count >= MOST {
        return Err(UpstreamError::TooManyModels);
    }
    let (was, is) = (before.as_ref().map(without_price), without_price(offered));
    if was.as_ref() != Some(&is) {
        store::put_model(work, organization, upstream, &is.model, is.enabled).await?;
        let entry = Entry::new("provider.model_changed", upstream, &place.name);
        audit::record(work, entry.before(was).after(is)).await?;
    }
    let Some(price) = &offered.model.price else { return Ok(()) };
    let kept = one(work, upstream, &offered.model.name).await?.model.price;
    prices::put(work, &place, &offered.model.name, kept.as_ref(), Some(&price.price)).await
}

/// Prices are kept apart, and told of apart; and when it came nobody says.
fn without_price(offered: &OfferedModel) -> OfferedModel {
    let model = Model { price: None, planned: Vec::new(), created: None, ..offered.model.clone() };
    OfferedModel { model, ..*offered }
}

/// Adds a model unless there is one of its name.
pub(super) async fn add_missing(
    work: &mut Work,
    upstream: UpstreamId,
    model: &Model,
) -> Result<(), UpstreamError> {
    match one(work, upstream, &model.name).await {
        Ok(_) => Ok(()),
        Err(UpstreamError::NoModel) => {
            let offered = OfferedModel { model: model.clone(), enabled: true };
            put(work, upstream, &offered).await
        }
        Err(error) => Err(error),
    }
}

/// Adds what the catalogue knows of the vendor's models and the upstream does not serve yet, with
/// what they cost and will. Says how many.
pub async fn add_known(work: &mut Work, upstream: UpstreamId) -> Result<usize, UpstreamError> {
    let place = find_to_change(work, upstream).await?;
    let missing = missing(&place.vendor, &list(work, upstream).await?);
    for model in &missing {
        put(work, upstream, &OfferedModel { model: model.clone(), enabled: true }).await?;
        prices::plan_known(work, &place, &model.name).await?;
    }
    Ok(missing.len())
}

/// What the catalogue knows of a vendor's models beside these.
pub fn missing(vendor: &str, there: &[OfferedModel]) -> Vec<Model> {
    let mut known = known_models(vendor);
    known.retain(|it| there.iter().all(|other| other.model.name != it.name));
    known
}

/// Says what a model costs that nobody ever said so of.
pub(super) async fn price_unpriced(
    work: &mut Work,
    upstream: UpstreamId,
    model: &Model,
) -> Result<(), UpstreamError> {
    let Some(price) = &model.price else { return Ok(()) };
    if prices::history(work, upstream, &model.name).await?.is_empty() {
        prices::set(work, upstream, &model.name, Some(&price.price)).await?;
    }
    Ok(())
}

/// Lets the organization's calls go to a model, or no longer.
pub async fn set_enabled(
    work: &mut Work,
    upstream: UpstreamId,
    name: &str,
    enabled: bool,
) -> Result<(), UpstreamError> {
    let place = find(work, upstream).await?;
    if is_anothers(work, &place) {
        return disabled::set(work, &place, Some(name), enabled).await;
    }
    let before = one(work, upstream, name).await?;
    put(work, upstream, &OfferedModel { enabled, ..before }).await
}

pub async fn remove(
    work: &mut Work,
    upstream: UpstreamId,
    name: &str,
) -> Result<(), UpstreamError> {
    let place = find_to_change(work, upstream).await?;
    let organization = work.organization;
    if !store::delete_model(work, organization, upstream, name).await? {
        return Err(UpstreamError::NoModel);
    }
    let entry = Entry::new("provider.model_removed", upstream, place.name);
    audit::record(work, entry.before(json!({ "name": name }))).await?;
    Ok(())
}

/// A model as somebody described it, if that can be.
pub(super) fn checked(model: Model) -> Result<Model, Problems> {
    let mut problems = Problems::none();
    if !is_name(&model.name) {
        problems.add("name", NAME);
    }
    if !is_name(&model.upstream_name) {
        problems.add("upstream_name", NAME);
    }
    let is_title = (1..=128).contains(&model.display_name.chars().count())
        && !model.display_name.chars().any(char::is_control);
    if !is_title {
        problems.add("display_name", "a title has 1 to 128 printable characters");
    }
    if !(1..=LONGEST).contains(&model.context_length) {
        problems.add("context_length", "a context is from 1 to 100,000,000 tokens");
    }
    if model.max_output_tokens > model.context_length {
        problems.add("max_output_tokens", "no answer is longer than the context");
    }
    if model.input.is_empty() {
        problems.add("input", "choose what it reads");
    }
    if model.output.is_empty() {
        problems.add("output", "choose what it gives");
    }
    let format = time::macros::format_description!("[year]-[month]-[day]");
    if model.deprecated_on.as_ref().is_some_and(|it| time::Date::parse(it, format).is_err()) {
        problems.add("deprecated_on", "enter a date, like 2027-01-31");
    }
    if model.successor.as_ref().is_some_and(|it| !is_name(it)) {
        problems.add("successor", NAME);
    }
    if model.quantization.as_ref().is_some_and(|it| !is_quantization(it)) {
        problems.add("quantization", "a quantization has 1 to 16 small letters and digits");
    }
    problems.check()?;
    let mut model = model;
    for list in [&mut model.input, &mut model.output] {
        list.sort_unstable();
        list.dedup();
    }
    model.capabilities.sort_unstable();
    model.capabilities.dedup();
    Ok(model)
}

fn is_quantization(text: &str) -> bool {
    (1..=16).contains(&text.len())
        && text.bytes().all(|it| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

const LONGEST: u32 = 100_000_000;
const NAME: &str = "a model's name has 1 to 128 letters, digits and signs, and no spaces or commas";

/// Whether callers can ask for a model by this name, and answers tell it in a header.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_graphic() && it != b',')
}

#[cfg(test)]
mod tests {
    use shared::snapshot::{Capability, Modality};

    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Model), field: &str) {
        let mut model = Model::of_text("small", "small-1", 8_000, 1_000);
        change(&mut model);
        let problems = checked(model).unwrap_err();
        assert!(problems.of(field).is_some(), "{problems}");
    }

    #[test]
    fn each_fact_of_a_model_is_checked() {
        check(|it| it.name = "a b".to_owned(), "name");
        check(|it| it.name = "x".repeat(129), "name");
        check(|it| it.upstream_name = "modèle".to_owned(), "upstream_name");
        check(|it| it.display_name = String::new(), "display_name");
        check(|it| it.context_length = 0, "context_length");
        check(|it| it.context_length = LONGEST + 1, "context_length");
        check(|it| it.max_output_tokens = 8_001, "max_output_tokens");
        check(|it| it.input.clear(), "input");
        check(|it| it.output.clear(), "output");
        check(|it| it.deprecated_on = Some("31.1.2027".to_owned()), "deprecated_on");
        check(|it| it.successor = Some(String::new()), "successor");
        check(|it| it.quantization = Some("FP 8".to_owned()), "quantization");
    }

    #[test]
    fn what_is_said_twice_is_kept_once() {
        let mut model = Model::of_text("vendor/small:beta", "small-1", 8_000, 1_000);
        model.capabilities = vec![Capability::Tools, Capability::Streaming, Capability::Tools];
        model.input = vec![Modality::Image, Modality::Text, Modality::Image];
        let model = checked(model).unwrap();
        assert_eq!(model.capabilities, [Capability::Streaming, Capability::Tools]);
        assert_eq!(model.input, [Modality::Text, Modality::Image]);
    }
}
