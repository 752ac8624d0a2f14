//! Whether an expression says only what conditions may say, and what is of a kind.

use cel::{
    Context, ExecutionError,
    common::{
        ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators},
        types::Kind,
    },
};

use super::{
    BadCondition, DEEPEST, context, evaluate,
    facts::{Names, Sample, is_map, is_name},
    told,
};

/// Checks all of it, and writes `tags["a"]` as `tags.a`, so that both are asked for alike.
pub(super) fn check(expression: &mut IdedExpr) -> Result<(), BadCondition> {
    let mut scope = Scope { variables: Vec::new(), loops: 0 };
    scope.check(expression, 0)?;
    let names = Names(&Sample);
    let context = context(&names);
    fits(expression, &context)?;
    match kind(expression, &context) {
        Some(Kind::Boolean) | None => Ok(()),
        Some(other) => Err(BadCondition::NotTrueOrFalse(word(other).to_owned())),
    }
}

/// Whether it says any name of [`super::Facts`].
pub(super) fn asks(expression: &IdedExpr) -> bool {
    match &expression.expr {
        Expr::Ident(name) => is_name(name) || is_map(name),
        Expr::Select(_) => true,
        Expr::Call(call) => operands(call).any(asks),
        Expr::List(list) => list.elements.iter().any(asks),
        Expr::Comprehension(it) => asks(&it.iter_range) || body(it).into_iter().any(asks),
        Expr::Literal(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => false,
    }
}

const OPERATORS: [&str; 18] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::IN,
    operators::NOT_STRICTLY_FALSE,
];
const FUNCTIONS: [&str; 4] = ["size", "contains", "startsWith", "endsWith"];

struct Scope {
    /// What loops call what they are at.
    variables: Vec<String>,
    loops: usize,
}

impl Scope {
    fn check(&mut self, expression: &mut IdedExpr, depth: u16) -> Result<(), BadCondition> {
        if depth > DEEPEST {
            return Err(BadCondition::Deep);
        }
        if let Some(plain) = as_select(&expression.expr) {
            expression.expr = plain;
        }
        match &mut expression.expr {
            Expr::Ident(name) => self.name(name),
            Expr::Select(it) => self.select(it),
            Expr::Call(call) => self.call(call, depth),
            Expr::List(list) => {
                list.elements.iter_mut().try_for_each(|it| self.check(it, depth + 1))
            }
            Expr::Comprehension(it) => self.go_through(it, depth),
            Expr::Literal(LiteralValue::Bytes(_)) => unknown("bytes"),
            Expr::Literal(_) => Ok(()),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => unknown("{}"),
        }
    }

    fn name(&self, name: &str) -> Result<(), BadCondition> {
        if is_name(name) || is_map(name) || self.variables.iter().any(|it| it == name) {
            Ok(())
        } else {
            Err(BadCondition::UnknownName(name.to_owned()))
        }
    }

    fn select(&self, select: &SelectExpr) -> Result<(), BadCondition> {
        let whole = spelled(select);
        let of_map = matches!(&select.operand.expr, Expr::Ident(name) if is_map(name));
        let is_hidden = |root| self.variables.iter().any(|it| it == root);
        let hidden = whole.split('.').next().is_some_and(is_hidden);
        if !hidden && (of_map || is_name(&whole) && !select.test) {
            Ok(())
        } else {
            Err(BadCondition::UnknownName(whole))
        }
    }

    fn call(&mut self, call: &mut CallExpr, depth: u16) -> Result<(), BadCondition> {
        let name = call.func_name.as_str();
        if name == operators::INDEX {
            return unknown("[ ]");
        }
        if !OPERATORS.contains(&name) && !FUNCTIONS.contains(&name) {
            return unknown(name);
        }
        let target = call.target.as_deref_mut().into_iter();
        target.chain(&mut call.args).try_for_each(|it| self.check(it, depth + 1))
    }

    fn go_through(&mut self, it: &mut ComprehensionExpr, depth: u16) -> Result<(), BadCondition> {
        self.loops += 1;
        if self.loops > 1 {
            return Err(BadCondition::Loops);
        }
        self.check(&mut it.iter_range, depth + 1)?;
        self.variables.extend([it.iter_var.clone(), it.accu_var.clone()]);
        self.variables.extend(it.iter_var2.clone());
        let body = [&mut it.accu_init, &mut it.loop_cond, &mut it.loop_step, &mut it.result];
        body.into_iter().try_for_each(|it| self.check(it, depth + 1))?;
        self.variables.clear();
        Ok(())
    }
}

fn unknown(name: &str) -> Result<(), BadCondition> {
    Err(BadCondition::UnknownFunction(name.to_owned()))
}

/// `tags["a"]` as `tags.a`.
fn as_select(expression: &Expr) -> Option<Expr> {
    let Expr::Call(call) = expression else { return None };
    let [operand, index] = call.args.as_slice() else { return None };
    let is_map = matches!(&operand.expr, Expr::Ident(name) if is_map(name));
    let Expr::Literal(LiteralValue::String(field)) = &index.expr else { return None };
    (call.func_name == operators::INDEX && is_map).then(|| {
        let operand = Box::new(operand.clone());
        Expr::Select(SelectExpr { operand, field: field.inner().to_owned(), test: false })
    })
}

/// `request.model`, or what of it can be told.
fn spelled(select: &SelectExpr) -> String {
    let operand = match &select.operand.expr {
        Expr::Ident(name) => name.clone(),
        Expr::Select(inner) => spelled(inner),
        Expr::Call(_)
        | Expr::List(_)
        | Expr::Literal(_)
        | Expr::Comprehension(_)
        | Expr::Map(_)
        | Expr::Struct(_)
        | Expr::Unspecified => "(…)".to_owned(),
    };
    format!("{operand}.{}", select.field)
}

/// Tries each part by itself, since `false && 1 > "a"` hides what is wrong with its right side.
/// What loops do is not tried, for it has no value outside of them.
fn fits(expression: &IdedExpr, context: &Context<'_, '_>) -> Result<(), BadCondition> {
    match &expression.expr {
        Expr::Call(call) => {
            operands(call).try_for_each(|it| fits(it, context))?;
            if operands(call).any(|it| kind(it, context).is_none()) {
                return Ok(());
            }
            let kinds: Vec<_> = operands(call).filter_map(|it| kind(it, context)).collect();
            agree(&call.func_name, &kinds)?;
            match evaluate(expression, context) {
                Err(error) if is_mismatch(&error) => Err(BadCondition::Mismatch(told(&error))),
                Ok(_) | Err(_) => Ok(()),
            }
        }
        Expr::List(list) => list.elements.iter().try_for_each(|it| fits(it, context)),
        Expr::Comprehension(it) => match evaluate(expression, context) {
            Err(error) if is_mismatch(&error) => Err(BadCondition::Mismatch(told(&error))),
            Ok(_) | Err(_) => fits(&it.iter_range, context),
        },
        Expr::Ident(_)
        | Expr::Select(_)
        | Expr::Literal(_)
        | Expr::Map(_)
        | Expr::Struct(_)
        | Expr::Unspecified => Ok(()),
    }
}

/// What the interpreter would take, and what still is a slip: `task == 1` is false for ever.
fn agree(function: &str, kinds: &[Kind]) -> Result<(), BadCondition> {
    let are = |kind: Kind| kinds.iter().all(|it| *it == kind);
    let is_number = |it: &Kind| [Kind::Int, Kind::UInt, Kind::Double].contains(it);
    let fine = match function {
        operators::EQUALS | operators::NOT_EQUALS => {
            kinds.first().is_none_or(|&it| are(it)) || kinds.iter().all(is_number)
        }
        operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT => {
            are(Kind::Boolean)
        }
        operators::CONDITIONAL => kinds.first() == Some(&Kind::Boolean),
        _ => true,
    };
    if fine {
        return Ok(());
    }
    let words: Vec<_> = kinds.iter().map(|it| word(*it)).collect();
    Err(BadCondition::Mismatch(words.join(" and ")))
}

fn is_mismatch(error: &ExecutionError) -> bool {
    use ExecutionError::{
        NoSuchOverload, UndeclaredReference, UnexpectedType, UnsupportedBinaryOperator,
        UnsupportedKeyType, ValuesNotComparable,
    };
    matches!(
        error,
        NoSuchOverload(_)
            | UndeclaredReference(_)
            | UnexpectedType { .. }
            | UnsupportedBinaryOperator(..)
            | UnsupportedKeyType(_)
            | ValuesNotComparable(..)
    )
}

fn kind(expression: &IdedExpr, context: &Context<'_, '_>) -> Option<Kind> {
    Some(evaluate(expression, context).ok()?.get_type().kind())
}

const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Boolean => "true or false",
        Kind::Int | Kind::UInt | Kind::Double => "a number",
        Kind::String => "a text",
        Kind::List => "a list",
        Kind::Map => "a map",
        Kind::NullType => "nothing",
        Kind::Unspecified
        | Kind::Error
        | Kind::Dyn
        | Kind::Any
        | Kind::Bytes
        | Kind::Duration
        | Kind::Opaque
        | Kind::Struct
        | Kind::Timestamp
        | Kind::Type
        | Kind::TypeParam
        | Kind::Unknown => "something else",
    }
}

/// What a call is of: its target, and then its arguments.
fn operands(call: &CallExpr) -> impl Iterator<Item = &IdedExpr> {
    call.target.as_deref().into_iter().chain(&call.args)
}

fn body(it: &ComprehensionExpr) -> [&IdedExpr; 4] {
    [&it.accu_init, &it.loop_cond, &it.loop_step, &it.result]
}
