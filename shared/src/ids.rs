//! Identifiers. Each kind has its own type and its own prefix.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};
use uuid::{Uuid, fmt::Simple};

/// Declares a UUIDv7 that prints and parses with a prefix of its own, so that a
/// key's id pasted where a project's belongs is refused at the door.
macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
        #[sqlx(transparent)]
        pub struct $name(Uuid);

        impl $name {
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// Without the machinery of `fmt`: every event tells of many.
            fn written(self, to: &mut [u8; concat!($prefix, "_").len() + Simple::LENGTH]) -> &str {
                let (prefix, digits) = to.split_at_mut(concat!($prefix, "_").len());
                prefix.copy_from_slice(concat!($prefix, "_").as_bytes());
                self.0.simple().encode_lower(digits);
                std::str::from_utf8(to).unwrap_or_default()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.written(&mut [0; _]))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|it| it.len() == 32)
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or(InvalidId { expected: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.written(&mut [0; _]))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(from)?.parse().map_err(D::Error::custom)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .pattern(Some(concat!("^", $prefix, "_[0-9a-f]{32}$")))
                    .into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}

typed_id!(
    /// A customer. Every row that a customer can reach carries one.
    OrganizationId, "org"
);
typed_id!(
    /// Somebody with a password. People exist apart from organizations: one person may
    /// be a member of several.
    PersonId, "per"
);
typed_id!(
    /// A signed-in browser, as it is listed on the account page. Not the cookie's secret.
    SessionId, "ses"
);
typed_id!(
    /// An offer to an e-mail address to become a member.
    InvitationId, "inv"
);
typed_id!(
    /// A group of members and projects.
    TeamId, "team"
);
typed_id!(
    /// What calls are made for, and billed to.
    ProjectId, "prj"
);
typed_id!(
    /// A finance code that receives allocations.
    CostCenterId, "cc"
);
typed_id!(
    /// An API key of the data plane. The id is public; the secret is another type.
    ApiKeyId, "key"
);
typed_id!(
    /// A token of the management API.
    ApiTokenId, "tok"
);
typed_id!(
    /// A place that serves models.
    UpstreamId, "up"
);
typed_id!(
    /// A provider's secret, kept sealed.
    CredentialId, "cred"
);
typed_id!(
    /// Prices that hold for some organizations.
    PriceBookId, "pbk"
);
typed_id!(
    /// Prices that somebody wants to put into a book.
    PriceDraftId, "pdr"
);
typed_id!(
    /// A name that callers may ask for instead of a model.
    PolicyId, "pol"
);
typed_id!(
    /// A cap on what a scope may spend in a window.
    BudgetId, "bud"
);
typed_id!(
    /// An address that is told of alerts.
    WebhookId, "whk"
);
typed_id!(
    /// One message on its way to a webhook.
    DeliveryId, "msg"
);
typed_id!(
    /// One proxy, from its start to its end.
    ProxyId, "prx"
);
typed_id!(
    /// One request of a client, in either plane.
    RequestId, "req"
);
typed_id!(
    /// What somebody said of an answer.
    FeedbackId, "fbk"
);
typed_id!(
    /// One thing that the ledger tells of.
    PostingId, "pst"
);
typed_id!(
    /// An invoice or a credit note.
    InvoiceId, "ivc"
);
typed_id!(
    /// A credit, which pays for invoices.
    CreditId, "crd"
);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form {expected}_…")]
pub struct InvalidId {
    expected: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_printing() {
        let id = OrganizationId::generate();
        assert_eq!(id.to_string(), format!("org_{}", id.uuid().simple()));
        assert_eq!(id.to_string().parse(), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<OrganizationId>(&json).unwrap(), id);
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let key = ApiKeyId::generate().to_string();
        assert_eq!(key.parse::<ProjectId>(), Err(InvalidId { expected: "prj" }));
    }

    #[test]
    fn an_id_has_one_spelling() {
        let dashed = format!("org_{}", Uuid::now_v7());
        assert!(dashed.parse::<OrganizationId>().is_err());
    }
}
