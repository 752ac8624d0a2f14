//! Not spoken yet.

use super::{
    refusal::Refusal,
    serve::{Answered, Desk},
};
pub(super) fn answer(desk: &Desk) -> Answered {
    Err(desk.refuse(&Refusal::usual(501)))
}
