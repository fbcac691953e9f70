// Last in the page: it measures itself, and tells the page around it.
addEventListener("load", () => setTimeout(() => {
  const parse = c => { const n = (c.match(/[\d.]+/g) || []).map(Number); return n.length == 3 ? [...n, 1] : n; };
  const light = c => { const [r, g, b] = c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const over = (top, below) => [0, 1, 2].map(i => top[3] * top[i] + (1 - top[3]) * below[i]);
  const ground = e => { const layers = [];
    for (let at = e; at; at = at.parentElement) { const c = parse(getComputedStyle(at).backgroundColor);
      if (c[3] > 0) layers.push(c); if (c[3] == 1) break; }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]); };
  const faint = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let n = 0;
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, box = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (!walker.currentNode.data.trim() || !box.width || style.visibility != "visible" || e.closest("svg, script, style, [disabled]")) continue;
    if (style.opacity == 0) continue;
    n += 1;
    const below = ground(e), a = light(over(parse(style.color), below)), b = light(below);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    if (ratio < least) faint.push(e.tagName + "." + e.className + " " + ratio.toFixed(2) + ": " + walker.currentNode.data.trim().slice(0, 30));
  }
  const root = document.documentElement;
  const told = {
    width: innerWidth, scroll: root.scrollWidth, texts: n, faint: [...new Set(faint)].slice(0, 8), said,
    foreign: performance.getEntriesByType("resource").map(r => r.name).filter(name => !/^(file|data):/.test(name)),
    broken: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
  };
  parent.postMessage(JSON.stringify(told), "*");
}, 300));
