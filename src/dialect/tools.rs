//! The calls of tools in an event or in a whole answer: where their parts stand, so that they can be told apart and changed.

use super::Dialect;
use crate::json::scan::Scanned;

/// A call of a tool, or a piece of one, where it stands in the JSON of an event or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToolCall<'a> {
    /// Which call of the answer it belongs to, in the numbers of the stream.
    pub call: u64,
    /// What it says of the call.
    pub stage: Stage,
    /// The id by which the call is named here.
    pub id: Option<Scanned<'a>>,
    /// The number by which the call is named here.
    pub index: Option<Scanned<'a>>,
    /// The name of the tool.
    pub name: Option<Scanned<'a>>,
    /// The arguments: a string that holds JSON or a piece of it, or an object.
    pub arguments: Option<Scanned<'a>>,
}

/// What is said of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It begins; a piece of its arguments may come with it.
    Begin,
    /// Another piece of its arguments.
    Continue,
    /// All of it at once: in an answer that is no stream, in one event, or again after the pieces.
    Whole,
}

/// The calls in the data of an event, or in a body.
pub fn calls(dialect: Dialect, data: &str) -> Vec<ToolCall<'_>> {
    let mut calls = Vec::new();
    // Most events have none, and are not looked at more closely.
    let is_possible = |word: &str| memchr::memmem::find(data.as_bytes(), word.as_bytes()).is_some();
    let Some(root) = Scanned::root(data) else {
        return calls;
    };
    match dialect {
        Dialect::OpenAi | Dialect::AzureOpenAi if is_possible("_call") => {
            openai(root, &mut calls);
        }
        Dialect::Anthropic if is_possible("tool_use") || is_possible("partial_json") => {
            anthropic(root, &mut calls);
        }
        Dialect::Gemini if is_possible("functionCall") => gemini(root, &mut calls),
        Dialect::OpenAi
        | Dialect::AzureOpenAi
        | Dialect::Anthropic
        | Dialect::Gemini
        | Dialect::Plain => {}
    }
    calls
}

fn openai<'a>(root: Scanned<'a>, calls: &mut Vec<ToolCall<'a>>) {
    if let Some(choices) = root.get("choices") {
        for (at, choice) in (0..).zip(choices.items()) {
            let number = choice.get("index").and_then(Scanned::number).unwrap_or(at);
            if let Some(delta) = choice.get("delta") {
                chat(number, delta, false, calls);
            }
            if let Some(message) = choice.get("message") {
                chat(number, message, true, calls);
            }
        }
        return;
    }
    if let Some(kind) = root.get("type").and_then(Scanned::text) {
        response(&kind, root, calls);
    }
    let output = root.get("output");
    let again = root.get("response").and_then(|inner| inner.get("output"));
    for output in output.into_iter().chain(again) {
        for (at, item) in (0..).zip(output.items()) {
            calls.extend(item_call(at, Stage::Whole, None, item));
        }
    }
}

/// Calls in the delta of a choice, or in its message.
fn chat<'a>(choice: u64, holder: Scanned<'a>, is_whole: bool, calls: &mut Vec<ToolCall<'a>>) {
    let stage = |has_begun: bool| match (is_whole, has_begun) {
        (true, _) => Stage::Whole,
        (false, true) => Stage::Begin,
        (false, false) => Stage::Continue,
    };
    let items = holder.get("tool_calls").map(Scanned::items);
    for (at, item) in (0..).zip(items.into_iter().flatten()) {
        let index = item.get("index");
        let id = item.get("id").filter(|id| id.is_string());
        let function = item.get("function").or_else(|| item.get("custom"));
        let part = |name| function.and_then(|function| function.get(name));
        let name = part("name").filter(|name| name.is_string());
        calls.push(ToolCall {
            call: (choice << 32) | (index.and_then(Scanned::number).unwrap_or(at) & 0xffff_ffff),
            stage: stage(id.is_some() || name.is_some()),
            id,
            index,
            name,
            arguments: part("arguments").or_else(|| part("input")),
        });
    }
    if let Some(call) = holder.get("function_call").filter(|call| call.is_object()) {
        let name = call.get("name").filter(|name| name.is_string());
        calls.push(ToolCall {
            call: choice << 32,
            stage: stage(name.is_some()),
            id: None,
            index: None,
            name,
            arguments: call.get("arguments"),
        });
    }
}

fn response<'a>(kind: &str, root: Scanned<'a>, calls: &mut Vec<ToolCall<'a>>) {
    let index = root.get("output_index");
    let call = index.and_then(Scanned::number).unwrap_or_default();
    let item = |stage| {
        root.get("item")
            .and_then(|item| item_call(call, stage, index, item))
    };
    let piece = |stage, arguments| ToolCall {
        call,
        stage,
        id: root.get("item_id"),
        index,
        name: None,
        arguments,
    };
    match kind {
        "response.output_item.added" => calls.extend(item(Stage::Begin)),
        "response.output_item.done" => calls.extend(item(Stage::Whole)),
        "response.function_call_arguments.delta"
        | "response.custom_tool_call_input.delta"
        | "response.mcp_call_arguments.delta" => {
            calls.push(piece(Stage::Continue, root.get("delta")));
        }
        "response.function_call_arguments.done"
        | "response.custom_tool_call_input.done"
        | "response.mcp_call_arguments.done" => {
            let arguments = root.get("arguments").or_else(|| root.get("input"));
            calls.push(piece(Stage::Whole, arguments));
        }
        _ => {}
    }
}

/// An item of responses, if it is a call of a tool that the client has.
fn item_call<'a>(
    call: u64,
    stage: Stage,
    index: Option<Scanned<'a>>,
    item: Scanned<'a>,
) -> Option<ToolCall<'a>> {
    let kind = item.get("type")?.text()?;
    let is_call = matches!(&*kind, "function_call" | "custom_tool_call" | "mcp_call");
    is_call.then(|| ToolCall {
        call,
        stage,
        id: item.get("call_id").or_else(|| item.get("id")),
        index,
        name: item.get("name"),
        arguments: item.get("arguments").or_else(|| item.get("input")),
    })
}

fn anthropic<'a>(root: Scanned<'a>, calls: &mut Vec<ToolCall<'a>>) {
    let index = root.get("index");
    let call = index.and_then(Scanned::number).unwrap_or_default();
    let is_use = |block: Scanned<'_>| {
        let kind = block.get("type").and_then(Scanned::text);
        kind.is_some_and(|kind| kind.ends_with("tool_use"))
    };
    if let Some(block) = root.get("content_block").filter(|block| is_use(*block)) {
        calls.push(ToolCall {
            call,
            stage: Stage::Begin,
            id: block.get("id"),
            index,
            name: block.get("name"),
            // It is always `{}` here; the pieces follow.
            arguments: None,
        });
    }
    if let Some(piece) = root
        .get("delta")
        .and_then(|delta| delta.get("partial_json"))
    {
        calls.push(ToolCall {
            call,
            stage: Stage::Continue,
            id: None,
            index,
            name: None,
            arguments: Some(piece),
        });
    }
    let blocks = root.get("content").map(Scanned::items);
    for (call, block) in (0..).zip(blocks.into_iter().flatten()) {
        if is_use(block) {
            calls.push(ToolCall {
                call,
                stage: Stage::Whole,
                id: block.get("id"),
                index: None,
                name: block.get("name"),
                arguments: block.get("input"),
            });
        }
    }
}

fn gemini<'a>(root: Scanned<'a>, calls: &mut Vec<ToolCall<'a>>) {
    let candidates = root.get("candidates").map(Scanned::items);
    let parts = candidates
        .into_iter()
        .flatten()
        .filter_map(|candidate| candidate.get("content")?.get("parts"))
        .flat_map(Scanned::items);
    for (call, function) in (0..).zip(parts.filter_map(|part| part.get("functionCall"))) {
        calls.push(ToolCall {
            call,
            stage: Stage::Whole,
            id: function.get("id"),
            index: None,
            name: function.get("name"),
            arguments: function.get("args"),
        });
    }
}
