use serde_json::json;

use super::*;

fn question(text: &str, fields: Value) -> Value {
    let content = json!([{"type": "text", "text": text}]);
    let mut body = json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": content}],
    });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn weather() -> Value {
    json!([{"name": "get_weather", "input_schema": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
    }}])
}

/// Of each event's type, how often it came in a row.
fn outline(events: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<_> = events.iter().map(|it| it["type"].as_str().unwrap()).collect();
    kinds.dedup();
    kinds
}

#[tokio::test]
async fn a_message_is_answered_whole_and_streamed_alike() {
    let simulator = simulator();
    let whole =
        answer(&simulator, MESSAGES, &question("Hello", json!({"system": "Be brief."}))).await;
    assert_eq!(
        (whole["type"].as_str(), whole["stop_reason"].as_str()),
        (Some("message"), Some("end_turn"))
    );
    let streamed = question("Hello", json!({"system": "Be brief.", "stream": true}));
    let (events, _) = stream(&simulator, MESSAGES, &streamed).await;
    let expected = [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(outline(&events), expected);
    assert_eq!(joined(&events, "/delta/text"), whole["content"][0]["text"].as_str().unwrap());
    let ends = &events[events.len() - 2];
    assert_eq!(ends["usage"]["output_tokens"], whole["usage"]["output_tokens"]);
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], whole["usage"]["input_tokens"]);
}

#[tokio::test]
async fn tools_are_used_and_their_input_streamed() {
    let simulator = simulator();
    let body = question("Go", json!({"tools": weather(), "tool_choice": {"type": "any"}}));
    let used = answer(&simulator, MESSAGES, &body).await;
    assert_eq!(used["stop_reason"], "tool_use");
    assert_eq!(used["content"][0]["type"], "tool_use");
    assert!(used["content"][0]["input"]["city"].is_string());

    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    let (events, _) = stream(&simulator, MESSAGES, &streamed).await;
    let input = joined(&events, "/delta/partial_json");
    assert_eq!(serde_json::from_str::<Value>(&input).unwrap(), used["content"][0]["input"]);

    let mut goes_on = body;
    let messages = goes_on["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": used["content"]}));
    messages.push(json!({"role": "user", "content": [{
        "type": "tool_result", "tool_use_id": used["content"][0]["id"], "content": "sunny",
    }]}));
    let told = answer(&simulator, MESSAGES, &goes_on).await;
    assert!(told["content"][0]["text"].as_str().unwrap().contains("sunny"));
}

#[tokio::test]
async fn thinking_comes_first_and_is_signed() {
    let simulator = simulator();
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
    let whole = answer(&simulator, MESSAGES, &question("Why?", thinking.clone())).await;
    assert_eq!(whole["content"][0]["type"], "thinking");
    assert!(whole["content"][0]["signature"].is_string());
    let mut streamed = question("Why?", thinking);
    streamed["stream"] = true.into();
    let (events, _) = stream(&simulator, MESSAGES, &streamed).await;
    assert_eq!(
        joined(&events, "/delta/thinking"),
        whole["content"][0]["thinking"].as_str().unwrap()
    );
    assert_eq!(joined(&events, "/delta/text"), whole["content"][1]["text"].as_str().unwrap());
}

#[tokio::test]
async fn structured_output_and_images_are_understood() {
    let simulator = simulator();
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
    let format = json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
    let structured = answer(&simulator, MESSAGES, &question("Who?", format)).await;
    let text = structured["content"][0]["text"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["name"].is_string());

    let mut seen = question("What is it?", json!({}));
    seen["messages"][0]["content"].as_array_mut().unwrap().push(json!({
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": IMAGE},
    }));
    let seen = answer(&simulator, MESSAGES, &seen).await;
    assert!(seen["content"][0]["text"].as_str().unwrap().contains("1 image"));
}

#[tokio::test]
async fn a_marked_prompt_is_written_to_the_cache_and_then_read() {
    let simulator = simulator();
    let system = json!([{
        "type": "text",
        "text": "Know this. ".repeat(1000),
        "cache_control": {"type": "ephemeral"},
    }]);
    let first = question("Hello", json!({"system": system}));
    let usage = answer(&simulator, MESSAGES, &first).await["usage"].clone();
    assert!(usage["cache_creation_input_tokens"].as_u64().unwrap() > 1024);
    assert_eq!(usage["cache_read_input_tokens"], 0);
    assert!(usage["input_tokens"].as_u64().unwrap() < 100);

    let mut second = first;
    let messages = second["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": "Hello!"}));
    messages.push(json!({"role": "user", "content": "And now?"}));
    let usage = answer(&simulator, MESSAGES, &second).await["usage"].clone();
    assert_eq!(usage["cache_creation_input_tokens"], 0);
    assert!(usage["cache_read_input_tokens"].as_u64().unwrap() > 1024);
}

#[tokio::test]
async fn caps_and_stop_sequences_are_told_apart() {
    let simulator = simulator();
    let capped = answer(&simulator, MESSAGES, &question("Hello", json!({"max_tokens": 4}))).await;
    assert_eq!(
        (capped["stop_reason"].as_str(), capped["usage"]["output_tokens"].as_u64()),
        (Some("max_tokens"), Some(4))
    );
    let stopped = json!({"model": "echo", "stop_sequences": ["two"]});
    let stopped = answer(&simulator, MESSAGES, &question("one two", stopped)).await;
    assert_eq!(stopped["stop_reason"], "stop_sequence");
    assert_eq!(stopped["stop_sequence"], "two");
}

#[tokio::test]
async fn tokens_are_counted_as_they_are_charged() {
    let simulator = simulator();
    let body = question("Hello there", json!({"tools": weather()}));
    let counted = answer(&simulator, "/v1/messages/count_tokens", &body).await;
    let charged = answer(&simulator, MESSAGES, &body).await;
    assert_eq!(counted["input_tokens"], charged["usage"]["input_tokens"]);
}

#[tokio::test]
async fn models_and_errors_have_the_vendors_shape() {
    let simulator = simulator();
    let client = reqwest::Client::new();
    let models = client.get(format!("{}/v1/models", simulator.url()));
    let models = models.header("anthropic-version", "2023-06-01").send().await.unwrap();
    let models: Value = models.json().await.unwrap();
    assert_eq!(
        (models["has_more"].as_bool(), models["data"][0]["type"].as_str()),
        (Some(false), Some("model"))
    );

    let refused =
        client.post(format!("{}{MESSAGES}", simulator.url())).header("x-api-key", "bad-key");
    let refused = refused.json(&question("Hi", json!({}))).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(refused.headers().contains_key("request-id"));
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["error"]["type"], "authentication_error");

    let uncapped = json!({"model": "claude", "messages": [{"role": "user", "content": "Hi"}]});
    let (status, answer) = post(&simulator, MESSAGES, &uncapped).await;
    assert_eq!((status, answer["error"]["type"].as_str()), (400, Some("invalid_request_error")));
    let overloaded = question("Hi", json!({"model": "sim-fault-529"}));
    let (status, answer) = post(&simulator, MESSAGES, &overloaded).await;
    assert_eq!((status, answer["error"]["type"].as_str()), (529, Some("overloaded_error")));
}
