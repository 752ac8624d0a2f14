//! Documentation: how to begin, what every error means, and the reference of the
//! management API, which is drawn from the same handlers that answer it.

mod openapi;
mod reference;
mod web;

pub use openapi::openapi;

use crate::access::Doors;

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
}
