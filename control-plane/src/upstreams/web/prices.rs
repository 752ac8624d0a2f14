//! The page of what a model costs.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{
    ids::UpstreamId,
    money::{BadPrice, Class, Price, Rates},
};
use time::OffsetDateTime;

use super::upstream_in;
use crate::{
    access::{Doors, Grant, Permission, may},
    upstreams::{
        Source, Upstream, commit, find,
        models::one,
        prices::{Revision, history, own, read, set, with, written},
        source_of,
        words::grouped,
    },
    web::{
        Failure, Form, Frame, Moment, Page, Problems, Search, Section, or_problems,
        see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/providers/{provider}/models/price", show);
    doors.post("/orgs/{org}/providers/{provider}/models/price", save);
}

#[derive(Template)]
#[template(path = "upstreams/price.html")]
struct PricePage {
    frame: Frame,
    upstream: Upstream,
    model: String,
    may_change: bool,
    tokens: Vec<Field>,
    others: Vec<Field>,
    has_others: bool,
    pieces: Vec<Field>,
    tiers: String,
    is_priced: bool,
    history: Vec<Line>,
    /// Where what the catalogue lists is from.
    source: Option<Source<'static>>,
    problems: Problems,
}

/// A class of what is counted, and what one of it costs.
struct Field {
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    value: String,
    is_required: bool,
}

/// A price that the model had.
struct Line {
    revision: Revision,
    since: Moment,
    is_planned: bool,
}

impl Line {
    /// Every class with a price of its own, as in the form above.
    fn words(&self) -> String {
        let Some(price) = &self.revision.price else { return "Not priced".to_owned() };
        let rates = &price.standard().rates;
        let own = |(class, label, _): &(Class, &'static str, &'static str)| {
            own(rates, *class).map(|it| format!("{label} ${}", written(*class, it)))
        };
        let all = TOKENS.iter().chain(&OTHERS).chain(&PIECES).filter_map(own);
        all.collect::<Vec<_>>().join(", ")
    }
}

const TOKENS: [(Class, &str, &str); 6] = [
    (Class::Input, "Input", ""),
    (Class::Output, "Output", ""),
    (Class::CachedInput, "Cached input", "As input when empty."),
    (Class::Reasoning, "Reasoning", "As output when empty."),
    (Class::CacheWrite, "Cache write, 5 minutes", "As input when empty."),
    (Class::CacheWrite1h, "Cache write, 1 hour", "As for 5 minutes when empty."),
];
const OTHERS: [(Class, &str, &str); 4] = [
    (Class::AudioInput, "Audio input", "As input when empty."),
    (Class::CachedAudioInput, "Cached audio input", "As audio input when empty."),
    (Class::AudioOutput, "Audio output", "As output when empty."),
    (Class::ImageOutputTokens, "Image output", "As output when empty."),
];
const PIECES: [(Class, &str, &str); 3] = [
    (Class::Request, "A request", "No such fee when empty."),
    (Class::Search, "A search", "Not priced when empty."),
    (Class::ImageOutput, "A picture made", "Not priced when empty."),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelName {
    name: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PriceForm {
    name: String,
    input: String,
    cached_input: String,
    cache_write: String,
    cache_write_1h: String,
    output: String,
    reasoning: String,
    audio_input: String,
    cached_audio_input: String,
    audio_output: String,
    image_output_tokens: String,
    image_output: String,
    search: String,
    request: String,
}

impl PriceForm {
    fn of(name: &str, price: Option<&Price>) -> Self {
        let mut form = Self { name: name.to_owned(), ..Self::default() };
        let Some(price) = price else { return form };
        for class in Class::ALL {
            let own = own(&price.standard().rates, class);
            *form.of_class(class) = own.map(|it| written(class, it)).unwrap_or_default();
        }
        form
    }

    fn of_class(&mut self, class: Class) -> &mut String {
        match class {
            Class::Input => &mut self.input,
            Class::CachedInput => &mut self.cached_input,
            Class::CacheWrite => &mut self.cache_write,
            Class::CacheWrite1h => &mut self.cache_write_1h,
            Class::Output => &mut self.output,
            Class::Reasoning => &mut self.reasoning,
            Class::AudioInput => &mut self.audio_input,
            Class::CachedAudioInput => &mut self.cached_audio_input,
            Class::AudioOutput => &mut self.audio_output,
            Class::ImageOutputTokens => &mut self.image_output_tokens,
            Class::ImageOutput => &mut self.image_output,
            Class::Search => &mut self.search,
            Class::Request => &mut self.request,
        }
    }

    /// What was typed: nothing where all of it is empty. Tiers stay as they were.
    fn price(&mut self, before: Option<&Price>) -> Result<Option<Price>, Problems> {
        let mut problems = Problems::none();
        let mut rates = Rates::default();
        let is_empty = Class::ALL.into_iter().all(|it| self.of_class(it).trim().is_empty());
        if is_empty {
            return Ok(None);
        }
        for class in Class::ALL {
            let text = self.of_class(class).trim().to_owned();
            if text.is_empty() {
                if matches!(class, Class::Input | Class::Output) {
                    problems.add(class.name(), "enter a price, or 0 where it is free");
                }
                continue;
            }
            if let Some(price) = problems.take(class.name(), read(class, &text)) {
                rates = with(rates, class, price);
            }
        }
        problems.check()?;
        let tiers = before.map(|it| it.standard().context_tiers.clone()).unwrap_or_default();
        let services = before.map(|it| it.service_tiers().to_vec()).unwrap_or_default();
        let price = Price::checked(rates, tiers, services);
        price.map(Some).map_err(|error| match error {
            BadPrice::TooHigh(field) => Problems::one(field, error),
            BadPrice::TwoTiers(_)
            | BadPrice::TwoServices(_)
            | BadPrice::NoName
            | BadPrice::Multiplier(_) => Problems::one("input", error),
        })
    }
}

async fn show(
    grant: Grant<may::ViewCatalogue>,
    path: Path<(String, String)>,
    query: Search<ModelName>,
) -> Result<Page<PricePage>, Failure> {
    let upstream = upstream_in(&path.1)?;
    Ok(Page(page(&grant, upstream, &query.name, None, Problems::none()).await?))
}

async fn save(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    form: Form<PriceForm>,
) -> Result<HttpResponse, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut form = form.0;
    let name = form.name.clone();
    let mut work = grant.begin().await?;
    let before = one(&mut work, upstream, &name).await?.model.price;
    let outcome = async {
        let price = form.price(before.as_ref().map(|it| &it.price))?;
        set(&mut work, upstream, &name, price.as_ref()).await
    }
    .await;
    match or_problems(outcome)? {
        Ok(()) => {
            commit(&grant, work).await?;
            Ok(see_other_saying(&at(&grant, upstream, &name), "Price saved"))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(page(&grant, upstream, &name, Some(form), problems).await?).again())
        }
    }
}

fn at<P>(grant: &Grant<P>, upstream: UpstreamId, name: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let query = query.append_pair("name", name).finish();
    grant.path(&format!("/providers/{upstream}/models/price?{query}"))
}

async fn page<P>(
    grant: &Grant<P>,
    upstream: UpstreamId,
    name: &str,
    typed: Option<PriceForm>,
    problems: Problems,
) -> Result<PricePage, Failure> {
    let mut work = grant.begin().await?;
    let upstream = find(&mut work, upstream).await?;
    let model = one(&mut work, upstream.id, name).await?.model;
    let history = history(&mut work, upstream.id, name).await?;
    let price = model.price.as_ref().map(|it| &it.price);
    let mut form = typed.unwrap_or_else(|| PriceForm::of(name, price));
    let mut fields = |table: &[(Class, &'static str, &'static str)]| -> Vec<Field> {
        let field = |(class, label, hint): &(Class, &'static str, &'static str)| Field {
            name: class.name(),
            label,
            hint,
            value: form.of_class(*class).clone(),
            is_required: matches!(class, Class::Input | Class::Output),
        };
        table.iter().map(field).collect()
    };
    let (tokens, others, pieces) = (fields(&TOKENS), fields(&OTHERS), fields(&PIECES));
    let now = OffsetDateTime::now_utc();
    let line = |revision: Revision| Line {
        since: Moment::new(revision.valid_from, grant.zone()),
        is_planned: revision.valid_from > now,
        revision,
    };
    Ok(PricePage {
        frame: grant.frame(Section::Providers),
        may_change: upstream.is_ours()
            && !upstream.is_archived()
            && grant.may(Permission::ManageProviders),
        tiers: price.map(tiers).unwrap_or_default(),
        is_priced: price.is_some(),
        has_others: others.iter().any(|it| !it.value.is_empty()),
        tokens,
        others,
        pieces,
        source: source_of(&upstream.vendor, &model.name),
        upstream,
        model: model.name,
        history: history.into_iter().map(line).collect(),
        problems,
    })
}

/// What the form does not show of a price.
fn tiers(price: &Price) -> String {
    let context = price.standard().context_tiers.iter().map(|it| {
        let rates = &it.rates;
        let above = grouped(&it.above_tokens);
        format!("above {above} tokens of input ${} in, ${} out", rates.input, rates.output)
    });
    let services = price.service_tiers().iter().map(|it| format!("service tier {}", it.name));
    context.chain(services).collect::<Vec<_>>().join("; ")
}
