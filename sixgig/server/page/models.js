// The table of models.

import { attribute, byId, keyed, make, write, writeOrAbsent } from "./dom.js";
import { count, duration, percent, rate } from "./format.js";

const COLUMNS = [
  "Name",
  "State",
  "Mode",
  "Context",
  "Parallel",
  "Users",
  "Hit rate",
  "Tokens/s",
  "Leaves in",
];
const NUMBERS = new Set(["Context", "Parallel", "Users", "Hit rate", "Tokens/s", "Leaves in"]);

// Roles in so many words: on a narrow screen rows are laid out as blocks, which takes a table's own away.
export function cell(column, className, ...children) {
  const node = make("td", className, ...children);
  attribute(node, "role", "cell");
  attribute(node, "data-column", column);
  return node;
}

export function nameCell(column) {
  const node = make("th", "name", make("bdi"));
  attribute(node, "role", "rowheader");
  attribute(node, "scope", "row");
  attribute(node, "data-column", column);
  return node;
}

function createRow() {
  const cells = COLUMNS.slice(1).map((column) =>
    cell(column, NUMBERS.has(column) ? "number" : "", make("span")),
  );
  const name = nameCell("Name");
  name.append(make("p", "lost"));
  const row = make("tr", "", name, ...cells);
  attribute(row, "role", "row");
  return row;
}

function stateOf(model) {
  if (model.state !== "loading") return model.state;
  return `loading ${Math.floor(100 * model.loaded_fraction)}%`;
}

function leaving(model) {
  if (model.state !== "ready") return [null, "not loaded"];
  if (model.users > 0) return ["in use", ""];
  return model.expires_in_s === null ? ["stays", ""] : [duration(model.expires_in_s), ""];
}

function lossOf(model) {
  if (!model.losses) return "";
  const times = model.losses === 1 ? "lost once" : `lost ${count(model.losses)} times`;
  return model.last_loss ? `${times}: ${model.last_loss}` : times;
}

function updateRow(row, model) {
  const [name, ...cells] = row.children;
  const [state, mode, context, parallel, users, hits, speed, leaves] = cells.map((one) => one.firstChild);
  const loaded = model.state !== "unloaded";
  row.classList.toggle("unloaded", !loaded);
  write(name.firstChild, model.name);
  attribute(name.firstChild, "title", model.name);
  write(name.lastChild, lossOf(model));
  name.lastChild.hidden = !model.losses;
  write(state, stateOf(model));
  attribute(state, "class", `state ${model.state}`);
  writeOrAbsent(
    context,
    model.context === null ? null : count(model.context),
    "the model's own, known once it is loaded",
  );
  writeOrAbsent(parallel, model.parallel === null ? null : count(model.parallel), "not known");
  writeOrAbsent(users, loaded ? count(model.users) : null, "not loaded");
  writeOrAbsent(mode, model.mode, loaded ? "not decided yet" : "not loaded");
  writeOrAbsent(hits, model.hit_rate === null ? null : `${percent(model.hit_rate)}%`, "no experts are paged");
  writeOrAbsent(speed, model.state === "ready" ? rate(model.tokens_per_s) : null, "not loaded");
  writeOrAbsent(leaves, ...leaving(model));
}

function emptiness(models, loaded) {
  if (!models.length) return "No model is configured: requests can only go to upstreams.";
  return loaded ? "" : "No model is loaded. The first request for one loads it.";
}

export function showModels(status) {
  const loaded = status.models.filter((model) => model.state !== "unloaded").length;
  const empty = emptiness(status.models, loaded);
  write(byId("models-note"), empty ? "" : `${loaded} of ${status.models.length} loaded`);
  write(byId("models-empty"), empty);
  byId("models-empty").hidden = !empty;
  byId("models").hidden = !status.models.length;
  keyed(byId("model-rows"), status.models, (model) => model.name, createRow, updateRow);
}
