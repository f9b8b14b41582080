// What the stream helpers of OpenAI's and Anthropic's Node packages make of one answer, as one line of JSON.
//   node sdk_streams.mjs NODE_MODULES URL HELPER BODY
import { createRequire } from "node:module";

const [modules, url, helper, body] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const asked = JSON.parse(body);

async function responses() {
  const OpenAI = require("openai");
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
  const stream = client.responses.stream(asked);
  let words = "", args = "", kinds = [];
  stream.on("event", (event) => kinds.push(event.type));
  stream.on("response.output_text.delta", (event) => (words += event.delta));
  stream.on("response.function_call_arguments.delta", (event) => (args += event.delta));
  const final = await stream.finalResponse();
  return { words, args, kinds, text: final.output_text, output: final.output };
}

async function chat() {
  const OpenAI = require("openai");
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
  const stream = client.chat.completions.stream(asked);
  let words = "";
  stream.on("content", (delta) => (words += delta));
  const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0];
  return { words, text: message.content, role: message.role, calls: message.tool_calls, reason: finish_reason };
}

async function messages() {
  const Anthropic = require("@anthropic-ai/sdk");
  const client = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
  const stream = client.messages.stream(asked);
  let words = "";
  stream.on("text", (delta) => (words += delta));
  const { content, stop_reason } = await stream.finalMessage();
  return { words, content, reason: stop_reason };
}

console.log(JSON.stringify(await { responses, chat, messages }[helper]()));
