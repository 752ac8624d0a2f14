//! The page of models.

use actix_web::HttpResponse;
use askama::Template;
use serde::Deserialize;
use shared::{ids::UpstreamId, snapshot::Modality};

use super::{ModelQuery, aliases, list};
use crate::{
    access::{Doors, Grant, Permission, may},
    upstreams::{self, CatalogueModel, DisabledBy, UpstreamError, words},
    web::{Failure, Form, Frame, Page, Problems, Search, Section, see_other_saying},
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
    query: ModelQuery,
    is_filtered: bool,
    providers: Vec<(String, String)>,
    capabilities: Vec<(&'static str, &'static str)>,
    modalities: Vec<(&'static str, &'static str)>,
    problems: Problems,
}

/// A model as the page shows it.
struct Line {
    it: CatalogueModel,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchForm {
    #[serde(default)]
    provider: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    enabled: bool,
}

async fn show(
    grant: Grant<may::ViewCatalogue>,
    query: Search<ModelQuery>,
) -> Result<Page<ModelsPage>, Failure> {
    let mut work = grant.begin().await?;
    let all = list(&mut work, &ModelQuery::default()).await?;
    let found = list(&mut work, &query).await?;
    let aliases = aliases(&mut work).await?;
    let may_switch = grant.may(Permission::ManageModels);
    let line = |it: CatalogueModel| Line {
        capabilities: titles(&words::CAPABILITIES, &it.offered.model.capabilities),
        reads: titles(&words::MODALITIES, &it.offered.model.input),
        aliases: aliases.get(&it.offered.model.name).map(|it| it.join(", ")).unwrap_or_default(),
        may_switch: may_switch && matches!(it.disabled_by, None | Some(DisabledBy::Model)),
        it,
    };
    Ok(Page(ModelsPage {
        frame: grant.frame(Section::Models),
        lines: found.into_iter().map(line).collect(),
        is_filtered: !query.is_empty(),
        query: query.0,
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
    form: Form<SwitchForm>,
) -> Result<HttpResponse, Failure> {
    let upstream: UpstreamId = form.provider.parse().map_err(|_| UpstreamError::NoModel)?;
    let mut work = grant.begin().await?;
    upstreams::models::set_enabled(&mut work, upstream, &form.name, form.enabled).await?;
    work.commit().await?;
    grant.platform.nudges.snapshot.notify_one();
    let notice = if form.enabled { "Model enabled" } else { "Model disabled" };
    Ok(see_other_saying(&grant.path("/models"), notice))
}
