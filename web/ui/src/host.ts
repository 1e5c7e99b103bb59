// Which of a host's metrics make its picture. The agent's names begin with host_;
// what exists decides what is shown, so another agent's numbers fit as well.

import { bytes, bytesPerSecond, percent, plain, type Unit } from "./format";
import { selector } from "./labels";

export interface PanelQuery { expr: string; name?: string } // without a name each series is named by its labels
export interface PanelSpec {
  title: string;
  unit: Unit;
  queries: PanelQuery[];
  stacked?: boolean;
  top?: string; // metric to open when the title is clicked
}

export const HOST_MATCH = '{__name__=~"host_.+"}';
/** Labels that may tell hosts apart, the likeliest first. */
export const HOST_LABELS = ["host", "instance", "hostname"];

const MAX_OTHER = 6; // charts of names when there is no host

/** hostPanels chooses charts from the names that exist; window is a PromQL duration for rates, labels pick the host. */
export function hostPanels(names: string[], window: string, labels: Record<string, string>): PanelSpec[] {
  const exists = new Set(names);
  const find = (pattern: RegExp) => names.filter((name) => pattern.test(name)).sort();
  const where = Object.keys(labels).length ? selector(labels) : "";
  const and = (more: string) => (where ? `${where.slice(0, -1)},${more}}` : `{${more}}`);
  const average = (name: string) => `avg_over_time(${name}${where}[${window}])`;
  const rate = (name: string, more: string) => `sum(rate(${name}${and(more)}[${window}]))`;
  const panels: PanelSpec[] = [];

  const cpu = "host_cpu_seconds_total";
  if (exists.has(cpu)) panels.push({
    title: "CPU", unit: percent, stacked: true, top: cpu,
    queries: [{ expr: `100 * sum by (mode) (rate(${cpu}${and('mode!="idle"')}[${window}])) / scalar(sum(rate(${cpu}${where}[${window}])))` }],
  });

  const loads = find(/^host_load_?(average_?)?\d+m?$/).sort((a, b) => trailing(a) - trailing(b));
  if (loads.length) panels.push({
    title: "Load", unit: plain, top: loads[0]!,
    queries: loads.map((name) => ({ expr: average(name), name: `${trailing(name)} min` })),
  });

  const memory = preferred(find(/^host_memory_.*bytes$/), ["used", "cached", "available", "total"]);
  if (memory.length) panels.push({
    title: "Memory", unit: bytes, top: memory[0]!,
    queries: memory.map((name) => ({ expr: average(name), name: middle(name, "host_memory_") })),
  });

  const network = find(/^host_network_(?=.*bytes)(?=.*(receive|recv|rx|transmit|sent|tx)).*_total$/);
  if (network.length) panels.push({
    title: "Network", unit: bytesPerSecond, top: network[0]!,
    queries: network.slice(0, 4).map((name) => ({ expr: rate(name, 'device!="lo",interface!="lo"'), name: middle(name, "host_network_") })),
  });

  const disk = find(/^host_disk_(?=.*bytes)(?=.*(read|writ)).*_total$/);
  if (disk.length) panels.push({
    title: "Disk I/O", unit: bytesPerSecond, top: disk[0]!,
    queries: disk.slice(0, 4).map((name) => ({ expr: `sum(rate(${name}${where}[${window}]))`, name: middle(name, "host_disk_") })),
  });

  const space = find(/^host_(disk|filesystem)_(space_)?used_bytes$/)[0];
  if (space) {
    const total = ["total", "size"].map((word) => space.replace("used_bytes", `${word}_bytes`)).find((name) => exists.has(name));
    panels.push(total
      ? { title: "Disk space used", unit: percent, top: space, queries: [{ expr: `max by (mountpoint) (100 * ${space}${where} / ${total}${where})` }] }
      : { title: "Disk space used", unit: bytes, top: space, queries: [{ expr: `max by (mountpoint) (${space}${where})` }] });
  }
  return panels;
}

/** otherNames finds something to show where there is no host: the first name of each family. */
export function otherNames(names: string[]): string[] {
  const seen = new Set<string>();
  const chosen: string[] = [];
  for (const name of names) {
    const family = name.split(/[._]/, 2).join(".");
    if (seen.has(family) || /_(bucket|sum)$/.test(name)) continue;
    seen.add(family);
    chosen.push(name);
    if (chosen.length === MAX_OTHER) break;
  }
  return chosen;
}

function trailing(name: string): number {
  return Number(/(\d+)m?$/.exec(name)?.[1] ?? 0);
}

function middle(name: string, prefix: string): string {
  return name.slice(prefix.length).replace(/_bytes/, "").replace(/_total$/, "").replaceAll("_", " ");
}

/** preferred orders names by the first of words they hold, and gives up the others if any do. */
function preferred(names: string[], wanted: string[]): string[] {
  const physical = names.filter((name) => !name.includes("swap"));
  const chosen = wanted.flatMap((word) => physical.filter((name) => name.endsWith(`_${word}_bytes`)).slice(0, 1));
  return chosen.length ? chosen.slice(0, 4) : physical.slice(0, 3);
}
