//! The first steps of an organization, ticked off by what is really there, and what its
//! first page counts.

/// How far the first steps are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub is_dismissed: bool,
    pub has_key: bool,
    pub has_call: bool,
    pub has_colleague: bool,
    pub has_cost_center: bool,
}

impl Progress {
    fn steps(self) -> [bool; 4] {
        [self.has_key, self.has_call, self.has_colleague, self.has_cost_center]
    }

    pub fn done(self) -> usize {
        self.steps().into_iter().filter(|it| *it).count()
    }

    pub fn is_done(self) -> bool {
        self.done() == self.steps().len()
    }

    /// Whether the checklist stands on the first page.
    pub fn is_shown(self) -> bool {
        !self.is_dismissed && !self.is_done()
    }
}

/// How much there is of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    pub live_keys: i64,
    pub projects: i64,
    pub members: i64,
    pub teams: i64,
    pub cost_centers: i64,
}

/// A first call, in one of the ways that people make calls.
#[derive(Clone, Debug)]
pub struct Snippet {
    /// For the page, to point at it.
    pub id: String,
    pub title: &'static str,
    pub text: String,
}

/// First calls to the data plane at `url`. The key stands in the environment: it was
/// shown once and is not known here.
pub fn snippets(url: &str) -> Vec<Snippet> {
    TEMPLATES
        .iter()
        .enumerate()
        .map(|(n, (title, text))| Snippet {
            id: format!("first-call-{n}"),
            title,
            text: text.replace("{url}", url),
        })
        .collect()
}

/// The first of them: a line for a shell.
pub fn first_call(url: &str) -> String {
    TEMPLATES.first().map(|(_, text)| text.replace("{url}", url)).unwrap_or_default()
}

const TEMPLATES: &[(&str, &str)] = &[
    (
        "curl",
        r#"curl {url}/v1/chat/completions \
  -H "Authorization: Bearer $TURNPIKE_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}'"#,
    ),
    (
        "Python, OpenAI SDK",
        r#"import os
from openai import OpenAI

client = OpenAI(base_url="{url}/v1", api_key=os.environ["TURNPIKE_API_KEY"])
reply = client.chat.completions.create(
    model="auto",
    messages=[{"role": "user", "content": "Hello"}],
)
print(reply.choices[0].message.content)"#,
    ),
    (
        "JavaScript, OpenAI SDK",
        r#"import OpenAI from "openai";

const client = new OpenAI({
  baseURL: "{url}/v1",
  apiKey: process.env.TURNPIKE_API_KEY,
});
const reply = await client.chat.completions.create({
  model: "auto",
  messages: [{ role: "user", content: "Hello" }],
});
console.log(reply.choices[0].message.content);"#,
    ),
    (
        "Vercel AI SDK",
        r#"import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText } from "ai";

const turnpike = createOpenAICompatible({
  name: "turnpike",
  baseURL: "{url}/v1",
  apiKey: process.env.TURNPIKE_API_KEY,
  includeUsage: true,
});
const { text } = await generateText({ model: turnpike("auto"), prompt: "Hello" });
console.log(text);"#,
    ),
    (
        "LangChain",
        r#"import os
from langchain_openai import ChatOpenAI

llm = ChatOpenAI(
    model="auto",
    base_url="{url}/v1",
    api_key=os.environ["TURNPIKE_API_KEY"],
)
print(llm.invoke("Hello").content)"#,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checklist_goes_when_done_or_put_away() {
        let fresh = Progress {
            is_dismissed: false,
            has_key: false,
            has_call: false,
            has_colleague: false,
            has_cost_center: false,
        };
        assert!(fresh.is_shown() && fresh.done() == 0);
        assert!(!Progress { is_dismissed: true, ..fresh }.is_shown());
        let done = Progress {
            has_key: true,
            has_call: true,
            has_colleague: true,
            has_cost_center: true,
            ..fresh
        };
        assert!(!done.is_shown() && done.done() == 4);
    }

    #[test]
    fn every_snippet_calls_us_with_the_key_from_the_environment() {
        for snippet in snippets("https://gw.test") {
            assert!(snippet.text.contains("https://gw.test/v1"), "{}", snippet.title);
            assert!(snippet.text.contains("TURNPIKE_API_KEY"), "{}", snippet.title);
        }
    }
}
