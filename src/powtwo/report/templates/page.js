const collator = new Intl.Collator("en", { numeric: true });
function key(row, column) {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
}
const missing = value => value === MISSING;
function compare(a, b, sign) {
  if (missing(a) || missing(b)) return missing(a) - missing(b); // last, up or down
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * collator.compare(a, b);
}
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  for (const cell of table.querySelectorAll("td")) {
    const head = heads[cell.cellIndex];
    cell.dataset.label = head.textContent.trim();
    if (cell.matches("tbody .number")) head.classList.add("number");
  }
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0], sign = down ? -1 : 1;
    const rows = [...body.rows];
    rows.sort((a, b) => compare(key(a, column), key(b, column), sign));
    body.append(...rows);
  }));
}
const origin = document.getElementById("origin");
document.addEventListener("click", event => {
  const figure = event.target.closest("td[title], th[title], data[title]");
  origin.hidden = !figure;
  if (figure) origin.textContent = `${figure.textContent} is of ${figure.title}`;
});
document.addEventListener("keydown", event => {
  if (event.key === "Escape") origin.hidden = true;
});
