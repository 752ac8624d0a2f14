//! What surrounds the content of every page.

use super::{Visit, assets};
use crate::access::{Authority, Permission};

/// Which part of an organization a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Overview,
    Setup,
    Requests,
    Usage,
    Keys,
    Policies,
    Models,
    Providers,
    Projects,
    Teams,
    Members,
    CostCenters,
    Budgets,
    Invoices,
    Billing,
    Audit,
    Settings,
    Roles,
}

impl Section {
    const fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Setup => "setup",
            Self::Requests => "requests",
            Self::Usage => "usage",
            Self::Keys => "keys",
            Self::Policies => "policies",
            Self::Models => "models",
            Self::Providers => "providers",
            Self::Projects => "projects",
            Self::Teams => "teams",
            Self::Members => "members",
            Self::CostCenters => "cost-centers",
            Self::Budgets => "budgets",
            Self::Invoices => "invoices",
            Self::Billing => "billing",
            Self::Audit => "audit",
            Self::Settings => "settings",
            Self::Roles => "roles",
        }
    }
}

/// Whatever base templates ask for. Templates call the methods; pages carry one.
#[derive(Clone)]
pub struct Frame {
    csrf: String,
    theme: String,
    notice: Option<String>,
    data_url: String,
    is_dev: bool,
    person: Option<FramePerson>,
    organization: Option<FrameOrganization>,
}

#[derive(Clone)]
pub struct FramePerson {
    pub email: String,
    pub is_operator: bool,
    pub time_zone: String,
}

#[derive(Clone)]
pub struct FrameOrganization {
    pub name: String,
    pub slug: String,
    pub authority: Authority,
    pub is_archived: bool,
    pub section: Section,
}

impl Frame {
    /// A page for whoever comes.
    pub fn outside(visit: &Visit) -> Self {
        Self {
            csrf: visit.form_token(),
            theme: visit
                .theme
                .clone()
                .filter(|it| it == "light" || it == "dark")
                .unwrap_or_default(),
            notice: visit.notice.clone(),
            data_url: visit.data_url.clone(),
            is_dev: visit.is_dev,
            person: None,
            organization: None,
        }
    }

    pub fn of_person(visit: &Visit, person: FramePerson) -> Self {
        Self { person: Some(person), ..Self::outside(visit) }
    }

    pub fn within(self, organization: FrameOrganization) -> Self {
        Self { organization: Some(organization), ..self }
    }

    pub fn css(&self) -> &'static str {
        assets::url("app.css")
    }

    pub fn js(&self) -> &'static str {
        assets::url("app.js")
    }

    pub fn htmx(&self) -> &'static str {
        assets::url("htmx.js")
    }

    pub fn font(&self) -> &'static str {
        assets::url("inter.woff2")
    }

    pub fn favicon(&self) -> &'static str {
        assets::url("favicon.svg")
    }

    pub fn csrf(&self) -> &str {
        &self.csrf
    }

    pub fn theme(&self) -> &str {
        &self.theme
    }

    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    pub fn data_url(&self) -> &str {
        &self.data_url
    }

    pub fn is_dev(&self) -> bool {
        self.is_dev
    }

    pub fn signed_in(&self) -> bool {
        self.person.is_some()
    }

    pub fn email(&self) -> &str {
        self.person.as_ref().map_or("", |it| &it.email)
    }

    pub fn is_operator(&self) -> bool {
        self.person.as_ref().is_some_and(|it| it.is_operator)
    }

    pub fn time_zone(&self) -> &str {
        self.person.as_ref().map_or("UTC", |it| &it.time_zone)
    }

    pub fn organization_name(&self) -> &str {
        self.organization.as_ref().map_or("", |it| &it.name)
    }

    pub fn organization_slug(&self) -> &str {
        self.organization.as_ref().map_or("", |it| &it.slug)
    }

    /// Where the organization's pages begin.
    pub fn organization_path(&self) -> String {
        format!("/orgs/{}", self.organization_slug())
    }

    pub fn role(&self) -> &'static str {
        self.organization.as_ref().map_or("", |it| it.authority.role.title())
    }

    pub fn is_archived(&self) -> bool {
        self.organization.as_ref().is_some_and(|it| it.is_archived)
    }

    pub fn section(&self) -> &'static str {
        self.organization.as_ref().map_or("", |it| it.section.name())
    }

    /// Whether to show a button. The door behind it asks again.
    pub fn may(&self, name: &str) -> bool {
        let permission = Permission::ALL.iter().find(|it| it.name() == name);
        debug_assert!(permission.is_some(), "a template asks for {name}, which is no permission");
        self.organization
            .as_ref()
            .zip(permission)
            .is_some_and(|(it, permission)| it.authority.may(*permission))
    }
}
