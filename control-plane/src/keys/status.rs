//! Whether a key opens anything now, and why not.

use serde::Serialize;

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema, sqlx::Type,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Status {
    Active,
    /// Active, and expires within a week.
    Expiring,
    /// Not usable until what stands against it is gone.
    Suspended,
    Expired,
    Revoked,
}

impl Status {
    pub const ALL: [Self; 5] =
        [Self::Active, Self::Expiring, Self::Suspended, Self::Expired, Self::Revoked];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expiring => "expiring",
            Self::Suspended => "suspended",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Expiring => "Expires soon",
            Self::Suspended => "Suspended",
            Self::Expired => "Expired",
            Self::Revoked => "Revoked",
        }
    }
}

/// What stands against a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Suspension {
    OrganizationArchived,
    ProjectArchived,
    OwnerLeft,
    OwnerDisabled,
    OwnerRole,
}

impl Suspension {
    pub const fn about(self) -> &'static str {
        match self {
            Self::OrganizationArchived => "The organization is archived.",
            Self::ProjectArchived => "Its project is archived.",
            Self::OwnerLeft => "Its owner is no longer a member.",
            Self::OwnerDisabled => "Its owner's account is disabled.",
            Self::OwnerRole => "Its owner's role may not use keys.",
        }
    }
}
