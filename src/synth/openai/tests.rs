use super::*;

fn ask(method: &str, path: &str, body: &str) -> Answer {
    let request = RequestHead {
        method: method.to_owned(),
        path: path.to_owned(),
        query: None,
        headers: Headers::new(),
    };
    answer(&request, body.as_bytes())
}

fn chat(body: &Value) -> Answer {
    ask("POST", "/v1/chat/completions", &body.to_string())
}

fn json_of(answer: &Answer) -> Value {
    let body: Vec<u8> = answer
        .chunks
        .iter()
        .flat_map(|(_, bytes)| bytes.to_vec())
        .collect();
    let length = answer.head.headers.get_str("content-length").unwrap();
    assert_eq!(length, body.len().to_string());
    serde_json::from_slice(&body).unwrap()
}

fn events(answer: &Answer) -> Vec<Value> {
    let mut lines: Vec<_> = answer
        .chunks
        .iter()
        .map(|(_, bytes)| String::from_utf8(bytes.to_vec()).unwrap())
        .map(|line| {
            line.strip_prefix("data: ")
                .unwrap()
                .strip_suffix("\n\n")
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(lines.pop().as_deref(), Some("[DONE]"));
    lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_stream_says_the_same_as_the_whole_answer() {
    let mut body = json!({
        "model": "m",
        "messages": [
            { "role": "system", "content": "be brief" },
            { "role": "user", "content": [{ "type": "text", "text": "hello big world" }] },
        ],
    });
    let whole = json_of(&chat(&body));
    let content = whole["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        content,
        "You said: “hello big world” This is a made-up answer from rehearsal."
    );
    assert_eq!(
        whole["usage"],
        json!({ "prompt_tokens": 5, "completion_tokens": 12, "total_tokens": 17 })
    );

    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    let streamed = chat(&body);
    let events = events(&streamed);
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let said: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(said, content);
    assert_eq!(
        events[events.len() - 2]["choices"][0]["finish_reason"],
        "stop"
    );
    assert_eq!(events[events.len() - 1]["usage"], whole["usage"]);
    assert_eq!(events[0]["usage"], Value::Null);
    let times: Vec<_> = streamed
        .chunks
        .iter()
        .take(3)
        .map(|(at, _)| at.as_millis())
        .collect();
    assert_eq!(times, [200, 212, 224]);
}

#[test]
fn the_same_request_gets_the_same_answer() {
    let body =
        |text: &str| json!({ "model": "m", "messages": [{ "role": "user", "content": text }] });
    assert_eq!(chat(&body("a")), chat(&body("a")));
    assert_ne!(
        json_of(&chat(&body("a")))["id"],
        json_of(&chat(&body("b")))["id"]
    );
}

#[test]
fn an_answer_is_no_longer_than_asked() {
    for key in ["max_tokens", "max_completion_tokens"] {
        let mut body =
            json!({ "model": "m", "messages": [{ "role": "user", "content": "a b c" }] });
        body[key] = json!(3);
        let answer = json_of(&chat(&body));
        assert_eq!(answer["choices"][0]["message"]["content"], "You said: “a");
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
        assert_eq!(answer["usage"]["completion_tokens"], 3);
    }
}

#[test]
fn an_answer_is_as_long_as_asked() {
    for (more, count, reason) in [
        (json!({ "min_tokens": 200 }), 200, "stop"),
        (
            json!({ "ignore_eos": true, "max_tokens": 200 }),
            200,
            "stop",
        ),
        (
            json!({ "min_tokens": 200, "max_tokens": 150 }),
            150,
            "length",
        ),
        (json!({ "min_tokens": 1 }), 12, "stop"),
        (json!({ "min_tokens": 0 }), 12, "stop"),
        (
            json!({ "min_tokens": 0, "ignore_eos": true, "max_tokens": 30 }),
            30,
            "stop",
        ),
    ] {
        let mut body =
            json!({ "model": "m", "messages": [{ "role": "user", "content": "a b c" }] });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer = json_of(&chat(&body));
        assert_eq!(answer["usage"]["completion_tokens"], count, "{more}");
        assert_eq!(answer["choices"][0]["finish_reason"], reason, "{more}");
        let words = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert_eq!(words.split(' ').count(), count);
    }
}

#[test]
fn what_cannot_be_answered_is_refused_in_the_shape_of_the_api() {
    for (body, param) in [
        ("", Value::Null),
        ("{", Value::Null),
        ("[1]", json!("model")),
        (r#"{"model":"m","messages":[]}"#, json!("messages")),
        (r#"{"model":"m","messages":[1]}"#, json!("messages")),
        (
            r#"{"model":"m","messages":[{"role":"user"}],"stream":1}"#,
            json!("stream"),
        ),
        (
            r#"{"model":"m","messages":[{"role":"user"}],"max_tokens":0}"#,
            json!("max_tokens"),
        ),
        (
            r#"{"model":"m","messages":[{"role":"user"}],"max_tokens":1e99}"#,
            json!("max_tokens"),
        ),
        (
            r#"{"model":"m","messages":[{"role":"user"}],"min_tokens":20001}"#,
            json!("min_tokens"),
        ),
        (
            r#"{"model":"m","messages":[{"role":"user"}],"min_tokens":10001,"n":2}"#,
            json!("min_tokens"),
        ),
        (
            r#"{"model":"m","messages":[{"role":"user"}],"n":129}"#,
            json!("n"),
        ),
        (
            r#"{"model":"m","messages":[{"role":"user"}],"n":0}"#,
            json!("n"),
        ),
        (
            r#"{"model":"m","messages":[{"role":"user"}],"stop":["a",""]}"#,
            json!("stop"),
        ),
        (
            r#"{"model":"m","messages":[{"role":"user"}],"stop":["a","b","c","d","e"]}"#,
            json!("stop"),
        ),
        (
            r#"{"model":"m","messages":[{"role":"user"}],"stop":7}"#,
            json!("stop"),
        ),
        (
            r#"{"model":"m","messages":[{"role":"user"}],"tool_choice":"required"}"#,
            json!("tool_choice"),
        ),
    ] {
        let answer = ask("POST", "/v1/chat/completions", body);
        assert_eq!(answer.head.status, 400, "{body}");
        let error = &json_of(&answer)["error"];
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(error["param"], param, "{body}");
    }
}

#[test]
fn an_unknown_path_is_not_worth_a_retry() {
    let answer = ask("GET", "/v2/x", "");
    assert_eq!(answer.head.status, 404);
    assert_eq!(answer.head.headers.get_str("x-should-retry"), Some("false"));
    assert_eq!(json_of(&answer)["error"]["code"], "unknown_url");
    assert_eq!(ask("GET", "/v1/chat/completions", "").head.status, 405);
}

#[test]
fn models_are_listed_and_any_is_known() {
    let list = json_of(&ask("GET", "/v1/models", ""));
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], "rehearsal-fake");
    assert_eq!(json_of(&ask("GET", "/v1/models/any", ""))["id"], "any");
}

#[test]
fn an_answer_ends_before_what_is_to_stop_it() {
    for (stop, said, tokens, reason) in [
        (json!("made-up"), "You said: “a b c” This is a ", 9, "stop"),
        (json!(["is a", "ade"]), "You said: “a b c” This ", 7, "stop"),
        (json!("You"), "", 0, "stop"),
        (json!([]), "You said: “a b c” This is a", 8, "length"),
        (
            json!("rehearsal"),
            "You said: “a b c” This is a",
            8,
            "length",
        ),
    ] {
        let mut body = json!({
            "model": "m",
            "messages": [{ "role": "user", "content": "a b c" }],
            "stop": stop,
        });
        if reason == "length" {
            body["max_tokens"] = json!(8);
        }
        let answer = json_of(&chat(&body));
        let choice = &answer["choices"][0];
        assert_eq!(choice["message"]["content"], said, "{stop}");
        assert_eq!(choice["finish_reason"], reason, "{stop}");
        assert_eq!(answer["usage"]["completion_tokens"], tokens, "{stop}");
    }
}

#[test]
fn each_choice_that_was_asked_for_is_answered() {
    let mut body = json!({
        "model": "\"content\":\"\"",
        "messages": [{ "role": "user", "content": "a" }],
        "n": 3,
        "max_tokens": 4,
    });
    let whole = json_of(&chat(&body));
    let said = "You said: “a” This";
    for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
        assert_eq!(choice["index"], index);
        assert_eq!(choice["message"]["content"], said);
    }
    assert_eq!(whole["choices"].as_array().unwrap().len(), 3);
    assert_eq!(whole["usage"]["completion_tokens"], 12);

    body["stream"] = json!(true);
    let answer = chat(&body);
    assert_eq!(answer.tokens, Some(1..5), "the choices go side by side");
    let mut texts = vec![String::new(); 3];
    for event in events(&answer) {
        assert_eq!(event["model"], body["model"]);
        for choice in event["choices"].as_array().unwrap() {
            let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
            texts[index] += choice["delta"]["content"].as_str().unwrap_or_default();
        }
    }
    assert_eq!(texts, [said; 3]);
}

#[test]
fn words_that_need_escaping_come_through_a_stream() {
    let mut body = json!({
        "model": "m",
        "messages": [{ "role": "user", "content": "say \"hi\" \\o/ \u{1} é 🎭" }],
        "min_tokens": 30,
        "n": 2,
    });
    let whole = json_of(&chat(&body));
    body["stream"] = json!(true);
    let answer = chat(&body);
    let said: String = events(&answer)
        .iter()
        .filter_map(|event| event["choices"][1]["delta"]["content"].as_str())
        .collect();
    assert_eq!(whole["choices"][1]["message"]["content"], said);
    assert!(said.starts_with("You said: “say \"hi\" \\o/ \u{1} é 🎭” This"));
    assert_eq!(answer.tokens, Some(1..31));
    assert!((0..answer.chunks.len()).all(|index| answer.chunks.get(index).is_some()));
    assert_eq!(answer.chunks.get(answer.chunks.len()), None);
}
