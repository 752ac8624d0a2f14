//! Under construction.

use crate::platform::Platform;

pub async fn publish(_: &Platform) -> Result<bool, sqlx::Error> {
    Ok(false)
}
