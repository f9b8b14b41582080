// Elements made and kept up to date. Everything that was given by someone becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";
const kept = new WeakMap();

export const byId = (id) => document.getElementById(id);

export function make(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

export function draw(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Untouched where nothing changed: a selection, a hover and a screen reader stay where they are.
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function attribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// `text`, or where it is null a dash that says why: absence is no number.
export function writeOrAbsent(node, text, reason) {
  node.classList.toggle("absent", text === null);
  write(node, text ?? "–");
  const said = { title: reason, role: "img", "aria-label": reason };
  for (const [name, value] of Object.entries(said)) {
    if (text === null) attribute(node, name, value);
    else node.removeAttribute(name);
  }
}

// One child of `parent` for each item, in their order; a child lives as long as its key does.
export function keyed(parent, items, keyOf, create, update) {
  const before = kept.get(parent) ?? new Map();
  const now = new Map();
  items.forEach((item, index) => {
    const key = keyOf(item, index);
    const node = before.get(key) ?? create(item);
    now.set(key, node);
    update(node, item, index);
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
  for (const [key, node] of before) if (!now.has(key)) node.remove();
  kept.set(parent, now);
}
