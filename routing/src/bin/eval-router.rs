//! `make eval-router`: the table of R1 to R14, by folds of the data. Names of rows as arguments
//! leave out others.

use std::process::ExitCode;

use routing_engine::train;

fn main() -> ExitCode {
    let data = match train::Data::load(&train::directory()) {
        Ok(data) => data,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    let only: Vec<String> = std::env::args().skip(1).collect();
    train::evaluate::report(&data, &train::train(&data), print, &only);
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "It is what it is for")]
fn print(line: &str) {
    println!("{line}");
}
