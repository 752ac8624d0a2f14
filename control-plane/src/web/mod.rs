//! What every page, form and API operation shares.

pub mod assets;
pub mod csv;
mod failure;
mod floor;
mod form;
mod frame;
mod json;
mod list;
mod page;
mod problems;
mod time;
mod visit;

pub use failure::{Failure, or_problems};
pub use floor::around;
pub use form::{Form, Nothing, optional};
pub use frame::{Frame, FrameOrganization, FramePerson, Section};
pub use json::{Created, Deleted, Input, Json, Removed, Search, Stopped, given};
pub use list::{After, Pager, Part, Span, address};
pub use page::{Page, see_other, see_other_saying};
pub use problems::Problems;
pub use time::{Moment, day, instant, midnight, today};
pub use visit::{Cookies, Visit};

/// Whether two texts are one, for templates, whatever their types.
pub fn is_same(one: impl AsRef<str>, other: impl AsRef<str>) -> bool {
    one.as_ref() == other.as_ref()
}
