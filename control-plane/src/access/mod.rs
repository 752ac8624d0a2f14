//! Who may do what, decided in one place.
//!
//! A handler's first argument is a proof: [`Visitor`], [`SignedIn`], [`Grant`] of a
//! permission, or [`Operator`]. There is no other way to obtain one than to pass its
//! check, and [`Doors`] registers no handler without one, so that a route which forgot
//! to ask does not compile. The same types write the published table of routes and
//! permissions, and the OpenAPI document.

mod door;
mod proof;
mod role;
#[cfg(test)]
mod walk;
mod work;

pub use door::{Api, Describe, Door, Doors, Guarded, Needs, Sheet, parameters};
pub use proof::{AccessError, Grant, Operator, SignedIn, Visitor};
pub use role::{Authority, Needed, Permission, Role, UnknownRole, may};
pub use work::{Actor, Origin, Work, scope};
