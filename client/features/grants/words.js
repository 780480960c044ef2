/** The words about other programs, and what their clients are configured with. Uses no DOM. */

import { span } from "../../core/page/routes.js";
import { clock, fromServer, joined, plural, text } from "../../core/words/text.js";

/** @typedef {import("../../core/live/messages.d.ts").ProgramInfo} ProgramInfo */
/** @typedef {import("../../core/live/messages.d.ts").ProgramLook} ProgramLook */

/** The answer to a new access. @typedef {{name: string, mcp: string, openai: string, token: string}} Made */

/** @type {Record<string, string>} */
const SCOPES = {
  look: "programs.scope_look",
  watch: "programs.scope_watch",
  events: "programs.scope_events",
  listen: "programs.scope_listen",
  speak: "programs.scope_speak",
};
const HOUR = 3_600_000;

/**
 * A program's rights, its last use, and the time that is left.
 * @param {ProgramInfo} program
 * @param {number} now ms since the epoch
 */
export function state({ scopes, looks, last_used: used, expires_at: ends }, now) {
  // Its looks are counted where it has looked.
  const rights = scopes.filter((scope) => scope !== "look" || looks === 0).map((scope) => text(SCOPES[scope] ?? scope));
  const what = rights.length > 0 ? [joined(rights)] : [];
  const did = used ? text("programs.last_used", { time: clock(used) }) : text("programs.not_used");
  const count = looks > 0 ? [plural("programs.looks", looks)] : [];
  return [...what, ...count, did, text("programs.time_left", { time: left(ends - now) })].join(" · ");
}

/** How often each program may look. @param {number} perMinute */
export function rate(perMinute) {
  return plural("programs.rate", perMinute);
}

/** @param {number} ms */
function left(ms) {
  return ms < 2 * HOUR ? span(Math.max(0, ms)) : plural("page.hours", Math.round(ms / HOUR));
}

/** A program's name and its question, for a screen reader and a file. @param {ProgramLook} look */
export function whoAsked(look) {
  return text("programs.asked", { name: look.name, question: requestWords(look) });
}

/** @param {ProgramLook} look */
export function requestWords({ tool, question }) {
  if (tool === "snapshot") return text("programs.snapshot");
  if (tool === "find") return text("programs.find", { question });
  return tool === "recall" ? text("programs.recall", { question }) : question;
}

/** The answer, or why there is none. @param {ProgramLook} look */
export function answerOf(look) {
  if (look.state === "looking") return text("page.looking");
  if (look.state === "done") return look.text;
  return fromServer(look.text, text("programs.no_answer"));
}

/**
 * Each client's configuration.
 * @type {Record<string, {name: string, where: () => string, config: (made: Made) => string}>}
 */
export const CLIENTS = {
  claude_code: {
    name: "Claude Code",
    where: () => file(".mcp.json"),
    config: (made) => json({ mcpServers: { camera: typedRemote(made) } }),
  },
  claude_desktop: {
    name: "Claude Desktop",
    where: () => `${file("claude_desktop_config.json")} ${text("programs.bridge")}`,
    config: ({ mcp, token }) =>
      json({
        mcpServers: {
          camera: {
            command: "python3",
            args: [`<${text("programs.folder")}>/scripts/mcp_bridge.py`, mcp],
            env: { QWEN_CAMERA_TOKEN: token },
          },
        },
      }),
  },
  cursor: {
    name: "Cursor",
    where: () => file("~/.cursor/mcp.json"),
    config: (made) => json({ mcpServers: { camera: remote(made) } }),
  },
  vscode: {
    name: "VS Code",
    where: () => file(".vscode/mcp.json"),
    config: (made) => json({ servers: { camera: typedRemote(made) } }),
  },
  codex: {
    name: "Codex CLI",
    where: () => file("~/.codex/config.toml"),
    config: ({ mcp, token }) =>
      `[mcp_servers.camera]\nurl = "${mcp}"\nhttp_headers = { Authorization = "Bearer ${token}" }`,
  },
  gemini: {
    name: "Gemini CLI",
    where: () => file("~/.gemini/settings.json"),
    config: (made) => json({ mcpServers: { camera: remote(made, "httpUrl") } }),
  },
  windsurf: {
    name: "Windsurf",
    where: () => file("~/.codeium/windsurf/mcp_config.json"),
    config: (made) => json({ mcpServers: { camera: remote(made, "serverUrl") } }),
  },
  zed: {
    name: "Zed",
    where: () => file("~/.config/zed/settings.json"),
    config: (made) => json({ context_servers: { camera: remote(made) } }),
  },
  openai: {
    name: "OpenAI API",
    where: () => text("programs.scripts"),
    config: ({ openai, token }) => `OPENAI_BASE_URL=${openai}\nOPENAI_API_KEY=${token}`,
  },
};

/** @param {Made} made @param {string} [address] the client's name for an address over streamable HTTP */
function remote({ mcp, token }, address = "url") {
  return { [address]: mcp, headers: { Authorization: `Bearer ${token}` } };
}

/** For a client whose configuration names the transport. @param {Made} made */
function typedRemote(made) {
  return { type: "http", ...remote(made) };
}

/** @param {string} name */
function file(name) {
  return text("programs.put_into", { file: name });
}

/** @param {object} value */
function json(value) {
  return JSON.stringify(value, null, 2);
}
