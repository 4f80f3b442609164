// Returns [text, in a picture, contrast] of every text of the page with what lies behind it (WCAG 2.2,
// relative luminance and contrast ratio). Behind a text in HTML lies the nearest ancestor that has a
// background; behind one in a picture, the shapes that the browser finds at its center.
const rgba = text => {
  const parts = text.match(/[\d.]+/g).map(Number);
  return { rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1 };
};
const over = (top, alpha, below) => top.map((value, i) => alpha * value + (1 - alpha) * below[i]);
const luminance = rgb => {
  const [r, g, b] = rgb.map(v => v / 255).map(v =>
    v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a, b) => {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
};
const behindHtml = element => {
  for (let node = element; node; node = node.parentElement) {
    const { rgb, alpha } = rgba(getComputedStyle(node).backgroundColor);
    if (alpha === 1) return rgb;
  }
  return [255, 255, 255];
};
const opacity = element => {
  let product = 1;
  for (let node = element; node && node.tagName !== "svg"; node = node.parentElement)
    product *= Number(getComputedStyle(node).opacity);
  return product;
};
const behindSvg = text => {
  const box = text.getBoundingClientRect();
  const x = box.x + box.width / 2, y = box.y + box.height / 2;
  const layers = [];
  for (const element of document.elementsFromPoint(x, y)) {
    if (element.tagName === "svg") break;
    const style = getComputedStyle(element);
    if (["text", "tspan"].includes(element.tagName) || !style.fill.startsWith("rgb")) continue;
    layers.push([rgba(style.fill).rgb, Number(style.fillOpacity) * opacity(element)]);
  }
  return layers.reverse().reduce(
    (below, [rgb, alpha]) => over(rgb, alpha, below), behindHtml(text.closest("svg")));
};
for (const details of document.querySelectorAll("details")) details.open = true;
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode, element = node.parentElement;
  const hidden = !element.getClientRects().length;
  if (!node.data.trim() || ["SCRIPT", "STYLE"].includes(element.tagName) || hidden) continue;
  const svg = element.closest("svg"), style = getComputedStyle(element);
  const { rgb, alpha } = rgba(svg ? style.fill : style.color);
  const behind = svg ? behindSvg(element) : behindHtml(element);
  const ink = over(rgb, alpha * (svg ? opacity(element) : 1), behind);
  found.push([node.data.trim(), svg !== null, contrast(ink, behind)]);
}
return found;
