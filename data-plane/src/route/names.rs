//! What a name says beyond the model or policy that it is of: `gpt-5:floor`, `auto/code`,
//! `auto/code:best`. A name that is somebody's as it stands says nothing more.

use routing_engine::Task;

use super::strategy::By;

/// A name, read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Name<'n> {
    /// A model's or a policy's.
    pub base: &'n str,
    /// What is first of all that may answer.
    pub by: Option<By>,
    /// What the call is for, which else is told from the prompt.
    pub task: Option<Task>,
}

const SUFFIXES: [(&str, By); 3] =
    [("floor", By::Cheapest), ("fast", By::Fastest), ("best", By::Best)];

/// What people say for short.
const SHORT: [(&str, Task); 1] = [("math", Task::MathReasoning)];

/// `is_known` says whether a name is a model's or a policy's, `is_policy` whether a policy's.
pub fn read<'n>(
    name: &'n str,
    is_known: impl Fn(&str) -> bool,
    is_policy: impl Fn(&str) -> bool,
) -> Name<'n> {
    let plain = Name { base: name, by: None, task: None };
    if is_known(name) {
        return plain;
    }
    let by = |suffix: &str| SUFFIXES.iter().find(|(it, _)| *it == suffix).map(|(_, by)| *by);
    let suffixed = name.rsplit_once(':').and_then(|(base, it)| Some((base, by(it)?)));
    let (base, by) = suffixed.map_or((name, None), |(base, by)| (base, Some(by)));
    if is_known(base) {
        return Name { base, by, task: None };
    }
    let for_task = base.rsplit_once('/').and_then(|(policy, it)| Some((policy, task(it)?)));
    match for_task.filter(|(policy, _)| is_policy(policy)) {
        Some((policy, task)) => Name { base: policy, by, task: Some(task) },
        None => plain,
    }
}

fn task(name: &str) -> Option<Task> {
    let short = SHORT.iter().find(|(it, _)| *it == name).map(|(_, task)| *task);
    short.or_else(|| Task::named(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, base: &str, by: Option<By>, task: Option<Task>) {
        let policies = ["auto", "odd/code"];
        let models = ["gpt-5", "llama3:8b", "vendor/a", "free:best"];
        let is_policy = |it: &str| policies.contains(&it);
        let is_known = |it: &str| is_policy(it) || models.contains(&it);
        assert_eq!(read(name, is_known, is_policy), Name { base, by, task });
    }

    #[test]
    fn what_is_exact_is_nothing_more() {
        for name in ["gpt-5", "llama3:8b", "vendor/a", "free:best", "odd/code", "nobody", "a:b/c"] {
            check(name, name, None, None);
        }
    }

    #[test]
    fn suffixes_and_tasks_are_read() {
        check("gpt-5:floor", "gpt-5", Some(By::Cheapest), None);
        check("llama3:8b:fast", "llama3:8b", Some(By::Fastest), None);
        check("auto:best", "auto", Some(By::Best), None);
        check("auto/code", "auto", None, Some(Task::Code));
        check("auto/math:floor", "auto", Some(By::Cheapest), Some(Task::MathReasoning));
        check("odd/code/chat", "odd/code", None, Some(Task::Chat));
        // A task is a policy's, and there are eight.
        for name in ["gpt-5/code", "auto/poetry", "auto:dearest", "nobody:best"] {
            check(name, name, None, None);
        }
    }
}
