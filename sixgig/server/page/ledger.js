// What was served today and what it cost.

import { attribute, byId, keyed, make, write, writeOrAbsent } from "./dom.js";
import { count, energy, money, tokens } from "./format.js";
import { cell, nameCell } from "./models.js";

function entriesOf(status) {
  const { today } = status.ledger;
  const { absent_reason: noSensor, price_per_kwh: price, currency } = status.energy;
  const measured = `measured for ${count(today.measured_requests)} of ${count(today.requests)}`;
  const unmeasured = noSensor === null ? "nothing was measured" : `no sensor: ${noSensor}`;
  const noCost = price === null ? "no price per kWh is set" : unmeasured;
  return [
    { name: "Requests", value: count(today.requests), note: `${count(today.failed)} failed` },
    {
      name: "Tokens",
      value: tokens(today.prompt_tokens + today.completion_tokens),
      note: `${tokens(today.prompt_tokens)} read, ${tokens(today.completion_tokens)} written`,
    },
    orAbsent("Energy", today.joules, energy, measured, unmeasured),
    orAbsent(
      "Energy cost",
      today.energy_cost_micros,
      (micros) => money(micros, currency),
      `at ${price} ${currency}/kWh`,
      noCost,
    ),
    {
      name: "Upstream cost",
      value: money(today.upstream_cost_micros, currency),
      note: "for answers from elsewhere",
    },
  ];
}

function orAbsent(name, value, show, note, reason) {
  return value === null ? { name, value: null, note: reason } : { name, value: show(value), note };
}

const createEntry = () => make("div", "", make("dt"), make("dd", "value"), make("dd", "note"));

function updateEntry(node, entry) {
  const [name, value, note] = node.children;
  write(name, entry.name);
  writeOrAbsent(value, entry.value, entry.note);
  write(note, entry.note);
}

function createUpstream() {
  const spending = (column) =>
    cell(column, "spending", make("span", "spent"), make("span", "cap", make("i")));
  const requests = cell("Requests", "number", make("span"));
  const row = make(
    "tr",
    "",
    nameCell("Upstream"),
    requests,
    spending("Spent today"),
    spending("Spent this month"),
  );
  attribute(row, "role", "row");
  return row;
}

function showSpending(node, spent, cap, currency) {
  const [text, bar] = node.children;
  const paid = money(spent, currency);
  write(text, cap === null ? paid : `${paid} of ${money(cap, currency)}`);
  bar.hidden = cap === null;
  bar.classList.toggle("full", cap !== null && spent >= cap);
  bar.firstChild.style.width = cap ? `${Math.min(100, (100 * spent) / cap)}%` : "100%";
}

function updateUpstream(row, { upstream, currency }) {
  const [name, requests, today, month] = row.children;
  write(name.firstChild, upstream.name);
  attribute(name.firstChild, "title", upstream.name);
  write(requests.firstChild, count(upstream.requests));
  showSpending(today, upstream.spent_today_micros, upstream.per_day_micros, currency);
  showSpending(month, upstream.spent_month_micros, upstream.per_month_micros, currency);
}

export function showLedger(status) {
  const { failing } = status.ledger;
  byId("ledger-failing").hidden = failing === null;
  write(byId("ledger-failing"), failing === null ? "" : `The ledger is not being written: ${failing}`);
  keyed(byId("today"), entriesOf(status), (entry) => entry.name, createEntry, updateEntry);
  const upstreams = status.upstreams.map((upstream) => ({ upstream, currency: status.energy.currency }));
  byId("upstreams").hidden = !upstreams.length;
  keyed(byId("upstream-rows"), upstreams, ({ upstream }) => upstream.name, createUpstream, updateUpstream);
}
