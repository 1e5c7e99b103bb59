// Elements without a framework. Children that are strings become text nodes, so
// nothing that a server sends is ever read as HTML.

type Child = Node | string | number | null | undefined | false;
type Props = Record<string, unknown>;

/** h makes an element. Props: `class`, `on…` handlers, `dataset`, else attributes; false, null and undefined leave one out. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value as EventListener);
    } else if (name === "dataset") {
      Object.assign(element.dataset, value);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  append(element, children);
  return element;
}

function append(element: Element, children: Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    element.append(typeof child === "number" ? String(child) : child);
  }
}

/** fill replaces everything inside an element. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren();
  append(element, children);
}

/** icon is a decorative line drawing on a 20 by 20 grid. */
export function icon(path: string): SVGSVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/** byId finds an element of index.html; that it exists is an invariant of the page. */
export function byId<T extends HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no #${id}`);
  return element as T;
}

/** empty is what stands where there is nothing to draw: one sentence and, maybe, what to do about it. */
export function empty(title: string, ...more: Child[]): HTMLElement {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), ...more);
}

/** failure says what went wrong, in the server's words, and offers another try. */
export function failure(message: string, retry: () => void): HTMLElement {
  return h("div", { class: "empty failure", role: "alert" },
    h("p", { class: "empty-title" }, "This did not work"),
    h("p", { class: "failure-text" }, message),
    h("button", { class: "button", type: "button", onclick: retry }, "Try again"));
}
