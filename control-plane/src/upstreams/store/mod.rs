//! Every statement on the tables of upstreams.
//!
//! An owner is an organization, or the nil one for the platform.

mod credentials;
mod models;
mod places;
mod prices;

pub(super) use self::{
    credentials::{
        count_trial, credentials, delete_credential, drop_credentials, insert_credential,
        note_result, replace_secret, sealed, secret, update_credential,
    },
    models::{catalogue, delete_model, disable, first_model, models, put_model, want},
    places::{
        count, find, insert, list, lock, named, published, set_archived, set_enabled, update,
    },
    prices::{insert_price, prices},
};
use super::UpstreamError;

fn taken(error: sqlx::Error) -> UpstreamError {
    match error.as_database_error().and_then(|it| it.constraint()) {
        Some("upstreams_name") => UpstreamError::NameTaken,
        Some("provider_credentials_label") => UpstreamError::LabelTaken,
        _ => UpstreamError::Store(error),
    }
}
