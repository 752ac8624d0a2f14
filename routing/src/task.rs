//! What a prompt is for: eight types, told by cues (words that people use when they want such a
//! thing) and by a linear head that learned the rest, with the cues as some of its features.

use crate::words;

/// In the order in which they are kept in files: never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Task {
    Code,
    MathReasoning,
    Creative,
    Translation,
    Summarization,
    Extraction,
    Chat,
    Qa,
}

pub const TASKS: usize = 8;

impl Task {
    pub const ALL: [Self; TASKS] = [
        Self::Code,
        Self::MathReasoning,
        Self::Creative,
        Self::Translation,
        Self::Summarization,
        Self::Extraction,
        Self::Chat,
        Self::Qa,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::MathReasoning => "math_reasoning",
            Self::Creative => "creative",
            Self::Translation => "translation",
            Self::Summarization => "summarization",
            Self::Extraction => "extraction",
            Self::Chat => "chat",
            Self::Qa => "qa",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    pub const fn index(self) -> usize {
        self as usize
    }

    /// The task with the highest of `scores`; of equals the first.
    pub fn best(scores: &[f32; TASKS]) -> Self {
        let mut best = Self::Qa;
        let mut most = f32::NEG_INFINITY;
        for (task, &score) in Self::ALL.into_iter().zip(scores) {
            if score > most {
                (best, most) = (task, score);
            }
        }
        best
    }
}

/// One or two words that speak for a task. Characters of scripts without spaces are words.
pub struct Cue {
    pub hash: u64,
    pub task: Task,
}

/// All of them, sorted by hash.
pub fn cues() -> Vec<Cue> {
    let mut all: Vec<Cue> = Vec::new();
    for (task, phrases) in PHRASES {
        let of = |phrase| Cue { hash: words::hash_of_phrase(phrase), task: *task };
        all.extend(phrases.split(',').map(str::trim).filter(|it| !it.is_empty()).map(of));
    }
    all.sort_by_key(|it| (it.hash, it.task));
    all.dedup_by_key(|it| it.hash);
    all
}

/// By commas. Written down from what one says in these languages, not counted in any data.
const PHRASES: &[(Task, &str)] = &[
    (
        Task::Code,
        "python, javascript, typescript, java, c++, html, css, sql, bash, regex, function, code, \
         script, program, algorithm, implement, debug, compile, api, class, def, return, import, \
         const, docker, kubernetes, git, linux, react, django, query, array, struct, public static, \
         write code, a function, 代码, 函数, 编程, 程序, функцию, código, funktion, コード",
    ),
    (
        Task::MathReasoning,
        "solve, prove, equation, integral, derivative, probability, theorem, how many, how much, \
         calculate, compute, triangle, polynomial, matrix, integer, integers, find the, sum of, \
         frac, sqrt, step by, puzzle, riddle, velocity, per hour, percent, in total, at least, \
         value of, total cost, 计算, 证明, 方程, 求解, вычисли, calcula, berechne, calculer",
    ),
    (
        Task::Creative,
        "poem, story, song, lyrics, haiku, essay, blog, email, letter, screenplay, script for, \
         novel, slogan, headline, speech, fictional, a poem, a story, short story, write an, \
         write a, draft, compose, craft, brainstorm, review, dialogue, joke, rhyme, article, \
         chapter, scene, fanfiction, advertisement, catchy, tagline, tweet, 写一篇, 故事, 诗, 小说, \
         文案, 写一, напиши, сочини, escribe, historia, poema, schreibe, geschichte, écris, histoire, \
         escreva, scrivi, 小説, 物語",
    ),
    (
        Task::Translation,
        "translate, translation, translated, translate to, translate into, translate this, \
         translate the, translation of, you say, into english, into spanish, into french, \
         into german, into japanese, into chinese, to english, to spanish, to french, to german, \
         to chinese, to japanese, to korean, to russian, in french, in spanish, in german, \
         in japanese, in russian, in korean, in chinese, in hindi, in arabic, in turkish, \
         in vietnamese, in polish, in italian, in portuguese, in dutch, in swedish, in english, \
         翻译, 译成, 翻譯, переведи, перевод, traduce, traducir, traduis, traduire, traduza, traduci, \
         übersetze, übersetzen, çevir, dịch, 翻訳, 번역, przetłumacz",
    ),
    (
        Task::Summarization,
        "summarize, summarise, summary, summarizing, summarization, tldr, tl dr, condense, \
         main points, key points, key takeaways, brief summary, a summary, in short, shorten, \
         abstract of, recap, the gist, bullet points, 总结, 摘要, 概括, 概述, резюме, кратко, resume, \
         resumen, resumir, résume, résumé, zusammenfassung, zusammen, fasse, riassumi, resuma, 要約, \
         요약, özetle, tóm tắt",
    ),
    (
        Task::Extraction,
        "extract, classify, categorize, categorise, classification, sentiment, entities, \
         named entities, identify the, label, json, csv, following categories, one of, keywords, \
         positive or, or negative, parse, tag, fields, the following, given the, is relevant, \
         following text, given product, extract the, list all, 提取, 分类, 抽取, извлеки, extrae, \
         extraire, extrahiere, 抽出, 추출, klassifiziere",
    ),
    (
        Task::Chat,
        "hello, hi, hey, thanks, thank you, pretend, roleplay, role play, imagine you, act as, \
         you are, as a, as an, the role, my name, how are, good morning, your name, are you, \
         do you, let us, i feel, your opinion, persona, character, 你好, 你是, 扮演, привет, hola, \
         bonjour, hallo, ciao, olá, こんにちは, 안녕",
    ),
    (
        Task::Qa,
        "what is, what are, who was, who is, when did, where is, why do, why is, why does, explain, \
         describe, difference between, which of, the difference, how does, how do, define, \
         meaning of, history of, tell me, advantages, causes, effects, compare, 什么是, 为什么, 是什么, \
         解释, что такое, почему, qué es, por qué, was ist, warum, pourquoi",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for task in Task::ALL {
            assert_eq!(Task::named(task.name()), Some(task));
            assert_eq!(Task::ALL[task.index()], task);
        }
    }

    #[test]
    fn the_first_of_equals_wins_and_nonsense_is_a_question() {
        assert_eq!(Task::best(&[0.0; TASKS]), Task::Code);
        assert_eq!(Task::best(&[f32::NAN; TASKS]), Task::Qa);
    }
}
