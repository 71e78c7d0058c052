// All that a person does with the Anthropic SDK, against BASE_URL with KEY. Prints what it got as one line of JSON.
import Anthropic from "@anthropic-ai/sdk";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
const ask = (content, more = {}) => ({ model: "claude-mock-1", max_tokens: 400, messages: [{ role: "user", content }], ...more });
const told = {};

told.message = await client.messages.create(ask("hello"));

told.stream = [];
for await (const event of await client.messages.create(ask("tell a story", { stream: true }))) told.stream.push(event);

const tools = [
  {
    name: "get_weather",
    input_schema: { type: "object", properties: { city: { type: "string" }, days: { type: "number" } } },
  },
];
told.tools = await client.messages.create(ask("weather", { tools }));

const helper = client.messages.stream(ask("weather", { tools }));
told.toolStream = await helper.finalMessage();

try {
  await client.messages.create(ask("too much"));
} catch (error) {
  told.error = { name: error.constructor.name, status: error.status, message: error.message };
}

console.log(JSON.stringify(told));
