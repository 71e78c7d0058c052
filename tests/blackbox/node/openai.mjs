// All that a person does with the OpenAI SDK, against BASE_URL with KEY. Prints what it got as one line of JSON.
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${baseURL}/v1`, apiKey, maxRetries: 0 });
const user = (content) => [{ role: "user", content }];
const told = {};

told.chat = await client.chat.completions.create({ model: "gpt-4o", messages: user("hello") });

told.stream = [];
const stream = await client.chat.completions.create({
  model: "gpt-4o",
  messages: user("tell a story"),
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) told.stream.push(chunk);

const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      parameters: { type: "object", properties: { city: { type: "string" }, days: { type: "number" } } },
    },
  },
];
told.tools = await client.chat.completions.create({ model: "gpt-4o", messages: user("weather"), tools });

told.toolStream = [];
const toolStream = await client.chat.completions.create({ model: "gpt-4o", messages: user("weather"), tools, stream: true });
for await (const chunk of toolStream) told.toolStream.push(chunk);

told.embeddings = await client.embeddings.create({ model: "text-embedding-3-small", input: "embed me" });

try {
  await client.chat.completions.create({ model: "gpt-4o", messages: user("too much") });
} catch (error) {
  told.error = { name: error.constructor.name, status: error.status, message: error.message };
}

console.log(JSON.stringify(told));
