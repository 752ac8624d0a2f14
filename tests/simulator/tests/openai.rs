use serde_json::json;

use super::*;

fn question(text: &str) -> Value {
    json!({"model": "sim-small", "messages": [{"role": "user", "content": text}]})
}

fn with(mut body: Value, fields: Value) -> Value {
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn weather() -> Value {
    json!([{"type": "function", "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius"]}},
            "required": ["city", "unit"],
        },
    }}])
}

#[tokio::test]
async fn chat_answers_with_text_and_usage() {
    let simulator = simulator();
    let answer = answer(&simulator, CHAT, &question("How are you?")).await;
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("How are you?") && text.contains("sim-small"), "{text}");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["completion_tokens"], tokens::count(text));
    let total = answer["usage"]["total_tokens"].as_u64().unwrap();
    let parts =
        ["prompt_tokens", "completion_tokens"].map(|it| answer["usage"][it].as_u64().unwrap());
    assert_eq!(total, parts.iter().sum::<u64>());
}

#[tokio::test]
async fn a_stream_says_the_same_a_token_an_event() {
    let simulator = simulator();
    let whole = answer(&simulator, CHAT, &question("Count to three")).await;
    let streamed = json!({"stream": true, "stream_options": {"include_usage": true}});
    let (events, done) =
        stream(&simulator, CHAT, &with(question("Count to three"), streamed)).await;
    assert!(done);
    let content = "/choices/0/delta/content";
    assert_eq!(
        joined(&events, content),
        whole["choices"][0]["message"]["content"].as_str().unwrap()
    );
    let tokens = events.iter().filter(|it| it.pointer(content).is_some_and(|it| it != "")).count();
    assert_eq!(whole["usage"]["completion_tokens"], tokens);
    let last = events.last().unwrap();
    assert_eq!(last["usage"], whole["usage"]);
    assert_eq!(last["choices"], json!([]));
    assert_eq!(events[1]["usage"], Value::Null);
}

#[tokio::test]
async fn usage_is_streamed_only_when_asked_for() {
    let simulator = simulator();
    let body = with(question("Hello"), json!({"stream": true}));
    let (events, _) = stream(&simulator, CHAT, &body).await;
    assert!(events.iter().all(|it| it.get("usage").is_none()));
}

#[tokio::test]
async fn echo_says_what_was_said() {
    let simulator = simulator();
    let body = with(question("Say «this» exactly\n\"please\""), json!({"model": "echo"}));
    let answer = answer(&simulator, CHAT, &body).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "Say «this» exactly\n\"please\"");
}

#[tokio::test]
async fn a_tool_that_is_mentioned_is_called_and_its_result_told() {
    let simulator = simulator();
    let body = with(question("Get weather for Oslo"), json!({"tools": weather()}));
    let called = answer(&simulator, CHAT, &body).await;
    let message = &called["choices"][0]["message"];
    assert_eq!(called["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(message["content"], Value::Null);
    assert_eq!(message["tool_calls"].as_array().unwrap().len(), 1);
    let function = &message["tool_calls"][0]["function"];
    assert_eq!(function["name"], "get_weather");
    let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["city"].is_string() && arguments["unit"] == "celsius");

    let mut goes_on = body.clone();
    let messages = goes_on["messages"].as_array_mut().unwrap();
    messages.push(message.clone());
    let id = &message["tool_calls"][0]["id"];
    messages.push(json!({"role": "tool", "tool_call_id": id, "content": "12 degrees"}));
    let told = answer(&simulator, CHAT, &goes_on).await;
    let text = told["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("12 degrees"), "{text}");
}

#[tokio::test]
async fn arguments_of_two_calls_are_streamed_in_parts() {
    let simulator = simulator();
    let fields = json!({"tools": weather(), "tool_choice": "required", "stream": true});
    let body = with(question("Do both in parallel"), fields);
    let (events, _) = stream(&simulator, CHAT, &body).await;
    for index in 0..2 {
        let deltas = events.iter().filter_map(|it| it.pointer("/choices/0/delta/tool_calls/0"));
        let deltas: Vec<Value> = deltas.filter(|it| it["index"] == index).cloned().collect();
        assert!(deltas.len() > 3, "{deltas:?}");
        assert!(deltas[0]["id"].as_str().unwrap().starts_with("call_"));
        let arguments = joined(&deltas, "/function/arguments");
        assert!(serde_json::from_str::<Value>(&arguments).unwrap()["city"].is_string());
    }
    let finish = joined(&events, "/choices/0/finish_reason");
    assert_eq!(finish, "tool_calls");
}

#[tokio::test]
async fn tools_are_not_called_when_they_shall_not_be() {
    let simulator = simulator();
    for fields in [json!({"tools": weather(), "tool_choice": "none"}), json!({"tools": weather()})]
    {
        let about = if fields.get("tool_choice").is_some() { "get_weather" } else { "Hello" };
        let answer = answer(&simulator, CHAT, &with(question(about), fields)).await;
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    }
}

#[tokio::test]
async fn structured_output_fits_the_schema() {
    let simulator = simulator();
    let schema = json!({
        "type": "object",
        "properties": {"steps": {"type": "array", "items": {"type": "string"}}, "final": {"type": "integer"}},
        "required": ["steps", "final"],
    });
    let format = json!({"response_format": {
        "type": "json_schema",
        "json_schema": {"name": "maths", "strict": true, "schema": schema},
    }});
    let answer = answer(&simulator, CHAT, &with(question("Solve it"), format)).await;
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    let value: Value = serde_json::from_str(text).unwrap();
    assert!(value["steps"][0].is_string() && value["final"].is_i64(), "{value}");
}

#[tokio::test]
async fn images_are_seen_and_counted() {
    let simulator = simulator();
    let url = format!("data:image/png;base64,{IMAGE}");
    let content = json!([
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]);
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": content}]});
    let with_image = answer(&simulator, CHAT, &body).await;
    let text = with_image["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("1 image"), "{text}");
    let without = answer(&simulator, CHAT, &question("What is this?")).await;
    let prompt = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(prompt(&with_image) > prompt(&without) + 50);

    let mut bad = body;
    bad["messages"][0]["content"][1]["image_url"]["url"] = "nonsense".into();
    assert_eq!(post(&simulator, CHAT, &bad).await.0, 400);
}

#[tokio::test]
async fn caps_stops_choices_and_logprobs_are_kept() {
    let simulator = simulator();
    let capped = answer(&simulator, CHAT, &with(question("Hello"), json!({"max_tokens": 5}))).await;
    assert_eq!(capped["choices"][0]["finish_reason"], "length");
    assert_eq!(capped["usage"]["completion_tokens"], 5);

    let stopped = with(question("one two three four"), json!({"model": "echo", "stop": ["three"]}));
    let stopped = answer(&simulator, CHAT, &stopped).await;
    assert_eq!(stopped["choices"][0]["message"]["content"], "one two ");
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");

    let several = answer(&simulator, CHAT, &with(question("Hello"), json!({"n": 3}))).await;
    assert_eq!(several["choices"].as_array().unwrap().len(), 3);

    let likely = json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 4});
    let likely = answer(&simulator, CHAT, &with(question("Hello"), likely)).await;
    let content = likely["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content.len(), 4);
    assert_eq!(content[0]["top_logprobs"].as_array().unwrap().len(), 2);
    assert!(content[0]["logprob"].as_f64().unwrap() <= 0.0);
}

#[tokio::test]
async fn thoughts_and_cached_prompts_are_in_the_usage() {
    let simulator = simulator();
    let thought =
        answer(&simulator, CHAT, &with(question("Why?"), json!({"model": "sim-reasoning"}))).await;
    let usage = &thought["usage"];
    let reasoning = usage["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap();
    assert!(reasoning > 0 && usage["completion_tokens"].as_u64().unwrap() > reasoning);

    let shown =
        answer(&simulator, CHAT, &with(question("Why?"), json!({"model": "deepseek-reasoner"})))
            .await;
    assert!(shown["choices"][0]["message"]["reasoning_content"].is_string());

    let long = json!({"model": "sim-small", "messages": [
        {"role": "system", "content": "Be brief. ".repeat(1000)},
        {"role": "user", "content": "Hello"},
    ]});
    let cached = answer(&simulator, CHAT, &long).await;
    let details = &cached["usage"]["prompt_tokens_details"];
    assert!(details["cached_tokens"].as_u64().unwrap() >= 1024);
    let short = answer(&simulator, CHAT, &question("Hello")).await;
    assert_eq!(short["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
}

#[tokio::test]
async fn responses_answer_whole_and_streamed() {
    let simulator = simulator();
    let body = json!({"model": "gpt-4o", "input": "Hello there", "instructions": "Be brief."});
    let whole = answer(&simulator, "/v1/responses", &body).await;
    assert_eq!(whole["status"], "completed");
    let text = whole["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("Hello there"));

    let (events, _) =
        stream(&simulator, "/v1/responses", &with(body, json!({"stream": true}))).await;
    let kinds: Vec<_> = events.iter().map(|it| it["type"].as_str().unwrap()).collect();
    assert_eq!(kinds.first(), Some(&"response.created"));
    assert_eq!(kinds.last(), Some(&"response.completed"));
    assert_eq!(events.last().unwrap()["response"], whole);
    let deltas: Vec<_> =
        events.iter().filter(|it| it["type"] == "response.output_text.delta").cloned().collect();
    assert_eq!(joined(&deltas, "/delta"), text);
    assert!(events.iter().zip(0..).all(|(event, nth)| event["sequence_number"] == nth));
}

#[tokio::test]
async fn responses_call_tools_think_and_structure() {
    let simulator = simulator();
    let body = json!({
        "model": "o4-mini",
        "input": [{"role": "user", "content": [
            {"type": "input_text", "text": "get_weather now"},
            {"type": "input_image", "image_url": format!("data:image/png;base64,{IMAGE}")},
        ]}],
        "tools": [{"type": "function", "name": "get_weather", "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
        }}],
    });
    let called = answer(&simulator, "/v1/responses", &body).await;
    assert_eq!(called["output"][0]["type"], "reasoning");
    assert_eq!(called["output"][1]["type"], "function_call");
    let reasoning = &called["usage"]["output_tokens_details"]["reasoning_tokens"];
    assert!(reasoning.as_u64().unwrap() > 0);
    let (events, _) =
        stream(&simulator, "/v1/responses", &with(body, json!({"stream": true}))).await;
    assert!(events.iter().any(|it| it["type"] == "response.function_call_arguments.done"));

    let structured = json!({"model": "gpt-4o", "input": "Hi", "text": {"format": {
        "type": "json_schema", "name": "x",
        "schema": {"type": "object", "properties": {"ok": {"type": "boolean"}}},
    }}});
    let structured = answer(&simulator, "/v1/responses", &structured).await;
    let text = structured["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["ok"].is_boolean());
}

#[tokio::test]
async fn completions_go_on_whole_and_streamed() {
    let simulator = simulator();
    let body =
        json!({"model": "echo", "prompt": "Once upon a time", "max_tokens": 3, "logprobs": 1});
    let whole = answer(&simulator, "/v1/completions", &body).await;
    assert_eq!(whole["choices"][0]["text"], "Once upon a");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["choices"][0]["logprobs"]["text_offset"], json!([0, 4, 9]));
    let (events, done) =
        stream(&simulator, "/v1/completions", &with(body, json!({"stream": true}))).await;
    assert!(done);
    assert_eq!(joined(&events, "/choices/0/text"), "Once upon a");
}

#[tokio::test]
async fn embeddings_come_as_numbers_or_base64() {
    use base64::{Engine, engine::general_purpose::STANDARD};

    let simulator = simulator();
    let body = json!({"model": "text-embedding-3-small", "input": ["a b", "c"], "dimensions": 8});
    let numbers = answer(&simulator, "/v1/embeddings", &body).await;
    assert_eq!(numbers["data"][1]["embedding"].as_array().unwrap().len(), 8);
    let packed = with(body, json!({"encoding_format": "base64"}));
    let packed = answer(&simulator, "/v1/embeddings", &packed).await;
    let bytes = STANDARD.decode(packed["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let first = f32::from_le_bytes(bytes[..4].try_into().unwrap());
    assert_eq!(numbers["data"][0]["embedding"][0].as_f64().unwrap() as f32, first);
    assert_eq!(numbers["usage"]["prompt_tokens"], 2);
    let none = json!({"model": "text-embedding-3-small", "input": []});
    assert_eq!(post(&simulator, "/v1/embeddings", &none).await.0, 400);
}

#[tokio::test]
async fn moderations_flag_some_words() {
    let simulator = simulator();
    let body = json!({"input": ["I will kill it", "I like tea"]});
    let answer = answer(&simulator, "/v1/moderations", &body).await;
    assert_eq!(answer["results"][0]["flagged"], true);
    assert_eq!(answer["results"][0]["categories"]["violence"], true);
    assert_eq!(answer["results"][1]["flagged"], false);
}

#[tokio::test]
async fn paths_with_prefixes_and_deployments_are_understood() {
    let simulator = simulator();
    let body = json!({"messages": [{"role": "user", "content": "Hi"}]});
    let azure = "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21";
    assert_eq!(answer(&simulator, azure, &body).await["model"], "my-gpt");
    let groq = "/east/openai/v1/chat/completions";
    assert_eq!(answer(&simulator, groq, &question("Hi")).await["model"], "sim-small");
    let models = reqwest::get(format!("{}/v1/models", simulator.url())).await.unwrap();
    assert_eq!(models.json::<Value>().await.unwrap()["object"], "list");
    let one = reqwest::get(format!("{}/v1/models/gpt-9", simulator.url())).await.unwrap();
    assert_eq!(one.json::<Value>().await.unwrap()["id"], "gpt-9");
}

#[tokio::test]
async fn errors_have_the_vendors_shape() {
    let simulator = simulator();
    let url = format!("{}{CHAT}", simulator.url());
    let client = reqwest::Client::new();
    let send = |body: &'static str, key: &'static str| {
        client.post(&url).bearer_auth(key).body(body).send()
    };
    let check = async |response: reqwest::Response, status: u16, code: Value| {
        assert_eq!(response.status().as_u16(), status);
        let body: Value = response.json().await.unwrap();
        assert!(body["error"]["message"].is_string(), "{body}");
        assert_eq!(body["error"]["code"], code);
    };
    check(send("{", "k").await.unwrap(), 400, Value::Null).await;
    check(send("{\"messages\":[]}", "k").await.unwrap(), 400, Value::Null).await;
    check(send("{}", "sk-bad-key-1").await.unwrap(), 401, "invalid_api_key".into()).await;
    let lost = reqwest::get(format!("{}/v1/nothing", simulator.url())).await.unwrap();
    check(lost, 404, "model_not_found".into()).await;
    let wrong = reqwest::get(&url).await.unwrap();
    check(wrong, 405, Value::Null).await;
}
