// The budget as one bar: gateway, each model's uses in shades of its colour, what is free. The thin line below
// is what each process was measured to hold.

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

const partsOf = (tiers) => tiers.map((tier) => ({ name: tier.name, bytes: tier.size_bytes }));

// What has no model's colour: gateway, free space.
function plain(kind, bytes) {
  return { key: kind, name: kind, kind, ram: [{ name: kind, bytes }], vram: [], resident: null };
}

function ownerOf(model) {
  const ram = partsOf(model.tiers.filter((tier) => tier.kind !== "vram"));
  ram.sort((one, other) => other.bytes - one.bytes);
  const rest = model.granted_bytes - sum(ram);
  if (rest > 0) ram.push({ name: ram.length ? "margin" : "granted", bytes: rest });
  return {
    key: `model ${model.name}`,
    name: model.name,
    kind: "model",
    hue: hueOf(model.name),
    ram,
    vram: partsOf(model.tiers.filter((tier) => tier.kind === "vram")),
    resident: model.resident_bytes,
  };
}

function poolOf(name, bytes, owners, partsIn) {
  const shares = owners.map((owner) => ({ owner, parts: partsIn(owner) }));
  const free = plain("free", Math.max(0, bytes - sum(shares.flatMap((share) => share.parts))));
  return { name, bytes, shares: [...shares, { owner: free, parts: free.ram }] };
}

// One part of an owner's memory, with the shade that tells it from its neighbours.
function shaded(owner, parts) {
  return parts.map((part, index) => ({
    owner,
    part,
    key: `${owner.key} ${index}`,
    kind: part.kind ?? owner.kind,
    step: parts.length > 1 ? index / (parts.length - 1) : 0,
  }));
}

function paint(node, hue, step) {
  node.style.setProperty("--hue", hue ?? 0);
  node.style.setProperty("--step", step);
}

function createPool() {
  const bar = make("div", "bar");
  attribute(bar, "role", "img");
  const [measured, scale] = [make("div", "measured"), make("div", "scale")];
  for (const node of [measured, scale]) attribute(node, "aria-hidden", "true");
  return make("div", "pool", make("p", "pool-name"), bar, measured, scale);
}

function updatePool(node, { name, bytes, shares, alone }) {
  const [title, bar, measured, scale] = node.children;
  title.hidden = alone;
  write(title, name);
  const segments = shares.flatMap(({ owner, parts }) => shaded(owner, parts));
  keyed(
    bar,
    segments,
    (segment) => segment.key,
    () => make("span"),
    updateSegment,
  );
  const told = shares.map(({ owner, parts }) => `${owner.name} ${size(sum(parts))}`);
  attribute(bar, "aria-label", `${name}, ${size(bytes)}: ${told.join(", ")}`);
  keyed(measured, name === "RAM" ? shares : [], ({ owner }) => owner.key, createMeasured, updateMeasured);
  const quarters = [0, 1, 2, 3, 4].map((quarter) => (quarter * bytes) / 4);
  keyed(
    scale,
    quarters,
    (_, index) => index,
    () => make("span"),
    updateMark,
  );
}

function updateSegment(node, { owner, part, kind, step }) {
  node.className = `segment ${kind}`;
  node.style.flexGrow = part.bytes;
  paint(node, owner.hue, step);
  const whose = kind === "model" ? `${owner.name}: ` : "";
  attribute(node, "title", `${whose}${part.name}, ${size(part.bytes)}`);
}

const createMeasured = () => make("span", "", make("i"));

function updateMeasured(node, { owner, parts }) {
  const share = owner.resident === null ? 0 : owner.resident / sum(parts);
  node.style.flexGrow = sum(parts);
  paint(node.firstChild, owner.hue, 0);
  node.firstChild.style.width = `${Math.min(100, 100 * share)}%`;
}

const updateMark = (node, bytes) => write(node, bytes ? size(bytes) : "0");

function createOwner() {
  const head = make("h3", "", make("span"), make("bdi", "name"), make("span", "amount"));
  return make("div", "owner", head, make("p", "note resident", make("i"), make("span")), make("ul", "uses"));
}

function updateOwner(node, owner) {
  const [head, resident, list] = node.children;
  const [swatch, name, amount] = head.children;
  swatch.className = `swatch ${owner.kind}`;
  paint(swatch, owner.hue, 0);
  write(name, owner.name);
  attribute(name, "title", owner.name);
  write(amount, size(sum(owner.ram)));
  updateResident(resident, owner);
  const inDevice = owner.vram.map((part) => ({ ...part, name: `${part.name}, VRAM` }));
  const uses = [...shaded(owner, owner.ram), ...shaded(owner, inDevice)];
  keyed(list, uses, (_, index) => index, createUse, updateUse);
}

function updateResident(node, owner) {
  const [line, text] = node.children;
  const known = owner.resident !== null;
  const over = known && owner.resident > sum(owner.ram);
  node.hidden = owner.kind !== "model";
  node.classList.toggle("over", over);
  line.hidden = !known;
  paint(line, owner.hue, 0);
  const measured = known ? `measured ${size(owner.resident)}` : "not measured yet";
  write(text, over ? `${measured}, above the plan` : measured);
}

const createUse = () => make("li", "", make("span"), make("span", "name"), make("span", "amount"));

function updateUse(node, { owner, part, kind, step }) {
  const [swatch, name, amount] = node.children;
  swatch.className = `swatch ${kind}`;
  paint(swatch, owner.hue, step);
  write(name, part.name);
  write(amount, size(part.bytes));
}

// The whole, in which gateway and free space need no place of their own.
function budgetOf(pool, models) {
  const ram = [
    { name: "gateway", bytes: sum(pool.shares[0].parts), kind: "gateway" },
    { name: "models", bytes: sum(models.flatMap((model) => model.ram)), kind: "none" },
    { name: "free", bytes: sum(pool.shares.at(-1).parts), kind: "free" },
  ];
  return { key: "budget", name: "Budget", kind: "none", ram, vram: [], resident: null };
}

export function showMemory(status) {
  const { ram_bytes: ram, vram_bytes: vram, gateway_bytes: gateway } = status.budget;
  const models = status.models.filter((model) => model.state !== "unloaded").map(ownerOf);
  const pools = [poolOf("RAM", ram, [plain("gateway", gateway), ...models], (owner) => owner.ram)];
  if (vram) pools.push(poolOf("VRAM", vram, models, (owner) => owner.vram));
  const budget = budgetOf(pools[0], models);
  write(byId("memory-note"), `${size(budget.ram[2].bytes)} of ${size(ram)} free`);
  const shown = pools.map((pool) => ({ ...pool, alone: !vram }));
  keyed(byId("pools"), shown, (pool) => pool.name, createPool, updatePool);
  keyed(byId("owners"), [budget, ...models], (owner) => owner.key, createOwner, updateOwner);
}
