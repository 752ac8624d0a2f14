//! People: how they sign up, prove who they are, and stay signed in.

mod passwords;
pub mod people;
pub mod sessions;

pub use passwords::{Password, PasswordError, Passwords, WeakPassword};
pub use people::EmailAddress;
pub use sessions::Session;

use crate::access::Doors;

pub fn doors(_: &mut Doors) {}
