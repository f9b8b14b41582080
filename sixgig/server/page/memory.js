// The budget as one bar: gateway, each model's uses in shades of its colour, what is free. Below it, thin, what
// each process was measured to hold.

import { attribute, byId, keyed, make, write } from "./dom.js";
import { size } from "./format.js";

const HUES = [182, 262, 68, 345, 135, 300, 35, 225];
const hues = new Map();

// A model keeps its colour for as long as the page is open.
function hueOf(name) {
  if (!hues.has(name)) hues.set(name, HUES[hues.size % HUES.length]);
  return hues.get(name);
}

const sum = (parts) => parts.reduce((total, part) => total + part.bytes, 0);

function modelParts(model) {
  const uses = model.tiers
    .filter((tier) => tier.kind !== "vram")
    .map((tier) => ({ name: tier.name, bytes: tier.size_bytes }))
    .sort((one, other) => other.bytes - one.bytes);
  const rest = model.granted_bytes - sum(uses);
  if (rest > 0) uses.push({ name: uses.length ? "margin" : "granted", bytes: rest });
  return uses;
}

function deviceParts(model) {
  return model.tiers
    .filter((tier) => tier.kind === "vram")
    .map((tier) => ({ name: tier.name, bytes: tier.size_bytes }));
}

function ownersOf(status) {
  const loaded = status.models.filter((model) => model.state !== "unloaded");
  const models = loaded.map((model) => ({
    key: `model ${model.name}`,
    name: model.name,
    hue: hueOf(model.name),
    parts: modelParts(model),
    device: deviceParts(model),
    resident: model.resident_bytes,
  }));
  const gateway = { bytes: status.budget.gateway_bytes, name: "gateway" };
  return [{ key: "gateway", name: "Gateway", kind: "gateway", parts: [gateway], device: [], resident: null }, ...models];
}

function free(bytes) {
  return { key: "free", name: "Free", kind: "free", parts: [{ name: "free", bytes }], device: [], resident: null };
}

function shade(node, owner, index, length) {
  node.style.setProperty("--hue", owner.hue ?? 0);
  node.style.setProperty("--step", length > 1 ? index / (length - 1) : 0);
}

function segments(owner, parts) {
  return parts.map((part, index) => ({ owner, part, index, length: parts.length }));
}

function updateSegment(node, { owner, part, index, length }) {
  node.className = `segment ${owner.kind ?? "model"}`;
  node.style.flexGrow = part.bytes;
  shade(node, owner, index, length);
  attribute(node, "title", `${owner.name}: ${part.name}, ${size(part.bytes)}`);
}

function createPool() {
  const bar = make("div", "bar");
  attribute(bar, "role", "img");
  const scale = make("div", "scale");
  attribute(scale, "aria-hidden", "true");
  const measured = make("div", "measured");
  attribute(measured, "aria-hidden", "true");
  return make("div", "pool", make("p", "pool-name"), bar, measured, scale);
}

function updatePool(node, pool) {
  const [name, bar, measured, scale] = node.children;
  name.hidden = pool.alone;
  write(name, pool.name);
  const all = pool.owners.flatMap((owner) => segments(owner, owner[pool.field]));
  const keyOf = (item) => `${item.owner.key} ${item.index}`;
  keyed(bar, all, keyOf, () => make("span"), updateSegment);
  const told = pool.owners.map((owner) => `${owner.name} ${size(sum(owner[pool.field]))}`);
  attribute(bar, "aria-label", `${pool.name}, ${size(pool.bytes)}: ${told.join(", ")}`);
  keyed(measured, pool.field === "parts" ? pool.owners : [], (owner) => owner.key, createMeasured, updateMeasured);
  const quarters = [0, 1, 2, 3, 4].map((quarter) => (quarter * pool.bytes) / 4);
  keyed(scale, quarters, (_, index) => index, () => make("span"), (mark, bytes) => write(mark, bytes ? size(bytes) : "0"));
}

const createMeasured = () => make("span", "", make("i"));

function updateMeasured(node, owner) {
  const planned = sum(owner.parts);
  node.style.flexGrow = planned;
  shade(node.firstChild, owner, 0, 1);
  node.firstChild.style.width = owner.resident === null ? "0" : `${Math.min(100, (100 * owner.resident) / planned)}%`;
}

function createOwner() {
  const head = make("h3", "", make("span", "swatch"), make("bdi", "name"), make("span", "amount"));
  return make("div", "owner", head, make("p", "note resident", make("i"), make("span")), make("ul", "uses"));
}

function updateOwner(node, owner) {
  const [head, resident, list] = node.children;
  const [swatch, name, amount] = head.children;
  const planned = sum(owner.parts);
  swatch.className = `swatch ${owner.kind ?? "model"}`;
  shade(swatch, owner, 0, 1);
  shade(resident.firstChild, owner, 0, 1);
  write(name, owner.name);
  attribute(name, "title", owner.name);
  write(amount, size(planned));
  resident.hidden = owner.kind !== undefined;
  resident.classList.toggle("unmeasured", owner.resident === null);
  resident.classList.toggle("over", owner.resident > planned);
  write(resident.lastChild, owner.resident === null ? "not measured yet" : `measured ${size(owner.resident)}`);
  keyed(list, usesOf(owner), (_, index) => index, createUse, updateUse);
}

function usesOf(owner) {
  const inDevice = owner.device.map((part) => ({ ...part, name: `${part.name}, VRAM` }));
  return [...segments(owner, owner.parts), ...segments(owner, inDevice)];
}

const createUse = () => make("li", "", make("span"), make("span", "name"), make("span", "amount"));

function updateUse(node, { owner, part, index, length }) {
  const [swatch, name, amount] = node.children;
  swatch.className = `swatch ${part.kind ?? "model"}`;
  shade(swatch, owner, index, length);
  write(name, part.name);
  write(amount, size(part.bytes));
}

// The whole first, so that gateway and free space need no place of their own.
function budgetOwner(owners) {
  const [gateway, ...others] = owners;
  const parts = [
    { ...gateway.parts[0], kind: "gateway" },
    { name: "models", bytes: others.slice(0, -1).reduce((total, owner) => total + sum(owner.parts), 0), kind: "none" },
    { ...others.at(-1).parts[0], kind: "free" },
  ];
  return { key: "budget", name: "Budget", kind: "none", parts, device: [], resident: null };
}

function poolsOf(status, owners) {
  const { ram_bytes: ram, vram_bytes: vram } = status.budget;
  const taken = (field) => owners.reduce((total, owner) => total + sum(owner[field]), 0);
  const pools = [{ name: "RAM", bytes: ram, field: "parts", owners: [...owners, free(Math.max(0, ram - taken("parts")))] }];
  if (vram) {
    const left = { ...free(0), device: [{ name: "free", bytes: Math.max(0, vram - taken("device")) }] };
    pools.push({ name: "VRAM", bytes: vram, field: "device", owners: [...owners.filter((o) => o.device.length), left] });
  }
  return pools.map((pool) => ({ ...pool, alone: !vram }));
}

export function showMemory(status) {
  const owners = ownersOf(status);
  const pools = poolsOf(status, owners);
  const free = pools[0].owners.at(-1);
  write(byId("memory-note"), `${size(sum(free.parts))} of ${size(status.budget.ram_bytes)} free`);
  keyed(byId("pools"), pools, (pool) => pool.name, createPool, updatePool);
  const models = pools[0].owners.slice(1, -1);
  const legend = [budgetOwner(pools[0].owners), ...models];
  keyed(byId("owners"), legend, (owner) => owner.key, createOwner, updateOwner);
}
