// Puts the OpenAI and Anthropic SDKs through requests, up to 48 at once: KEY, and a file with JSON of [{url, sdk, way, name, prompt,
// client, timeout, times, pause, patience, hurry, prefix}]. Prints for each what came of it, as one line of JSON. `../sdk_python.py` does the same in Python.
import Anthropic from "@anthropic-ai/sdk";
import { AsyncLocalStorage } from "node:async_hooks";
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const [apiKey, file] = process.argv.slice(2);
const asks = JSON.parse(readFileSync(file, "utf8"));

// How long the SDKs mean to sleep before they try again; those in a hurry sleep less.
const playing = new AsyncLocalStorage();
const setTimer = globalThis.setTimeout;
globalThis.setTimeout = (done, ms, ...rest) => {
  const own = playing.getStore();
  if (own && /utils\/sleep\.m?js/.test(new Error().stack)) {
    own.seen.waits.push(ms / 1000);
    if (own.ask.hurry) ms = Math.min(ms, 10);
  }
  return setTimer(done, ms, ...rest);
};

const schema = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "number" } },
  required: ["city", "days"],
  additionalProperties: false,
};
const chatTool = { type: "function", function: { name: "get_weather", parameters: schema, strict: true } };
const messagesTool = { name: "get_weather", input_schema: schema };
const responsesTool = { type: "function", name: "get_weather", parameters: schema, strict: true };
const tools = (prompt, tool) => (prompt === "weather" ? { tools: [tool] } : {});

const chatAsk = (prompt) => ({ model: "gpt-4o", messages: [{ role: "user", content: prompt }], ...tools(prompt, chatTool) });
const messageAsk = (prompt) => ({
  model: "claude-mock-1",
  max_tokens: 400,
  messages: [{ role: "user", content: prompt }],
  ...tools(prompt, messagesTool),
});
const responseAsk = (prompt) => ({ model: "gpt-4o", input: prompt, ...tools(prompt, responsesTool) });

function chatChunk(chunk, seen) {
  seen.events += 1;
  for (const choice of chunk.choices ?? []) {
    seen.text += choice.delta.content ?? "";
    seen.finish = choice.finish_reason ?? seen.finish;
    for (const call of choice.delta.tool_calls ?? []) seen.tool = (seen.tool ?? "") + (call.function.arguments ?? "");
  }
}

function chatWhole(got, seen) {
  if (typeof got === "string") return Object.assign(seen, { text: got, finish: "str" });
  const { message, finish_reason } = got.choices[0];
  seen.text = message.content ?? "";
  seen.finish = finish_reason;
  for (const call of message.tool_calls ?? []) {
    seen.tool = call.function.arguments;
    seen.parsed = call.function.parsed_arguments ?? null;
  }
}

function messageEvent(event, seen) {
  seen.events += 1;
  seen.text += event.delta?.text ?? "";
  seen.finish = event.delta?.stop_reason ?? seen.finish;
  if (event.delta?.partial_json !== undefined) seen.tool = (seen.tool ?? "") + event.delta.partial_json;
}

function messageWhole(got, seen) {
  if (typeof got === "string") return Object.assign(seen, { text: got, finish: "str" });
  seen.text = got.content.map((block) => block.text ?? "").join("");
  seen.finish = got.stop_reason;
  for (const block of got.content) if (block.type === "tool_use") seen.tool = JSON.stringify(block.input);
}

// The finish is the last event that ends a response or says why there is none.
function responseEvent(event, seen) {
  seen.events += 1;
  if (event.type === "response.output_text.delta") seen.text += event.delta;
  else if (event.type === "response.function_call_arguments.done") seen.tool = event.arguments;
  else if (["response.completed", "response.failed", "error"].includes(event.type)) {
    seen.finish = event.type;
    seen.code = (event.type === "response.failed" ? event.response.error : event).code ?? null;
  }
}

function responseWhole(got, seen) {
  if (typeof got === "string") return Object.assign(seen, { text: got, finish: "str" });
  seen.text = got.output_text ?? "";
  seen.finish = got.status;
  for (const item of got.output) {
    if (item.type !== "function_call") continue;
    seen.tool = item.arguments;
    seen.parsed = item.parsed_arguments ?? null;
  }
}

async function each(stream, seen, take) {
  for await (const event of await stream) take(event, seen);
}

const ways = {
  openai: {
    create: async (client, prompt, seen) => chatWhole(await client.chat.completions.create(chatAsk(prompt)), seen),
    stream: (client, prompt, seen) => each(client.chat.completions.create({ ...chatAsk(prompt), stream: true }), seen, chatChunk),
    helper: async (client, prompt, seen) => {
      const stream = client.chat.completions.stream(chatAsk(prompt));
      await each(stream, seen, chatChunk);
      chatWhole(await stream.finalChatCompletion(), seen);
    },
    responses: async (client, prompt, seen) => responseWhole(await client.responses.create(responseAsk(prompt)), seen),
    "responses-stream": (client, prompt, seen) =>
      each(client.responses.create({ ...responseAsk(prompt), stream: true }), seen, responseEvent),
    "responses-helper": async (client, prompt, seen) => {
      const stream = client.responses.stream(responseAsk(prompt));
      await each(stream, seen, responseEvent);
      responseWhole(await stream.finalResponse(), seen);
    },
  },
  anthropic: {
    create: async (client, prompt, seen) => messageWhole(await client.messages.create(messageAsk(prompt)), seen),
    stream: (client, prompt, seen) => each(client.messages.create({ ...messageAsk(prompt), stream: true }), seen, messageEvent),
    helper: async (client, prompt, seen) => {
      const stream = client.messages.stream(messageAsk(prompt));
      await each(stream, seen, messageEvent);
      messageWhole(await stream.finalMessage(), seen);
    },
  },
};

async function play(ask, seen) {
  const noted = async (input, init) => {
    seen.attempts.push(Number(new Headers(init.headers).get("x-stainless-retry-count")));
    const answer = await fetch(input, init);
    seen.marks.push(answer.headers.get("x-rehearsal-fault"));
    return answer;
  };
  const base = ask.url + ask.prefix;
  const options = {
    baseURL: ask.sdk === "openai" ? `${base}/v1` : base,
    apiKey,
    maxRetries: 2,
    timeout: ask.timeout * 1000,
    fetch: noted,
    defaultHeaders: { "x-case": ask.name, "x-rehearsal-client": ask.client, ...(ask.prefix ? { "api-key": apiKey } : {}) },
    logLevel: "off",
  };
  const begun = performance.now();
  const client = ask.sdk === "openai" ? new OpenAI(options) : new Anthropic(options);
  for (let turn = 0; turn < ask.times; turn += 1) {
    if (turn > 0) await new Promise((done) => setTimer(done, ask.pause * 1000));
    try {
      await ways[ask.sdk][ask.way](client, ask.prompt, seen);
    } catch (error) {
      // Which class it is, is for the table to say; a raw error of Node has no status.
      seen.kind = error.constructor.name;
      seen.status = error.status ?? null;
      seen.type = error.type ?? null;
      seen.code = typeof error.code === "string" || error.code == null ? (error.code ?? null) : String(error.code);
      seen.says = String(error.message).slice(0, 200);
    }
  }
  seen.seconds = (performance.now() - begun) / 1000;
  return seen;
}

function nothing() {
  const told = { kind: "fine", status: null, type: null, code: null, text: "", finish: null, tool: null };
  return { ...told, events: 0, attempts: [], waits: [], marks: [] };
}

// A body that is never settled leaves nothing to wait for, and Node would end without a word; this tells which case it is.
function patience(ask) {
  const seen = nothing();
  const late = new Promise((done) => {
    setTimer(() => done({ ...seen, kind: "hung", seconds: ask.patience }), ask.patience * 1000).unref();
  });
  return Promise.race([playing.run({ ask, seen }, () => play(ask, seen)), late]);
}

const alive = setInterval(() => {}, 1000);
const told = new Array(asks.length);
let begun = 0;
async function work() {
  while (begun < asks.length) {
    const at = begun;
    begun += 1;
    told[at] = await patience(asks[at]);
  }
}
await Promise.all(Array.from({ length: 48 }, work));
clearInterval(alive);
await new Promise((done) => process.stdout.write(JSON.stringify(told) + "\n", done));
process.exit(0);
