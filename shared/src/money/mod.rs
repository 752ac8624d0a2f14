//! Money, and what a call costs: exact, in whole numbers, to the last pico-dollar.
//!
//! No float ever touches an amount. Every function here is total: what could overflow is
//! kept out by the constructors of [`UnitPrice`] and [`Price`] and by the limits of a
//! [`Usage`](crate::usage::Usage), so that whoever has a price can ask what anything costs.

mod bound;
mod calendar;
mod cents;
mod decimal;
mod nano;
mod pico;
mod price;
mod rates;
#[cfg(test)]
mod samples;
mod split;
mod unit;

pub use self::{
    bound::{Bound, CacheWrites},
    calendar::{BadZone, Period, Span, Zone},
    cents::{Cents, apportion},
    decimal::NotAnAmount,
    nano::Money,
    pico::Pico,
    price::{BadPrice, Item, PinnedPrice, Price, ServiceTier, Terms},
    rates::{Class, ContextTier, Rates, Schedule},
    split::largest_remainder,
    unit::{BadUnitPrice, UnitPrice},
};
