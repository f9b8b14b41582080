// Line charts of the last two minutes, at the size they are shown, so that their text is never scaled.

import { attribute, byId, draw, keyed, make, write, writeOrAbsent } from "./dom.js";
import { percent, rate, watts } from "./format.js";

const SPAN_S = 120;
const GAP_S = 4;
const HEIGHT = 136;
const INSET = { left: 34, right: 6, top: 8, bottom: 22 };

const plain = (value) => value.toLocaleString("en", { maximumFractionDigits: 2 });

const CHARTS = [
  { title: "Tokens/s", field: "tokens_per_s", show: rate, mark: plain, none: () => "no samples yet" },
  {
    title: "Hit rate",
    field: "hit_rate",
    show: (share) => `${percent(share)}%`,
    mark: (share) => `${100 * share}%`,
    top: 1,
    none: () => "no experts are paged",
  },
  {
    title: "Watts",
    field: "watts",
    show: (value) => `${watts(value)} W`,
    mark: plain,
    none: (status) => (status.energy.absent_reason === null ? "not measured yet" : "no sensor"),
  },
];

const widths = new WeakMap();
const resized = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    widths.set(target, contentRect.width);
    if (target.redraw) target.redraw();
  }
});

// The next figure that is plain, and half of which is.
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  return power * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value * 0.999);
}

function samplesOf(status, field) {
  const { t } = status.history;
  return status.history[field]
    .map((value, index) => ({ at: t[index] - status.now, value }))
    .filter((sample) => sample.at >= -SPAN_S);
}

// Broken where a value is absent or samples are missing: a line would claim what nobody measured.
function linesOf(samples) {
  const lines = [];
  let last = null;
  for (const sample of samples) {
    if (sample.value === null) {
      last = null;
      continue;
    }
    if (last === null || sample.at - last.at > GAP_S) lines.push([]);
    lines.at(-1).push(sample);
    last = sample;
  }
  return lines;
}

function pathOf(line, x, y) {
  return `M${line.map(({ at, value }) => `${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}h0`;
}

function areaOf(line, x, y) {
  return `${pathOf(line, x, y)}V${y(0)}H${x(line[0].at).toFixed(1)}Z`;
}

function label(x, y, anchor, text) {
  return draw("text", { x, y, "text-anchor": anchor }, text);
}

function axes(width, marks, mark, x, y) {
  const levels = marks.flatMap((value) => [
    draw("line", {
      class: value ? "grid" : "axis",
      x1: INSET.left,
      x2: width - INSET.right,
      y1: y(value),
      y2: y(value),
    }),
    label(INSET.left - 8, y(value) + 4, "end", mark(value)),
  ]);
  const base = HEIGHT - 5;
  const times = [
    label(x(-SPAN_S), base, "start", "2 min ago"),
    label(x(-SPAN_S / 2), base, "middle", "1 min"),
    label(x(0), base, "end", "now"),
  ];
  return draw("g", {}, ...levels, ...times);
}

function curve(line, x, y) {
  return [
    draw("path", { class: "area", d: areaOf(line, x, y) }),
    draw("path", { class: "line", d: pathOf(line, x, y) }),
  ];
}

function plot(picture, { chart, samples, highest, reason }) {
  const width = widths.get(picture) ?? 320;
  const top = chart.top ?? ceiling(highest ?? 0);
  const x = (at) => INSET.left + (1 + Math.min(0, at) / SPAN_S) * (width - INSET.left - INSET.right);
  const y = (value) => INSET.top + (1 - value / top) * (HEIGHT - INSET.top - INSET.bottom);
  const drawn = linesOf(samples).flatMap((line) => curve(line, x, y));
  const last = samples.at(-1);
  if (last && last.value !== null)
    drawn.push(draw("circle", { class: "last", cx: x(last.at), cy: y(last.value), r: 3 }));
  if (highest === null) drawn.push(label(x(-SPAN_S / 2), y(top / 2), "middle", reason));
  attribute(picture, "viewBox", `0 0 ${width} ${HEIGHT}`);
  picture.replaceChildren(
    axes(width, highest === null ? [0] : [0, top / 2, top], chart.mark, x, y),
    ...drawn,
  );
}

function createChart() {
  const picture = draw("svg", { role: "img", height: HEIGHT });
  resized.observe(picture);
  const head = make("figcaption", "", make("h3"), make("p", "value"));
  return make("figure", "chart", head, picture);
}

function told({ chart, samples, highest, reason }) {
  if (highest === null) return reason;
  const now = samples.at(-1).value;
  return `now ${now === null ? "absent" : chart.show(now)}, at most ${chart.show(highest)}`;
}

function updateChart(node, { chart, status }) {
  const [head, picture] = node.children;
  const samples = samplesOf(status, chart.field);
  const known = samples.map((sample) => sample.value).filter((value) => value !== null);
  const now = samples.at(-1)?.value ?? null;
  const shown = {
    chart,
    samples,
    highest: known.length ? Math.max(...known) : null,
    reason: chart.none(status),
  };
  write(head.firstChild, chart.title);
  writeOrAbsent(head.lastChild, now === null ? null : chart.show(now), shown.reason);
  attribute(picture, "aria-label", `${chart.title} over the last two minutes: ${told(shown)}`);
  picture.redraw = () => plot(picture, shown);
  picture.redraw();
}

export function showCharts(status) {
  const items = CHARTS.map((chart) => ({ chart, status }));
  keyed(byId("charts"), items, (item) => item.chart.field, createChart, updateChart);
}
