// Tables that sort by a column's button (click, Enter, space) and show only the rows asked for.
"use strict";

const keyed = (cell) => (cell.dataset.key === undefined ? null : Number(cell.dataset.key));

function order(one, other) {
  const a = keyed(one), b = keyed(other);
  if (a !== null && b !== null) return a - b;
  return one.textContent.localeCompare(other.textContent, "en", { numeric: true });
}

function sort(table, column) {
  const headers = [...table.tHead.rows[0].cells];
  const rising = headers[column].getAttribute("aria-sort") !== "ascending";
  headers.forEach((header, i) => {
    header.setAttribute("aria-sort", i !== column ? "none" : rising ? "ascending" : "descending");
  });
  const rows = [...table.tBodies[0].rows];
  // The sort is stable: rows that are equal here stay as another column has left them.
  rows.sort((a, b) => (rising ? 1 : -1) * order(a.cells[column], b.cells[column]));
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((header, i) => {
    header.querySelector("button").addEventListener("click", () => sort(table, i));
  });
}

for (const input of document.querySelectorAll("input[data-table]")) {
  const rows = [...document.getElementById(input.dataset.table).tBodies[0].rows];
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    input.closest("p").querySelector("output").textContent = `${shown} of ${rows.length}`;
  });
}
