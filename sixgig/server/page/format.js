// Figures as people read them.

const PREFIXES = ["KiB", "MiB", "GiB", "TiB"];

function grouped(value, decimals = 0) {
  return value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

export const count = (value) => grouped(value);

export function size(bytes) {
  if (bytes < 1024) return `${grouped(bytes)} B`;
  let value = bytes;
  let prefix = -1;
  while (value >= 1023.95 && prefix < PREFIXES.length - 1) {
    value /= 1024;
    prefix += 1;
  }
  return `${grouped(value, prefix < 2 && value >= 9.95 ? 0 : 1)} ${PREFIXES[prefix]}`;
}

export function rate(value) {
  if (value === 0) return "0";
  return grouped(value, value < 0.995 ? 2 : value < 99.95 ? 1 : 0);
}

export const percent = (share) => grouped(100 * share, 1);

export const watts = (value) => grouped(value, value < 99.95 ? 1 : 0);

// A household's price is for a kWh, hence no kJ between.
export function energy(joules) {
  if (joules < 3600) return `${grouped(joules)} J`;
  if (joules < 3.6e6) return `${grouped(joules / 3600, 1)} Wh`;
  return `${grouped(joules / 3.6e6, 2)} kWh`;
}

export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

// Two decimals, more where a request's part of a cent would vanish.
export function money(micros, currency) {
  const amount = micros / 1e6;
  const decimals = amount !== 0 && Math.abs(amount) < 0.1 ? 4 : 2;
  return `${grouped(amount, decimals)} ${currency}`;
}

export function tokens(value) {
  if (value < 1e4) return grouped(value);
  return value < 1e6 ? `${grouped(value / 1e3, 1)} k` : `${grouped(value / 1e6, 2)} M`;
}
