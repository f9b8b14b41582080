// Asks for the status once a second, shows it, and says so where there is none to be had.

import { showCharts } from "./charts.js";
import { byId, write, writeOrAbsent } from "./dom.js";
import { count, duration, percent, rate, watts } from "./format.js";
import { showLedger } from "./ledger.js";
import { showMemory } from "./memory.js";
import { showModels } from "./models.js";

const EVERY_MS = 1000;
const PATIENCE_MS = 4000;

let seenAt = null;
let reachable = true;

function showFigure(id, value, unit, note) {
  const figure = byId(id);
  const [number, small] = figure.children;
  writeOrAbsent(number, value, note);
  write(small, value === null ? "" : unit);
  write(byId(`${id}-note`), note);
}

function showFigures(status) {
  const { queue } = status;
  const hits = status.history.hit_rate.at(-1) ?? null;
  showFigure("speed", rate(status.tokens_per_s), "", `${rate(status.prompt_tokens_per_s)} prompt tokens/s`);
  showFigure(
    "queue",
    count(queue.waiting),
    `of ${count(queue.bound)}`,
    `${count(queue.running)} running, ${count(queue.rejected)} rejected`,
  );
  showFigure(
    "hits",
    hits === null ? null : percent(hits),
    "%",
    hits === null ? "no experts are paged" : "of experts were in memory",
  );
  showPower(status.energy);
}

function powerNote(energy) {
  const idle = energy.idle_watts === null ? "" : `, ${watts(energy.idle_watts)} W idle`;
  const estimated = energy.estimated ? ", estimated" : "";
  const missing = energy.absent_reason === null ? "" : `; without ${energy.absent_reason}`;
  return energy.source + estimated + idle + missing;
}

function showPower(energy) {
  const without = energy.absent_reason === null ? "not measured yet" : `no sensor: ${energy.absent_reason}`;
  const known = energy.watts !== null;
  showFigure("power", known ? watts(energy.watts) : null, "W", known ? powerNote(energy) : without);
}

function showHeader(status) {
  write(byId("version"), status.version);
  showLink(
    status.draining ? "draining" : "up",
    status.draining ? "Draining, takes no new requests" : "Serving",
  );
  write(byId("since"), `up ${duration(status.uptime_s)}`);
}

function show(status) {
  byId("panel").hidden = false;
  showHeader(status);
  showFigures(status);
  showMemory(status);
  showModels(status);
  showCharts(status);
  showLedger(status);
}

function showLink(state, text) {
  document.documentElement.dataset.link = state;
  write(byId("link"), text);
}

function showLost() {
  showLink("lost", "Not reachable");
  write(
    byId("since"),
    seenAt === null ? "never seen" : `last seen ${duration((performance.now() - seenAt) / 1000)} ago`,
  );
}

async function ask() {
  const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}

async function poll() {
  const status = await ask().catch(() => undefined);
  setTimeout(poll, EVERY_MS);
  reachable = status !== undefined;
  if (!reachable) return;
  seenAt = performance.now();
  show(status);
}

// By its own clock: an answer may be long in coming, and how long ago the last one came is counted meanwhile.
setInterval(() => {
  if (!reachable) showLost();
}, EVERY_MS);
poll();
