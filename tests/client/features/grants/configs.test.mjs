// Ready-made configurations of usual clients, by what each client's own document says of a server at an address.
import assert from "node:assert/strict";
import { test } from "node:test";

import { CLIENTS, state } from "../../../../client/features/grants/words.js";
import "../../english.mjs";

const MADE = { name: "Kitchen", mcp: "https://camera.example.org/at/s-1/mcp", openai: "https://camera.example.org/at/s-1/v1", token: "qcam_s-1.AbC_dEf-0" };
const AUTHORIZATION = { Authorization: `Bearer ${MADE.token}` };

/**
 * By client: the document, the file that it names, the key above all servers, and a server of streamable HTTP.
 * @type {Record<string, {source: string, file: string, above: string, server: object}>}
 */
const PUBLISHED = {
  claude_code: {
    source: "Connect Claude Code to tools via MCP (docs.anthropic.com/en/docs/claude-code/mcp)",
    file: ".mcp.json",
    above: "mcpServers",
    server: { type: "http", url: MADE.mcp, headers: AUTHORIZATION },
  },
  cursor: { source: "Model Context Protocol (cursor.com/docs/mcp)", file: "~/.cursor/mcp.json", above: "mcpServers", server: { url: MADE.mcp, headers: AUTHORIZATION } },
  vscode: {
    source: "MCP configuration reference (code.visualstudio.com/docs/copilot/reference/mcp-configuration)",
    file: ".vscode/mcp.json",
    above: "servers",
    server: { type: "http", url: MADE.mcp, headers: AUTHORIZATION },
  },
  gemini: {
    // `url` would be a stream of server-sent events there.
    source: "MCP servers with Gemini CLI (github.com/google-gemini/gemini-cli, docs/tools/mcp-server.md)",
    file: "~/.gemini/settings.json",
    above: "mcpServers",
    server: { httpUrl: MADE.mcp, headers: AUTHORIZATION },
  },
  windsurf: {
    source: "Cascade MCP Integration (docs.windsurf.com/windsurf/cascade/mcp)",
    file: "~/.codeium/windsurf/mcp_config.json",
    above: "mcpServers",
    server: { serverUrl: MADE.mcp, headers: AUTHORIZATION },
  },
  zed: { source: "Model Context Protocol (zed.dev/docs/ai/mcp)", file: "~/.config/zed/settings.json", above: "context_servers", server: { url: MADE.mcp, headers: AUTHORIZATION } },
};

for (const [id, { source, file, above, server }] of Object.entries(PUBLISHED))
  test(`${CLIENTS[id].name}: ${source}`, () => {
    assert.deepEqual(JSON.parse(CLIENTS[id].config(MADE)), { [above]: { camera: server } });
    assert.ok(CLIENTS[id].where().includes(file));
  });

test("Claude Desktop: Connect to local MCP servers (modelcontextprotocol.io/docs/develop/connect-local-servers)", () => {
  // Its file takes programs alone, no addresses.
  const { camera } = JSON.parse(CLIENTS.claude_desktop.config(MADE)).mcpServers;
  assert.deepEqual(Object.keys(camera), ["command", "args", "env"]);
  assert.equal(camera.args[1], MADE.mcp);
  assert.deepEqual(camera.env, { QWEN_CAMERA_TOKEN: MADE.token });
  assert.ok(CLIENTS.claude_desktop.where().includes("claude_desktop_config.json"));
});

test("Codex CLI: Model Context Protocol (developers.openai.com/codex/mcp)", () => {
  // `headers` would be left out in silence, and the token itself has no key of its own.
  const lines = CLIENTS.codex.config(MADE).split("\n");
  assert.deepEqual(lines, ["[mcp_servers.camera]", `url = "${MADE.mcp}"`, `http_headers = { Authorization = "Bearer ${MADE.token}" }`]);
  assert.ok(CLIENTS.codex.where().includes("~/.codex/config.toml"));
});

test("OpenAI: the variables that its clients read", () => {
  assert.deepEqual(CLIENTS.openai.config(MADE).split("\n"), [`OPENAI_BASE_URL=${MADE.openai}`, `OPENAI_API_KEY=${MADE.token}`]);
});

test("each client is looked at", () => {
  assert.deepEqual(Object.keys(CLIENTS).sort(), [...Object.keys(PUBLISHED), "claude_desktop", "codex", "openai"].sort());
});

test("a program's row counts its looks once it has looked", () => {
  const program = { name: "Kitchen", scopes: ["look", "events"], looks: 0, last_used: 0, expires_at: 3_600_000 };
  const began = /** @type {import("../../../../client/core/live/messages.d.ts").ProgramInfo} */ (/** @type {unknown} */ (program));
  assert.match(state(began, 0), /^looks, alerts · Not used yet · 60\smin left$/);
  assert.match(state({ ...began, looks: 1, last_used: 1000 }, 0), /^alerts · 1 look · Last used at /);
  assert.match(state({ ...began, scopes: ["look"], looks: 2, last_used: 1000 }, 0), /^2 looks · Last used at /);
});
