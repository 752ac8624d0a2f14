//! Every room's doors, and what surrounds them.

use crate::{
    access::Doors, audit, cost_centers, docs, identity, keys, members, operator, organizations,
    projects, teams, tokens, web,
};

/// Every route of the control plane.
pub fn doors() -> Doors {
    let mut doors = Doors::default();
    doors.get("/assets/{tag}/{name}", web::assets::serve);
    docs::doors(&mut doors);
    identity::doors(&mut doors);
    organizations::doors(&mut doors);
    members::doors(&mut doors);
    teams::doors(&mut doors);
    projects::doors(&mut doors);
    cost_centers::doors(&mut doors);
    keys::doors(&mut doors);
    tokens::doors(&mut doors);
    audit::doors(&mut doors);
    operator::doors(&mut doors);
    doors
}
