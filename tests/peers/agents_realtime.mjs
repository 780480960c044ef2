// OpenAI's agents for the Realtime protocol, as they are in npm: a question, and a function that the agent runs.
// node agents_realtime.mjs <url> <token>: prints the history as JSON, one line, once the second answer is complete.
import { RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";

const [, , url, apiKey] = process.argv;
const said = [];
const lamp = tool({
  name: "lamp",
  description: "Switch the lamp.",
  strict: false,
  parameters: { type: "object", properties: { on: { type: "boolean" } }, required: [], additionalProperties: true },
  execute: async (given) => {
    said.push(given);
    return "The lamp is on.";
  },
});
const agent = new RealtimeAgent({ name: "Helper", instructions: "Answer in one word.", tools: [lamp] });
const session = new RealtimeSession(agent, {
  transport: "websocket",
  model: "camera",
  config: { outputModalities: ["text"] },
});
const fail = (error) => {
  console.error(JSON.stringify(error));
  process.exit(1);
};
session.on("error", fail);
session.on("history_updated", (history) => {
  const last = history.at(-1);
  if (last?.role !== "assistant" || last.status !== "completed") return;
  const texts = history
    .filter((one) => one.type === "message")
    .map((one) => [one.role, one.content[0]?.text ?? ""]);
  console.log(JSON.stringify({ calls: said, texts }));
  process.exit(0);
});
await session.connect({ apiKey, url });
session.sendMessage("Switch the lamp on.");
setTimeout(() => fail("no answer"), 30_000);
