//! What a request for a completion asks for, and the words that it gets.

use serde_json::Value;

use crate::synth::words::Words;

/// What a request for a completion asks for.
pub(super) struct Wish {
    pub(super) model: String,
    pub(super) is_stream: bool,
    /// Whether the stream ends with the usage.
    pub(super) has_usage: bool,
    max_tokens: Option<usize>,
    /// As many at least; the answer is drawn out to it.
    min_tokens: usize,
    pub(super) prompt_tokens: usize,
    /// How many choices there are to be. 1..=128
    pub(super) choices: usize,
    /// Where the answer ends, though not said itself. None is empty.
    stops: Vec<String>,
    /// The text of the last message of the user; empty where there is none.
    last_words: String,
}

/// Why a request can't be answered, in the terms of the API.
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) param: Option<&'static str>,
}

impl Wish {
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        let body: Value = serde_json::from_slice(body).map_err(|error| Problem {
            message: format!("We could not parse the JSON body of your request: {error}."),
            param: None,
        })?;
        let model = match &body["model"] {
            Value::String(model) if !model.is_empty() => model.clone(),
            _ => {
                return Err(problem(
                    "model",
                    "you must provide a model parameter, a string",
                ));
            }
        };
        let messages = match &body["messages"] {
            Value::Array(messages) if !messages.is_empty() => messages,
            _ => {
                return Err(problem(
                    "messages",
                    "expected an array with at least one message",
                ));
            }
        };
        if !messages.iter().all(|message| message["role"].is_string()) {
            return Err(problem(
                "messages",
                "expected each message to be an object with a role",
            ));
        }
        let max_tokens = match count(&body["max_completion_tokens"], "max_completion_tokens", 1)? {
            Some(most) => Some(most),
            None => count(&body["max_tokens"], "max_tokens", 1)?,
        };
        if matches!(&body["tool_choice"], Value::Object(_)) || body["tool_choice"] == "required" {
            return Err(problem(
                "tool_choice",
                "the built-in backend calls no tools",
            ));
        }
        let choices = count(&body["n"], "n", 1)?.unwrap_or(1);
        if choices > MAX_CHOICES {
            return Err(problem(
                "n",
                &format!("expected at most {MAX_CHOICES} choices"),
            ));
        }
        let last = messages
            .iter()
            .rev()
            .find(|message| message["role"] == "user");
        Ok(Self {
            model,
            is_stream: flag(&body["stream"], "stream")?,
            has_usage: flag(&body["stream_options"]["include_usage"], "stream_options")?,
            max_tokens,
            min_tokens: min_tokens(&body, max_tokens, choices)?,
            choices,
            stops: stops(&body["stop"])?,
            prompt_tokens: messages
                .iter()
                .map(|message| text_of(message).split_whitespace().count())
                .sum(),
            last_words: last.map(text_of).unwrap_or_default(),
        })
    }

    /// The words of the answer, and why it ends.
    pub(super) fn words(&self) -> (Words, &'static str) {
        let mut said = self.last_words.split_whitespace();
        let echo: Vec<String> = said
            .by_ref()
            .take(MAX_ECHO)
            .map(|word| word.chars().take(MAX_ECHO).collect())
            .collect();
        let more = if said.next().is_some() { " …" } else { "" };
        let text = if echo.is_empty() {
            "There was no text to answer, and this is a made-up answer from rehearsal.".to_owned()
        } else {
            format!(
                "You said: “{}{more}” This is a made-up answer from rehearsal.",
                echo.join(" ")
            )
        };
        let said: Vec<String> = text
            .split(' ')
            .enumerate()
            .map(|(index, word)| {
                if index == 0 {
                    word.to_owned()
                } else {
                    format!(" {word}")
                }
            })
            .collect();
        let wanted = said.len().max(self.min_tokens);
        let most = self.max_tokens.unwrap_or(usize::MAX);
        let mut words = Words::new(said, self.min_tokens, most);
        let is_stopped = words.end_before(&self.stops);
        let reason = if most < wanted && !is_stopped {
            "length"
        } else {
            "stop"
        };
        (words, reason)
    }
}

/// One text that ends an answer, or several.
fn stops(value: &Value) -> Result<Vec<String>, Problem> {
    let listed = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(listed) => listed.as_slice(),
        one => std::slice::from_ref(one),
    };
    let stops: Vec<_> = listed
        .iter()
        .filter_map(Value::as_str)
        .filter(|stop| !stop.is_empty())
        .map(str::to_owned)
        .collect();
    if stops.len() < listed.len() || stops.len() > MAX_STOPS {
        let what = format!("expected a text that is not empty, or up to {MAX_STOPS} of them");
        return Err(problem("stop", &what));
    }
    Ok(stops)
}

/// How many tokens there are to be at least: `min_tokens`, or `max_tokens` if the end of the text is to be ignored
/// (`ignore_eos`). Both are widely known extensions of the API, made for measuring.
fn min_tokens(body: &Value, max_tokens: Option<usize>, choices: usize) -> Result<usize, Problem> {
    let is_endless = flag(&body["ignore_eos"], "ignore_eos")?;
    let (param, least) = match count(&body["min_tokens"], "min_tokens", 0)? {
        Some(least) if least > 0 => ("min_tokens", least),
        Some(_) | None if is_endless => ("max_tokens", max_tokens.unwrap_or(0)),
        Some(_) | None => return Ok(0),
    };
    if least.saturating_mul(choices) > MAX_FILLED {
        return Err(problem(
            param,
            &format!("the built-in backend makes up at most {MAX_FILLED} tokens"),
        ));
    }
    Ok(least)
}

fn problem(param: &'static str, what: &str) -> Problem {
    Problem {
        message: format!("Invalid value for '{param}': {what}."),
        param: Some(param),
    }
}

fn flag(value: &Value, param: &'static str) -> Result<bool, Problem> {
    match value {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(*flag),
        _ => Err(problem(param, "expected a boolean")),
    }
}

fn count(value: &Value, param: &'static str, least: u64) -> Result<Option<usize>, Problem> {
    if value.is_null() {
        return Ok(None);
    }
    match value.as_u64() {
        Some(count) if count >= least => Ok(Some(usize::try_from(count).unwrap_or(usize::MAX))),
        Some(_) | None => {
            let what = format!("expected a whole number of at least {least}");
            Err(problem(param, &what))
        }
    }
}

/// The text of a message, whether it is one string or a list of parts.
fn text_of(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<_> = parts
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect();
            texts.join(" ")
        }
        _ => String::new(),
    }
}

/// In words, and of each in characters.
const MAX_ECHO: usize = 40;

/// The most tokens that an answer is drawn out to, all of its choices together.
const MAX_FILLED: usize = 20_000;

/// As many choices and stops as the API allows.
const MAX_CHOICES: usize = 128;
const MAX_STOPS: usize = 4;
