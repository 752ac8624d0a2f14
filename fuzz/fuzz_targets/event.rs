//! Whatever stands in a stream of events: no panic, and what can be read is the same after
//! another journey.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::event::Event;

fuzz_target!(|bytes: &[u8]| {
    let Ok(event) = Event::decode(bytes) else { return };
    assert_eq!(Event::decode(&event.encode()).expect("it was an event"), event);
});
