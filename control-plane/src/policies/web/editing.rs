//! The form in which a policy is made and edited.

use actix_web::{HttpResponse, http::StatusCode, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{
    failure::Classified,
    snapshot::{Document, Failed, Rule},
};

use super::{
    back,
    form::{Act, Marks, PolicyForm, Row},
    policy_in, sentences,
};
use crate::{
    access::{Doors, Grant, may},
    policies::{Policy, PolicyError, commit, create as make, draft_of, find, known, save},
    upstreams::words::CAPABILITIES,
    web::{Failure, Form, Frame, Page, Search, Section},
};

pub(super) fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/policies/new", new);
    doors.post("/orgs/{org}/policies", create);
    doors.get("/orgs/{org}/policies/{policy}/edit", edit);
    doors.post("/orgs/{org}/policies/{policy}", change);
}

#[derive(Template)]
#[template(path = "policies/form.html")]
struct PolicyFormPage {
    frame: Frame,
    /// None for a new policy.
    policy: Option<Policy>,
    form: PolicyForm,
    rows: Vec<Row>,
    rules: Vec<RuleLine>,
    /// What is chosen otherwise, where a rule is open.
    otherwise: String,
    models: Vec<String>,
    providers: Vec<String>,
    problems: Marks,
}

/// A rule in its place.
struct RuleLine {
    name: String,
    sentence: String,
    is_open: bool,
}

impl PolicyFormPage {
    /// Where the form is sent.
    fn action(&self) -> String {
        match &self.policy {
            Some(policy) => self.frame.organization_path() + &format!("/policies/{}", policy.id),
            None => self.frame.organization_path() + "/policies",
        }
    }

    /// Each failure, what it is called in a sentence, and whether it is checked.
    fn failures(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let is_checked = |name: &str| self.form.failed.iter().any(|it| it == name);
        Failed::ALL.map(|(it, name)| (name, sentences::failed(it), is_checked(name))).into_iter()
    }

    /// Those that there are, and the one that the row names.
    fn providers_with(&self, named: &str) -> Vec<String> {
        let is_new = !named.is_empty() && !self.providers.iter().any(|it| it == named);
        let named = is_new.then(|| named.to_owned());
        self.providers.iter().cloned().chain(named).collect()
    }

    fn capabilities(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let is_checked = |name: &str| self.form.capability.iter().any(|it| it == name);
        CAPABILITIES.map(|(_, name, title)| (name, title, is_checked(name))).into_iter()
    }
}

/// What a condition may ask, with an example of each.
const EXAMPLES: [(&str, &str); 8] = [
    ("task == 'code'", "what the prompt is for"),
    ("language in ['de', 'fr']", "which language it is in"),
    ("complexity > 0.7", "how hard it is, from 0 to 1"),
    ("request.input_tokens > 8000 && !request.tools", "how long it is, and what it brings"),
    ("request.model == 'auto' && request.stream", "what was asked for, and how"),
    ("tags.team == 'support' || metadata.tier == 'free'", "what the caller says of it"),
    ("budget.used_percent >= 80", "how far the budgets are used up"),
    ("now.weekday > 5 || now.hour < 6", "when it comes, in UTC"),
];

/// What else it may ask.
const ALSO: [&str; 8] = [
    "request.endpoint",
    "request.images",
    "request.max_output_tokens",
    "key.id",
    "project.id",
    "organization.id",
    "user",
    "now.day",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewQuery {
    /// The model that the new policy leads to.
    #[serde(default)]
    model: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EditQuery {
    /// `document` for its text.
    #[serde(default)]
    view: String,
}

async fn new(
    grant: Grant<may::ManagePolicies>,
    query: Search<NewQuery>,
) -> Result<Page<PolicyFormPage>, Failure> {
    let form = PolicyForm::leading_to(&query.model);
    Ok(Page(form_page(&grant, None, form, Marks::none()).await?))
}

async fn create(
    grant: Grant<may::ManagePolicies>,
    form: Form<PolicyForm>,
) -> Result<HttpResponse, Failure> {
    if let Some(act) = form.act() {
        let (form, marks) = form.0.after(act);
        return shown(&grant, None, form, marks).await;
    }
    let draft = match form.draft() {
        Ok(draft) => draft,
        Err(marks) => return shown(&grant, None, form.0, marks).await,
    };
    let mut work = grant.begin().await?;
    match make(&mut work, &draft).await {
        Ok(policy) => {
            commit(&grant, work).await?;
            Ok(back(&grant, policy, "Policy created"))
        }
        Err(error) => {
            drop(work);
            refused(&grant, None, form.0, error).await
        }
    }
}

async fn edit(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    query: Search<EditQuery>,
) -> Result<Page<PolicyFormPage>, Failure> {
    let mut work = grant.begin().await?;
    let policy = find(&mut work, policy_in(&path.1)?).await?;
    if policy.is_platforms {
        return Err(PolicyError::Platforms.into());
    }
    let draft = draft_of(&mut work, policy.id).await?;
    drop(work);
    let mut form = match &draft {
        Some(it) => PolicyForm::of(&it.name, &it.document, policy.version),
        None => PolicyForm::of(&policy.name, &policy.document, policy.version),
    };
    form.note = draft.map(|it| it.note).unwrap_or_default();
    let (form, marks) = match query.0.view.as_str() {
        "document" => form.after(Act::AsText),
        _ => (form, Marks::none()),
    };
    Ok(Page(form_page(&grant, Some(policy), form, marks).await?))
}

/// Keeps what was typed as a draft: calls follow it when it is published.
async fn change(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    form: Form<PolicyForm>,
) -> Result<HttpResponse, Failure> {
    let id = policy_in(&path.1)?;
    let mut work = grant.begin().await?;
    let policy = find(&mut work, id).await?;
    if let Some(act) = form.act() {
        drop(work);
        let (form, marks) = form.0.after(act);
        return shown(&grant, Some(policy), form, marks).await;
    }
    let draft = match form.draft() {
        Ok(draft) => draft,
        Err(marks) => {
            drop(work);
            return shown(&grant, Some(policy), form.0, marks).await;
        }
    };
    match save(&mut work, id, &draft, form.seen()).await {
        Ok(()) => {
            work.commit().await?;
            Ok(back(&grant, id, "Draft saved: look at what changes, then publish it"))
        }
        Err(error) => {
            drop(work);
            refused(&grant, Some(policy), form.0, error).await
        }
    }
}

/// The form again, with each flaw at the field that has it.
async fn refused<P>(
    grant: &Grant<P>,
    policy: Option<Policy>,
    form: PolicyForm,
    error: PolicyError,
) -> Result<HttpResponse, Failure> {
    let (form, marks) = if let PolicyError::Flawed(flaws) = &error {
        let form = form.at_flaw(flaws);
        let marks = form.marks(flaws);
        (form, marks)
    } else {
        (form, Marks::from(error.problems()))
    };
    if marks.is_empty() {
        return Err(error.into());
    }
    shown(grant, policy, form, marks).await
}

async fn shown<P>(
    grant: &Grant<P>,
    policy: Option<Policy>,
    form: PolicyForm,
    marks: Marks,
) -> Result<HttpResponse, Failure> {
    let is_fine = marks.is_empty();
    let page = Page(form_page(grant, policy, form, marks).await?);
    Ok(if is_fine { page.with(StatusCode::OK) } else { page.again() })
}

async fn form_page<P>(
    grant: &Grant<P>,
    policy: Option<Policy>,
    form: PolicyForm,
    problems: Marks,
) -> Result<PolicyFormPage, Failure> {
    let mut work = grant.begin().await?;
    let known = known(&mut work).await?;
    let distinct = |mut all: Vec<String>| {
        all.sort_unstable();
        all.dedup();
        all
    };
    // What cannot be read is told beside the text of it.
    let kept: Document = form.kept().unwrap_or_default();
    let rule = |(place, it): (usize, &Rule)| RuleLine {
        name: it.name.clone(),
        sentence: match it.when.trim() {
            "" => "It has no condition yet.".to_owned(),
            when => sentences::rule(when, &it.choose),
        },
        is_open: form.opened() == Some(place),
    };
    Ok(PolicyFormPage {
        frame: grant.frame(Section::Policies),
        policy,
        rules: kept.rules.iter().enumerate().map(rule).collect(),
        otherwise: sentences::choice(&kept.otherwise),
        rows: form.rows(),
        form,
        models: distinct(known.models.iter().map(|it| it.model.name.clone()).collect()),
        providers: distinct(known.models.into_iter().map(|it| it.vendor).collect()),
        problems,
    })
}

#[cfg(test)]
mod tests {
    use shared::condition::{Condition, is_name};

    use super::*;

    #[test]
    fn each_example_of_a_condition_is_one() {
        for (example, _) in EXAMPLES {
            assert!(Condition::parse(example).is_ok(), "{example}");
        }
        assert!(ALSO.into_iter().all(is_name));
    }
}
