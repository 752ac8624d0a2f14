//! The published table: which role may do what.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a member is in an organization. Operators stand apart: they are the platform's
/// staff, and members of nothing by that.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema, sqlx::Type,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Role {
    Owner,
    Admin,
    Billing,
    Developer,
    Viewer,
}

impl Role {
    pub const ALL: [Self; 5] =
        [Self::Owner, Self::Admin, Self::Billing, Self::Developer, Self::Viewer];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Owner => "Owner",
            Self::Admin => "Admin",
            Self::Billing => "Billing",
            Self::Developer => "Developer",
            Self::Viewer => "Viewer",
        }
    }

    /// The word in forms, JSON and the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Billing => "billing",
            Self::Developer => "developer",
            Self::Viewer => "viewer",
        }
    }

    pub const fn about(self) -> &'static str {
        match self {
            Self::Owner => "Everything, and may archive the organization.",
            Self::Admin => "Everything but archiving and making owners.",
            Self::Billing => "Budgets, cost centers, invoices and billing. No keys.",
            Self::Developer => "Own keys, and sees projects and requests.",
            Self::Viewer => "Sees, and changes nothing.",
        }
    }

    pub fn may(self, permission: Permission) -> bool {
        permission.roles().contains(&self)
    }

    /// Whether whoever may do all that `self` may can make somebody an `other`: nobody
    /// grants what they do not hold.
    pub fn covers(self, other: Self) -> bool {
        Permission::ALL.iter().all(|it| self.may(*it) || !other.may(*it))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|it| it.name() == text).ok_or(UnknownRole)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("choose one of the roles")]
pub struct UnknownRole;

/// Declares the table. Each permission is also a type in [`may`], so that a handler
/// names the one it needs in its signature.
macro_rules! permissions {
    ($($name:ident: $about:literal => [$($role:ident),*];)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission {
            $($name,)*
        }

        impl Permission {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Reads after "may".
            pub const fn about(self) -> &'static str {
                match self { $(Self::$name => $about,)* }
            }

            pub const fn roles(self) -> &'static [Role] {
                match self { $(Self::$name => &[$(Role::$role),*],)* }
            }
        }

        pub mod may {
            $(
                pub struct $name;
                impl super::Needed for $name {
                    const PERMISSION: super::Permission = super::Permission::$name;
                }
            )*
        }
    };
}

/// A permission as a type.
pub trait Needed: 'static {
    const PERMISSION: Permission;
}

permissions! {
    ViewOrganization: "see the overview, projects, teams and members"
        => [Owner, Admin, Billing, Developer, Viewer];
    LeaveOrganization: "leave the organization"
        => [Owner, Admin, Billing, Developer, Viewer];
    EditOrganization: "change the organization's name, time zone and sign-in rules"
        => [Owner, Admin];
    ArchiveOrganization: "archive and restore the organization, and make owners"
        => [Owner];
    ManageMembers: "invite members, change their roles and remove them"
        => [Owner, Admin];
    ManageTeams: "create, rename and archive teams, and choose who is in them"
        => [Owner, Admin];
    ManageProjects: "create, rename and archive projects"
        => [Owner, Admin];
    ViewKeys: "see API keys, without their secrets"
        => [Owner, Admin, Developer, Viewer];
    CreateKeys: "create API keys, and rotate or revoke their own"
        => [Owner, Admin, Developer];
    ManageKeys: "rotate, revoke and edit anybody's keys, and create service keys"
        => [Owner, Admin];
    ViewRequests: "see the calls that were made, without what was said in them"
        => [Owner, Admin, Developer, Viewer];
    ViewUsage: "see what was used and what it cost"
        => [Owner, Admin, Billing, Developer, Viewer];
    ViewCatalogue: "see providers, models, routing policies and limits"
        => [Owner, Admin, Billing, Developer, Viewer];
    ManageProviders: "add providers and their credentials, change and test them"
        => [Owner, Admin];
    ManageModels: "choose which models may be called"
        => [Owner, Admin];
    ManagePolicies: "create, change and roll back routing policies"
        => [Owner, Admin];
    ManageLimits: "limit the calls of the organization and of its projects"
        => [Owner, Admin];
    ViewCostCenters: "see cost centers and splits"
        => [Owner, Admin, Billing, Developer, Viewer];
    ManageCostCenters: "create and edit cost centers and splits"
        => [Owner, Admin, Billing];
    ViewInvoices: "see invoices, credits and billing settings"
        => [Owner, Admin, Billing];
    ManageBilling: "change billing settings"
        => [Owner, Admin, Billing];
    ViewBudgets: "see budgets and what is spent of them"
        => [Owner, Admin, Billing, Developer, Viewer];
    ManageBudgets: "create, change, raise and archive budgets, and choose who is told"
        => [Owner, Admin, Billing];
    ViewAudit: "read the audit log"
        => [Owner, Admin, Billing, Developer, Viewer];
    CreateTokens: "create management API tokens for themselves, and revoke them"
        => [Owner, Admin, Billing, Developer, Viewer];
    ManageTokens: "create tokens for services, and revoke anybody's"
        => [Owner, Admin];
}

/// How far somebody's power reaches: their role, and no further than the token they use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    pub role: Role,
    at_most: Option<Role>,
}

impl Authority {
    pub const fn of(role: Role) -> Self {
        Self { role, at_most: None }
    }

    pub const fn at_most(self, token: Role) -> Self {
        Self { at_most: Some(token), ..self }
    }

    pub fn may(self, permission: Permission) -> bool {
        self.role.may(permission) && self.at_most.is_none_or(|it| it.may(permission))
    }

    /// Whether this may make somebody a `role`.
    pub fn covers(self, role: Role) -> bool {
        self.role.covers(role) && self.at_most.is_none_or(|it| it.covers(role))
    }

    /// The roles this may give, for the forms that offer them.
    pub fn grantable(self) -> Vec<Role> {
        Role::ALL.into_iter().filter(|it| self.covers(*it)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_makes_an_owner_but_an_owner() {
        for role in Role::ALL {
            assert_eq!(role.covers(Role::Owner), role == Role::Owner, "{role}");
        }
    }

    #[test]
    fn an_admin_gives_every_role_below() {
        let given = Authority::of(Role::Admin).grantable();
        assert_eq!(given, [Role::Admin, Role::Billing, Role::Developer, Role::Viewer]);
    }

    #[test]
    fn a_token_never_widens_a_role() {
        for role in Role::ALL {
            for token in Role::ALL {
                let both = Authority::of(role).at_most(token);
                for permission in Permission::ALL {
                    assert!(!both.may(*permission) || role.may(*permission));
                    assert!(!both.may(*permission) || token.may(*permission));
                }
            }
        }
    }

    #[test]
    fn every_permission_is_somebodys() {
        assert!(Permission::ALL.iter().all(|it| it.roles().contains(&Role::Owner)));
    }
}
