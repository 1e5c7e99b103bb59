// Label sets: as people read them, and as selectors that PromQL reads.

import type { Labels } from "./api";

const NAME = "__name__";

function quote(value: string): string {
  return `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}

function labelName(name: string): string {
  return /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) ? name : quote(name);
}

/** selector matches every series that has these labels, among others maybe. */
export function selector(labels: Labels): string {
  return `{${Object.entries(labels).map(([name, value]) => `${labelName(name)}=${quote(value)}`).join(",")}}`;
}

export function nameSelector(name: string): string {
  return selector({ [NAME]: name });
}

/** expression writes a metric's name as PromQL wants it: bare where it can be. */
export function expression(name: string): string {
  return /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name) ? name : `{${quote(name)}}`;
}

/** identity is equal for equal label sets. */
export function identity(labels: Labels): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** text is what a legend shows: the labels without those in `without`, or a name if none are left. */
export function text(labels: Labels, without: Labels = {}): string {
  const parts = Object.entries(labels)
    .filter(([name, value]) => name !== NAME && without[name] !== value)
    .map(([name, value]) => `${name}=${value}`);
  if (parts.length) return parts.join("  ");
  return labels[NAME] ?? "value";
}

/** full is name{label="value"}, for titles. */
export function full(labels: Labels): string {
  const { [NAME]: name = "", ...rest } = labels;
  return Object.keys(rest).length ? name + selector(rest) : name || "{}";
}

/** common is the labels, the name not among them, that all sets share. One set alone has everything in common. */
export function common(sets: Labels[]): Labels {
  const [first, ...others] = sets;
  if (!first) return {};
  return Object.fromEntries(Object.entries(first).filter(([name, value]) =>
    name !== NAME && others.every((labels) => labels[name] === value)));
}
