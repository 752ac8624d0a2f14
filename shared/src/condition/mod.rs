//! For which calls a rule of a policy decides: a CEL expression over what is known of a call.
//!
//! What a condition may say is a small part of CEL, and all of it is checked when it is read:
//! names and functions that there are, types that fit, and no more work than a call can bear. So
//! nobody learns from a call that a condition is wrong; what can still fail there is arithmetic.

mod check;
mod facts;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use cel::{
    Context, Env, ExecutionError, Value,
    common::{ast::IdedExpr, types::CelBool, value::CowVal},
};

pub use self::facts::{Facts, is_name};
use self::facts::{Names, Sample};

/// The longest text of a condition, in bytes.
pub const LONGEST: usize = 1000;
/// How deep operators may be in each other, and among them parentheses and lists.
pub const DEEPEST: u16 = 32;
const DEEPEST_BRACKETS: u16 = 12;
/// How many signs there may be that can make one expression a part of another, wherever they
/// stand: the parser goes as deep as they say before it knows what it reads.
const MOST_SIGNS: usize = 120;
/// Enough for that, in a program that was not optimized too; the stacks of our threads are not.
const STACK: usize = 64 << 20;

/// A condition that was read, and asks only for what there is.
#[derive(Clone, Debug)]
pub struct Condition {
    text: String,
    expression: IdedExpr,
}

impl PartialEq for Condition {
    /// Whether they say the same, however it is spaced.
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCondition {
    #[error("a condition has from 1 to {LONGEST} bytes")]
    Length,
    #[error("it cannot be read at character {at}: {why}")]
    Unreadable { at: usize, why: String },
    #[error("it is too deep: {DEEPEST} levels and {MOST_SIGNS} signs and brackets are the most")]
    Deep,
    #[error("nothing is called {0:?}")]
    UnknownName(String),
    #[error("there is no {0:?} in conditions")]
    UnknownFunction(String),
    #[error("it may go through one list or map, and not within another")]
    Loops,
    #[error("it is {0}, and not true or false")]
    NotTrueOrFalse(String),
    #[error("what is compared or combined is not of a kind: {0}")]
    Mismatch(String),
}

/// Why nobody knows whether a condition holds for a call, which is then none of its calls.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotEvaluated(String);

impl Condition {
    pub fn parse(text: &str) -> Result<Self, BadCondition> {
        let text = text.trim();
        if text.is_empty() || text.len() > LONGEST {
            return Err(BadCondition::Length);
        }
        if text.bytes().filter(|it| b"([{+-*/%.?!<>=".contains(it)).count() > MOST_SIGNS {
            return Err(BadCondition::Deep);
        }
        Ok(Self { text: text.to_owned(), expression: read(text)? })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn holds(&self, facts: &dyn Facts) -> Result<bool, NotEvaluated> {
        let names = Names(facts);
        let context = context(&names);
        let value = evaluate(&self.expression, &context).map_err(|it| NotEvaluated(told(&it)))?;
        let is_true = value.downcast_ref::<CelBool>().map(|it| *it.inner());
        is_true.ok_or_else(|| NotEvaluated("it is not true or false".to_owned()))
    }

    /// What it always is, where it asks for nothing of a call.
    pub fn constant(&self) -> Option<bool> {
        if check::asks(&self.expression) { None } else { self.holds(&Sample).ok() }
    }
}

/// Reads it on a thread of its own, whose stack holds whatever can be written, and whose panics
/// are nobody else's. Conditions are read when they are saved and when a proxy takes a snapshot.
fn read(text: &str) -> Result<IdedExpr, BadCondition> {
    let unreadable = |why: &str| BadCondition::Unreadable { at: 0, why: why.to_owned() };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let thread = thread.spawn_scoped(scope, || parsed(text));
        let read = thread.map_err(|_| unreadable("there is no thread to read it"))?.join();
        read.unwrap_or_else(|_| Err(unreadable("nobody can make sense of it")))
    })
}

fn parsed(text: &str) -> Result<IdedExpr, BadCondition> {
    let parser = ENVIRONMENT.parser().max_recursion_depth(DEEPEST_BRACKETS);
    let mut expression = parser.parse(text).map_err(|all| {
        let first = all.errors.into_iter().next();
        let (at, why) = first.map_or((0, String::new()), |it| (it.pos.1, it.msg));
        let why = why.strip_prefix("Syntax error: ").unwrap_or(&why).chars().take(160).collect();
        BadCondition::Unreadable { at: usize::try_from(at).unwrap_or(0), why }
    })?;
    check::check(&mut expression)?;
    Ok(expression)
}

/// Its functions and macros, without those for values that may be missing.
static ENVIRONMENT: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

fn context<'v>(names: &'v Names<'_>) -> Context<'v, 'v> {
    let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
    context.set_variable_resolver(names);
    context
}

fn evaluate<'e, 'v>(
    expression: &'e IdedExpr,
    context: &'e Context<'v, 'v>,
) -> Result<CowVal<'e, 'v>, ExecutionError> {
    Value::resolve_val(expression, context)
}

/// Without what callers sent: what goes wrong is told to whoever wrote the condition.
fn told(error: &ExecutionError) -> String {
    use ExecutionError::{DivisionByZero, NoSuchOverload, Overflow, RemainderByZero};
    if let NoSuchOverload(error) = error {
        error.to_string()
    } else if matches!(error, DivisionByZero(_) | RemainderByZero(_)) {
        "it divides by zero".to_owned()
    } else if matches!(error, Overflow(..)) {
        "a number is too large".to_owned()
    } else {
        "it has no value for such a call".to_owned()
    }
}
