// Names as a tree. Dotted names part at dots. Prometheus names part at
// underscores, but a group of them must be worth a click: it has at least three
// names, and lies at most three groups deep. A chain of groups with nothing beside
// them is one group. Children are found on demand, by binary search in the sorted
// names, so that 100,000 names cost a sort and nothing else.

export interface Leaf { name: string; label: string }
export interface Group { prefix: string; label: string; separator: string; count: number; from: number; to: number; depth: number }
export type Node = Leaf | Group;

const MIN_GROUP = 3; // names in a group of underscored names
const MAX_DEPTH = 3; // groups of underscored names inside each other

/** People look for load5 before load15. */
const collator = new Intl.Collator("en", { numeric: true });
const byLabel = (a: Node, b: Node) => collator.compare(a.label, b.label);

export function isGroup(node: Node): node is Group {
  return "prefix" in node;
}

export class NameTree {
  private readonly sorted: Record<string, string[]> = { ".": [], "_": [] };
  private readonly cache = new Map<string, Node[]>();

  constructor(readonly names: string[]) {
    for (const name of names) this.sorted[name.includes(".") ? "." : "_"]!.push(name);
    for (const list of Object.values(this.sorted)) list.sort();
  }

  roots(): Node[] {
    return this.remember("", () => ["_", "."]
      .flatMap((separator) => this.part(separator, 0, this.sorted[separator]!.length, "", 0))
      .sort(byLabel));
  }

  children(group: Group): Node[] {
    return this.remember(group.separator + group.prefix, () =>
      this.part(group.separator, group.from, group.to, group.prefix, group.depth).sort(byLabel));
  }

  private remember(key: string, make: () => Node[]): Node[] {
    let nodes = this.cache.get(key);
    if (!nodes) this.cache.set(key, nodes = make());
    return nodes;
  }

  /** part lists what lies directly under a prefix that the names [from, to) share. */
  private part(separator: string, from: number, to: number, prefix: string, depth: number): Node[] {
    const list = this.sorted[separator]!;
    const nodes: Node[] = [];
    for (let i = from; i < to;) {
      const name = list[i]!;
      const cut = name.indexOf(separator, prefix.length + 1);
      if (cut < 0 || cut === name.length - 1) {
        nodes.push({ name, label: name.slice(prefix.length) });
        i++;
        continue;
      }
      const end = upper(list, name.slice(0, cut + 1), i, to);
      const enough = end - i >= (separator === "." ? 2 : MIN_GROUP);
      if (enough && (separator === "." || depth < MAX_DEPTH)) {
        const longest = shared(name, list[end - 1]!, separator, cut);
        nodes.push({
          prefix: longest, label: longest.slice(prefix.length, -1), separator,
          count: end - i, from: i, to: end, depth: depth + 1,
        });
      } else {
        for (let j = i; j < end; j++) nodes.push({ name: list[j]!, label: list[j]!.slice(prefix.length) });
      }
      i = end;
    }
    return nodes;
  }
}

/** upper finds the first index in [from, to) whose name does not begin with prefix. */
function upper(list: string[], prefix: string, from: number, to: number): number {
  let low = from, high = to;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (list[middle]!.startsWith(prefix)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** shared is the longest prefix of both names that ends at a separator, at least up to cut. */
function shared(a: string, b: string, separator: string, cut: number): string {
  let length = cut + 1;
  for (let i = length; i < Math.min(a.length, b.length) - 1 && a[i] === b[i]; i++) {
    if (a[i] === separator) length = i + 1;
  }
  return a.slice(0, length);
}

/** words splits a search into what every match must hold, in any order. */
export function words(search: string): string[] {
  return search.toLowerCase().split(/\s+/).filter(Boolean);
}

/** Search finds names that hold all words; it keeps them in lower case, so one search of 100,000 takes milliseconds. */
export class Search {
  private readonly lower: string[];

  constructor(private readonly names: string[]) {
    this.lower = names.map((name) => name.toLowerCase());
  }

  find(search: string): string[] {
    const wanted = words(search);
    return this.names.filter((_, i) => wanted.every((word) => this.lower[i]!.includes(word)));
  }
}
