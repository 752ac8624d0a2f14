//! Where the demo's models are served: the simulator, for everybody, and for the demo
//! organization every real provider whose key stands in the environment.

use std::env;

use secrecy::SecretString;
use shared::{
    money::{PinnedPrice, Price, Rates, UnitPrice},
    reach::Reach,
    snapshot::{
        Assurances, Capability, Choice, Document, Goal, Modality, Model, Rule, Strategy, Target,
        Tier,
    },
};
use url::Url;

use super::DemoError;
use crate::{
    egress::Egress,
    policies,
    upstreams::{Declared, Draft, known_models},
};

/// The variables that hold vendors' keys, and the vendors.
const KNOWN: [(&str, &str); 9] = [
    ("OPENAI_API_KEY", "openai"),
    ("ANTHROPIC_API_KEY", "anthropic"),
    ("GEMINI_API_KEY", "gemini"),
    ("DEEPSEEK_API_KEY", "deepseek"),
    ("DASHSCOPE_API_KEY", "qwen"),
    ("MISTRAL_API_KEY", "mistral"),
    ("GROQ_API_KEY", "groq"),
    ("OPENROUTER_API_KEY", "openrouter"),
    ("XAI_API_KEY", "xai"),
];

pub fn in_environment() -> Result<Vec<Declared>, DemoError> {
    let mut declared = Vec::new();
    for (variable, vendor) in KNOWN {
        let Some(secret) = env::var(variable).ok().filter(|it| !it.is_empty()) else { continue };
        let draft = Draft { vendor: vendor.to_owned(), ..Draft::default() };
        let place = draft.place(&Egress::new(Reach::default()))?;
        declared.push(Declared { place, secret: secret.into(), models: known_models(vendor) });
    }
    Ok(declared)
}

/// What answers when nobody has paid for anything: on this machine, and allowed to be.
pub fn simulated(base: &Url) -> Result<Declared, DemoError> {
    let draft = Draft {
        vendor: "simulator".to_owned(),
        name: "Simulator".to_owned(),
        base_url: format!("{}/v1", base.as_str().trim_end_matches('/')),
        // It keeps nothing, and cannot learn.
        assurances: Assurances { zero_retention: true, no_training: true },
        ..Draft::default()
    };
    Ok(Declared {
        place: draft.place(&Egress::new(Reach::with_this_machine()))?,
        // The simulator takes any; what is sealed and sent is seen to arrive.
        secret: SecretString::from("sim-no-secret-needed"),
        models: SIMULATED.into_iter().map(model).collect::<Result<_, _>>()?,
    })
}

/// What the simulator answers to, and the dollars that a million tokens of it cost in and out:
/// made up, so that there is something to count.
const SIMULATED: [(&str, &str, &str); 5] = [
    ("sim-small", "0.15", "0.60"),
    ("sim-large", "2.50", "10"),
    ("sim-reasoning", "1.25", "10"),
    ("sim-slow", "0.15", "0.60"),
    ("echo", "0", "0"),
];

fn model((name, input, output): (&str, &str, &str)) -> Result<Model, DemoError> {
    let each = |text| UnitPrice::per_million(text).map_err(|_| DemoError::Incomplete);
    let rates = Rates::of_text(each(input)?, each(output)?);
    let price = Price::flat(rates).map_err(|_| DemoError::Incomplete)?;
    // The simulator answers calls of every form, whichever of its models is asked.
    let mut capabilities = vec![
        Capability::Streaming,
        Capability::Tools,
        Capability::JsonSchema,
        Capability::Embeddings,
        Capability::Moderation,
    ];
    if name == "sim-reasoning" {
        capabilities.push(Capability::Reasoning);
    }
    Ok(Model {
        capabilities,
        input: vec![Modality::Text, Modality::Image],
        // Its number it gets where it is kept.
        price: Some(PinnedPrice { revision: 0, price }),
        ..Model::of_text(name, name, 128_000, 16_384)
    })
}

/// The name that our examples use: of those that will do for a question, the cheapest.
pub fn auto() -> Result<policies::Draft, DemoError> {
    let tiers: &[&[(&str, u16)]] = &[&[("sim-small", 1), ("sim-reasoning", 1), ("sim-large", 1)]];
    let mut draft = policy("auto", "The cheapest that will do", tiers)?;
    let otherwise = &mut draft.document.otherwise;
    (otherwise.strategy, otherwise.goal) = (Strategy::Auto, Some(Goal::QualityPercent(80)));
    Ok(draft)
}

/// What it says since the month is over: the small model was no good at code and mathematics.
pub fn auto_next() -> Result<policies::Draft, DemoError> {
    let mut draft = auto()?;
    draft.document.otherwise.goal = Some(Goal::QualityPercent(90));
    draft.note = "More of the best one’s quality".to_owned();
    Ok(draft)
}

pub const SUPPORT_CHAT: &str = "support-chat";

/// A trial of the large model, with a tenth of the calls; and for code, the cheapest that can do
/// what code takes.
pub fn support_chat() -> Result<policies::Draft, DemoError> {
    let note = "A tenth of the calls tries the large model";
    let tiers: &[&[(&str, u16)]] = &[&[("sim-small", 9), ("sim-large", 1)], &[("sim-slow", 1)]];
    let mut draft = policy(SUPPORT_CHAT, note, tiers)?;
    let code = tier(&&[("sim-reasoning", 1), ("sim-large", 1)][..]);
    draft.document.rules.push(Rule {
        name: "Code".to_owned(),
        when: "task == 'code' && request.input_tokens > 200".to_owned(),
        choose: Choice { strategy: Strategy::Cheapest, tiers: vec![code], ..Choice::default() },
    });
    Ok(draft)
}

/// What somebody would have it say: whoever is good enough for the question at hand, as cheap as
/// it gets.
pub fn support_chat_next() -> Result<policies::Draft, DemoError> {
    let note = "The cheapest model that will do for each question";
    let tiers: &[&[(&str, u16)]] = &[&[("sim-small", 1), ("sim-reasoning", 1), ("sim-large", 1)]];
    let mut draft = policy(SUPPORT_CHAT, note, tiers)?;
    let otherwise = &mut draft.document.otherwise;
    (otherwise.strategy, otherwise.goal) = (Strategy::Auto, Some(Goal::QualityPercent(90)));
    let best = tier(&&[("sim-reasoning", 1), ("sim-large", 1)][..]);
    draft.document.rules.push(Rule {
        name: "Code and mathematics".to_owned(),
        when: "task in ['code', 'math_reasoning']".to_owned(),
        choose: Choice { strategy: Strategy::Best, tiers: vec![best], ..Choice::default() },
    });
    Ok(draft)
}

fn tier(targets: &&[(&str, u16)]) -> Tier {
    let target = |(model, weight): &(&str, u16)| Target {
        model: (*model).to_owned(),
        provider: None,
        weight: *weight,
    };
    Tier { targets: targets.iter().map(target).collect() }
}

fn policy(name: &str, note: &str, tiers: &[&[(&str, u16)]]) -> Result<policies::Draft, DemoError> {
    Ok(policies::Draft {
        name: name.parse()?,
        document: Document::of_tiers(tiers.iter().map(tier).collect()),
        note: note.to_owned(),
    })
}
