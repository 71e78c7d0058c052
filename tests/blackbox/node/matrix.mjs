// Puts the OpenAI and Anthropic SDKs through faults, all at once: BASE_URL, KEY, and JSON of [{sdk, fault, streams}].
// Prints for each what came of it, as one line of JSON: {kind, status, text, attempts}.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const [baseURL, apiKey, given] = process.argv.slice(2);

async function play({ sdk, fault, streams }) {
  const seen = { kind: "fine", status: null, text: "", attempts: 0 };
  const counted = (...args) => {
    seen.attempts += 1;
    return fetch(...args);
  };
  const options = { apiKey, maxRetries: 2, timeout: 3000, fetch: counted, defaultHeaders: { "x-case": fault } };
  const messages = [{ role: "user", content: "hello" }];
  try {
    if (sdk === "openai") {
      const client = new OpenAI({ baseURL: `${baseURL}/v1`, ...options });
      const got = await client.chat.completions.create({ model: "gpt-4o", messages, stream: streams });
      if (streams) for await (const chunk of got) seen.text += chunk.choices?.[0]?.delta?.content ?? "";
      else seen.text = typeof got === "string" ? got : got.choices[0].message.content;
    } else {
      const client = new Anthropic({ baseURL, ...options });
      const got = await client.messages.create({ model: "claude-mock-1", max_tokens: 400, messages, stream: streams });
      if (streams) for await (const event of got) seen.text += event.delta?.text ?? "";
      else seen.text = typeof got === "string" ? got : got.content[0].text;
    }
  } catch (error) {
    seen.kind = error.constructor.name;
    seen.status = error.status ?? null;
  }
  return seen;
}

// A body that is never settled leaves nothing to wait for, and Node would end without a word; this tells which case it is.
const patience = (one) =>
  Promise.race([play(one), new Promise((done) => setTimeout(() => done({ kind: "hung", status: null, text: "", attempts: 1 }), 45000).unref())]);
const alive = setInterval(() => {}, 1000);
console.log(JSON.stringify(await Promise.all(JSON.parse(given).map(patience))));
clearInterval(alive);
process.exit(0);
