//! The pages of an upstream's models.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{ids::UpstreamId, snapshot::Model};

use super::{back, upstream_in};
use crate::{
    access::{Doors, Grant, may},
    upstreams::{
        OfferedModel, Upstream, UpstreamError, commit, find,
        models::{add_known, checked, one, put, remove, set_enabled},
        words::{CAPABILITIES, MODALITIES, chosen, name_of},
    },
    web::{Failure, Form, Frame, Nothing, Page, Problems, Search, Section, or_problems},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/providers/{provider}/models/edit", edit);
    doors.post("/orgs/{org}/providers/{provider}/models", save);
    doors.post("/orgs/{org}/providers/{provider}/models/enable", switch);
    doors.post("/orgs/{org}/providers/{provider}/models/remove", forget);
    doors.post("/orgs/{org}/providers/{provider}/models/known", add_all_known);
}

#[derive(Template)]
#[template(path = "upstreams/model.html")]
struct ModelPage {
    frame: Frame,
    upstream: Upstream,
    form: ModelForm,
    /// Which model, in an address.
    query: String,
    is_new: bool,
    capabilities: Vec<Choice>,
    input: Vec<Choice>,
    output: Vec<Choice>,
    problems: Problems,
}

/// A box to tick.
struct Choice {
    name: &'static str,
    title: &'static str,
    is_chosen: bool,
}

fn choices<T>(table: &[(T, &'static str, &'static str)], chosen: &[String]) -> Vec<Choice> {
    let choice = |(_, name, title): &(T, &'static str, &'static str)| Choice {
        name,
        title,
        is_chosen: chosen.iter().any(|it| it == name),
    };
    table.iter().map(choice).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelQuery {
    /// A new model where empty.
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    enabled: bool,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ModelForm {
    name: String,
    upstream_name: String,
    display_name: String,
    context_length: String,
    max_output_tokens: String,
    capabilities: Vec<String>,
    input: Vec<String>,
    output: Vec<String>,
    deprecated_on: String,
    successor: String,
    quantization: String,
    enabled: bool,
    is_new: bool,
}

impl ModelForm {
    fn usual() -> Self {
        let words = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect();
        Self {
            capabilities: words(&["streaming"]),
            input: words(&["text"]),
            output: words(&["text"]),
            enabled: true,
            is_new: true,
            ..Self::default()
        }
    }

    fn of(offered: &OfferedModel) -> Self {
        let model = &offered.model;
        let modalities = |list: &[_]| {
            let names = list.iter().map(|it| name_of(&MODALITIES, it).to_owned());
            names.collect()
        };
        let capabilities = model.capabilities.iter().map(|it| name_of(&CAPABILITIES, it));
        Self {
            name: model.name.clone(),
            upstream_name: model.upstream_name.clone(),
            display_name: model.display_name.clone(),
            context_length: model.context_length.to_string(),
            max_output_tokens: model.max_output_tokens.to_string(),
            capabilities: capabilities.map(str::to_owned).collect(),
            input: modalities(&model.input),
            output: modalities(&model.output),
            deprecated_on: model.deprecated_on.clone().unwrap_or_default(),
            successor: model.successor.clone().unwrap_or_default(),
            quantization: model.quantization.clone().unwrap_or_default(),
            enabled: offered.enabled,
            is_new: false,
        }
    }

    /// What was typed, checked. The names below are the first one where left empty.
    fn offered(&self) -> Result<OfferedModel, Problems> {
        let mut problems = Problems::none();
        let count = |text: &str| text.trim().replace([',', '_', ' '], "").parse::<u32>();
        let tokens = "enter a whole number of tokens";
        let context = problems.take("context_length", count(&self.context_length).or(Err(tokens)));
        let most =
            problems.take("max_output_tokens", count(&self.max_output_tokens).or(Err(tokens)));
        let or_name = |text: &str| match text.trim() {
            "" => self.name.trim().to_owned(),
            text => text.to_owned(),
        };
        let given = |text: &str| Some(text.trim().to_owned()).filter(|it| !it.is_empty());
        let model = checked(Model {
            name: self.name.trim().to_owned(),
            upstream_name: or_name(&self.upstream_name),
            display_name: or_name(&self.display_name),
            context_length: context.unwrap_or(1),
            max_output_tokens: context.and(most).unwrap_or(0),
            capabilities: chosen(&CAPABILITIES, &self.capabilities),
            input: chosen(&MODALITIES, &self.input),
            output: chosen(&MODALITIES, &self.output),
            deprecated_on: given(&self.deprecated_on),
            successor: given(&self.successor),
            planned: Vec::new(),
            created: None,
            quantization: given(&self.quantization),
            price: None,
        });
        let (model, ()) = Problems::both(model, problems.check())?;
        Ok(OfferedModel { model, enabled: self.enabled })
    }
}

async fn edit(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    query: Search<ModelQuery>,
) -> Result<Page<ModelPage>, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    let form = match query.name.as_str() {
        "" => ModelForm::usual(),
        name => ModelForm::of(&one(&mut work, upstream, name).await?),
    };
    drop(work);
    Ok(Page(model_page(&grant, upstream, form, Problems::none()).await?))
}

async fn save(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    form: Form<ModelForm>,
) -> Result<HttpResponse, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    let outcome = async { put(&mut work, upstream, &form.offered()?).await }.await;
    match or_problems(outcome)? {
        Ok(()) => {
            commit(&grant, work).await?;
            Ok(back(&grant, upstream, "Model saved"))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(model_page(&grant, upstream, form.0, problems).await?).again())
        }
    }
}

async fn switch(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    form: Form<NamedForm>,
) -> Result<HttpResponse, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    set_enabled(&mut work, upstream, &form.name, form.enabled).await?;
    commit(&grant, work).await?;
    let notice = if form.enabled { "Model enabled" } else { "Model disabled" };
    Ok(back(&grant, upstream, notice))
}

async fn forget(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    form: Form<NamedForm>,
) -> Result<HttpResponse, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    remove(&mut work, upstream, &form.name).await?;
    commit(&grant, work).await?;
    Ok(back(&grant, upstream, "Model removed"))
}

async fn add_all_known(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    let notice = match add_known(&mut work, upstream).await? {
        0 => "The catalogue knows no more models".to_owned(),
        1 => "1 model added".to_owned(),
        more => format!("{more} models added"),
    };
    commit(&grant, work).await?;
    Ok(back(&grant, upstream, &notice))
}

async fn model_page<P>(
    grant: &Grant<P>,
    upstream: UpstreamId,
    form: ModelForm,
    problems: Problems,
) -> Result<ModelPage, Failure> {
    let mut work = grant.begin().await?;
    let upstream = find(&mut work, upstream).await?;
    if upstream.is_platforms {
        return Err(UpstreamError::Platforms.into());
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    Ok(ModelPage {
        frame: grant.frame(Section::Providers),
        upstream,
        query: query.append_pair("name", &form.name).finish(),
        is_new: form.is_new,
        capabilities: choices(&CAPABILITIES, &form.capabilities),
        input: choices(&MODALITIES, &form.input),
        output: choices(&MODALITIES, &form.output),
        form,
        problems,
    })
}
