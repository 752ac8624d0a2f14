//! The pages of keys.

mod form;
mod issued;
mod list;
mod new;
mod show;

use shared::ids::ApiKeyId;
use time::OffsetDateTime;

use super::{ApiKey, KeyError, Mode, Status};
use crate::{
    access::{Doors, Work},
    web::Moment,
};

pub fn doors(doors: &mut Doors) {
    doors.get("/keys/{key}", show::find);
    doors.get("/orgs/{org}/keys", list::list);
    doors.get("/orgs/{org}/keys/new", new::new);
    doors.post("/orgs/{org}/keys", new::create);
    doors.get("/orgs/{org}/keys/{key}", show::show);
    doors.post("/orgs/{org}/keys/{key}", show::change);
    doors.post("/orgs/{org}/keys/{key}/rotate", show::renew);
    doors.post("/orgs/{org}/keys/{key}/end-overlap", show::end_old);
    doors.post("/orgs/{org}/keys/{key}/revoke", show::close);
}

/// A key as the pages show it.
struct KeyLine {
    id: ApiKeyId,
    name: String,
    hint: String,
    mode: Mode,
    project_name: String,
    owner: String,
    status: Status,
    why: &'static str,
    last_used: Option<Moment>,
    expires: Option<Moment>,
    created: Moment,
    is_idle: bool,
}

impl KeyLine {
    fn of(key: &ApiKey, zone: &str, now: OffsetDateTime) -> Self {
        let moment = |at: OffsetDateTime| Moment::new(at, zone);
        let is_open = matches!(key.status, Status::Active | Status::Expiring);
        let seen = key.last_used_at.unwrap_or(key.created_at);
        Self {
            id: key.id,
            name: key.terms.name.to_string(),
            hint: key.hint.clone(),
            mode: key.mode,
            project_name: key.project_name.clone(),
            owner: key.owner_email.clone().unwrap_or_else(|| "Service".to_owned()),
            status: key.status,
            why: match key.status {
                Status::Suspended => key.suspended_because.map_or("", |it| it.about()),
                Status::Active | Status::Expiring | Status::Expired | Status::Revoked => "",
            },
            last_used: key.last_used_at.map(moment),
            expires: key.terms.expires_at.map(moment),
            created: moment(key.created_at),
            is_idle: is_open && seen < now - time::Duration::days(90),
        }
    }

    fn badge(&self) -> &'static str {
        match self.status {
            Status::Active => "ok",
            Status::Expiring | Status::Suspended => "warn",
            Status::Expired | Status::Revoked => "",
        }
    }
}

async fn project_choices(work: &mut Work) -> Result<Vec<(String, String)>, KeyError> {
    let projects = super::projects(work).await?;
    Ok(projects.into_iter().map(|it| (it.id.to_string(), it.name)).collect())
}
