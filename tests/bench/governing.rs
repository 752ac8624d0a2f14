//! What limits and budgets cost: a call that passes them, and one that does not.

use std::io;

use secrecy::{ExposeSecret, SecretString};
use shared::keys::{Brand, NewKey};

use super::{
    Bench, at_most, calls,
    figures::{Figure, Unit},
    growth::grown,
    growth_in_percent,
    load::{Load, Meant},
    of_cpu, of_ours,
    open_loop::{Connection, request},
    running::{Cost, Run},
    tell,
};

impl Bench {
    /// What a call costs that ends at the key, which is well-formed and nobody's, one that
    /// ends at a limit, and one that ends at a budget.
    pub fn refusals(&self) -> io::Result<Vec<Figure>> {
        tell("refusals");
        let nobodys = NewKey::generate(Brand::Live).secret;
        let exhausted = self.keys.exhausted.expose_secret();
        let ours = self.subjects[2];
        // The one call of this minute.
        let small = calls::small();
        let first = request("/v1/chat/completions", exhausted, &small.body);
        Connection::open(ours.address)?.call(&first)?.check(false)?;

        let files = self.ready(&[small])?;
        let run = |key, but| {
            let meant = Meant::Refused { but };
            Run {
                subject: ours,
                load: Load { key, meant, seconds: self.half(), ..self.load(&files) },
            }
        };
        let costs = self.take_turns([
            run(nobodys.expose_secret(), 0),
            // Another call may be due while this goes on.
            run(exhausted, 2),
            run(self.keys.broke.expose_secret(), 0),
        ])?;
        let what = ["of a key", "by a limit", "by a budget"];
        let figure = |(what, costs): (&str, Vec<Cost>)| Figure {
            target: of_cpu(15.0, 10.0),
            ..of_ours(format!("refusal {what}: CPU"), Unit::Microseconds, each_cpu(&costs))
        };
        Ok(what.into_iter().zip(costs).map(figure).collect())
    }

    /// A call whose key, project and organization have limits, beside one that has none.
    pub fn limits(&self) -> io::Result<Vec<Figure>> {
        tell("calls with limits and without");
        let [free, limited] = self.beside_each_other([&self.keys.free, &self.keys.limited])?;
        Ok(vec![
            cpu("call without limits", &free),
            cpu("call with limits on three levels", &limited),
            Figure { target: at_most(100.0, 40.0), ..adds("limits", &free, &limited) },
            redis("call without limits", &free),
            redis("call with limits", &limited),
        ])
    }

    /// A call with limits on every level and hard budgets besides, beside one that has neither,
    /// and how that grows with the number of budgets.
    pub fn budgets(&self) -> io::Result<Vec<Figure>> {
        tell("calls with budgets and without");
        let [(few, one), (usual, five), (many, all)] = &self.keys.budgeted;
        let keys = [&self.keys.free, one, five, all];
        let [free, one, five, all] = self.beside_each_other(keys)?;
        let what = |count| format!("call with limits and {count} budgets");
        let growth = growth_in_percent(&each_cpu(&one), &each_cpu(&all));
        Ok(vec![
            cpu("call without budgets", &free),
            cpu(&what(few), &one),
            cpu(&what(usual), &five),
            cpu(&what(many), &all),
            Figure {
                target: at_most(100.0, 40.0),
                ..adds(&format!("limits and {usual} budgets"), &free, &five)
            },
            grown(&format!("{few} → {many} budgets"), growth),
            redis(&what(usual), &five),
            redis(&what(many), &all),
        ])
    }

    /// What small calls with each of these keys cost.
    fn beside_each_other<const N: usize>(
        &self,
        keys: [&SecretString; N],
    ) -> io::Result<[Vec<Cost>; N]> {
        let files = self.ready(&[calls::small()])?;
        let load = Load { seconds: self.half(), ..self.load(&files) };
        let runs = keys.map(|key| Run {
            subject: self.subjects[2],
            load: Load { key: key.expose_secret(), ..load },
        });
        self.take_turns(runs)
    }
}

fn each_cpu(costs: &[Cost]) -> Vec<f64> {
    costs.iter().map(|it| it.cpu).collect()
}

fn cpu(what: &str, costs: &[Cost]) -> Figure {
    of_ours(format!("{what}: CPU"), Unit::Microseconds, each_cpu(costs))
}

fn redis(what: &str, costs: &[Cost]) -> Figure {
    let each = costs.iter().map(|it| it.redis);
    of_ours(format!("Redis, {what}: CPU"), Unit::Microseconds, each)
}

/// How much more a call costs by what governs it.
fn adds(what: &str, free: &[Cost], governed: &[Cost]) -> Figure {
    let added = growth_in_percent(&each_cpu(free), &each_cpu(governed));
    of_ours(format!("what {what} add to a call's CPU"), Unit::Percent, added)
}
