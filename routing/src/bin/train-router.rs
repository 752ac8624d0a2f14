//! `make train-router`: writes `routing/router.weights` from the data. `--check` only compares.

use std::process::ExitCode;

use routing_engine::train;

fn main() -> ExitCode {
    match run() {
        Ok(told) => {
            eprintln!("{told}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let data = train::Data::load(&train::directory())?;
    let bytes = train::file(&train::train(&data), &data);
    let place = train::place();
    let is_same = std::fs::read(&place).is_ok_and(|it| it == bytes);
    if is_same {
        return Ok(format!("{}: as it was, {} bytes", place.display(), bytes.len()));
    }
    if std::env::args().any(|it| it == "--check") {
        return Err(format!("{}: the data makes another", place.display()));
    }
    train::write_file(&bytes).map_err(|it| it.to_string())?;
    Ok(format!("{}: written, {} bytes", place.display(), bytes.len()))
}
