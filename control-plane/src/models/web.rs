//! The page of models.

use actix_web::HttpResponse;
use askama::Template;
use serde::Deserialize;
use shared::snapshot::Modality;

use super::{ModelQuery, aliases, list};
use crate::{
    access::{Doors, Grant, Permission, may},
    upstreams::{self, CatalogueModel, DisabledBy, UpstreamError, words},
    web::{
        self, Failure, Form, Frame, Page, Pager, Problems, Search, Section, Span, see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/models", show);
    doors.post("/orgs/{org}/models/enable", switch);
}

#[derive(Template)]
#[template(path = "models/list.html")]
struct ModelsPage {
    frame: Frame,
    lines: Vec<Line>,
    search: ModelSearch,
    is_filtered: bool,
    pager: Pager,
    /// Where a model is switched on and off, so that one is back here then.
    switch: String,
    providers: Vec<(String, String)>,
    capabilities: Vec<(&'static str, &'static str)>,
    modalities: Vec<(&'static str, &'static str)>,
    problems: Problems,
}

/// A model as the page shows it.
struct Line {
    it: CatalogueModel,
    /// How it does, in words, as far as it was asked of late.
    lately: String,
    capabilities: String,
    reads: String,
    aliases: String,
    /// Whether the reader may switch it on and off here.
    may_switch: bool,
}

impl Line {
    fn state(&self) -> (&'static str, &'static str) {
        match self.it.disabled_by {
            None => ("ok", "Enabled"),
            Some(DisabledBy::Model) => ("", "Disabled"),
            Some(DisabledBy::Provider) => ("", "Provider disabled"),
            Some(DisabledBy::Platform) => ("", "Not served"),
        }
    }

    /// What the button says to us and to its reader.
    fn change(&self) -> (&'static str, &'static str) {
        match self.it.offered.enabled {
            true => ("disable", "Disable"),
            false => ("enable", "Enable"),
        }
    }

    /// The one and only of its name and provider.
    fn place(&self) -> String {
        place(&self.it)
    }

    /// As its price is asked for.
    fn named(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("name", &self.it.offered.model.name).finish()
    }

    /// As a new policy for it is asked for.
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("model", &self.it.offered.model.name).finish()
    }
}

/// What the page is asked: what the list is, and where in it the page begins.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ModelSearch {
    q: String,
    provider: String,
    capability: String,
    reads: String,
    /// The [`place`] of the last one of the page before.
    after: String,
}

impl ModelSearch {
    fn query(&self) -> ModelQuery {
        let Self { q, provider, capability, reads, .. } = self;
        let [q, provider, capability, reads] = [q, provider, capability, reads].map(Clone::clone);
        ModelQuery { q, provider, capability, reads }
    }

    fn fields(&self) -> [(&'static str, &str); 4] {
        [
            ("q", &self.q),
            ("provider", &self.provider),
            ("capability", &self.capability),
            ("reads", &self.reads),
        ]
    }

    /// The page that this asks for, or what stands beside it.
    fn address(&self, path: &str) -> String {
        web::address(path, self.fields().into_iter().chain([("after", self.after.as_str())]))
    }

    fn span(&self) -> Span<String> {
        Span::short(Some(self.after.clone()).filter(|it| !it.is_empty()))
    }
}

fn place(it: &CatalogueModel) -> String {
    format!("{} {}", it.provider, it.offered.model.name)
}

/// Which model to switch on or off: its [`place`].
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SwitchForm {
    enable: String,
    disable: String,
}

async fn show(
    grant: Grant<may::ViewCatalogue>,
    search: Search<ModelSearch>,
) -> Result<Page<ModelsPage>, Failure> {
    let mut work = grant.begin().await?;
    let search = search.0;
    let query = search.query();
    let all = list(&mut work, &ModelQuery::default()).await?;
    let found = list(&mut work, &query).await?;
    let aliases = aliases(&mut work).await?;
    let span = search.span();
    let part = span.of(found, place);
    let may_switch = grant.may(Permission::ManageModels);
    let pulses = upstreams::pulses::lately(&grant.platform.redis).await;
    let lately = |it: &CatalogueModel| {
        let pulse = pulses.get(&(it.provider, it.offered.model.name.clone()))?;
        Some(upstreams::pulses::in_words(&upstreams::pulses::shown(*pulse, it.is_platforms)))
    };
    let line = |it: CatalogueModel| Line {
        lately: lately(&it).unwrap_or_default(),
        capabilities: titles(&words::CAPABILITIES, &it.offered.model.capabilities),
        reads: titles(&words::MODALITIES, &it.offered.model.input),
        aliases: aliases.get(&it.offered.model.name).map(|it| it.join(", ")).unwrap_or_default(),
        may_switch: may_switch && matches!(it.disabled_by, None | Some(DisabledBy::Model)),
        it,
    };
    Ok(Page(ModelsPage {
        frame: grant.frame(Section::Models),
        lines: part.items.into_iter().map(line).collect(),
        is_filtered: !query.is_empty(),
        pager: Pager::with(&grant.path("/models"), &search.fields(), span.after, part.next),
        switch: search.address(&grant.path("/models/enable")),
        search,
        providers: providers(&all),
        capabilities: choices(&words::CAPABILITIES, "Anything", |_| true),
        modalities: choices(&words::MODALITIES, "Anything", |it| *it != Modality::Embedding),
        problems: Problems::none(),
    }))
}

fn titles<T: PartialEq>(table: &[(T, &'static str, &'static str)], values: &[T]) -> String {
    values.iter().map(|it| words::title_of(table, it)).collect::<Vec<_>>().join(", ")
}

fn choices<T>(
    table: &[(T, &'static str, &'static str)],
    any: &'static str,
    offers: impl Fn(&T) -> bool,
) -> Vec<(&'static str, &'static str)> {
    let offered = table.iter().filter(|it| offers(&it.0)).map(|it| (it.1, it.2));
    [("", any)].into_iter().chain(offered).collect()
}

fn providers(all: &[CatalogueModel]) -> Vec<(String, String)> {
    let mut vendors: Vec<_> = all.iter().map(|it| it.vendor.clone()).collect();
    vendors.sort_unstable();
    vendors.dedup();
    let any = (String::new(), "Any provider".to_owned());
    [any].into_iter().chain(vendors.into_iter().map(|it| (it.clone(), it))).collect()
}

async fn switch(
    grant: Grant<may::ManageModels>,
    search: Search<ModelSearch>,
    form: Form<SwitchForm>,
) -> Result<HttpResponse, Failure> {
    let is_on = !form.enable.is_empty();
    let place = if is_on { &form.enable } else { &form.disable };
    let (upstream, name) = place.split_once(' ').ok_or(UpstreamError::NoModel)?;
    let upstream = upstream.parse().map_err(|_| UpstreamError::NoModel)?;
    let mut work = grant.begin().await?;
    upstreams::models::set_enabled(&mut work, upstream, name, is_on).await?;
    work.commit().await?;
    grant.platform.nudges.snapshot.notify_one();
    let notice = if is_on { "Model enabled" } else { "Model disabled" };
    Ok(see_other_saying(&search.address(&grant.path("/models")), notice))
}
