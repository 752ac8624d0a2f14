//! Prints invoices: sheets come in on stdin, PDFs go out on stdout, one after the other.
//!
//! It lives as long as whoever started it keeps its stdin open, since a typesetter that is warm
//! takes a tenth of the time. It knows nothing of money: a sheet is texts and where they stand, and
//! who made them (`control-plane/src/invoices/pdf/`) answers for what they say. With `once` it takes
//! a sheet without a frame around it, for looking at one.

mod frames;
mod press;

use std::{
    io::{self, Read, Write},
    process::ExitCode,
};

use frames::{Answer, next, put};
use press::Press;

fn main() -> ExitCode {
    let press = Press::new();
    let done = match std::env::args().nth(1).as_deref() {
        None => serve(&press, &mut io::stdin().lock(), &mut io::stdout().lock()),
        Some("once") => once(&press),
        Some(_) => Err(io::Error::other("say `once`, or nothing")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("invoice-pdf: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Until nothing comes any more. What cannot be printed is answered, and the next one taken.
fn serve(press: &Press, from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    while let Some(sheet) = next(from)? {
        put(to, &press.print(sheet))?;
    }
    Ok(())
}

fn once(press: &Press) -> io::Result<()> {
    let mut sheet = Vec::new();
    io::stdin().lock().read_to_end(&mut sheet)?;
    match press.print(sheet) {
        Answer::Printed(pdf) | Answer::Lacking(pdf) => io::stdout().lock().write_all(&pdf),
        Answer::Refused(why) => Err(io::Error::other(why)),
    }
}
