// The tree of names with its search box. Only the rows in sight are elements.

import { ApiError, MAX_NAMES, aborted, names as fetchNames } from "./api";
import { fill, h, icon } from "./dom";
import { grouped } from "./format";
import type { PageName } from "./state";
import { NameTree, Search, isGroup, words, type Group, type Node } from "./tree";

const ROW_HEIGHT = 30; // CSS pixels, as in style.css
const OVERSCAN = 8; // rows drawn beyond each edge
const SMALL = 60; // names up to which all groups start open
const REFRESH_MS = 30_000;
const EAGER_MS = 3000; // while there are no names yet

interface Row { node: Node; level: number; open: boolean }

export class Sidebar {
  private readonly input = h("input", {
    id: "search", type: "search", placeholder: "Search names", autocomplete: "off", spellcheck: "false",
    role: "combobox", "aria-expanded": "true", "aria-haspopup": "tree", "aria-autocomplete": "list", "aria-label": "Search names", "aria-controls": "tree", enterkeyhint: "search",
  });
  private readonly spacer = h("div", { class: "tree-space" });
  private readonly list = h("div", { class: "tree", id: "tree", role: "tree", tabindex: "0", "aria-label": "Names" }, this.spacer);
  private readonly foot = h("p", { class: "side-foot", role: "status" });
  private readonly links = {
    directory: h("a", { class: "side-link", href: "#/directory" }, "Directory"),
    cache: h("a", { class: "side-link", href: "#/cache", hidden: true }, "Cache"),
  };

  names: string[] | null = null; // null until the first answer
  private tree = new NameTree([]);
  private search = new Search([]);
  private readonly open = new Set<string>(); // group keys
  private rows: Row[] = [];
  private cursor = -1; // row that the keyboard is at
  private current = ""; // name that the page shows

  constructor(
    side: HTMLElement,
    private readonly choose: (name: string) => void,
    private readonly arrived: (names: string[]) => void,
  ) {
    side.append(
      h("div", { class: "search" }, icon("M9 3.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11zM13 13l4 4"), this.input, h("kbd", { "aria-hidden": "true" }, "/")),
      this.list, h("div", { class: "side-end" }, this.foot, this.links.directory, this.links.cache));
    this.input.addEventListener("input", () => this.rebuild(true));
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("scroll", () => this.draw(), { passive: true });
    this.list.addEventListener("click", (event) => this.click(event));
    new ResizeObserver(() => this.draw()).observe(this.list);
    void this.keepLoading();
  }

  focus(): void {
    this.input.focus();
    this.input.select();
  }

  /** offerCache shows the link to the cache where there is one. */
  offerCache(there: boolean): void {
    this.links.cache.hidden = !there;
  }

  /** show marks a name as the one on the page, and opens the groups it lies in; or the link to the page. */
  show(name: string, page: PageName): void {
    for (const [target, link] of Object.entries(this.links)) {
      if (target === page) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (name === this.current) return;
    this.current = name;
    if (name && !this.input.value) this.reveal(name);
    this.rebuild(false);
    const at = this.rows.findIndex(({ node }) => !isGroup(node) && node.name === name);
    if (at >= 0) this.scrollTo(at);
  }

  private async keepLoading(): Promise<void> {
    if (!document.hidden) await this.load();
    setTimeout(() => void this.keepLoading(), this.names?.length ? REFRESH_MS : EAGER_MS);
  }

  /** load asks for the names again; new ones appear, the open groups stay open. */
  private async load(): Promise<void> {
    let names: string[];
    try {
      names = await fetchNames();
    } catch (error) {
      if (!aborted(error) && this.names === null) {
        this.foot.textContent = error instanceof ApiError ? error.message : String(error);
      }
      return;
    }
    const before = this.names;
    if (before && before.length === names.length && before.every((name, i) => name === names[i])) return;
    this.names = names;
    this.tree = new NameTree(names);
    this.search = new Search(names);
    if (before === null) this.openFirst();
    if (this.current) this.reveal(this.current);
    this.rebuild(false);
    this.arrived(names);
  }

  private openFirst(): void {
    const openAll = (nodes: Node[]) => nodes.filter(isGroup).forEach((group) => {
      this.open.add(keyOf(group));
      openAll(this.tree.children(group));
    });
    const roots = this.tree.roots();
    if (this.tree.names.length <= SMALL) openAll(roots);
    for (const node of roots) {
      if (isGroup(node) && (roots.length === 1 || node.prefix === "host_")) this.open.add(keyOf(node));
    }
  }

  private reveal(name: string): void {
    let nodes = this.tree.roots();
    for (;;) {
      const group = nodes.filter(isGroup).find((one) => name.startsWith(one.prefix) && name.includes(".") === (one.separator === "."));
      if (!group) return;
      this.open.add(keyOf(group));
      nodes = this.tree.children(group);
    }
  }

  private rebuild(toTop: boolean): void {
    const search = this.input.value.trim();
    this.rows = [];
    if (search) {
      for (const name of this.search.find(search)) this.rows.push({ node: { name, label: name }, level: 0, open: false });
    } else {
      this.flatten(this.tree.roots(), 0);
    }
    if (toTop) {
      this.list.scrollTop = 0;
      this.cursor = search && this.rows.length ? 0 : -1;
    }
    this.cursor = Math.min(this.cursor, this.rows.length - 1);
    this.spacer.style.height = `${this.rows.length * ROW_HEIGHT}px`;
    this.describe(search);
    this.draw();
  }

  private flatten(nodes: Node[], level: number): void {
    for (const node of nodes) {
      const open = isGroup(node) && this.open.has(keyOf(node));
      this.rows.push({ node, level, open });
      if (open) this.flatten(this.tree.children(node as Group), level + 1);
    }
  }

  private describe(search: string): void {
    const total = this.names?.length ?? 0;
    if (this.names === null) this.foot.textContent = "Reading names…";
    else if (search) this.foot.textContent = this.rows.length ? `${grouped(this.rows.length)} of ${grouped(total)} names` : "No name holds all these words";
    else if (total >= MAX_NAMES) this.foot.textContent = `The first ${grouped(total)} names; there are more`;
    else this.foot.textContent = total === 1 ? "1 name" : `${grouped(total)} names`;
  }

  private draw(): void {
    const from = Math.max(0, Math.floor(this.list.scrollTop / ROW_HEIGHT) - OVERSCAN);
    const to = Math.min(this.rows.length, Math.ceil((this.list.scrollTop + this.list.clientHeight) / ROW_HEIGHT) + OVERSCAN);
    const wanted = words(this.input.value);
    fill(this.spacer, ...this.rows.slice(from, to).map((row, i) => this.row(row, from + i, wanted)));
    const active = this.cursor >= from && this.cursor < to ? `row-${this.cursor}` : null;
    for (const element of [this.list, this.input]) {
      if (active) element.setAttribute("aria-activedescendant", active);
      else element.removeAttribute("aria-activedescendant");
    }
  }

  private row({ node, level, open }: Row, index: number, wanted: string[]): HTMLElement {
    const group = isGroup(node);
    const selected = !group && node.name === this.current;
    const element = h("div", {
      class: `row${group ? " group" : ""}${selected ? " selected" : ""}${index === this.cursor ? " at" : ""}`,
      id: `row-${index}`, role: "treeitem", "aria-level": level + 1, "aria-selected": String(selected),
      "aria-expanded": group ? String(open) : null, title: group ? `${node.prefix}…` : node.name, dataset: { index: String(index) },
    });
    element.style.top = `${index * ROW_HEIGHT}px`;
    element.style.paddingLeft = `${12 + level * 14}px`;
    if (group) {
      const arrow = icon("M8 5.5l4.5 4.5L8 14.5");
      arrow.setAttribute("class", open ? "arrow open" : "arrow");
      element.append(arrow, h("span", { class: "row-label" }, node.label, h("span", { class: "faint" }, node.separator)),
        h("span", { class: "count" }, grouped(node.count)));
    } else {
      element.append(h("span", { class: "row-label" }, ...marked(node.label, wanted)));
    }
    return element;
  }

  private click(event: MouseEvent): void {
    const element = (event.target as Element).closest<HTMLElement>(".row");
    if (!element) return;
    this.cursor = Number(element.dataset.index);
    this.activate();
  }

  private activate(): void {
    const row = this.rows[this.cursor];
    if (!row) return;
    if (isGroup(row.node)) this.toggle(row.node, !row.open);
    else this.choose(row.node.name);
  }

  private toggle(group: Group, open: boolean): void {
    if (open) this.open.add(keyOf(group));
    else this.open.delete(keyOf(group));
    this.rebuild(false);
  }

  private key(event: KeyboardEvent): void {
    const row = this.rows[this.cursor];
    const inTree = event.currentTarget === this.list;
    const page = Math.max(1, Math.floor(this.list.clientHeight / ROW_HEIGHT) - 1);
    switch (event.key) {
      case "ArrowDown": this.move(this.cursor + 1); break;
      case "ArrowUp": this.move(this.cursor - 1); break;
      case "PageDown": this.move(this.cursor + page); break;
      case "PageUp": this.move(this.cursor - page); break;
      case "Enter": this.activate(); break;
      case "Escape":
        if (!this.input.value) return;
        this.input.value = "";
        this.rebuild(true);
        break;
      case "ArrowRight":
        if (!inTree || !row || !isGroup(row.node)) return;
        if (row.open) this.move(this.cursor + 1);
        else this.toggle(row.node, true);
        break;
      case "ArrowLeft":
        if (!inTree || !row) return;
        if (isGroup(row.node) && row.open) this.toggle(row.node, false);
        else this.move(this.rows.findLastIndex((other, i) => i < this.cursor && other.level < row.level));
        break;
      case "Home": if (!inTree) return; this.move(0); break;
      case "End": if (!inTree) return; this.move(this.rows.length - 1); break;
      default: return;
    }
    event.preventDefault();
  }

  private move(to: number): void {
    if (!this.rows.length) return;
    this.cursor = Math.max(0, Math.min(this.rows.length - 1, to));
    this.scrollTo(this.cursor);
    this.draw();
  }

  private scrollTo(index: number): void {
    const top = index * ROW_HEIGHT;
    const view = this.list.clientHeight;
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    else if (top + ROW_HEIGHT > this.list.scrollTop + view) this.list.scrollTop = top + ROW_HEIGHT - view;
  }
}

function keyOf(group: Group): string {
  return group.separator + group.prefix;
}

/** marked wraps the places where a word was found. */
function marked(label: string, wanted: string[]): (string | HTMLElement)[] {
  const lower = label.toLowerCase();
  const hit = new Array<boolean>(label.length).fill(false);
  for (const word of wanted) {
    for (let at = lower.indexOf(word); at >= 0; at = lower.indexOf(word, at + word.length)) hit.fill(true, at, at + word.length);
  }
  const parts: (string | HTMLElement)[] = [];
  for (let i = 0; i < label.length;) {
    let j = i;
    while (j < label.length && hit[j] === hit[i]) j++;
    parts.push(hit[i] ? h("mark", {}, label.slice(i, j)) : label.slice(i, j));
    i = j;
  }
  return parts;
}
