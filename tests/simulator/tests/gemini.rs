use serde_json::json;

use super::*;

const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";

fn question(text: &str, fields: Value) -> Value {
    let mut body = json!({"contents": [{"role": "user", "parts": [{"text": text}]}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn weather() -> Value {
    json!([{"functionDeclarations": [{"name": "get_weather", "parameters": {
        "type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"],
    }}]}])
}

const TEXT: &str = "/candidates/0/content/parts/0/text";

#[tokio::test]
async fn content_is_generated_whole_and_streamed_both_ways_alike() {
    let simulator = simulator();
    let body = question("Hello", json!({"systemInstruction": {"parts": [{"text": "Be brief."}]}}));
    let whole = answer(&simulator, GENERATE, &body).await;
    let text = whole.pointer(TEXT).unwrap().as_str().unwrap();
    assert_eq!(whole["candidates"][0]["finishReason"], "STOP");

    let (events, _) = stream(&simulator, &format!("{STREAM}?alt=sse"), &body).await;
    assert_eq!(joined(&events, TEXT), text);
    assert_eq!(events.last().unwrap()["usageMetadata"], whole["usageMetadata"]);
    let array = answer(&simulator, STREAM, &body).await;
    assert_eq!(array.as_array().unwrap(), &events);
}

#[tokio::test]
async fn functions_are_called_and_their_response_told() {
    let simulator = simulator();
    let body = question("Please get weather", json!({"tools": weather()}));
    let called = answer(&simulator, GENERATE, &body).await;
    let call = &called["candidates"][0]["content"]["parts"][0]["functionCall"];
    assert_eq!(call["name"], "get_weather");
    assert!(call["args"]["city"].is_string());
    let (events, _) = stream(&simulator, &format!("{STREAM}?alt=sse"), &body).await;
    assert_eq!(&events[0]["candidates"][0]["content"]["parts"][0]["functionCall"], call);

    let mut goes_on = body;
    let contents = goes_on["contents"].as_array_mut().unwrap();
    contents.push(called["candidates"][0]["content"].clone());
    contents.push(json!({"role": "user", "parts": [
        {"functionResponse": {"name": "get_weather", "response": {"sky": "cloudy"}}},
    ]}));
    let told = answer(&simulator, GENERATE, &goes_on).await;
    assert!(told.pointer(TEXT).unwrap().as_str().unwrap().contains("cloudy"));
}

#[tokio::test]
async fn structured_output_images_and_caps_are_understood() {
    let simulator = simulator();
    let config = json!({"generationConfig": {
        "responseMimeType": "application/json",
        "responseSchema": {"type": "OBJECT", "properties": {"days": {"type": "INTEGER"}}},
    }});
    let structured = answer(&simulator, GENERATE, &question("How long?", config)).await;
    let text = structured.pointer(TEXT).unwrap().as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["days"].is_i64());

    let mut seen = question("What is it?", json!({}));
    let parts = seen["contents"][0]["parts"].as_array_mut().unwrap();
    parts.push(json!({"inlineData": {"mimeType": "image/png", "data": IMAGE}}));
    let seen = answer(&simulator, GENERATE, &seen).await;
    assert!(seen.pointer(TEXT).unwrap().as_str().unwrap().contains("1 image"));

    let capped = json!({"generationConfig": {"maxOutputTokens": 3}});
    let capped = answer(&simulator, GENERATE, &question("Hello", capped)).await;
    assert_eq!(capped["candidates"][0]["finishReason"], "MAX_TOKENS");
    assert_eq!(capped["usageMetadata"]["candidatesTokenCount"], 3);
}

#[tokio::test]
async fn thoughts_are_counted_and_shown_when_asked_for() {
    let simulator = simulator();
    let config = json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 100, "includeThoughts": true}}});
    let whole = answer(&simulator, GENERATE, &question("Why?", config)).await;
    assert_eq!(whole["candidates"][0]["content"]["parts"][0]["thought"], true);
    let usage = &whole["usageMetadata"];
    let count = |name: &str| usage[name].as_u64().unwrap();
    assert!(count("thoughtsTokenCount") > 0);
    let parts = ["promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"].map(count);
    assert_eq!(count("totalTokenCount"), parts.iter().sum::<u64>());
}

#[tokio::test]
async fn embeddings_counts_and_models_are_served() {
    let simulator = simulator();
    let embed = json!({"content": {"parts": [{"text": "Hello"}]}, "outputDimensionality": 16});
    let path = "/v1beta/models/gemini-embedding-001:embedContent";
    let embedded = answer(&simulator, path, &embed).await;
    assert_eq!(embedded["embedding"]["values"].as_array().unwrap().len(), 16);
    let path = "/v1beta/models/gemini-embedding-001:batchEmbedContents";
    let batch = answer(&simulator, path, &json!({"requests": [embed]})).await;
    assert_eq!(batch["embeddings"][0], embedded["embedding"]);

    let body = question("Hello", json!({}));
    let counted = answer(&simulator, "/v1beta/models/gemini-2.5-pro:countTokens", &body).await;
    let charged = answer(&simulator, GENERATE, &body).await;
    assert_eq!(counted["totalTokens"], charged["usageMetadata"]["promptTokenCount"]);

    let models = reqwest::get(format!("{}/v1beta/models", simulator.url())).await.unwrap();
    let models: Value = models.json().await.unwrap();
    assert!(models["models"][0]["name"].as_str().unwrap().starts_with("models/"));
    let by_key = reqwest::Client::new().get(format!("{}/v1/models", simulator.url()));
    let by_key = by_key.header("x-goog-api-key", "k").send().await.unwrap();
    assert_eq!(by_key.json::<Value>().await.unwrap(), models);
}

#[tokio::test]
async fn errors_have_the_vendors_shape() {
    let simulator = simulator();
    let keyed = format!("{GENERATE}?key=bad-key");
    let (status, answer) = post(&simulator, &keyed, &question("Hi", json!({}))).await;
    assert_eq!((status, answer["error"]["status"].as_str()), (400, Some("INVALID_ARGUMENT")));
    assert_eq!(answer["error"]["details"][0]["reason"], "API_KEY_INVALID");
    let limited = "/v1beta/models/sim-fault-429:generateContent";
    let (status, answer) = post(&simulator, limited, &question("Hi", json!({}))).await;
    assert_eq!((status, answer["error"]["status"].as_str()), (429, Some("RESOURCE_EXHAUSTED")));
    let (status, _) = post(&simulator, GENERATE, &json!({})).await;
    assert_eq!(status, 400);
}
