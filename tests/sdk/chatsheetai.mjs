// What ChatSheetAI's server does with the guide's `server/.env`: no client library, no key.
//
//   node chatsheetai.mjs      with LITELLM_API_BASE and LITELLM_MODEL in the environment, as the guide has it
//
// Prints what it got as one JSON document.

const { LITELLM_API_BASE, LITELLM_MODEL } = process.env;

const health = await fetch(`${LITELLM_API_BASE}/health`);
const answer = await fetch(`${LITELLM_API_BASE}/chat/completions`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ model: LITELLM_MODEL, messages: [{ role: "user", content: "ping" }] }),
});
const streamed = await fetch(`${LITELLM_API_BASE}/chat/completions`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ model: LITELLM_MODEL, messages: [{ role: "user", content: "ping" }], stream: true }),
});

let events = "";
const decoder = new TextDecoder();
for await (const chunk of streamed.body) {
  events += decoder.decode(chunk, { stream: true });
}

const document = {
  health: { status: health.status, document: await health.json() },
  chat: { status: answer.status, document: await answer.json() },
  stream: { status: streamed.status, events },
};
process.stdout.write(JSON.stringify(document) + "\n");
