// What an application does with OpenAI's Node client, one function for each scenario.
//
//   node scenarios.mjs NAME      with LITELLM_API_BASE and OPENAI_API_KEY in the environment
//
// Prints one JSON document a line: {"status": N} for every response that the client got, its silent repetitions included,
// what the scenario reports, and last {"result": …} or {"error": {…}}. Waits for a line on standard input where it says so.

import { once } from "node:events";
import { createInterface } from "node:readline";

import OpenAI, { toFile } from "openai";

const base = process.env.LITELLM_API_BASE;
const messages = [{ role: "user", content: "ping" }];
const weather = {
  name: "weather",
  description: "The weather of a place",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const tools = [{ type: "function", function: weather }];

const say = (document) => process.stdout.write(JSON.stringify(document) + "\n");

async function told() {
  const lines = createInterface({ input: process.stdin });
  await once(lines, "line");
  lines.close();
}

async function watchedFetch(url, init) {
  const response = await fetch(url, init);
  const headers = Object.fromEntries(response.headers);
  say({ status: response.status, shouldRetry: headers["x-should-retry"], retryAfterMs: headers["retry-after-ms"] });
  return response;
}

function client(options = {}) {
  return new OpenAI({ baseURL: `${base}/v1`, fetch: watchedFetch, ...options });
}

async function ask(api, model = "gpt-4") {
  const completion = await api.chat.completions.create({ model, messages });
  return completion.choices[0].message.content;
}

const scenarios = {
  async chat() {
    const completion = await client().chat.completions.create({ model: "gpt-4", messages });
    return { text: completion.choices[0].message.content, tokens: completion.usage.total_tokens, id: completion._request_id };
  },

  baseWithoutV1: () => ask(client({ baseURL: base })),

  async stream() {
    const stream = await client().chat.completions.create({ model: "gpt-4", messages, stream: true });
    let count = 0;
    for await (const chunk of stream) {
      const text = chunk.choices[0]?.delta?.content;
      if (text) {
        say({ text, count: ++count });
      }
    }
    return count;
  },

  async tools() {
    const api = client();
    const first = await api.chat.completions.create({ model: "gpt-4", messages, tools });
    const [call] = first.choices[0].message.tool_calls;
    const turns = [...messages, first.choices[0].message, { role: "tool", tool_call_id: call.id, content: "snow" }];
    const second = await api.chat.completions.create({ model: "gpt-4", messages: turns, tools });
    return { called: call.function, text: second.choices[0].message.content };
  },

  // The client's own loop: it calls the function, sends the result and asks again.
  async streamedTools() {
    const runner = client().chat.completions.runTools({
      model: "gpt-4",
      messages,
      stream: true,
      tools: [{ type: "function", function: { ...weather, parse: JSON.parse, function: ({ city }) => `snow in ${city}` } }],
    });
    const result = await runner.finalFunctionToolCallResult();
    return { result, text: await runner.finalContent() };
  },

  // Unasked, the client wants base64 and decodes it.
  async embeddings() {
    const answer = await client().embeddings.create({ model: "text-embedding-3-small", input: ["one", "two"] });
    return answer.data.map((entry) => Array.from(entry.embedding));
  },

  async images() {
    const answer = await client().images.generate({ model: "dall-e-3", prompt: "a harbour", response_format: "b64_json" });
    return { image: answer.data[0].b64_json, prompt: answer.data[0].revised_prompt };
  },

  async transcription() {
    const recording = Buffer.alloc(1_600_000, "sound");
    const file = await toFile(recording, "höre.mp3", { type: "audio/mpeg" });
    return (await client().audio.transcriptions.create({ model: "whisper-1", file, language: "en" })).text;
  },

  async speech() {
    const answer = await client().audio.speech.create({ model: "tts-1", voice: "alloy", input: "hello" });
    return Buffer.from(await answer.arrayBuffer()).toString("base64");
  },

  async moderations() {
    const answer = await client().moderations.create({ model: "omni-moderation-latest", input: "hello" });
    return answer.results.map((result) => result.flagged);
  },

  async responses() {
    const answer = await client().responses.create({ model: "gpt-4", input: "ping" });
    return { text: answer.output_text, status: answer.status };
  },

  async streamedResponses() {
    const stream = client().responses.stream({ model: "gpt-4", input: "ping" });
    const texts = [];
    for await (const event of stream) {
      if (event.type === "response.output_text.delta") {
        texts.push(event.delta);
      }
    }
    return { texts, status: (await stream.finalResponse()).status };
  },

  async models() {
    const ids = [];
    for await (const model of client().models.list()) {
      ids.push(model.id);
    }
    return ids;
  },

  async abortStream() {
    const stream = await client().chat.completions.create({ model: "gpt-4", messages, stream: true });
    for await (const _ of stream) {
      say({ begun: true });
      await told();
      stream.controller.abort();
    }
    await told();
  },

  async abortCall() {
    const leaving = new AbortController();
    const asking = client().chat.completions.create({ model: "gpt-4", messages }, { signal: leaving.signal });
    asking.catch(() => undefined);
    await told();
    leaving.abort();
    await told();
    return asking;
  },

  plain: () => ask(client()),
  onlyOnce: () => ask(client({ maxRetries: 0 })),
  patient: () => ask(client({ maxRetries: 20 })),
  notDeployed: () => ask(client(), "not-deployed"),
  wrongKey: () => ask(client({ apiKey: "sk-anything" })),
  keyless: () => ask(client({ apiKey: "unused", defaultHeaders: { Authorization: null } })),
};

try {
  say({ result: (await scenarios[process.argv[2]]()) ?? null });
} catch (error) {
  const { name, status, code, message } = error;
  say({ error: { name: error.constructor.name || name, status, code, message } });
}
