//! Under construction.

use crate::access::Doors;

pub fn doors(_: &mut Doors) {}
