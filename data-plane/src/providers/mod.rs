//! One file per dialect. Each only translates: bytes in, bytes out, no network, no clock.
//! Sending and timing live in `call`, once for all of them.

pub mod openai;
