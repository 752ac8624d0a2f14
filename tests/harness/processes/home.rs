//! Where an installation has its files, and the programs that it is made of.

use std::{
    collections::HashMap,
    env, fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use shared::random;

/// The checkout.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const PROGRAMS: [&str; 4] = ["control-plane", "data-plane", "turnpike", "provider-simulator"];

/// A directory of its own, with the stack in it. Dropped, it is gone, and so is every
/// process that works there; also when we are killed ourselves.
pub struct Home {
    pub path: PathBuf,
    pub programs: PathBuf,
    keeper: Child,
}

impl Home {
    /// `None` where the programs are not built, which is said, and where E2E_REQUIRED is
    /// set is a failure.
    pub fn make(name: &str) -> Option<Self> {
        let programs = find_programs()?;
        let path = env::temp_dir().join(format!("turnpike-{name}-{}", random::base62(8)));
        fs::create_dir(&path).expect("temporary files can be made");
        let path = path.canonicalize().expect("it was just made");
        let mut keeper = script("keeper.sh");
        keeper.arg(&path).stdin(Stdio::piped()).stdout(Stdio::null());
        // Whoever ends our group, as a test runner does at a timeout, leaves it alone.
        let keeper = keeper.process_group(0).spawn().expect("bash is there");
        Some(Self { path, programs, keeper })
    }

    /// Runs `infra/stack.sh` and gives what the stack's environment is then.
    pub fn stack(
        path: &Path,
        action: &str,
        environment: &[(String, String)],
    ) -> HashMap<String, String> {
        run(script("stack.sh").arg(action).arg(path).envs(environment.iter().cloned()));
        variables(&path.join("stack.env"))
    }

    /// Runs one of our programs to its end, with that environment alone.
    pub fn run(&self, program: &str, words: &[&str], environment: &[(String, String)]) -> String {
        let mut command = Command::new(self.programs.join(program));
        run(command.args(words).env_clear().envs(environment.iter().cloned()))
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path.join(name), text).expect("temporary files can be written");
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        if let Err(error) = self.keeper.wait() {
            let _ = writeln!(std::io::stderr(), "{} is left: {error}", self.path.display());
        }
    }
}

fn find_programs() -> Option<PathBuf> {
    let directory = env::var_os("TURNPIKE_BIN_DIR").map_or_else(beside_us, PathBuf::from);
    let missing: Vec<_> = PROGRAMS.into_iter().filter(|it| !directory.join(it).is_file()).collect();
    if missing.is_empty() {
        return Some(directory);
    }
    let (missing, place) = (missing.join(", "), directory.display());
    let complaint = format!(
        "*** SKIPPED: no {missing} in {place}. Build them: cargo build --workspace --bins ***"
    );
    assert!(env::var_os("E2E_REQUIRED").is_none_or(|it| it.is_empty()), "{complaint}");
    let _ = writeln!(std::io::stderr(), "{complaint}");
    None
}

/// Cargo puts programs a directory above the tests.
fn beside_us() -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    test.ancestors().nth(2).expect("cargo's directories").to_owned()
}

fn script(name: &str) -> Command {
    Command::new(Path::new(ROOT).join("infra").join(name))
}

/// # Panics
/// If it fails, with what it said.
fn run(command: &mut Command) -> String {
    let output = tokio::task::block_in_place(|| command.stdin(Stdio::null()).output());
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?} failed: {said}{complaint}", command.get_program());
    said
}

/// The lines `NAME=value` of a file.
pub fn variables(path: &Path) -> HashMap<String, String> {
    let text = fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
    let pairs = text.lines().filter_map(|it| it.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
