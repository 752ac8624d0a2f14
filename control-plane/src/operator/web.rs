//! The operators' pages.

use askama::Template;
use serde::Deserialize;
use shared::ids::OrganizationId;

use super::{Tenant, organizations};
use crate::{
    access::{Doors, Operator},
    web::{Failure, Frame, Moment, Page, Pager, Search},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/operator", list);
}

/// How many organizations a page shows.
const SHOWN: usize = 50;

#[derive(Template)]
#[template(path = "operator_pages/organizations.html")]
struct OrganizationsPage {
    frame: Frame,
    rows: Vec<Row>,
    q: String,
    pager: Pager,
}

struct Row {
    tenant: Tenant,
    created: Moment,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrganizationSearch {
    #[serde(default)]
    q: String,
    /// The last organization of the page before: its name, and its id for those that
    /// share one.
    after_name: Option<String>,
    after: Option<OrganizationId>,
}

impl OrganizationSearch {
    fn address(&self, after: Option<&Tenant>) -> String {
        let mut query = form_urlencoded::Serializer::new("/operator?".to_owned());
        query.append_pair("q", &self.q);
        if let Some(tenant) = after {
            query.append_pair("after_name", &tenant.name);
            query.append_pair("after", &tenant.id.to_string());
        }
        query.finish()
    }
}

async fn list(
    operator: Operator,
    search: Search<OrganizationSearch>,
) -> Result<Page<OrganizationsPage>, Failure> {
    let Operator(staff) = operator;
    let after = search.after_name.as_deref().zip(search.after);
    let mut conn = staff.platform.db.acquire().await?;
    let most = SHOWN as i32 + 1;
    let mut tenants = organizations(&mut conn, &search.q, after, most).await?;
    let has_more = tenants.len() > SHOWN;
    tenants.truncate(SHOWN);
    let next = tenants.last().filter(|_| has_more).map(|it| search.address(Some(it)));
    let zone = &staff.session.time_zone;
    let row = |tenant: Tenant| Row { created: Moment::new(tenant.created_at, zone), tenant };
    Ok(Page(OrganizationsPage {
        frame: staff.frame(),
        rows: tenants.into_iter().map(row).collect(),
        pager: Pager { first: after.map(|_| search.address(None)), next },
        q: search.0.q,
    }))
}
